package merge

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxLine      = 64 << 10 // bytes of a line that is merged by words
	maxWordCells = 4 << 20  // of all comparisons of lines' words in one merge
)

// mergeWords merges two changes of one line. It reports false unless at least one unchanged word
// lies between the changes of the two sides.
func (m *merger) mergeWords(base, ours, theirs string) (merged string, ok bool) {
	if max(len(base), len(ours), len(theirs)) > maxLine {
		return "", false
	}
	ids := map[string]int32{}
	var words []bool // by id
	tokens := func(s string) (texts []string, of []int32) {
		for s != "" {
			n, word := tokenLength(s)
			id, known := ids[s[:n]]
			if !known {
				id = int32(len(ids))
				ids[s[:n]] = id
				words = append(words, word)
			}
			texts, of = append(texts, s[:n]), append(of, id)
			s = s[n:]
		}
		return texts, of
	}
	baseTexts, baseIDs := tokens(base)
	ourTexts, ourIDs := tokens(ours)
	theirTexts, theirIDs := tokens(theirs)
	if m.words -= len(baseIDs)*(len(ourIDs)+len(theirIDs)) + len(base) + len(ours) + len(theirs); m.words < 0 {
		return "", false
	}
	weight := func(id int32) int32 {
		if words[id] {
			return wordWeight
		}
		return blankWeight
	}
	o := hunksOf(diff(baseIDs, ourIDs, weight, new(maxWork)), ourTexts)
	t := hunksOf(diff(baseIDs, theirIDs, weight, new(maxWork)), theirTexts)
	isWord := func(i int) bool { return words[baseIDs[i]] }
	var b strings.Builder
	at := 0
	ends := [2]int{-1, -1} // where the last change of each side ended, if there was one
	for len(o) > 0 || len(t) > 0 {
		var h hunk
		switch {
		case len(o) > 0 && len(t) > 0 && o[0] == t[0]: // both did the same
			h, o, t = o[0], o[1:], t[1:]
			for side, end := range ends {
				if end >= 0 {
					ends[side] = h.end
				}
			}
		default:
			side, from := 0, &o
			if len(o) == 0 || len(t) > 0 && t[0].begin < o[0].begin {
				side, from = 1, &t
			}
			h, *from = (*from)[0], (*from)[1:]
			if other := ends[1-side]; other >= 0 && !anyBetween(other, h.begin, isWord) {
				return "", false
			}
			ends[side] = h.end
		}
		b.WriteString(strings.Join(baseTexts[at:h.begin], ""))
		b.WriteString(h.text)
		at = h.end
	}
	b.WriteString(strings.Join(baseTexts[at:], ""))
	return b.String(), true
}

func anyBetween(begin, end int, is func(i int) bool) bool {
	for i := begin; i < end; i++ {
		if is(i) {
			return true
		}
	}
	return false
}

// A hunk is a changed range of the base's tokens.
type hunk struct {
	begin, end int
	text       string
}

func hunksOf(match []int32, side []string) (hunks []hunk) {
	i, j := 0, 0
	for i < len(match) || j < len(side) {
		if i < len(match) && int(match[i]) == j {
			i, j = i+1, j+1
			continue
		}
		end := i
		for end < len(match) && match[end] < 0 {
			end++
		}
		next := len(side)
		if end < len(match) {
			next = int(match[end])
		}
		hunks = append(hunks, hunk{i, end, strings.Join(side[j:next], "")})
		i, j = end, next
	}
	return hunks
}

// tokenLength returns the length of the first token of s: a word, a run of blanks, or a sign. In
// scripts that are written without blanks each character is a word.
func tokenLength(s string) (n int, word bool) {
	first, n := utf8.DecodeRuneInString(s)
	kind := kindOf(first)
	for n < len(s) && (kind == letters || kind == blanks) {
		r, size := utf8.DecodeRuneInString(s[n:])
		if k := kindOf(r); k != kind && !(kind == letters && k == mark) {
			break
		}
		n += size
	}
	return n, kind == letters || kind == ideograph
}

const (
	sign = iota
	blanks
	letters
	mark // belongs to what it follows
	ideograph
)

func kindOf(r rune) int {
	switch {
	case unicode.IsSpace(r):
		return blanks
	case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao,
		unicode.Khmer, unicode.Myanmar):
		return ideograph
	case unicode.IsLetter(r), unicode.IsDigit(r), r == '_':
		return letters
	case unicode.IsMark(r), r == '\u200d', r == '\'', r == '’':
		return mark
	}
	return sign
}
