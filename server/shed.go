package server

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"notesd/pool"
)

const (
	// A refusal takes some 30 µs of CPU time: so many a second for each core are 2 % of it.
	refusalsPerCore = 500
	refusalBurst    = 100 * time.Millisecond // worth of them leaves at once
	mostHeld        = time.Second            // a refusal, and QUEUE_TIMEOUT at most
)

// A pacer has refusals leave at a bounded pace. The first of a burst leave at
// once; of clients that come back at once, however many, each is made to wait
// for longer and longer, so that they can't become the load. Waiting takes
// neither a worker nor a place in the queue.
type pacer struct {
	began    time.Time
	interval time.Duration // between two refusals, in the long run
	most     time.Duration // that one is held
	due      atomic.Int64  // since began, when the next may leave (GCRA)
}

func newPacer(most time.Duration) *pacer {
	p := &pacer{began: time.Now(), most: min(most, mostHeld),
		interval: time.Second / time.Duration(refusalsPerCore*runtime.GOMAXPROCS(0))}
	p.due.Store(-int64(refusalBurst))
	return p
}

// delay is how long the next refusal has to wait.
func (p *pacer) delay() time.Duration {
	for {
		due, now := p.due.Load(), int64(time.Since(p.began))
		next := max(due, now-int64(refusalBurst)) + int64(p.interval)
		next = min(next, now+int64(p.most))
		if p.due.CompareAndSwap(due, next) {
			return max(0, time.Duration(next-now))
		}
	}
}

// hold waits until a refusal may leave, or ctx ends.
func (p *pacer) hold(ctx context.Context) {
	d := p.delay()
	if d == 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// paced holds the pool's refusal of x until it may leave. While draining each
// leaves at once, for the client to find another server.
func (s *Server) paced(x *exchange, err error) error {
	refusal, ok := errors.AsType[*pool.Refusal](err)
	if !ok || x.out.begun || s.leaving.Load() {
		return err
	}
	began := time.Now()
	s.pool.Held(1)
	defer s.pool.Held(-1)
	s.pacer.hold(x.client)
	refusal.Waited += time.Since(began)
	return err
}

// shed counts a failure that is a refusal: with those of the pool, which has
// counted its own.
func (s *Server) shed(x *exchange, f failure, err error) {
	if f.Reason == "" {
		return
	}
	x.refused = true
	if _, ok := errors.AsType[*pool.Refusal](err); !ok {
		s.pool.Shed(x.asked, pool.Reason(f.Reason))
	}
	if x.cause != nil {
		s.sheds.cause.Store(&x.cause)
	}
}

// A shedLog writes one line for each second in which requests were turned away.
type shedLog struct {
	cause atomic.Pointer[error] // what a dependency said last that made a refusal

	mu     sync.Mutex // guards what follows
	before map[pool.Reason]uint64
}

// logSheds does so until ctx ends; what comes later is for leave to log.
func (s *Server) logSheds(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.logShed()
		case <-ctx.Done():
			return
		}
	}
}

// logShed says how many were turned away since it was called last.
func (s *Server) logShed() {
	s.sheds.mu.Lock()
	defer s.sheds.mu.Unlock()
	now := s.pool.ShedTotals()
	var attrs []slog.Attr
	for _, why := range slices.Sorted(maps.Keys(now)) {
		if n := now[why] - s.sheds.before[why]; n > 0 {
			attrs = append(attrs, slog.Uint64(string(why), n))
		}
	}
	s.sheds.before = now
	if len(attrs) == 0 {
		return
	}
	if cause := s.sheds.cause.Swap(nil); cause != nil {
		attrs = append(attrs, slog.Any("error", *cause))
	}
	s.log.LogAttrs(context.Background(), slog.LevelWarn, "turned away", attrs...)
}
