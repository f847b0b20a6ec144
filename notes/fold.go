package notes

import (
	"context"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Fold returns the form of s that is compared without regard to case. Two texts fold to the same
// bytes if they differ only in letter case, in any script, or in how their accents are encoded
// (Unicode's canonical caseless matching). Fold changes nothing in a text that is folded already. It
// keeps accents. The search by words (q=) uses package searchfold, which drops them.
//
// Both engines compare folded text byte by byte and never fold text themselves, so they agree.
// Folded text is stored. If Fold returns another result (with newer Unicode tables, say), a
// migration has to fold the stored text again.
func Fold(s string) string {
	// The background context never ends.
	folded, _ := FoldContext(context.Background(), s, func(int64) error { return nil }, func(fold func()) { fold() })
	return folded
}

// FoldContext is Fold for a long text. It gives up when ctx ends, and returns the cause. It also
// gives up when the folded text grows and room returns an error. The argument of room is the size,
// in bytes, of a note that takes as much memory. A text of more than 64 KiB is folded in steps of
// some milliseconds. FoldContext passes each step to do, which calls it.
func FoldContext(ctx context.Context, s string, room func(bytes int64) error, do func(step func())) (string, error) {
	if len(s) <= foldPiece {
		if isASCII(s) {
			return strings.ToLower(s), nil
		}
		return foldText(s), nil
	}
	ascii, lower := false, ""
	do(func() {
		if ascii = isASCII(s); ascii {
			lower = strings.ToLower(s)
		}
	})
	if ascii {
		return lower, nil
	}
	text := int64(len(s))
	folded := new(strings.Builder)
	folded.Grow(len(s) + len(s)/16)
	for len(s) > 0 {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		n, piece := 0, ""
		do(func() {
			n = pieceLength(s)
			piece = foldText(s[:n])
		})
		s = s[n:]
		// A strings.Builder itself would grow to more than twice as much.
		if size := folded.Len() + len(piece); size > folded.Cap() {
			size += max(len(s)*len(piece)/n, size/4)
			// The buffer that stores the text grows half as fast (e2e: TestMemoryUnkindText).
			if err := room((text + int64(size)) / 2); err != nil {
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

// foldPiece is the largest part of a long text that is folded in one step, in bytes. Each step
// makes copies. Copies of ten megabytes at once would take a hundred.
const foldPiece = 64 << 10

// pieceLength returns the length of a first piece of s that can be folded by itself: the rest
// begins a segment of its own, folded or not (TestFoldBoundaries). Only a run of marks without a
// letter can have no such place for 64 KiB. Such a run is cut all the same, between two characters.
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
	// Unicode's definition begins with NFD. The difference matters only for the iota below, which
	// folds to a letter that marks don't move across. For all other text NFC does as well. Nearly
	// all text is in NFC already, so that this pass copies nothing.
	form := norm.NFC
	if mayHaveIotaBelow(s) {
		form = norm.NFD
	}
	return norm.NFC.String(strings.Map(foldCherokee, cases.Fold().String(form.String(s))))
}

// mayHaveIotaBelow reports whether s has U+0345 or a character of the block U+1F80 to U+1FFF, which
// has the letters made with U+0345.
func mayHaveIotaBelow(s string) bool {
	return strings.Contains(s, "\u0345") || strings.Contains(s, "\xe1\xbe") || strings.Contains(s, "\xe1\xbf")
}

// foldCherokee corrects what cases.Fold does to Cherokee, the only script that folds to its
// capitals. cases.Fold swaps the two cases there, so that a text folded twice would differ from the
// text folded once.
func foldCherokee(r rune) rune {
	switch {
	case 'ꭰ' <= r && r <= 'ꮿ':
		return r - 'ꭰ' + 'Ꭰ'
	case 'ᏸ' <= r && r <= 'ᏽ':
		return r - 'ᏸ' + 'Ᏸ'
	}
	return r
}

// isASCII reports whether s can be folded the cheap way. Nearly all of a note usually can.
func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
