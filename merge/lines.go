package merge

import (
	"slices"
	"strings"
	"unicode"
)

// A line of a text without its end.
type line struct {
	text string
	id   int32 // equal for equal texts of all three sides
	at   int32 // where it begins in its text
	end  ending
}

// An ending is how a line ends.
type ending uint8

const (
	none ending = iota // the last line of a text
	short
	long
)

// text is what is written. In the middle of a text a line that had no end gets one.
func (e ending) text() string {
	if e == long {
		return crlf
	}
	return lf
}

// A text is split into lines.
type text struct {
	raw   string
	lines []line
}

func split(raw string, ids map[string]int32) text {
	t := text{raw: raw, lines: make([]line, 0, strings.Count(raw, lf)+1)}
	at := 0
	for s := range strings.Lines(raw) {
		l := line{text: s, at: int32(at)}
		at += len(s)
		if body, ok := strings.CutSuffix(s, crlf); ok {
			l.text, l.end = body, long
		} else if body, ok := strings.CutSuffix(s, lf); ok {
			l.text, l.end = body, short
		}
		id, ok := ids[l.text]
		if !ok {
			id = int32(len(ids))
			ids[l.text] = id
		}
		l.id = id
		t.lines = append(t.lines, l)
	}
	return t
}

// trimmed returns the lines without blank ones at both ends.
func (t text) trimmed() []line { return trim(t.lines) }

func trim(lines []line) []line {
	for len(lines) > 0 && isBlank(lines[0].text) {
		lines = lines[1:]
	}
	for len(lines) > 0 && isBlank(lines[len(lines)-1].text) {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// rawOf returns the text of the lines from i to j as it stands.
func (t *text) rawOf(i, j int) string {
	at := func(i int) int {
		if i == len(t.lines) {
			return len(t.raw)
		}
		return int(t.lines[i].at)
	}
	return t.raw[at(i):at(j)]
}

func isBlank(s string) bool { return strings.TrimSpace(s) == "" }

// hasWord reports whether s has a letter or a digit. Blank lines, rules and fences have none: they
// separate, and the same one may stand in a text many times.
func hasWord(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) })
}

func sameID(a, b line) bool { return a.id == b.id }

func equal(a, b []line) bool { return slices.EqualFunc(a, b, sameID) }

// contains reports whether the lines of part stand in whole, one after the other. Its time grows
// with the sum of both lengths (Knuth, Morris and Pratt, "Fast Pattern Matching in Strings", 1977):
// a client chooses both.
func contains(whole, part []line) bool {
	if len(part) == 0 || len(part) > len(whole) {
		return len(part) == 0
	}
	border := make([]int32, len(part)) // of each beginning of part: its longest end that part begins with
	for i, n := 1, int32(0); i < len(part); i++ {
		for n > 0 && part[i].id != part[n].id {
			n = border[n-1]
		}
		if part[i].id == part[n].id {
			n++
		}
		border[i] = n
	}
	n := int32(0) // lines of part that have been found
	for _, l := range whole {
		for n > 0 && l.id != part[n].id {
			n = border[n-1]
		}
		if l.id == part[n].id {
			n++
		}
		if int(n) == len(part) {
			return true
		}
	}
	return false
}
