// Package trigram is a search index for users with many notes. For each trigram the index has the
// notes that contain it, and those that have it in their title. A note that contains a text has all
// the text's trigrams, so a search reads few notes. The index is only ever a hint: the search reads
// and compares the notes that the index returns like any others.
//
// An index consists of segments, as in full-text search engines. A Segment gathers the postings of
// up to MaxNotes notes. Its Parts are stored and never change. A Match reads the parts that a Query
// needs. The package knows no database. It takes texts as they are, or folded in any way: package
// searchfold finds the same letters in all of these.
package trigram

import (
	"slices"
	"unicode"

	"notesd/notes/searchfold"
)

// A Trigram is a hash of three consecutive letters or digits of a text, or of two ideographs or
// kana, since words of those are short. It is one of two million numbers. Other characters occur in
// all notes and are left out.
type Trigram uint32

// MaxNotes is the maximum number of notes in a segment.
const MaxNotes = 2048

const (
	// version is stored with each segment. It must be raised when a text gets other trigrams, or
	// when a segment is stored in another way. A segment of another version is as good as damaged.
	version = 1

	tagBits     = 12  // bits of a trigram that distinguish those of one part
	parts       = 512 // 9 bits of a trigram; a search reads only its trigrams' parts
	trigrams    = parts << tagBits
	maxTrigrams = 4096 // of a note; with more it may contain any, as may a large note

	// A search looks up at most maxLookups trigrams, up to textLookups of one text. So many are
	// enough.
	maxLookups  = 16
	textLookups = 6
)

// appendTrigrams appends the trigrams of a text's letters, in order.
func appendTrigrams(dst []Trigram, letters []rune) []Trigram {
	var a, b rune // the two letters before
	for _, r := range letters {
		switch wide := isWide(r); {
		case wide && isWide(b):
			dst = append(dst, trigramOf(0, b, r))
		case r != 0 && !wide && a != 0 && b != 0 && !isWide(a) && !isWide(b):
			dst = append(dst, trigramOf(a, b, r))
		}
		a, b = b, r
		if r == 0 {
			a = 0
		}
	}
	return dst
}

// isWide reports whether two letters such as r are looked up instead of three.
func isWide(r rune) bool {
	return r >= '\u2e80' && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana)
}

func trigramOf(a, b, c rune) Trigram {
	// Each letter has 21 bits. The product's upper bits depend on all of them.
	hash := (uint64(a)<<42 | uint64(b)<<21 | uint64(c)) * 0x9e3779b97f4a7c15
	return Trigram(hash >> 32 % trigrams)
}

// part returns the part of a segment that has the postings of t, from 1 on.
func (t Trigram) part() int { return 1 + int(t>>tagBits) }

// tag returns the number of t within its part.
func (t Trigram) tag() uint64 { return uint64(t % (1 << tagBits)) }

// A Query has trigrams of some texts. A note that contains the texts has all of them.
type Query struct {
	trigrams []Trigram
	words    [][]int // for each text that may be in the title, which of the trigrams are its own
}

// NewQuery returns a query for texts that a note must contain: words, which count in the title, and
// others.
func NewQuery(words, others []string) Query {
	var q Query
	each := min(max(2, maxLookups/max(1, len(words)+len(others))), textLookups)
	for i, text := range slices.Concat(words, others) {
		found := appendTrigrams(nil, searchfold.AppendLetters(nil, text))
		var own []int
		for k := range min(each, len(found), maxLookups-len(q.trigrams)) {
			t := found[k*(len(found)-1)/max(1, min(each, len(found))-1)]
			own = append(own, len(q.trigrams))
			q.trigrams = append(q.trigrams, t)
		}
		if i < len(words) {
			q.words = append(q.words, own)
		}
	}
	return q
}

// Empty reports whether the query has no trigram, so that any note may match.
func (q Query) Empty() bool { return len(q.trigrams) == 0 }

// Parts returns the parts of a segment that the query needs.
func (q Query) Parts() []int64 {
	parts := []int64{0}
	for _, t := range q.trigrams {
		parts = append(parts, int64(t.part()))
	}
	slices.Sort(parts)
	return slices.Compact(parts)
}
