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
		g.Add(int64(i+1), false, text)
	}
	return g.Parts()
}

// search returns the keys of the notes that may hold a text, says a segment; not ok: it is damaged.
func search(parts [][]byte, text string) (keys []int64, ok bool) {
	m := NewMatch(Query(text))
	for part, stored := range parts {
		if _, asked := m.missing[part]; asked && !m.Read(part, stored) {
			return nil, false
		}
	}
	return m.Keys()
}

// A segment leaves of its notes those that have all trigrams of a needle,
// whatever the script, and its notes that hold one have them.
func TestSegment(t *testing.T) {
	rows := segmentOf("abc def", "abcdef", "12.345", "東京都庁", "none")
	for needle, want := range map[string][]int64{"abc": {1, 2}, "bcd": {2}, "abc def": {1, 2}, "345": {3}, "京都庁": {4}, "xyz": nil} {
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

// Notes with too many trigrams to list may hold anything.
func TestSegmentOfLong(t *testing.T) {
	var long strings.Builder
	for i := range 20_000 {
		long.WriteString(strconv.Itoa(i*7919) + strconv.FormatInt(int64(i*7919), 36) + " ")
	}
	for needle, want := range map[string][]int64{"äöü": {1}, "abc": {1, 2}} {
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
