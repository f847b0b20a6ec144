// Package searchfold folds text for the search by words. Two texts fold alike if they differ only
// in letter case, in width, in how their characters are encoded, or in marks that those who write
// the script leave out when they search: the accents of Latin and Greek, the points of Hebrew and
// Arabic. Marks that make another letter stay: the voicing of kana, the vowel signs of Thai and of
// the Indic scripts, the breve of the Cyrillic й.
//
// Text is brought to NFKD and its case is folded. Then each mark is dropped or kept by the script of
// its base, and a few Latin letters are replaced, such as ø by o. The result is in NFC. Latin, Greek,
// Cyrillic, Hebrew and the points of Arabic drop what the root collation of Unicode's CLDR ignores at
// primary strength. Alef and the tatweel are folded as by Lucene's ArabicNormalizer, and the letters
// replaced are those of PostgreSQL's unaccent.
package searchfold

import (
	"slices"
	"unicode"
	"unicode/utf8"
)

// Fold returns the folded form of s. It takes time in proportion to the length of s. Fold changes
// nothing in a text that is folded already.
func Fold(s string) string {
	var f Folder
	return string(f.Finish(f.Append(make([]byte, 0, len(s)+len(s)/8), s)))
}

// A Folder folds a text piece by piece. The zero Folder is at the beginning of a text.
type Folder struct {
	// Blanks makes one blank of each run of white space, so that a phrase is found across lines.
	Blanks bool
	// Map receives the positions of the folded characters, unless it is nil.
	Map *Map

	class   class  // of the base, by which the next mark is dropped or kept
	breve   bool   // the base has a breve
	blank   bool   // the character before was white space
	pending []item // a base and what may join it; not written yet
	sources []int  // the code point of the text that each pending item comes from
	read    int    // code points of the text read so far
}

// maxPending is how many marks of one base are brought into their order. More marks than that are
// ordered in several runs.
const maxPending = 256

// Append folds the next piece of the text and appends what is certain by now to dst. A piece must
// not end within a character.
func (f *Folder) Append(dst []byte, s string) []byte {
	for i := 0; i < len(s); {
		if end := asciiEnd(s, i); end > i {
			dst = f.appendASCII(dst, s[i:end])
			i = end
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		if stays(r) {
			dst = f.add(dst, item{char: r})
		} else {
			for _, it := range lookup(r) {
				dst = f.add(dst, it)
			}
		}
		f.read++
	}
	return dst
}

// Read returns how many code points of the text the Folder has read.
func (f *Folder) Read() int { return f.read }

// Finish appends the rest of the folded text to dst. The Folder is then at the beginning of a text.
func (f *Folder) Finish(dst []byte) []byte {
	dst = f.flush(dst)
	f.class, f.breve, f.blank, f.read = keepsAll, false, false, 0
	return dst
}

func asciiEnd(s string, i int) int {
	for i < len(s) && s[i] < utf8.RuneSelf {
		i++
	}
	return i
}

func isASCIISpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

// appendASCII folds a run of ASCII characters. Only the last of them can have marks.
func (f *Folder) appendASCII(dst []byte, s string) []byte {
	dst = f.flush(dst)
	last := len(s) - 1
	mapped := false // what follows comes from one code point for each byte
	for i := range last {
		c := s[i]
		if c <= ' ' && f.Blanks && isASCIISpace(c) {
			if f.blank {
				mapped = false
				continue
			}
			f.blank, c = true, ' '
		} else {
			f.blank = false
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if !mapped {
			f.Map.add(len(dst), f.read+i)
			mapped = true
		}
		dst = append(dst, c)
	}
	f.read += last
	c := rune(s[last])
	class := keepsAll
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	if 'a' <= c && c <= 'z' {
		class = dropsAll
	}
	dst = f.add(dst, item{char: c, class: class})
	f.read++
	return dst
}

// add takes the next character of the decomposed text.
func (f *Folder) add(dst []byte, it item) []byte {
	switch it.kind {
	case base:
		if f.Blanks {
			space := unicode.IsSpace(it.char)
			if space && f.blank {
				return dst
			}
			if f.blank = space; space {
				it.char = ' '
			}
		}
		dst = f.flush(dst)
		f.class, f.breve = it.class, false
	case tatweel: // it is dropped, and a mark on it is one on the letter before, if there is any
		if f.class == keepsAll {
			f.class = arabic
		}
		return dst
	case mark:
		if f.class.drops(it.char, f.breve) {
			return dst
		}
		f.breve = f.breve || it.char == breve
		if len(f.pending) == maxPending {
			dst = f.flush(dst)
		}
	}
	f.blank = f.blank && it.kind == base
	f.pending = append(f.pending, it)
	f.sources = append(f.sources, f.read)
	return dst
}

// flush writes the pending base with its marks, in their canonical order and composed.
func (f *Folder) flush(dst []byte) []byte {
	switch len(f.pending) {
	case 0:
		return dst
	case 1:
		f.Map.add(len(dst), f.sources[0])
		dst = utf8.AppendRune(dst, f.pending[0].char)
	default:
		f.sortMarks()
		f.compose()
		for i, it := range f.pending {
			f.Map.add(len(dst), f.sources[i])
			dst = utf8.AppendRune(dst, it.char)
		}
	}
	f.pending, f.sources = f.pending[:0], f.sources[:0]
	return dst
}

// sortMarks brings each run of marks into canonical order (Unicode's D109). Where that moves a mark,
// the marks of the run are all said to come from the first of them.
func (f *Folder) sortMarks() {
	byClass := func(a, b item) int { return int(a.combining) - int(b.combining) }
	for i := 0; i < len(f.pending); {
		end := i
		for end < len(f.pending) && f.pending[end].combining > 0 {
			end++
		}
		if run := f.pending[i:end]; !slices.IsSortedFunc(run, byClass) {
			slices.SortStableFunc(run, byClass)
			for k := range run {
				f.sources[i+k] = f.sources[i]
			}
		}
		i = max(end, i+1)
	}
}

// compose replaces pairs of pending characters by one (Unicode's D117).
func (f *Folder) compose() {
	starter := -1
	last := -1 // the combining class of the last character that stays after the starter; -1: none stays
	kept := 0
	for i, it := range f.pending {
		if starter >= 0 && last < int(it.combining) {
			if joined, found := composite(f.pending[starter].char, it.char); found {
				f.pending[starter].char = joined
				continue
			}
		}
		if it.combining == 0 {
			starter, last = kept, -1
		} else {
			last = int(it.combining)
		}
		f.pending[kept], f.sources[kept] = it, f.sources[i]
		kept++
	}
	f.pending, f.sources = f.pending[:kept], f.sources[:kept]
}
