package notes

import (
	"context"
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
	folded, _ := FoldContext(context.Background(), s, func(int64) error { return nil }) // which does not end
	return folded
}

// FoldContext is Fold for a long text. It gives up when ctx ends, with its cause, or
// when the folded text grows longer than s and room has an error for it: room is told
// the size of a note, in bytes, that takes as much memory.
func FoldContext(ctx context.Context, s string, room func(bytes int64) error) (string, error) {
	if isASCII(s) {
		return strings.ToLower(s), nil
	}
	if len(s) <= foldPiece {
		return foldText(s), nil
	}
	text := int64(len(s))
	folded := new(strings.Builder)
	folded.Grow(len(s) + len(s)/16)
	for len(s) > 0 {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		n := pieceLength(s)
		piece := foldText(s[:n])
		s = s[n:]
		if size := folded.Len() + len(piece); size > folded.Cap() { // by itself it would grow to more than twice as much
			size += max(len(s)*len(piece)/n, size/4)
			if err := room((text + int64(size)) / 2); err != nil { // what it is stored in grows half as fast (e2e: TestMemoryUnkindText)
				return "", err
			}
			grown := new(strings.Builder)
			grown.Grow(size)
			grown.WriteString(folded.String())
			folded = grown
		}
		folded.WriteString(piece)
	}
	return folded.String(), nil
}

// foldPiece is how much of a long text is folded at once at most, in bytes: each
// step makes copies, and of ten megabytes those would be a hundred.
const foldPiece = 64 << 10

// pieceLength is the length of a first piece of s that can be folded by itself:
// what follows begins a segment of its own, folded or not (TestFoldBoundaries).
// Only marks without a letter among them may have no such place for 64 KiB. They
// are cut all the same, between characters.
func pieceLength(s string) int {
	if len(s) <= foldPiece {
		return len(s)
	}
	end := foldPiece
	for !utf8.RuneStart(s[end]) {
		end--
	}
	for i := end; i > 0; i-- {
		if utf8.RuneStart(s[i]) && norm.NFC.PropertiesString(s[i:]).BoundaryBefore() {
			return i
		}
	}
	return end
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
