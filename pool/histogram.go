package pool

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// A Histogram counts durations. Any number of goroutines may record and read
// at once, without a lock. The zero value is empty and ready.
//
// The buckets are those of HdrHistogram: each power of two is cut into equal
// parts, so that a bucket's width is at most 1/64 of what it holds and its
// middle within 0.8 % of it. The count, the sum and the extremes are exact. A
// histogram takes 30 KB, whatever it is fed.
type Histogram struct {
	sum     atomic.Int64
	max     atomic.Uint64
	notMin  atomic.Uint64 // ^min: grows like max, and 0 is "nothing yet"
	buckets [numBuckets]atomic.Uint64
}

const (
	partBits   = 6 // 2^6 parts for each power of two
	numBuckets = (64 - partBits) << partBits
)

// bucketOf is the index of the bucket that holds v, which is not negative.
func bucketOf(v int64) int {
	shift := max(bits.Len64(uint64(v))-partBits-1, 0)
	return shift<<partBits + int(v>>shift)
}

// bucketMiddle is the value that stands for all in a bucket.
func bucketMiddle(bucket int) int64 {
	shift := max(bucket>>partBits-1, 0)
	lowest := int64(bucket-shift<<partBits) << shift
	return lowest + (int64(1)<<shift-1)/2
}

// Record counts d; below zero counts as zero.
func (h *Histogram) Record(d time.Duration) { h.record(d, 1) }

// record counts n times d.
func (h *Histogram) record(d time.Duration, n uint64) {
	v := max(int64(d), 0)
	h.sum.Add(v * int64(n))
	raise(&h.max, uint64(v))
	raise(&h.notMin, ^uint64(v))
	h.buckets[bucketOf(v)].Add(n)
}

// raise makes a at least v.
func raise(a *atomic.Uint64, v uint64) {
	for old := a.Load(); old < v && !a.CompareAndSwap(old, v); old = a.Load() {
	}
}

// Merge adds what other holds.
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

// Since is what was recorded since h was as before, which is a copy of it. Its
// sum and extremes are those of the buckets: within 0.8 %.
func (h *Histogram) Since(before *Histogram) *Histogram {
	since := new(Histogram)
	for i := range h.buckets {
		if now, then := h.buckets[i].Load(), before.buckets[i].Load(); now > then {
			since.record(time.Duration(bucketMiddle(i)), now-then)
		}
	}
	return since
}

// Reset empties the histogram. What is recorded meanwhile may be counted in
// part.
func (h *Histogram) Reset() {
	h.sum.Store(0)
	h.max.Store(0)
	h.notMin.Store(0)
	for i := range h.buckets {
		h.buckets[i].Store(0)
	}
}

// Count is how many durations were recorded.
func (h *Histogram) Count() uint64 {
	var n uint64
	for i := range h.buckets {
		n += h.buckets[i].Load()
	}
	return n
}

// Over is how many of them were longer than d; those in the same bucket are not
// counted.
func (h *Histogram) Over(d time.Duration) uint64 {
	var n uint64
	for i := bucketOf(int64(d)) + 1; i < numBuckets; i++ {
		n += h.buckets[i].Load()
	}
	return n
}

// Sum is what they add up to.
func (h *Histogram) Sum() time.Duration { return time.Duration(h.sum.Load()) }

// Min is the shortest, 0 when there is none.
func (h *Histogram) Min() time.Duration {
	if notMin := h.notMin.Load(); notMin > 0 {
		return time.Duration(^notMin)
	}
	return 0
}

// Max is the longest, 0 when there is none.
func (h *Histogram) Max() time.Duration { return time.Duration(h.max.Load()) }

// Quantile is a duration, within 1 %, that at least the share q of all is not
// longer than; 0 when there is none.
func (h *Histogram) Quantile(q float64) time.Duration {
	return h.quantile(q, h.Count())
}

// quantile is Quantile for a known count.
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

// A Summary is a histogram in a few numbers.
type Summary struct {
	Count              uint64
	Sum                time.Duration
	Min, P50, P95, P99 time.Duration
	Max                time.Duration
}

// Summary returns the numbers of this moment.
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
