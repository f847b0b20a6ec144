// Package histogram counts durations. A Histogram has a fixed size, whatever it records, and any
// number of goroutines may record and read at once without a lock.
package histogram

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// A Histogram counts durations. Any number of goroutines may record and read at once, without a
// lock. The zero value is an empty histogram, ready to use.
//
// The buckets are those of HdrHistogram: each power of two is divided into 64 equal parts, so a
// bucket is at most 1/64 as wide as its values, and its middle is within 0.8 % of each of them.
// The count, the sum, the minimum and the maximum are exact. A histogram takes 30 KB.
type Histogram struct {
	sum     atomic.Int64
	max     atomic.Uint64
	notMin  atomic.Uint64 // ^min: it grows as max does, and 0 means that nothing was recorded
	buckets [numBuckets]atomic.Uint64
}

const (
	partBits   = 6 // each power of two has 2^6 parts
	numBuckets = (64 - partBits) << partBits
)

// bucketOf returns the index of the bucket for v, which must not be negative.
func bucketOf(v int64) int {
	shift := max(bits.Len64(uint64(v))-partBits-1, 0)
	return shift<<partBits + int(v>>shift)
}

// bucketMiddle returns the value in the middle of a bucket: it stands for all values there.
func bucketMiddle(bucket int) int64 {
	shift := max(bucket>>partBits-1, 0)
	lowest := int64(bucket-shift<<partBits) << shift
	return lowest + (int64(1)<<shift-1)/2
}

// Record counts d. A negative duration counts as zero.
func (h *Histogram) Record(d time.Duration) { h.RecordN(d, 1) }

// RecordN counts d n times.
func (h *Histogram) RecordN(d time.Duration, n uint64) {
	v := max(int64(d), 0)
	h.sum.Add(v * int64(n))
	raise(&h.max, uint64(v))
	raise(&h.notMin, ^uint64(v))
	h.buckets[bucketOf(v)].Add(n)
}

// raise sets a to v unless it is greater already.
func raise(a *atomic.Uint64, v uint64) {
	for old := a.Load(); old < v && !a.CompareAndSwap(old, v); old = a.Load() {
	}
}

// Merge adds the durations of other.
func (h *Histogram) Merge(other *Histogram) {
	h.sum.Add(other.sum.Load())
	raise(&h.max, other.max.Load())
	raise(&h.notMin, other.notMin.Load())
	for i := range other.buckets {
		if n := other.buckets[i].Load(); n > 0 {
			h.buckets[i].Add(n)
		}
	}
}

// Since returns a histogram of the durations that were recorded after before, which is an earlier
// copy of h. Its sum, minimum and maximum come from the buckets: they are within 0.8 %.
func (h *Histogram) Since(before *Histogram) *Histogram {
	since := new(Histogram)
	for i := range h.buckets {
		if now, then := h.buckets[i].Load(), before.buckets[i].Load(); now > then {
			since.RecordN(time.Duration(bucketMiddle(i)), now-then)
		}
	}
	return since
}

// Reset empties the histogram. A duration that is recorded at the same time may be lost in part.
func (h *Histogram) Reset() {
	h.sum.Store(0)
	h.max.Store(0)
	h.notMin.Store(0)
	for i := range h.buckets {
		h.buckets[i].Store(0)
	}
}

// Count returns how many durations were recorded.
func (h *Histogram) Count() uint64 {
	var n uint64
	for i := range h.buckets {
		n += h.buckets[i].Load()
	}
	return n
}

// Over returns how many durations were longer than d. Those in d's own bucket do not count.
func (h *Histogram) Over(d time.Duration) uint64 {
	var n uint64
	for i := bucketOf(int64(d)) + 1; i < numBuckets; i++ {
		n += h.buckets[i].Load()
	}
	return n
}

// Sum returns the sum of the durations.
func (h *Histogram) Sum() time.Duration { return time.Duration(h.sum.Load()) }

// Min returns the shortest duration, or 0 if there is none.
func (h *Histogram) Min() time.Duration {
	if notMin := h.notMin.Load(); notMin > 0 {
		return time.Duration(^notMin)
	}
	return 0
}

// Max returns the longest duration, or 0 if there is none.
func (h *Histogram) Max() time.Duration { return time.Duration(h.max.Load()) }

// Quantile returns the q-quantile, within 1 %: at least the share q of the durations is not longer.
// It returns 0 if there is no duration.
func (h *Histogram) Quantile(q float64) time.Duration {
	return h.quantile(q, h.Count())
}

// quantile is Quantile for a count that is known.
func (h *Histogram) quantile(q float64, count uint64) time.Duration {
	rank := uint64(math.Ceil(q * float64(count)))
	var seen uint64
	for i := range h.buckets {
		if seen += h.buckets[i].Load(); seen >= max(rank, 1) {
			return min(max(time.Duration(bucketMiddle(i)), h.Min()), h.Max())
		}
	}
	return 0
}

// A Summary describes a histogram in a few numbers.
type Summary struct {
	Count              uint64
	Sum                time.Duration
	Min, P50, P95, P99 time.Duration
	Max                time.Duration
}

// Summary returns the summary of this moment.
func (h *Histogram) Summary() Summary {
	n := h.Count()
	return Summary{
		Count: n,
		Sum:   h.Sum(),
		Min:   h.Min(),
		P50:   h.quantile(0.50, n),
		P95:   h.quantile(0.95, n),
		P99:   h.quantile(0.99, n),
		Max:   h.Max(),
	}
}
