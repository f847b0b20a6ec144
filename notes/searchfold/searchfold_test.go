package searchfold

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"
)

func TestFold(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"empty", "", ""},
		{"ASCII", "Hello, WORLD 42 [`{", "hello, world 42 [`{"},
		{"Latin", "É ế Ñ å Ơ ç café", "e e n a o c cafe"},
		{"letters without a decomposition", "Øslo Łódź đðħŧ ÆŒ Þing ǿ ǣ", "oslo lodz ddht aeoe thing o ae"},
		{"sharp s", "Straße STRAẞE", "strasse strasse"},
		{"Turkish", "İstanbul ıstanbul", "istanbul istanbul"},
		{"ligatures and width", "ﬃ Ｆｕｌｌ ﾊﾟ", "ffi full パ"},
		{"Greek", "ὨΜΈΓΑ ὠμέγα ᾳ ᾼ ΐ ΣΊΣΥΦΟΣ σίσυφος", "ωμεγα ωμεγα α α ι σισυφοσ σισυφοσ"},
		{"Cyrillic", "ё ў ї ѓ ќ а́ Й й и\u0306 ѝ", "е у і г к а й й й и"},
		{"й has one breve", "и\u0306\u0306\u0301", "й"},
		{"Hebrew", "שָׁלוֹם \ufb2a", "שלום ש"},
		{"Arabic", "مُحَمَّد أإآ محـــمد ؤ ئ ى ة", "محمد ااا محمد ؤ ئ ى ة"},
		{"Arabic with hamza apart", "و\u0654 ي\u0654 ا\u0654", "ؤ ئ ا"},
		{"a mark on a tatweel", "ـ\u064e ا\u0640\u0654", " ا"},
		{"kana", "がか パハ か\u3099 かな カナ", "がか パハ が かな カナ"},
		{"Indic", "किताब क्षि हिं क\u093c", "किताब क्षि हिं क\u093c"},
		{"Thai", "กิน กำ กู้", "กิน ก\u0e4dา กู้"},
		{"Hangul", "각 가 \u1100\u1161\u11a8 가\u11a8", "각 가 각 각"},
		{"dropped everywhere", "so\u00adft a\u200bb\u200dc ❤\ufe0f e\u200d\u0301", "soft abc ❤ e"},
		{"a fraction", "½", "1\u20442"},
		{"a mark of another base", "1\u0301 =\u0338 \u0301", "1\u0301 ≠ \u0301"},
		{"marks are ordered", "漢\u0301\u0323", "漢\u0323\u0301"},
		{"Cherokee", "ꭰ Ꭰ", "Ꭰ Ꭰ"},
		{"not UTF-8", "a\xffb", "a\ufffdb"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := Fold(test.in); got != test.want {
				t.Errorf("Fold(%+q) = %+q, want %+q", test.in, got, test.want)
			}
		})
	}
}

// TestPairs: what a user takes for the same, and what only a program would.
func TestPairs(t *testing.T) {
	for _, test := range []struct {
		a, b string
		same bool
	}{
		{"cafe", "café", true}, {"strasse", "Straße", true}, {"istanbul", "İstanbul", true}, {"istanbul", "ıstanbul", true},
		{"oslo", "Øslo", true}, {"lodz", "Łódź", true}, {"dien", "điện", true}, {"ωμεγα", "ὠμέγα", true},
		{"елка", "ёлка", true}, {"мой", "мои", false}, {"か", "が", false}, {"ﾊﾟ", "パ", true},
		{"שלום", "שָׁלוֹם", true}, {"محمد", "مُحَمَّد", true}, {"احمد", "أحمد", true}, {"किताब", "कुताब", false},
		{"กิน", "กน", false}, {"각", "가", false},
	} {
		for _, form := range []norm.Form{norm.NFC, norm.NFD} {
			if got := Fold(test.a) == Fold(form.String(test.b)); got != test.same {
				t.Errorf("%s and %s fold alike: %v, want %v", test.a, test.b, got, test.same)
			}
			if strings.Contains(Fold(form.String(test.b)), Fold(test.a)) != test.same {
				t.Errorf("%s is in %s: %v, want %v", test.a, test.b, !test.same, test.same)
			}
		}
	}
}

// TestEveryRune: what was folded stays as it is, and both normal forms fold alike.
func TestEveryRune(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		if items := lookup(r); stays(r) && string(r) != "\ufffd" && (hangulFirst > r || r > hangulLast) &&
			(len(items) != 1 || items[0] != item{char: r}) {
			t.Fatalf("%U stays, but becomes %v", r, items)
		}
		if stays(r) {
			continue
		}
		// A letter before shows what a mark does, and a digit what it does where all are kept.
		for _, s := range []string{string(r), "a" + string(r), "1" + string(r), "ا" + string(r), "и" + string(r)} {
			folded := Fold(s)
			if again := Fold(folded); again != folded {
				t.Fatalf("Fold(Fold(%+q)) = %+q, want %+q", s, again, folded)
			}
			if got := Fold(norm.NFD.String(s)); got != folded {
				t.Fatalf("Fold(NFD(%+q)) = %+q, want %+q", s, got, folded)
			}
			if !norm.NFC.IsNormalString(folded) {
				t.Fatalf("Fold(%+q) = %+q, want NFC", s, folded)
			}
			if !joins(r) {
				break
			}
		}
	}
}

// joins reports whether a character may be another after a letter than by itself.
func joins(r rune) bool {
	items := lookup(r)
	return len(items) == 0 || items[0].kind != base
}

// texts are made of characters that fold, join, move or vanish, beside any other.
var texts = rapid.StringOf(rapid.OneOf(
	rapid.SampledFrom([]rune("aAé½ßẞﬃıİςΣ\u0345\u0301\u0323\u0307\u0306ᾳΐᾼ각각\u1161\u1100Кий1 =\u0338\u200d\u00adـ\u0654\u064eاوブフ\u3099ｶﾞकि\u093cกำ\u0e49\ufdfa\u09c7\u09be")),
	rapid.Rune()))

func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkFold(t, texts.Draw(t, "s")) })
}

func FuzzFold(f *testing.F) {
	for _, s := range []string{"Straße", "и\u0306\u0306", "ا\u0640\u0654", "\xff\u0301", "½가\u11a8"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { checkFold(t, s) })
}

type fataler interface {
	Fatalf(format string, args ...any)
}

func checkFold(t fataler, s string) {
	folded := Fold(s)
	if got := Fold(folded); got != folded {
		t.Fatalf("Fold(Fold(%+q)) = %+q, want %+q", s, got, folded)
	}
	if utf8.ValidString(s) {
		for _, form := range []norm.Form{norm.NFC, norm.NFD} {
			if got := Fold(form.String(s)); got != folded {
				t.Fatalf("Fold of a normal form of %+q = %+q, want %+q", s, got, folded)
			}
		}
	}
	if !utf8.ValidString(folded) {
		t.Fatalf("Fold(%+q) = %+q, want valid UTF-8", s, folded)
	}
	var pieces Folder
	var m Map
	pieces.Map = &m
	var inPieces []byte
	length := 0
	for _, r := range s {
		inPieces = pieces.Append(inPieces, string(r))
		length++
	}
	inPieces = pieces.Finish(inPieces)
	if string(inPieces) != folded {
		t.Fatalf("%+q folds to %+q in pieces, want %+q", s, inPieces, folded)
	}
	last := 0
	for i := range folded {
		at := m.Text(i)
		if at < last || at >= length {
			t.Fatalf("Map of %+q: byte %d comes from %d, want %d to %d", s, i, at, last, length-1)
		}
		last = at
	}
}

// TestMap: the folded characters come from where they were.
func TestMap(t *testing.T) {
	for _, test := range []struct {
		in   string
		want []int
	}{
		{"abc", []int{0, 1, 2}},
		{"Straße!", []int{0, 1, 2, 3, 4, 4, 5, 6}},
		{"e\u0301f", []int{0, 2}},
		{"\u00ad½x", []int{1, 1, 1, 2}},
		{"가\u11a8 ブ", []int{0, 2, 3}},
		{"か\u3099か", []int{0, 2}},
		{"漢\u0301\u0323字", []int{0, 1, 1, 3}},
	} {
		var m Map
		f := Folder{Map: &m}
		folded := string(f.Finish(f.Append(nil, test.in)))
		var got []int
		for i := range folded {
			got = append(got, m.Text(i))
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("Map of %+q = %v, want %v", test.in, got, test.want)
		}
		first, size := utf8.DecodeRuneInString(folded)
		m.Forget(size)
		for i := range folded[size:] {
			if want := test.want[utf8.RuneCountInString(folded[:size+i])]; m.Text(i) != want {
				t.Errorf("Map of %+q without %q: %d comes from %d, want %d", test.in, first, i, m.Text(i), want)
			}
		}
	}
}

// TestBlanks: white space becomes one blank, wherever pieces end.
func TestBlanks(t *testing.T) {
	for _, test := range []struct {
		in, want string
		from     []int
	}{
		{"a  b\r\n\tC", "a b c", []int{0, 1, 3, 4, 7}},
		{"é\u3000 \u2028x ", "e x ", []int{0, 1, 4, 5}},
		{" \u0301\n a", " \u0301 a", []int{0, 1, 2, 4}},
	} {
		for _, size := range []int{1, 100} {
			var m Map
			f := Folder{Blanks: true, Map: &m}
			var folded []byte
			for piece := range slices.Chunk([]rune(test.in), size) {
				folded = f.Append(folded, string(piece))
			}
			folded = f.Finish(folded)
			var from []int
			for i := range string(folded) {
				from = append(from, m.Text(i))
			}
			if string(folded) != test.want || !slices.Equal(from, test.from) {
				t.Errorf("%q in pieces of %d folds to %q from %v, want %q from %v", test.in, size, folded, from, test.want, test.from)
			}
		}
	}
}

// TestManyMarks: a text of nothing but marks takes no longer than another.
func TestManyMarks(t *testing.T) {
	marks := strings.Repeat("\u0301\u0323", 1<<19)
	if got := len(Fold(marks)); got != len(marks) {
		t.Errorf("%d bytes of marks fold to %d", len(marks), got)
	}
	if folded := Fold("1" + marks[:20_000]); Fold(folded) != folded {
		t.Error("many marks fold otherwise twice")
	}
}

func BenchmarkFold(b *testing.B) {
	for _, text := range []struct{ name, s string }{
		{"ascii", strings.Repeat("The quick brown fox. ", 50_000)},
		{"german", strings.Repeat("Über den Straßen läuft ein Fuchs. ", 30_000)},
		{"russian", strings.Repeat("Съешь ещё этих мягких булок. ", 30_000)},
		{"japanese", strings.Repeat("すばしっこい茶色の狐が。", 30_000)},
		{"korean", strings.Repeat("다람쥐 헌 쳇바퀴에 타고파. ", 30_000)},
	} {
		b.Run(text.name, func(b *testing.B) {
			b.SetBytes(int64(len(text.s)))
			for b.Loop() {
				Fold(text.s)
			}
		})
	}
}
