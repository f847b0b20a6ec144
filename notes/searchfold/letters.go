package searchfold

import (
	"unicode"
	"unicode/utf8"
)

// AppendLetters appends to dst what an index can find a text by: the letters and digits of the text,
// without any mark and decomposed, and 0 wherever other characters are between two of them.
//
// Two rules make it fit for an index. The letters of a part of a text are a part of the text's
// letters, whatever is before and after it. And a text has the same letters as its folded forms, of
// Fold as well as of notes.Fold. So a note that contains a text, by either way of folding, has the
// text's letters in a row. What is stored with these letters is of no use once they change: see
// TestLettersStay.
func AppendLetters(dst []rune, s string) []rune {
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			i++
			switch {
			case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
				dst = append(dst, rune(c))
			case 'A' <= c && c <= 'Z':
				dst = append(dst, rune(c+'a'-'A'))
			default:
				dst = append(dst, 0)
			}
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		switch {
		case hangulFirst <= r && r <= hangulLast:
			dst = appendJamo(dst, r-hangulFirst)
		case stays(r):
			dst = appendLetter(dst, r)
		default:
			for _, it := range lookup(r) {
				if it.kind == base || it.kind == jamo {
					dst = appendLetter(dst, it.char)
				}
			}
		}
	}
	return dst
}

func appendLetter(dst []rune, r rune) []rune {
	switch {
	case r == '\u03b9': // notes.Fold makes an iota of the iota below, which is dropped here
		return dst
	case unicode.IsLetter(r) || unicode.IsDigit(r):
		return append(dst, r)
	}
	return append(dst, 0)
}

// appendJamo appends the consonants and the vowel of a syllable of Hangul.
func appendJamo(dst []rune, syllable rune) []rune {
	dst = append(dst, hangulLead+syllable/(hangulVowels*hangulFinals), hangulVowel+syllable/hangulFinals%hangulVowels)
	if final := syllable % hangulFinals; final > 0 {
		dst = append(dst, hangulFinal+final)
	}
	return dst
}
