package pool

import (
	"context"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"notesd/internal/histogram"
)

// cacheLine is padding: it keeps fields that one core writes off the cache lines that others read.
type cacheLine [64]byte

// A shard is one core's share of the pool.
type shard struct {
	free atomic.Uint64 // one bit for each free worker
	_    cacheLine

	id      int
	pool    *Pool
	workers []worker
	_       cacheLine

	done, panics, restarts, goexits atomic.Uint64
	bytesInFlight                   atomic.Int64

	// wait records the waits of requests that took the lock. The other requests did not wait.
	wait    histogram.Histogram
	service histogram.Histogram // the length of one permit in timedPermits
}

func (s *shard) init(p *Pool, id int) {
	s.id, s.pool = id, p
	s.workers = make([]worker, p.cfg.WorkersPerShard)
	for i := range s.workers {
		w := &s.workers[i]
		w.shard, w.bit = s, 1<<i
		w.renew()
	}
	s.free.Store(s.all())
}

// all returns the value of free when every worker is free.
func (s *shard) all() uint64 {
	return 1<<len(s.workers) - 1 // 64 workers: 1<<64 is 0
}

// idle returns the number of free workers.
func (s *shard) idle() int { return bits.OnesCount64(s.free.Load()) }

// take takes a free worker. It returns nil when there is none.
func (s *shard) take() *worker {
	for {
		free := s.free.Load()
		if free == 0 {
			return nil
		}
		if s.free.CompareAndSwap(free, free&(free-1)) {
			return &s.workers[bits.TrailingZeros64(free)]
		}
	}
}

// A worker is a slot that one request at a time holds. From the time that the request takes the
// worker's bit in free until it sets the bit again, the worker belongs to that request alone.
type worker struct {
	shard   *shard
	bit     uint64
	id      atomic.Uint64 // unique in the process; a fresh one after a panic
	permits atomic.Uint64 // counts begins and ends: odd while a permit lasts

	labels atomic.Pointer[context.Context] // for the goroutine that holds the worker

	counted bool          // counted in its class's held, because it was granted under the lock
	granted time.Duration // when it was granted, if counted
	flow    *flow         // the flow it was granted to, if counted

	mu      sync.Mutex // guards what Stats reads; only the holder writes
	request Request
	since   time.Duration
	stuck   bool // held by a permit that was reclaimed: the permit has ended, its request has not

	_ cacheLine
}

// workerIDs is the last id that was given to a worker.
var workerIDs atomic.Uint64

// begin starts a permit and returns its number.
func (w *worker) begin(r Request, now time.Duration) uint64 {
	w.mu.Lock()
	w.request, w.since = r, now
	w.mu.Unlock()
	return w.permits.Add(1)
}

// holder returns the request that holds the worker, if one does, and since when.
func (w *worker) holder() (r Request, since time.Duration, busy bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.request, w.since, w.permits.Load()%2 == 1 || w.stuck
}

// renew puts a worker with a fresh id into the slot and returns that id. The
// caller holds the slot.
func (w *worker) renew() uint64 {
	id := workerIDs.Add(1)
	w.id.Store(id)
	w.labels.Store(workerLabels(id))
	return id
}

// retire is renew after a panic or a Goexit.
func (w *worker) retire() uint64 {
	w.shard.restarts.Add(1)
	return w.renew()
}

// takeFree takes a free worker of any shard, or returns nil. The shard where the search begins is
// drawn from the clock, so that cores seldom meet on one shard. The time has been read anyway, and
// a random number costs more than the rest of the search.
func (p *Pool) takeFree(now time.Duration) *worker {
	const phi = 0x9e3779b97f4a7c15 // 2^64 / golden ratio: spreads consecutive times evenly
	first := int(uint64(now) * phi >> 32 * uint64(len(p.shards)) >> 32)
	for i := first; i < len(p.shards); i++ {
		if w := p.shards[i].take(); w != nil {
			return w
		}
	}
	for i := range first {
		if w := p.shards[i].take(); w != nil {
			return w
		}
	}
	return nil
}

// allFree reports whether no worker is held.
func (p *Pool) allFree() bool {
	for i := range p.shards {
		if s := &p.shards[i]; s.free.Load() != s.all() {
			return false
		}
	}
	return true
}

// bytesInFlight returns the bytes in flight of each shard, in the order of the shards.
func (p *Pool) bytesInFlight() []int64 {
	n := make([]int64, len(p.shards))
	for i := range n {
		n[i] = p.shards[i].bytesInFlight.Load()
	}
	return n
}
