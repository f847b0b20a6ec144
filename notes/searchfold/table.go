package searchfold

import (
	"sync"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"notesd/notes"
)

// An item is a character of the decomposed text, with its case folded.
type item struct {
	char      rune
	kind      kind
	class     class // of a base
	combining uint8 // the canonical combining class
}

// A kind says what a character is to the one before it.
type kind uint8

const (
	base kind = iota
	mark
	jamo    // a vowel or final consonant of Hangul, which joins the letter before it
	tatweel // the line that lengthens an Arabic letter
)

// A class says which marks a base drops.
type class uint8

const (
	keepsAll class = iota
	dropsAll
	arabic // keeps hamza and madda
	shortI // keeps a breve, since й is another letter than и
)

// These are characters that the rules name.
const (
	breve        = '\u0306'
	iotaBelow    = '\u0345'
	maddaAbove   = '\u0653'
	hamzaBelow   = '\u0655' // that above is between the two
	arabicLine   = '\u0640' // tatweel
	arabicAlef   = '\u0627'
	cyrillicI    = '\u0438'
	hangulFirst  = '\uac00'
	hangulLast   = '\ud7a3'
	hangulVowel  = '\u1161'
	hangulLead   = '\u1100'
	hangulFinal  = '\u11a7' // none: the finals follow it
	hangulVowels = 21
	hangulFinals = 28
	hangulLeads  = 19
)

// drops reports whether a base of the class drops a mark. hasBreve: it has a breve already.
func (c class) drops(mark rune, hasBreve bool) bool {
	switch c {
	case dropsAll:
		return true
	case arabic:
		return mark < maddaAbove || mark > hamzaBelow
	case shortI:
		return mark != breve || hasBreve
	}
	return false
}

// classOf returns the class of a base whose case is folded.
func classOf(r rune) class {
	switch {
	case r == cyrillicI:
		return shortI
	case r == arabicAlef:
		return dropsAll
	case unicode.Is(unicode.Arabic, r):
		return arabic
	case unicode.In(r, unicode.Latin, unicode.Greek, unicode.Cyrillic, unicode.Hebrew):
		return dropsAll
	}
	return keepsAll
}

// letters are the Latin letters that no decomposition takes apart.
var letters = map[rune]string{
	'ø': "o", 'ł': "l", 'đ': "d", 'ð': "d", 'ħ': "h", 'ŧ': "t", 'ı': "i", 'æ': "ae", 'œ': "oe", 'þ': "th",
}

// dropped reports whether a character is dropped wherever it is: a variation selector, the soft
// hyphen, a space or a joiner without width. So is the iota below, since it is a mark of Greek
// letters only, and case folding would make a letter of it.
func dropped(r rune) bool {
	switch r {
	case '\u00ad', '\u034f', '\u200b', '\u200c', '\u200d', '\u2060', '\ufeff', iotaBelow:
		return true
	}
	return unicode.Is(unicode.Variation_Selector, r)
}

// stays reports whether r is a base that stays as it is, and drops no mark. It knows the blocks that
// have most characters, so that they need no table: ideographs, Hangul, and what is private or not
// assigned.
func stays(r rune) bool {
	return 0x3400 <= r && r <= 0x9fff || hangulFirst <= r && r <= hangulLast || 0x20000 <= r && r < 0x2f800 ||
		0x30000 <= r && r>>16 != 0xe
}

// A page has what the 256 characters of one block become: items[starts[i]:starts[i+1]] is what the
// i-th does.
type page struct {
	starts [257]uint16
	items  []item
}

// pages are made when a text first needs them. Making one takes a fraction of a millisecond.
var pages [(unicode.MaxRune + 1) >> 8]atomic.Pointer[page]

// lookup returns what a character becomes: its compatibility decomposition, with the case folded and
// without the marks that its own base drops.
func lookup(r rune) []item {
	at := &pages[r>>8]
	p := at.Load()
	if p == nil {
		p = newPage(r &^ 0xff)
		at.Store(p)
	}
	i := r & 0xff
	return p.items[p.starts[i]:p.starts[i+1]]
}

func newPage(first rune) *page {
	p := new(page)
	for i := range rune(256) {
		p.items = appendItems(p.items, first+i)
		p.starts[i+1] = uint16(len(p.items))
	}
	return p
}

func appendItems(items []item, r rune) []item {
	if !utf8.ValidRune(r) {
		return append(items, item{char: utf8.RuneError})
	}
	var f Folder // decides about the marks after a base
	hasBase := false
	for _, r := range norm.NFKD.String(string(r)) {
		if dropped(r) {
			continue
		}
		for _, r := range norm.NFKD.String(notes.Fold(string(r))) {
			replaced, found := letters[r]
			if !found {
				replaced = string(r)
			}
			for _, r := range replaced {
				it := newItem(r)
				hasBase = hasBase || it.kind == base
				if it.kind == base {
					f.class, f.breve = it.class, false
				} else if hasBase && it.kind == mark && f.class.drops(r, f.breve) {
					continue
				}
				f.breve = f.breve || r == breve
				items = append(items, it)
			}
		}
	}
	return items
}

func newItem(r rune) item {
	switch {
	case r == arabicLine:
		return item{char: r, kind: tatweel}
	case unicode.IsMark(r):
		return item{char: r, kind: mark, combining: norm.NFC.PropertiesString(string(r)).CCC()}
	case hangulVowel <= r && r < hangulVowel+hangulVowels || hangulFinal < r && r < hangulFinal+hangulFinals:
		return item{char: r, kind: jamo}
	}
	return item{char: r, class: classOf(r)}
}

// composite returns the character that a pair of characters composes to, if there is one.
func composite(a, b rune) (_ rune, found bool) {
	switch {
	case hangulLead <= a && a < hangulLead+hangulLeads && hangulVowel <= b && b < hangulVowel+hangulVowels:
		return hangulFirst + ((a-hangulLead)*hangulVowels+b-hangulVowel)*hangulFinals, true
	case hangulFirst <= a && a <= hangulLast && (a-hangulFirst)%hangulFinals == 0 &&
		hangulFinal < b && b < hangulFinal+hangulFinals:
		return a + b - hangulFinal, true
	}
	joined, found := composites()[[2]rune{a, b}]
	return joined, found
}

// composites has the pairs of characters that compose to one, other than those of Hangul.
var composites = sync.OnceValue(func() map[[2]rune]rune {
	const end = 0x20000 // above that no character composes
	pairs := make(map[[2]rune]rune)
	for r := rune(0x80); r < end; r++ {
		if hangulFirst <= r && r <= hangulLast || !utf8.ValidRune(r) {
			continue
		}
		s := string(r)
		parts := []rune(string(norm.NFC.PropertiesString(s).Decomposition()))
		if last := len(parts) - 1; last > 0 && norm.NFC.IsNormalString(s) {
			if first := []rune(norm.NFC.String(string(parts[:last]))); len(first) == 1 {
				pairs[[2]rune{first[0], parts[last]}] = r
			}
		}
	}
	return pairs
})
