package trigram

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// segmentOf indexes notes with these texts, and the keys from 1 on.
func segmentOf(texts ...string) [][]byte {
	g := NewSegment()
	for i, text := range texts {
		g.Add(Note{Key: int64(i + 1), Updated: int64(1000 - i), Bytes: 7, Flags: uint8(i)}, false, "t", text)
	}
	return g.Parts()
}

// search returns the keys of the notes that may hold a text, says a segment; not ok: it is damaged.
func search(parts [][]byte, text string) (keys []int64, ok bool) {
	found, ok := lookUp(parts, NewQuery([]string{text}, nil))
	for _, n := range found {
		keys = append(keys, n.Key)
	}
	return keys, ok
}

func lookUp(parts [][]byte, q Query) ([]Note, bool) {
	m := NewMatch(q)
	for _, part := range q.Parts() {
		if !m.Read(int(part), parts[part]) {
			return nil, false
		}
	}
	return m.AppendNotes(nil)
}

// A segment leaves of its notes those that have all trigrams of a needle,
// whatever the script, and its notes that hold one have them.
func TestSegment(t *testing.T) {
	rows := segmentOf("abc def", "abcdef", "12.345", "東京都庁", "Straße और किताब", "none")
	for needle, want := range map[string][]int64{"abc": {1, 2}, "bcd": {2}, "abc def": {1, 2}, "345": {3}, "京都庁": {4}, "京都": {4}, "strasse": {5}, "क़िताब": {5}, "xyz": nil} {
		if got, ok := search(rows, needle); !ok || !slices.Equal(got, want) {
			t.Errorf("a search for %q leaves %v, %v, want %v", needle, got, ok, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SliceOf(rapid.RuneFrom([]rune("ab1 東ß"))).Draw(t, "text")
		from := rapid.IntRange(0, len(text)).Draw(t, "from")
		upTo := rapid.IntRange(from, len(text)).Draw(t, "upTo")
		part := string(text[from:upTo])
		if got, ok := search(segmentOf("", string(text)), part); !ok || !slices.Contains(got, 2) {
			t.Errorf("a segment with %q leaves %v, %v, of a search for %q", string(text), got, ok, part)
		}
	})
}

// TestNotes: a segment tells of its notes what it was told, and which words may be in their titles.
func TestNotes(t *testing.T) {
	g := NewSegment()
	all := []Note{
		{Key: 9, Updated: 5, Bytes: 70_000, Flags: 3}, {Key: 2, Updated: 1 << 50, Bytes: 0, Flags: 255}, {Key: 5, Updated: -1, Bytes: 1},
	}
	g.Add(all[0], true, "a title", "left out")
	g.Add(all[1], false, "red fox", "brown bear")
	g.Add(all[2], false, "brown bear", "red fox", "tag")
	parts := g.Parts()
	for _, test := range []struct {
		words, others []string
		want          []Note
	}{
		{nil, nil, []Note{all[0], all[1], all[2]}},
		{[]string{"red", "bear"}, nil, []Note{all[0].in(0), all[1].in(1), all[2].in(1)}},
		{[]string{"red", "fox"}, nil, []Note{all[0].in(0), all[1].in(2), all[2].in(0)}},
		{[]string{"title", "ab"}, nil, []Note{all[0].in(2)}}, // ab has no trigram
		{[]string{"fox"}, []string{"tag"}, []Note{all[0].in(0), all[2].in(0)}},
		{[]string{"fox", "absent"}, nil, []Note{all[0].in(0)}},
	} {
		got, ok := lookUp(parts, NewQuery(test.words, test.others))
		if !ok || !slices.Equal(got, test.want) {
			t.Errorf("a search for %q and %q leaves %v, %v, want %v", test.words, test.others, got, ok, test.want)
		}
	}
}

func (n Note) in(titles int) Note { n.InTitle = titles; return n }

// TestQuery: a query of many words looks up some trigrams of each.
func TestQuery(t *testing.T) {
	words := strings.Fields(strings.Repeat("abcdefgh ", 40))
	if got := NewQuery(words, nil); len(got.trigrams) != maxLookups || len(got.words) != len(words) {
		t.Errorf("%d words have %d trigrams", len(words), len(got.trigrams))
	}
	if got := NewQuery(words[:1], nil); len(got.trigrams) != textLookups {
		t.Errorf("one word has %d trigrams", len(got.trigrams))
	}
}

// Notes with too many trigrams to list may hold anything.
func TestSegmentOfLong(t *testing.T) {
	var long strings.Builder
	for i := range 20_000 {
		long.WriteString(strconv.Itoa(i*7919) + strconv.FormatInt(int64(i*7919), 36) + " ")
	}
	for needle, want := range map[string][]int64{"żyx": {1}, "abc": {1, 2}} {
		if got, ok := search(segmentOf(long.String(), "abc"), needle); !ok || !slices.Equal(got, want) {
			t.Errorf("a search for %q leaves %v, %v, want %v", needle, got, ok, want)
		}
	}
}

// Whatever the table holds, a search of it is answered: that the segment is
// damaged, if it is not as it was made, or else with keys.
func FuzzSegment(f *testing.F) {
	good := segmentOf("abc def", "abcdef", strings.Repeat("words of all kinds ", 100))
	for part, row := range good {
		if part == 0 || len(row) > 4 {
			f.Add(part, row, "words")
		}
	}
	f.Fuzz(func(t *testing.T, part int, text []byte, needle string) {
		part = max(part, -part, 0) % len(good)
		want, _ := search(good, needle)
		rows := slices.Clone(good)
		rows[part] = text
		if got, ok := search(rows, needle); ok && !slices.Equal(got, want) {
			t.Errorf("a search for %q leaves %v with %q for part %d, want %v or damage", needle, got, text, part, want)
		}
		rows[part] = seal(slices.Clone(text)) // as if we had made it
		if got, ok := search(rows, needle); ok && part > 0 && len(got) > 3 {
			t.Errorf("a search for %q leaves %v of 3 notes", needle, got)
		}
	})
}
