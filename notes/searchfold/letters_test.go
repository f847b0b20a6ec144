package searchfold

import (
	"hash/crc32"
	"slices"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"notesd/notes"
)

func TestLetters(t *testing.T) {
	for in, want := range map[string]string{
		"Straße 42!": "strasse\x0042\x00", "é e\u0301 ο\u0345": "e\x00e\x00ο", "각": "\u1100\u1161\u11a8", "東京、が": "東京\x00か",
		"किताब": "कतब", "so\u00adft": "soft", "½": "1\x002", "й": "и",
	} {
		if got := string(AppendLetters(nil, in)); got != want {
			t.Errorf("AppendLetters(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestLettersFold: a text and its folded forms have the same letters.
func TestLettersFold(t *testing.T) {
	check := func(t fataler, s string) {
		want := AppendLetters(nil, s)
		for _, folded := range []string{Fold(s), notes.Fold(s)} {
			if got := AppendLetters(nil, folded); !slices.Equal(got, want) {
				t.Fatalf("%+q has the letters %+q, folded to %+q it has %+q", s, want, folded, got)
			}
		}
	}
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if utf8.ValidRune(r) && !(stays(r) && r > 0x30000) {
			check(t, string(r))
		}
	}
	rapid.Check(t, func(t *rapid.T) { check(t, texts.Draw(t, "s")) })
}

// TestLettersStay: each character has the letters that it had when indexes were made. If it fails,
// raise the version of package trigram, so that indexes are made again.
func TestLettersStay(t *testing.T) {
	sum := uint32(0)
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if utf8.ValidRune(r) {
			sum = crc32.Update(sum, crc32.IEEETable, []byte(string(AppendLetters(nil, string(r)))+"\n"))
		}
	}
	if want := uint32(0x883ed89a); sum != want {
		t.Errorf("the letters of all characters have the sum %#x, want %#x", sum, want)
	}
}
