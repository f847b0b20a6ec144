package admin

import (
	"time"

	"notesd/internal/histogram"
	"notesd/internal/incident"
	"notesd/pool"
)

// A Sampler takes a sample every second. For a counter, the sample has the increase since the last
// sample.
type Sampler struct {
	tally       *tally
	pool        *pool.Pool
	slow        time.Duration
	memoryAlert int64 // bytes

	stats       pool.Stats // this and the fields below hold the values of a second ago
	refused     map[pool.Reason]uint64
	took, waits *histogram.Histogram
	memory      pool.Memory
}

// NewSampler returns a sampler of the time from now on. Requests that take longer than slow count as
// slow. memoryAlert is the RSS, in bytes, above which an alert is sent; 0: none is.
func (a *Admin) NewSampler(slow time.Duration, memoryAlert int64) *Sampler {
	p := a.cfg.Pool
	return &Sampler{tally: a.tally, pool: p, slow: slow, memoryAlert: memoryAlert,
		stats: p.Stats(), refused: p.RejectedTotals(), took: a.tally.handled(), waits: p.Waits(),
		memory: pool.ReadMemory()}
}

// noRoom lists the reasons of rejections that mean that there are too many requests.
var noRoom = []pool.Reason{pool.ErrFull, pool.ErrTimeout, pool.ErrOverload}

// Sample returns the sample since the last one.
func (s *Sampler) Sample() incident.Sample {
	stats, refused, memory := s.pool.Stats(), s.pool.RejectedTotals(), pool.ReadMemory()
	took, waits := s.tally.handled(), s.pool.Waits()
	timed, waited := took.Since(s.took), waits.Since(s.waits)
	now := incident.Sample{
		Time: time.Now(),

		Workers: stats.Workers,
		Busy:    stats.Busy,
		Queued:  stats.Queued,
		Outside: stats.Yielded,

		Done:      stats.Done - s.stats.Done,
		Timed:     timed.Count(),
		Slow:      timed.Over(s.slow),
		P50:       milliseconds(timed.Quantile(0.50)),
		P99:       milliseconds(timed.Quantile(0.99)),
		WaitP50:   milliseconds(waited.Quantile(0.50)),
		WaitP99:   milliseconds(waited.Quantile(0.99)),
		Refused:   map[string]uint64{},
		Abandoned: stats.Abandoned - s.stats.Abandoned,
		Panics:    stats.Panics - s.stats.Panics,

		RSS:         memory.RSS,
		HeapLive:    memory.HeapLive,
		HeapUsed:    memory.HeapUsed,
		MemoryLimit: memory.Limit,
		MemoryAlert: s.memoryAlert,
		GCShare:     memory.GCShareSince(s.memory),
		Goroutines:  memory.Goroutines,
	}
	for why, n := range refused {
		if n -= s.refused[why]; n > 0 {
			now.Refused[string(why)] = n
		}
	}
	for _, why := range noRoom {
		now.Shed += now.Refused[string(why)]
	}
	for _, shard := range stats.Shards {
		now.BytesInFlight += shard.BytesInFlight
	}
	now.InUse = memory.HeapLive + memory.Stacks + memory.OffHeap + now.BytesInFlight
	s.stats, s.refused, s.took, s.waits, s.memory = stats, refused, took, waits, memory
	return now
}
