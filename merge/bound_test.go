package merge_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"notesd/merge"
)

// hostile are texts of a megabyte that cost a merge most.
func hostile() map[string][3]string {
	const size = 1 << 20
	lines := func(line func(i int) string) string {
		var b strings.Builder
		for i := 0; b.Len() < size; i++ {
			b.WriteString(line(i))
			b.WriteByte('\n')
		}
		return b.String()
	}
	random := func(seed uint64, kinds int) string {
		r := rand.New(rand.NewPCG(seed, 1))
		return lines(func(int) string { return fmt.Sprintf("a line of text, of kind %d", r.IntN(kinds)) })
	}
	numbered := func(name string) string {
		return lines(func(i int) string { return fmt.Sprintf("%s line %d, with some more words in it", name, i) })
	}
	alike := func(n int) string { return strings.Repeat("the same line again and again\n", n) }
	shuffled := func(seed uint64) string {
		all := strings.SplitAfter(numbered("base"), "\n")
		rand.New(rand.NewPCG(seed, 1)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		return strings.Join(all, "")
	}
	long := func(seed uint64) string {
		r := rand.New(rand.NewPCG(seed, 1))
		return lines(func(i int) string { return fmt.Sprintf("word%d", r.IntN(1000)) })
	}
	return map[string][3]string{
		"all different":            {numbered("base"), numbered("ours"), numbered("theirs")},
		"all alike":                {alike(35_000), alike(34_000), alike(36_000)},
		"a line each":              {lines(func(int) string { return "x" }), lines(func(int) string { return "y" }), lines(func(int) string { return "z" })},
		"few kinds":                {random(1, 50), random(2, 50), random(3, 50)},
		"many kinds":               {random(1, 20_000), random(2, 20_000), random(3, 20_000)},
		"shuffled":                 {numbered("base"), shuffled(1), shuffled(2)},
		"one long line":            {strings.ReplaceAll(long(1), "\n", " "), strings.ReplaceAll(long(2), "\n", " "), strings.ReplaceAll(long(3), "\n", " ")},
		"both ends":                {numbered("base"), "ours\n" + numbered("base"), numbered("base") + "theirs\n"},
		"insertions alike":         {"base\n", "base\n" + alike(30_000), "base\n" + alike(15_000) + "other\n"},
		"moves with one beginning": moves(),
		"many insertions":          {numbered("base"), between(numbered("base"), "ours"), between(numbered("base"), "theirs")},
		"reversed blocks":          {numbered("base"), reversed(numbered("base"), 2), reversed(numbered("base"), 3)},
	}
}

// moves are texts in which one side has moved many pairs of lines, each of which begins alike.
func moves() [3]string {
	const pairs = 8000
	var base, deleted, moved strings.Builder
	for i := range pairs {
		fmt.Fprintf(&base, "anchor %d\nx\nmoved pair of lines, number %d\n", i, i)
		fmt.Fprintf(&deleted, "anchor %d\n", i)
	}
	for i := range pairs {
		fmt.Fprintf(&base, "landing place %d\n", i)
		fmt.Fprintf(&moved, "landing place %d\nx\nmoved pair of lines, number %d\n", i, pairs-1-i)
	}
	return [3]string{base.String(), deleted.String() + moved.String(), "theirs\n" + base.String()}
}

// between inserts lines behind every thousandth.
func between(text, name string) string {
	var b strings.Builder
	r := rand.New(rand.NewPCG(uint64(len(name)), 1))
	for i, line := range strings.SplitAfter(text, "\n") {
		b.WriteString(line)
		if i%1000 == 0 {
			for range 500 {
				fmt.Fprintf(&b, "one of some kinds of lines, %d\n", r.IntN(40))
			}
		}
	}
	return b.String()
}

func reversed(text string, block int) string {
	all := strings.SplitAfter(text, "\n")
	for i := 0; i+block <= len(all); i += block {
		for a, b := i, i+block-1; a < b; a, b = a+1, b-1 {
			all[a], all[b] = all[b], all[a]
		}
	}
	return strings.Join(all, "")
}

// A megabyte merges or clashes in 200 ms on an idle core, and in MaxMemory beside the texts.
func TestBounded(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(1))
	for name, texts := range hostile() {
		t.Run(name, func(t *testing.T) {
			clean, took, peak := measure(texts)
			t.Logf("clean %v in %v, %.1f MB", clean, took.Round(time.Millisecond), float64(peak)/(1<<20))
			if took > 5*time.Second { // on a busy machine, and with a collector that never rests
				t.Errorf("took %v", took)
			}
			if results := uint64(2 << 20); peak > merge.MaxMemory+results {
				t.Errorf("took %d bytes, want at most %d and the result", peak, merge.MaxMemory)
			}
		})
	}
}

// What Memory says of a text of any length is enough.
func TestMemory(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(1))
	for name, texts := range hostile() {
		for _, length := range []int{0, 100, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 1 << 20} {
			var short [3]string
			for i, text := range texts {
				short[i] = text[:min(length, len(text))]
			}
			_, _, peak := measure(short)
			want, result := merge.Memory(short[0], short[1], short[2]), int64(2*length)+16<<10
			if int64(peak) > want+result {
				t.Errorf("%s, %d bytes each: took %d bytes, want at most %d and the result", name, length, peak, want)
			}
		}
	}
}

// measure merges texts and returns for how long and with how much memory. Of three tries the best counts: on a busy machine
// the collector is late.
func measure(texts [3]string) (clean bool, took time.Duration, peak uint64) {
	took, peak = time.Hour, math.MaxUint64
	for range 3 {
		runtime.GC()
		idle := heap()
		done, most := make(chan struct{}), make(chan uint64)
		go func() {
			peak := idle
			for {
				select {
				case <-done:
					most <- peak
					return
				default:
					peak = max(peak, heap())
					time.Sleep(50 * time.Microsecond)
				}
			}
		}()
		began := time.Now()
		r := merge.Text(texts[0], texts[1], texts[2])
		took = min(took, time.Since(began))
		close(done)
		peak = min(peak, <-most-idle)
		clean = r.Clean()
		runtime.KeepAlive(texts)
	}
	return clean, took, peak
}

// heap is how many bytes are allocated.
func heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

func BenchmarkText(b *testing.B) {
	for name, texts := range hostile() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				merge.Text(texts[0], texts[1], texts[2])
			}
		})
	}
}

func FuzzText(f *testing.F) {
	f.Add("a\nb\nc\n", "a\nB\nc\n", "a\nb\nC")
	f.Add("one two three four", "one 2 three four", "one two three 4")
	f.Add("a\r\nb\n", "a\nb\n", "")
	f.Fuzz(func(t *testing.T, base, ours, theirs string) {
		r, other := merge.Text(base, ours, theirs), merge.Text(base, theirs, ours)
		if r.Clean() != other.Clean() {
			t.Errorf("clean %v, the other way round %v", r.Clean(), other.Clean())
		}
		if r.Clean() && base == ours && r.Text() != theirs {
			t.Errorf("%q, want %q", r.Text(), theirs)
		}
	})
}
