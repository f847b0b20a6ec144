// Package trigram is the index for searches in a person's many notes: it has, for
// each trigram, the notes that have it. A note that contains a text has all the
// text's trigrams, so that a search reads few notes. The index is only ever a hint:
// the notes that it leaves are read and compared like every note.
//
// An index is in segments, as those of full-text search engines are. A Segment
// gathers the postings of up to MaxNotes notes; its Parts are stored and never
// change. A Match reads the parts that a Query needs. The package knows no database,
// and takes all texts folded.
package trigram

import (
	"slices"
	"unicode"
)

// A Trigram is three letters or digits in a row, of folded text, as one of two
// million numbers. What is no letter and no digit is in all notes, and left out.
type Trigram uint32

// MaxNotes is how many notes a segment has at most.
const MaxNotes = 2048

const (
	tagBits     = 12   // of a trigram: what tells those of a part apart
	parts       = 512  // 9 bits: of these a search reads its own alone
	maxTrigrams = 4096 // of a note: with more it may hold anything, as may a large one
	querySize   = 6    // trigrams that are looked up: enough, and always as many, so that it is one statement
)

// all are the trigrams of a folded text, in its order.
func all(text string) func(yield func(Trigram) bool) {
	return func(yield func(Trigram) bool) {
		var last [3]uint64
		row := 0
		for _, r := range text {
			if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
				row = 0
				continue
			}
			last[0], last[1], last[2] = last[1], last[2], uint64(r)
			if row++; row < 3 {
				continue
			}
			// Each letter has 21 bits. The product's upper bits depend on all of them.
			hash := (last[0]<<42 | last[1]<<21 | last[2]) * 0x9e3779b97f4a7c15
			if !yield(Trigram(hash >> 32 % (parts << tagBits))) {
				return
			}
		}
	}
}

// Part is the part of a segment that has the postings of t, from 1 on.
func (t Trigram) Part() int { return 1 + int(t>>tagBits) }

// tag is what t is called there.
func (t Trigram) tag() uint64 { return uint64(t % (1 << tagBits)) }

// Query returns trigrams that every note has which contains a folded text: always
// the same number of them, the same one again if the text is short. There are
// none for a text without three letters in a row.
func Query(text string) (some []Trigram) {
	found := slices.Collect(all(text))
	if len(found) == 0 {
		return nil
	}
	for i := range querySize {
		some = append(some, found[i*(len(found)-1)/(querySize-1)])
	}
	return some
}
