package delta_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"notesd/store/delta"
)

func newEncoder(t testing.TB) *delta.Encoder {
	t.Helper()
	e, err := delta.NewEncoder()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func mustEncode(t testing.TB, e *delta.Encoder, text, base string) []byte {
	t.Helper()
	d, err := e.Encode(text, base)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// prose returns a text of n bytes that does not repeat itself.
func prose(n int, seed uint64) string {
	random := rand.New(rand.NewPCG(seed, 1))
	var text strings.Builder
	for text.Len() < n {
		for range 1 + random.IntN(9) {
			text.WriteByte('a' + byte(random.IntN(26)))
		}
		text.WriteString([]string{" ", " ", " ", "\n", ", "}[random.IntN(5)])
	}
	return text.String()[:n]
}

// What an edit costs does not depend on the length of the note if it is at one place.
func TestSize(t *testing.T) {
	e := newEncoder(t)
	short, long := prose(20_000, 1), prose(5<<20, 2)
	for _, row := range []struct {
		name       string
		text, base string
		most       int
	}{
		{"equal", short, short, 20},
		{"an end that is new in the base", short, short + prose(200, 3), 20},
		{"an end that only the text has", short + "one word more", short, 30},
		{"a word in the middle", short[:10_000] + "word" + short[10_000:], short, 30},
		{"two places", "one " + short + " two", short, 60},
		{"the start of a long text", "one " + long, long, 30},
		{"nothing alike", prose(10_000, 4), prose(10_000, 5), 7000},
		{"from nothing", "a short text", "", 30},
		{"to nothing", "", short, 20},
	} {
		d := mustEncode(t, e, row.text, row.base)
		if len(d) > row.most {
			t.Errorf("%s: %d bytes, want at most %d", row.name, len(d), row.most)
		}
		got, err := new(delta.Decoder).Decode(d, row.base)
		if err != nil || got != row.text {
			t.Errorf("%s: Decode = %d bytes, %v, want the text", row.name, len(got), err)
		}
	}
}

// A text comes back byte for byte. Against another base, or after any change of the delta, it does
// not come back as another text.
func TestDecode(t *testing.T) {
	e := newEncoder(t)
	part := rapid.SampledFrom([]string{"a", "ä", "日本", "\n", "", prose(100, 1), prose(100, 2), prose(3000, 3), strings.Repeat("x", 500)})
	text := rapid.Map(rapid.SliceOfN(part, 0, 8), func(parts []string) string { return strings.Join(parts, "") })
	var decoder delta.Decoder
	rapid.Check(t, func(t *rapid.T) {
		want, base, other := text.Draw(t, "text"), text.Draw(t, "base"), text.Draw(t, "another base")
		d, err := e.Encode(want, base)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decoder.Decode(d, base); err != nil || got != want {
			t.Fatalf("Decode = %q, %v, want %q", got, err, want)
		}
		if got, err := decoder.Decode(d, other); err == nil && got != want || err != nil && !errors.Is(err, delta.ErrDamaged) {
			t.Fatalf("Decode against another base = %q, %v, want %q or ErrDamaged", got, err, want)
		}
		changed := bytes.Clone(d)
		changed[rapid.IntRange(0, len(d)-1).Draw(t, "byte")] ^= byte(rapid.IntRange(1, 255).Draw(t, "bits"))
		if got, err := decoder.Decode(changed, base); err == nil && got != want || err != nil && !errors.Is(err, delta.ErrDamaged) {
			t.Fatalf("Decode of a damaged delta = %q, %v, want ErrDamaged", got, err)
		}
	})
}

// Whatever is decoded, the result is a text or ErrDamaged.
func FuzzDecode(f *testing.F) {
	e := newEncoder(f)
	base := prose(2000, 1)
	for _, text := range []string{"", "a", base, base[:1000] + prose(500, 2) + base[1000:], prose(3000, 3)} {
		f.Add(mustEncode(f, e, text, base), base)
	}
	f.Fuzz(func(t *testing.T, d []byte, base string) {
		if _, err := new(delta.Decoder).Decode(d, base); err != nil && !errors.Is(err, delta.ErrDamaged) {
			t.Errorf("Decode = %v", err)
		}
	})
}

func BenchmarkDelta(b *testing.B) {
	e := newEncoder(b)
	base := prose(20_000, 1)
	text := base[:5000] + "a word" + base[5000:15_000] + "another" + base[15_000:]
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			mustEncode(b, e, text, base)
		}
	})
	d := mustEncode(b, e, text, base)
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		var decoder delta.Decoder
		for b.Loop() {
			if _, err := decoder.Decode(d, base); err != nil {
				b.Fatal(err)
			}
		}
	})
}
