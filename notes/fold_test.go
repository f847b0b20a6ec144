package notes

import (
	"context"
	"io"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"
)

func TestFold(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"empty", "", ""},
		{"ASCII", "Hello, WORLD 42 [`{", "hello, world 42 [`{"},
		{"Latin", "ÄÖÜ Éclair", "äöü éclair"},
		{"sharp s is two letters", "STRASSE straße STRAẞE", "strasse strasse strasse"},
		{"Greek with its final sigma", "ΌΔΟΣ ὀδός", "όδοσ ὀδόσ"},
		{"Cyrillic", "ПРИВЕТ Привет", "привет привет"},
		{"Cherokee folds up", "ꭰ", "Ꭰ"},
		{"Turkish dotted capital", "İ", "i\u0307"},
		{"ligature", "ﬃ", "ffi"},
		{"decomposed accents are composed", "E\u0301", "é"},
		{"marks in another order", "q\u0307\u0323", "q\u0323\u0307"},
		{"iota below, whose folding moves a mark", "\u1fb3\u0301 \u0391\u0345\u0301", "\u03ac\u03b9 \u03ac\u03b9"},
		{"kelvin sign", "K", "k"},
		{"no case at all", "日本語 🎉 אבג", "日本語 🎉 אבג"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := Fold(test.in); got != test.want {
				t.Errorf("Fold(%q) = %q, want %q", test.in, got, test.want)
			}
		})
	}
}

// TestFoldEveryRune: upper case, lower case and title case of every character
// fold alike, and what was folded stays as it is.
func TestFoldEveryRune(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		folded := Fold(string(r))
		if again := Fold(folded); again != folded {
			t.Errorf("Fold(Fold(%U)) = %+q, want %+q", r, again, folded)
		}
		for simple := unicode.SimpleFold(r); simple != r; simple = unicode.SimpleFold(simple) {
			if got := Fold(string(simple)); got != folded {
				t.Errorf("Fold(%U) = %+q, Fold(%U) = %+q, want the same", simple, got, r, folded)
			}
		}
	}
}

// TestFoldCheapWay: text without accents folds the same as through the tables.
func TestFoldCheapWay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`[\x00-\x7f]{0,40}`).Draw(t, "s")
		if got, want := Fold(s), norm.NFC.String(cases.Fold().String(s)); got != want {
			t.Errorf("Fold(%q) = %q, want %q", s, got, want)
		}
	})
}

func TestFoldProperties(t *testing.T) {
	// Characters whose folding grows, shrinks, decomposes or reorders, beside any other.
	awkward := rapid.SampledFrom([]rune("aAäÄßẞﬃıİςΣ\u0345\u0301\u0323\u0307ᾳΐᾼ각ᆨКꭰK"))
	text := rapid.StringOf(rapid.OneOf(awkward, rapid.Rune()))
	rapid.Check(t, func(t *rapid.T) {
		s := text.Draw(t, "s")
		folded := Fold(s)
		if got := Fold(folded); got != folded {
			t.Errorf("Fold(Fold(%+q)) = %+q, want %+q", s, got, folded)
		}
		if got := Fold(norm.NFD.String(s)); got != folded {
			t.Errorf("Fold(NFD(%+q)) = %+q, want %+q", s, got, folded)
		}
		if !utf8.ValidString(folded) {
			t.Errorf("Fold(%+q) = %+q, want valid UTF-8", s, folded)
		}
		if n := strings.Count(folded, "\x00"); n > strings.Count(s, "\x00") {
			t.Errorf("Fold(%+q) = %+q, want no NUL of its own", s, folded)
		}
	})
}

// TestFoldDefinition: Fold's short cuts end where Unicode's definition does
// (D145, composed at the end). Cherokee is not asked: see foldCherokee.
func TestFoldDefinition(t *testing.T) {
	accented := rapid.SampledFrom([]rune("aEıİςΑᾳᾼ\u1ffc\u1f71\u0345\u0301\u0323\u0307\u0327각ᆨ"))
	text := rapid.StringOf(rapid.OneOf(accented, rapid.Rune().Filter(func(r rune) bool {
		return !unicode.Is(unicode.Cherokee, r)
	})))
	rapid.Check(t, func(t *rapid.T) {
		s := text.Draw(t, "s")
		want := norm.NFC.String(cases.Fold().String(norm.NFD.String(s)))
		if got := Fold(s); got != want {
			t.Errorf("Fold(%+q) = %+q, want %+q", s, got, want)
		}
	})
}

func BenchmarkFold(b *testing.B) {
	for _, text := range []struct{ name, s string }{
		{"ascii", strings.Repeat("The quick brown fox. ", 50_000)},
		{"german", strings.Repeat("Über den Straßen läuft ein Fuchs. ", 30_000)},
		{"japanese", strings.Repeat("すばしっこい茶色の狐。", 30_000)},
	} {
		b.Run(text.name, func(b *testing.B) {
			b.SetBytes(int64(len(text.s)))
			for b.Loop() {
				Fold(text.s)
			}
		})
	}
}

// TestFoldLong: a long text, which is folded piece by piece, folds as if at once.
func TestFoldLong(t *testing.T) {
	awkward := rapid.SampledFrom([]rune("aAäÄßẞﬃıİςΣ\u0345\u0301\u0323\u0307ᾳΐᾼ각ᆨK "))
	units := rapid.StringOfN(awkward, 1, 40, -1).Filter(func(unit string) bool {
		return strings.Trim(unit, "\u0345\u0301\u0323\u0307ᆨ") != "" // where nothing begins a segment for 64 KiB the text is cut anywhere: TestFoldPieces
	})
	rapid.Check(t, func(t *rapid.T) {
		unit := units.Draw(t, "text")
		text := strings.Repeat(unit, 150<<10/len(unit)) // more than two pieces
		want := norm.NFC.String(cases.Fold().String(norm.NFD.String(text)))
		if got := Fold(text); got != want {
			t.Errorf("Fold of %d bytes has %d, at once %d, and they differ", len(text), len(got), len(want))
		}
	})
}

// TestFoldPieces: no text, however unkind, is folded in pieces of more than 64 KiB, and all of it is.
func TestFoldPieces(t *testing.T) {
	const piece = 64 << 10
	for name, unit := range map[string]string{
		"no ASCII": "語", "four bytes each": "\U0001d160", "accents": "é", "marks": "a" + strings.Repeat("\u0301", 1000),
		"nothing but marks": "\u0301", "vowels that join": "각", "jamo": "\u1100\u1161\u11a8", "iota below": "ᾼ", "some ASCII": "Straße ",
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Repeat(unit, 3*piece/len(unit)+1)
			var folded strings.Builder
			for rest := text; rest != ""; {
				n := pieceLength(rest)
				if n <= 0 || n > piece || !utf8.ValidString(rest[:n]) {
					t.Fatalf("a piece of %d bytes, want 1 to %d that are whole characters", n, piece)
				}
				folded.WriteString(Fold(rest[:n]))
				rest = rest[n:]
			}
			got := Fold(text)
			if got != folded.String() {
				t.Error("a text folds otherwise than its pieces")
			}
			if want := norm.NFC.String(cases.Fold().String(norm.NFD.String(text))); got != want && name != "nothing but marks" {
				t.Error("a text folds otherwise than at once")
			}
		})
	}
}

// TestFoldBoundaries: what begins a segment does so folded, too, decomposed or not: so a text can be cut there.
func TestFoldBoundaries(t *testing.T) {
	begins := func(s string) bool {
		return norm.NFC.PropertiesString(s).BoundaryBefore() && norm.NFD.PropertiesString(s).BoundaryBefore()
	}
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if s := string(r); utf8.ValidRune(r) && norm.NFC.PropertiesString(s).BoundaryBefore() {
			if folded := Fold(s); !begins(folded) || !begins(cases.Fold().String(norm.NFD.String(s))) {
				t.Errorf("%U begins a segment, and folded to %+q it does not", r, folded)
			}
		}
	}
}

// TestFoldContext: a long text is no longer folded when nobody waits for it.
func TestFoldContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(io.ErrClosedPipe)
	if _, err := FoldContext(ctx, strings.Repeat("語", 1<<20), func(int64) error { return nil }, func(step func()) { step() }); err != io.ErrClosedPipe {
		t.Errorf("FoldContext() = %v when the context has ended, want its cause", err)
	}
}
