package pool

import (
	"maps"
	"time"

	"notesd/internal/histogram"
)

// Stats describes the pool at a moment. In a busy pool the numbers are taken one after the other
// and need not add up; in a pool at rest they are exact.
type Stats struct {
	Shards  []ShardStats
	Classes []ClassStats
	Workers int // all workers
	Busy    int // workers that are held
	// Idle is the number of free workers. It is counted apart from Busy, so that at rest it proves
	// that no worker was lost.
	Idle   int
	Queued int
	// Delayed is the number of rejected requests whose responses are delayed: see Pool.AddDelayed.
	Delayed int
	// CPUSaturated says that more goroutines are ready to run than those of a full queue, so that
	// new requests are refused (see Sample).
	CPUSaturated bool
	Yielded      int // permits that gave their worker back for a while
	QueueLength  int // the bounds, as configured
	QueueTimeout time.Duration

	// Every request that came is counted in one of these, once it has ended.
	// Done requests had a worker, and gave it back or lost it: by a panic, or for being stuck.
	Done      uint64
	Rejected  map[Reason]uint64 // got no worker, or none again after Yield
	Abandoned uint64            // left before it had a worker

	Panics   uint64
	Goexits  uint64
	Restarts uint64 // workers retired for a panic or a Goexit
	Draining bool

	PanicKinds []PanicStats // panics and Goexits by fingerprint, the latest first; bounded

	Breakers              []BreakerStats // routes that panicked and were not well since
	Quarantined, Released uint64         // how many routes ever were, since the start

	Stuck StuckStats
}

// ShardStats describes one shard. A request that yielded counts twice in Wait and Service,
// before and after.
type ShardStats struct {
	ID                              int
	Busy                            int
	Done, Panics, Goexits, Restarts uint64
	BytesInFlight                   int64
	Wait                            histogram.Summary // waits of requests that got a worker
	Service                         histogram.Summary // time with the worker, of one permit in eight
	Workers                         []WorkerStats
}

// WorkerStats describes one worker. Route, Class and Since are those of the request that holds it,
// and zero when none does.
type WorkerStats struct {
	ID    uint64
	State string // "idle" or "busy"
	Route string
	Class string
	Since time.Time
}

// ClassStats describes one class.
type ClassStats struct {
	Class  string
	Limit  int // 0: no limit
	Share  int // workers guaranteed to the class
	Busy   int
	Queued int
	// Overloaded says that the class's queue stands: the newest request goes first, and one that
	// waits for long is shed.
	Overloaded bool
	Rejected   map[Reason]uint64
}

// Stats returns the present state of the pool.
func (p *Pool) Stats() Stats {
	s := Stats{
		Shards:       make([]ShardStats, len(p.shards)),
		Classes:      make([]ClassStats, NumClasses),
		Workers:      len(p.shards) * p.cfg.WorkersPerShard,
		QueueLength:  p.cfg.QueueLength,
		QueueTimeout: p.cfg.QueueTimeout,
		Rejected:     make(map[Reason]uint64),
		Abandoned:    p.abandons.Load(),
		Delayed:      int(p.delayed.Load()),
		CPUSaturated: p.saturated.Load(),
	}
	s.PanicKinds = p.fingerprints.stats()
	p.breaker.stats(&s)
	s.Stuck = p.stuck.stats()
	p.queueStats(&s)
	p.rejectionStats(&s)
	for i := range p.shards {
		shard := p.shardStats(i, s.Classes)
		s.Busy += shard.Busy
		s.Idle += p.shards[i].idle()
		s.Done += shard.Done
		s.Panics += shard.Panics
		s.Goexits += shard.Goexits
		s.Restarts += shard.Restarts
		s.Shards[i] = shard
	}
	return s
}

// queueStats fills in what the queue knows.
func (p *Pool) queueStats(s *Stats) {
	q := &p.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	s.Queued, s.Yielded, s.Draining = int(q.waiting.Load()), q.yielded, q.draining.Load()
	now := p.now()
	for c := range s.Classes {
		q.roll(&q.classes[c], now) // nothing may have happened since the last overload
		s.Classes[c] = ClassStats{
			Class:      Class(c).String(),
			Limit:      p.cfg.Limits[c],
			Share:      q.workerShares[c],
			Queued:     q.classes[c].waiting,
			Overloaded: q.classes[c].codel.overloaded,
		}
	}
}

// rejectionStats fills in how many requests the pool rejected.
func (p *Pool) rejectionStats(s *Stats) {
	rs := &p.rejections
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for c := range s.Classes {
		s.Classes[c].Rejected = maps.Clone(rs.byPool[c])
		for why, n := range rs.byPool[c] {
			s.Rejected[why] += n
		}
	}
}

// shardStats describes a shard and counts its busy workers by class.
func (p *Pool) shardStats(i int, classes []ClassStats) ShardStats {
	shard := &p.shards[i]
	s := ShardStats{
		ID:            i,
		Done:          shard.done.Load(),
		Panics:        shard.panics.Load(),
		Goexits:       shard.goexits.Load(),
		Restarts:      shard.restarts.Load(),
		BytesInFlight: shard.bytesInFlight.Load(),
		Wait:          shard.waits().Summary(),
		Service:       shard.service.Summary(),
		Workers:       make([]WorkerStats, len(shard.workers)),
	}
	for j := range shard.workers {
		w := &shard.workers[j]
		s.Workers[j] = WorkerStats{ID: w.id.Load(), State: "idle"}
		if r, since, busy := w.holder(); busy {
			s.Workers[j] = WorkerStats{
				ID:    w.id.Load(),
				State: "busy",
				Route: r.Route,
				Class: r.Class.String(),
				Since: p.epoch.Add(since),
			}
			s.Busy++
			classes[r.Class].Busy++
		}
	}
	return s
}

// Waits returns the waits of all requests that had a worker. A request that did not wait counts as
// zero.
func (p *Pool) Waits() *histogram.Histogram {
	all := new(histogram.Histogram)
	for i := range p.shards {
		all.Merge(p.shards[i].waits())
	}
	return all
}

// waits returns the waits in one shard.
func (s *shard) waits() *histogram.Histogram {
	var begun uint64
	for i := range s.workers {
		begun += (s.workers[i].permits.Load() + 1) / 2
	}
	all := new(histogram.Histogram)
	all.Merge(&s.wait)
	if queued := all.Count(); begun > queued {
		all.RecordN(0, begun-queued)
	}
	return all
}
