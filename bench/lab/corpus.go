package lab

import (
	"math/rand/v2"
	"strings"
)

// A corpus is a list of made-up words, the most frequent first. Frequent words are short, and
// their syllables have unequal frequencies, too, as in natural languages. So a few letters of one
// word occur in many words.
type corpus struct {
	words []string
	all   string // the words, one after another
}

const corpusWords = 30_000

// A syllable is an onset, a vowel and perhaps a coda. Each list has the most frequent first.
var (
	onsets = strings.Fields("t s r n l d m h w c p b f g th st k v pr tr ch sh br y j cr gr pl cl sp fr fl bl dr " +
		"sl wh gl z qu sc thr str")
	vowels = strings.Fields("e a i o u ea ou ai oo ee y ie oa io au")
	codas  = strings.Fields("n r s t d l m ng nd st nt ck p ll ss rs ns x ght lt mp sh th b g k rt rd f v z")
)

func newCorpus() *corpus {
	l := &corpus{}
	random := rand.New(rand.NewPCG(1, 2))
	have := map[string]bool{}
	for len(l.words) < corpusWords {
		word := newWord(random, 1+min(2, len(l.words)/300)*random.IntN(2)+min(1, len(l.words)/300))
		if len(word) > 1 && !have[word] {
			have[word] = true
			l.words = append(l.words, word)
		}
	}
	l.all = strings.Join(l.words, " ")
	return l
}

func newWord(random *rand.Rand, syllables int) string {
	var b strings.Builder
	for range syllables {
		if random.IntN(6) > 0 {
			b.WriteString(often(random, onsets))
		}
		b.WriteString(often(random, vowels))
		if random.IntN(2) > 0 {
			b.WriteString(often(random, codas))
		}
	}
	return b.String()
}

// often returns one of the elements. It chooses the first elements much more often than the last.
func often(random *rand.Rand, from []string) string {
	f := random.Float64()
	return from[int(f*f*float64(len(from)))]
}

// A writer writes text with the words of a corpus by Zipf's law.
type writer struct {
	*corpus
	random *rand.Rand
	zipf   *rand.Zipf
}

func (l *corpus) writer(seed uint64) *writer {
	random := rand.New(rand.NewPCG(3, seed))
	return &writer{l, random, rand.NewZipf(random, 1.05, 2.7, uint64(len(l.words)-1))}
}

func (w *writer) word() string { return w.words[w.zipf.Uint64()] }

// text returns sentences of about that many bytes.
func (w *writer) text(bytes int) string {
	var b strings.Builder
	b.Grow(bytes + 64)
	for begins := true; b.Len() < bytes; {
		word := w.word()
		if begins {
			b.WriteString(strings.ToUpper(word[:1]) + word[1:])
		} else {
			b.WriteString(word)
		}
		if begins = w.random.IntN(12) == 0; begins {
			b.WriteByte('.')
		}
		b.WriteByte(' ')
	}
	return strings.TrimSuffix(b.String(), " ")
}

// needles has words to search for.
type needles struct{ common, rare, absent []string }

// needles returns words to search for, of three letters and more. A common word is in much of all
// text, and a rare one in about one note of some thousands. An absent word is made of the same
// syllables and is in no text.
func (l *corpus) needles() (n needles) {
	const each = 12
	random := rand.New(rand.NewPCG(5, 6))
	for _, word := range l.words[20:] {
		if len(word) >= 3 && len(n.common) < each {
			n.common = append(n.common, word)
		}
	}
	for i := range each {
		n.rare = append(n.rare, l.rareWord(len(l.words)-1-i*500))
	}
	for length := 3; len(n.absent) < each; {
		word := newWord(random, 3)
		if len(word) >= length && !strings.Contains(l.all, word[:length]) {
			n.absent = append(n.absent, word[:length])
			length = 3 + len(n.absent)%6
		}
	}
	return n
}

// rareWord returns the last word before place that is no part of another word.
func (l *corpus) rareWord(place int) string {
	for strings.Count(l.all, l.words[place]) > 1 {
		place--
	}
	return l.words[place]
}
