package store

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Fold returns s as it is compared without regard to case: two texts that
// differ only in letter case, in any script, or in how their accents are
// encoded, fold to the same bytes (Unicode's canonical caseless matching).
// Folding again changes nothing.
//
// Both engines compare text that Fold made, byte by byte, and never fold
// themselves: that is why they agree. What Fold answers is stored, so another
// answer (newer Unicode tables, say) needs a migration that folds anew.
func Fold(s string) string {
	if isASCII(s) {
		return strings.ToLower(s)
	}
	if len(s) <= foldPiece {
		return foldText(s)
	}
	var folded strings.Builder
	folded.Grow(len(s))
	for len(s) > 0 {
		n := pieceLength(s)
		folded.WriteString(foldText(s[:n]))
		s = s[n:]
	}
	return folded.String()
}

// foldPiece is how much of a long text is folded at once, in bytes: each step
// makes copies, and of ten megabytes those would be a hundred.
const foldPiece = 64 << 10

// pieceLength is the length of a first piece of s that can be folded by itself:
// an ASCII character, which never joins what is before it, follows.
func pieceLength(s string) int {
	for i := foldPiece; i < len(s); i++ {
		if s[i] < utf8.RuneSelf {
			return i
		}
	}
	return len(s)
}

func foldText(s string) string {
	// Unicode's definition begins with NFD. It matters to the iota below only,
	// whose folding is a letter that marks don't move across. For all other
	// text NFC does as well, and nearly all text is in NFC: a pass that copies nothing.
	form := norm.NFC
	if mayHaveIotaBelow(s) {
		form = norm.NFD
	}
	return norm.NFC.String(strings.Map(foldCherokee, cases.Fold().String(form.String(s))))
}

// mayHaveIotaBelow reports whether s holds U+0345 or a character of the block
// U+1F80 to U+1FFF, where the letters made with it are.
func mayHaveIotaBelow(s string) bool {
	return strings.Contains(s, "\u0345") || strings.Contains(s, "\xe1\xbe") || strings.Contains(s, "\xe1\xbf")
}

// foldCherokee finishes what cases.Fold does to Cherokee, the one script that
// folds to its capitals: cases.Fold swaps the two cases there, so that a text
// folded twice would be another than one folded once.
func foldCherokee(r rune) rune {
	switch {
	case 'ꭰ' <= r && r <= 'ꮿ':
		return r - 'ꭰ' + 'Ꭰ'
	case 'ᏸ' <= r && r <= 'ᏽ':
		return r - 'ᏸ' + 'Ᏸ'
	}
	return r
}

// isASCII reports whether s, usually all of a note, can be folded the cheap way.
func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
