// Package trigram is a search index for users with many notes. For each trigram the index has the
// notes that contain it. A note that contains a text has all the text's trigrams, so a search reads
// few notes. The index is only ever a hint: the search reads and compares the notes that the index
// returns like any others.
//
// An index consists of segments, as in full-text search engines. A Segment gathers the postings of
// up to MaxNotes notes. Its Parts are stored and never change. A Match reads the parts that a Query
// needs. The package knows no database, and expects all texts folded.
package trigram

import (
	"slices"
	"unicode"
)

// A Trigram is a hash of three consecutive letters or digits of folded text. It is one of two
// million numbers. Other characters occur in all notes and are left out.
type Trigram uint32

// MaxNotes is the maximum number of notes in a segment.
const MaxNotes = 2048

const (
	tagBits     = 12   // bits of a trigram that distinguish those of one part
	parts       = 512  // 9 bits of a trigram; a search reads only its trigrams' parts
	maxTrigrams = 4096 // of a note; with more it may contain any, as may a large note
	// querySize is how many trigrams a search looks up. So many are enough. The number is always
	// the same, so that the lookup is one statement.
	querySize = 6
)

// all yields the trigrams of a folded text, in order.
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

// Part returns the part of a segment that has the postings of t, from 1 on.
func (t Trigram) Part() int { return 1 + int(t>>tagBits) }

// tag returns the number of t within its part.
func (t Trigram) tag() uint64 { return uint64(t % (1 << tagBits)) }

// Query returns trigrams of a folded text, which every note that contains the text has. Their
// number is always the same; a short text has some of them repeated. It returns none for a text
// without three letters or digits in a row.
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
