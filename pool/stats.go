package pool

import (
	"maps"
	"time"

	"notesd/internal/histogram"
)

// Stats is the pool at a moment. Of a busy pool the numbers are taken one after
// the other and need not add up; of one at rest they are exact.
type Stats struct {
	Shards       []ShardStats
	Classes      []ClassStats
	Workers      int // all there are
	Busy         int // those that are held
	Idle         int // those that are free: counted apart, so that at rest it proves that none was lost
	Queued       int
	Held         int  // of those that were refused: they have not been told yet
	Crowded      bool // more are ready to run than may wait: newcomers are refused (see Sample)
	Outside      int  // turns that gave their worker back for a while
	QueueLength  int  // the bounds, as configured
	QueueTimeout time.Duration

	// Every request that came is counted in one of these, once it has ended.
	Done      uint64            // had a worker, and gave it back or lost it: by a panic, or for being stuck
	Refused   map[Reason]uint64 // got no worker, or none again after Outside
	Abandoned uint64            // left before it had one

	Panics   uint64
	Goexits  uint64
	Restarts uint64 // workers retired for one or the other
	Draining bool

	PanicKinds []PanicStats // panics and Goexits by fingerprint, the latest first; bounded in number

	Quarantine            []QuarantineStats // the routes that panicked and were not well since
	Quarantined, Released uint64            // routes that were, since the start

	Stuck StuckStats
}

// ShardStats is one shard. A request that was Outside counts twice in Wait and
// Service, before and after.
type ShardStats struct {
	ID                              int
	Busy                            int
	Done, Panics, Goexits, Restarts uint64
	BytesInFlight                   int64
	Wait                            histogram.Summary // for a worker, of those that got one
	Service                         histogram.Summary // time with the worker, of one in eight
	Workers                         []WorkerStats
}

// WorkerStats is one worker. Route, Class and Since are those of the request
// that holds it, and zero when none does.
type WorkerStats struct {
	ID    uint64
	State string // "idle" or "busy"
	Route string
	Class string
	Since time.Time
}

// ClassStats is one class.
type ClassStats struct {
	Class      string
	Limit      int // 0: none
	Share      int // workers guaranteed to it
	Busy       int
	Queued     int
	Overloaded bool // its queue stands: the newest goes first, and who waits for long is shed
	Refused    map[Reason]uint64
}

// Stats returns the pool as it is.
func (p *Pool) Stats() Stats {
	s := Stats{
		Shards:       make([]ShardStats, len(p.shards)),
		Classes:      make([]ClassStats, NumClasses),
		Workers:      len(p.shards) * p.cfg.WorkersPerShard,
		QueueLength:  p.cfg.QueueLength,
		QueueTimeout: p.cfg.QueueTimeout,
		Refused:      make(map[Reason]uint64),
		Abandoned:    p.abandons.Load(),
		Held:         int(p.held.Load()),
		Crowded:      p.crowded.Load(),
	}
	s.PanicKinds = p.fingerprints.stats()
	p.quarantine.stats(&s)
	s.Stuck = p.stuck.stats()
	p.queueStats(&s)
	p.refusals(&s)
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
	s.Queued, s.Outside, s.Draining = int(q.waiting.Load()), q.outside, q.draining.Load()
	now := p.now()
	for c := range s.Classes {
		q.roll(&q.lines[c], now) // nothing may have happened since the last overload
		s.Classes[c] = ClassStats{
			Class:      Class(c).String(),
			Limit:      p.cfg.Limits[c],
			Share:      q.workerShares[c],
			Queued:     q.lines[c].waiting,
			Overloaded: q.lines[c].codel.overloaded,
		}
	}
}

// refusals fills in how many the pool refused.
func (p *Pool) refusals(s *Stats) {
	l := &p.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range s.Classes {
		s.Classes[c].Refused = maps.Clone(l.refused[c])
		for why, n := range l.refused[c] {
			s.Refused[why] += n
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

// Waits is what all that had a worker waited for it, nothing included.
func (p *Pool) Waits() *histogram.Histogram {
	all := new(histogram.Histogram)
	for i := range p.shards {
		all.Merge(p.shards[i].waits())
	}
	return all
}

// waits is that of a shard.
func (s *shard) waits() *histogram.Histogram {
	var begun uint64
	for i := range s.workers {
		begun += (s.workers[i].turns.Load() + 1) / 2
	}
	all := new(histogram.Histogram)
	all.Merge(&s.wait)
	if queued := all.Count(); begun > queued {
		all.RecordN(0, begun-queued)
	}
	return all
}
