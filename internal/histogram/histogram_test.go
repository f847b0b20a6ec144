package histogram_test

import (
	"math"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"notesd/internal/histogram"
)

// durations draws from nanoseconds to days, each order of magnitude as likely.
func durations(t *rapid.T, label string) []time.Duration {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) time.Duration {
		magnitude := rapid.IntRange(0, 50).Draw(t, "magnitude")
		return time.Duration(rapid.Int64Range(0, 1<<magnitude).Draw(t, "ns"))
	}), 1, 200).Draw(t, label)
}

// record returns a histogram of the durations.
func record(all []time.Duration) *histogram.Histogram {
	h := new(histogram.Histogram)
	for _, d := range all {
		h.Record(d)
	}
	return h
}

// Count, sum and extremes are exact, and any quantile is within 1 % of the one
// of the sorted samples.
func TestQuantiles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := durations(t, "samples")
		h := record(all)
		var sum time.Duration
		for _, d := range all {
			sum += d
		}
		slices.Sort(all)
		if h.Count() != uint64(len(all)) || h.Sum() != sum || h.Min() != all[0] || h.Max() != all[len(all)-1] {
			t.Errorf("count %d, sum %v, min %v, max %v of %v", h.Count(), h.Sum(), h.Min(), h.Max(), all)
		}
		q := rapid.Float64Range(0, 1).Draw(t, "q")
		for _, q := range []float64{0, q, 0.5, 0.95, 0.99, 1} {
			want := all[max(int(math.Ceil(q*float64(len(all)))), 1)-1]
			if got := h.Quantile(q); math.Abs(float64(got-want)) > 0.01*float64(want) {
				t.Errorf("Quantile(%v) = %v, want %v ± 1 %%, of %v", q, got, want, all)
			}
		}
		s := h.Summary()
		want := histogram.Summary{Count: h.Count(), Sum: sum, Min: all[0], P50: h.Quantile(0.5), P95: h.Quantile(0.95),
			P99: h.Quantile(0.99), Max: all[len(all)-1]}
		if diff := cmp.Diff(want, s); diff != "" {
			t.Errorf("Summary (-want +got):\n%s", diff)
		}
	})
}

// Merging two histograms is like recording all in one. A histogram that was reset is empty.
func TestMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := durations(t, "a"), durations(t, "b")
		merged, all := record(a), record(append(a, b...))
		merged.Merge(record(b))
		merged.Merge(new(histogram.Histogram))
		if diff := cmp.Diff(all.Summary(), merged.Summary()); diff != "" {
			t.Errorf("Summary (-all in one +merged):\n%s", diff)
		}
		merged.Reset()
		if diff := cmp.Diff(histogram.Summary{}, merged.Summary()); diff != "" {
			t.Errorf("Summary after Reset (-want +got):\n%s", diff)
		}
		merged.Merge(all)
		if diff := cmp.Diff(all.Summary(), merged.Summary()); diff != "" {
			t.Errorf("Summary after Reset and Merge (-want +got):\n%s", diff)
		}
	})
}

// Since returns what was recorded since, to within a bucket.
func TestSince(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		early, late := durations(t, "early"), durations(t, "late")
		before, now, want := record(early), record(append(early, late...)), record(late)
		since := now.Since(before)
		if since.Count() != want.Count() {
			t.Fatalf("Since() has %d, want %d", since.Count(), want.Count())
		}
		for _, q := range []float64{0, 0.5, 0.99, 1} {
			if got, want := since.Quantile(q), want.Quantile(q); math.Abs(float64(got-want)) > 0.016*float64(want) {
				t.Errorf("Since().Quantile(%v) = %v, want %v ± 1.6 %%", q, got, want)
			}
		}
		if n := now.Since(now).Count(); n != 0 {
			t.Errorf("%d recorded since a moment ago", n)
		}
		if n := before.Since(now).Count(); n != 0 { // it was reset meanwhile
			t.Errorf("%d recorded backwards", n)
		}
	})
}

// Over counts the longer durations, but for those in d's bucket.
func TestOver(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := durations(t, "samples")
		d := rapid.SampledFrom(all).Draw(t, "d")
		var longer, surely uint64
		for _, other := range all {
			if other > d {
				longer++
			}
			if float64(other) > 1.016*float64(d)+1 {
				surely++
			}
		}
		if got := record(all).Over(d); got > longer || got < surely {
			t.Errorf("Over(%v) = %d, want %d to %d", d, got, surely, longer)
		}
	})
}

// A single duration is reported exactly, since the minimum and the maximum are exact.
func TestEdges(t *testing.T) {
	for _, c := range []struct{ in, want time.Duration }{
		{0, 0}, {1, 1}, {127, 127}, {128, 128}, {129, 129}, {-time.Second, 0}, {math.MaxInt64, math.MaxInt64},
	} {
		got := record([]time.Duration{c.in}).Summary()
		want := histogram.Summary{Count: 1, Sum: c.want, Min: c.want, P50: c.want, P95: c.want, P99: c.want, Max: c.want}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Summary of %d ns (-want +got):\n%s", c.in, diff)
		}
	}
	if diff := cmp.Diff(histogram.Summary{}, new(histogram.Histogram).Summary()); diff != "" {
		t.Errorf("Summary of nothing (-want +got):\n%s", diff)
	}
}

// Durations that are recorded at the same time are all counted.
func TestConcurrent(t *testing.T) {
	var h histogram.Histogram
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 10000 {
				h.Record(time.Duration(8*j + i))
				if j%1000 == 0 {
					h.Summary()
				}
			}
		})
	}
	all.Wait()
	const n = 80000
	if h.Count() != n || h.Sum() != n*(n-1)/2 || h.Min() != 0 || h.Max() != n-1 {
		t.Errorf("Summary() = %+v, want all of 0 to %d", h.Summary(), n-1)
	}
}

// A histogram is small enough for one a route.
func TestSize(t *testing.T) {
	if size := unsafe.Sizeof(histogram.Histogram{}); size > 32<<10 {
		t.Errorf("a histogram takes %d bytes, want at most 32 KB", size)
	}
}

// BenchmarkRecord measures one sample.
func BenchmarkRecord(b *testing.B) {
	var h histogram.Histogram
	d := time.Duration(0)
	for b.Loop() {
		d += time.Microsecond
		h.Record(d % time.Second)
	}
}
