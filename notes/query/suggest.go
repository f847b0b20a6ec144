package query

import (
	"strings"
	"unicode"
)

// A Prefix is the beginning of a word.
type Prefix struct{ q Query }

// LastWord returns the word at the end of what a user is typing. ok is false if there is none: the
// text is empty, or ends with white space or with a condition.
func LastWord(text string) (p Prefix, ok bool) {
	token := text[strings.LastIndexFunc(text, unicode.IsSpace)+1:]
	word := fold(strings.TrimLeft(token, `-"`))
	p.q = Query{Terms: []Term{{Text: word}}, longest: len(word)}
	return p, word != "" && !strings.Contains(word, ":")
}

// Query returns the query for the notes that contain the prefix.
func (p *Prefix) Query() *Query { return &p.q }

// maxWord is the length of the longest word that completes a prefix, in code points.
const maxWord = 40

// Complete returns words of a text that begin with the prefix, as they are written there. It looks
// at the first maxHits places of the prefix in the text. Of a script without blanks between words it
// returns none.
func (p *Prefix) Complete(text string) (words []string) {
	hits := p.q.newHitSearch().textHits(text)
	if len(hits) == 0 {
		return nil
	}
	runes := []rune(text)
	for _, hit := range hits {
		end := hit.Start
		for end < len(runes) && end-hit.Start <= maxWord && inWord(runes[end]) {
			end++
		}
		begins := hit.Start == 0 || !inWord(runes[hit.Start-1])
		if begins && hit.End <= end && end-hit.Start <= maxWord && !unicode.In(runes[hit.Start], withoutBounds...) {
			words = append(words, string(runes[hit.Start:end]))
		}
	}
	return words
}
