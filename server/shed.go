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
	// refusalsPerCore is how many rejections each core may send in a second. A rejected create took
	// 60 to 250 µs of CPU time with 2000 connections, all that net/http does included, so this many
	// take an eighth of a core at most.
	refusalsPerCore = 500
	// refusalBurst: the rejections of this time are sent at once.
	refusalBurst = 100 * time.Millisecond
	// mostHeld is the longest delay of a rejection, unless QUEUE_TIMEOUT is shorter.
	mostHeld = time.Second
)

// A pacer is a rate limiter for rejections: it sends them at a bounded pace. The first rejections
// of a burst are sent at once. If clients retry at once, each of their rejections is delayed longer
// and longer, so that the retries cannot become the load, however many the clients are. A delayed
// rejection holds neither a worker nor a place in the queue.
type pacer struct {
	began    time.Time
	interval time.Duration // between two rejections, in the long run
	most     time.Duration // the longest delay of a rejection
	due      atomic.Int64  // since began, when the next rejection may be sent (GCRA)
}

func newPacer(most time.Duration) *pacer {
	p := &pacer{began: time.Now(), most: min(most, mostHeld),
		interval: time.Second / time.Duration(refusalsPerCore*runtime.GOMAXPROCS(0))}
	p.due.Store(-int64(refusalBurst))
	return p
}

// delay returns how long the next rejection has to wait.
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

// hold waits until a rejection may be sent, or until ctx ends.
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

// paced delays the pool's rejection of x until it may be sent. During shutdown a rejection is sent
// at once, so that the client finds another server.
func (s *Server) paced(x *exchange, err error) error {
	refusal, ok := errors.AsType[*pool.RejectedError](err)
	if !ok || x.out.begun || s.leaving.Load() {
		return err
	}
	began := time.Now()
	s.pool.AddDelayed(1)
	defer s.pool.AddDelayed(-1)
	s.pacer.hold(x.client)
	refusal.Waited += time.Since(began)
	return err
}

// shed counts a failure that is a rejection, together with those of the pool. The pool has already
// counted its own.
func (s *Server) shed(x *exchange, f failure, err error) {
	if f.Reason == "" {
		return
	}
	x.refused = true
	if _, ok := errors.AsType[*pool.RejectedError](err); !ok {
		s.pool.CountRejected(x.asked, pool.Reason(f.Reason))
	}
	if x.cause != nil {
		s.sheds.cause.Store(&x.cause)
	}
}

// A shedLog is the log of rejections. It writes one line for each second in which requests were
// rejected.
type shedLog struct {
	cause atomic.Pointer[error] // the last error of a dependency that caused a rejection

	mu     sync.Mutex // guards the fields below
	before map[pool.Reason]uint64
}

// logSheds logs rejections every second until ctx ends. leave logs those that come later.
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

// logShed logs how many requests were rejected since its last call.
func (s *Server) logShed() {
	s.sheds.mu.Lock()
	defer s.sheds.mu.Unlock()
	now := s.pool.RejectedTotals()
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
