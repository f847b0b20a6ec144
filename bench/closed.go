package bench

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// errorPause is the time between two attempts of a client whose connection fails. Without it the
// client would retry as fast as it can.
const errorPause = 10 * time.Millisecond

// A closedLoop has clients that send their next request when the previous one is answered.
type closedLoop struct {
	Load
	clients
	tally *tally
	left  atomic.Int64 // requests that are left
}

func newClosedLoop(l Load, c clients, t *tally) *closedLoop {
	loop := &closedLoop{Load: l, clients: c, tally: t}
	loop.left.Store(int64(l.maxRequests))
	return loop
}

// run runs the clients until ctx ends, and waits for their last responses.
func (l *closedLoop) run(ctx context.Context) outcome {
	var running sync.WaitGroup
	for n := range l.connections {
		running.Go(func() { l.client(ctx, n) })
	}
	running.Wait()
	return outcome{capped: l.left.Load() < 0}
}

// client runs the n-th client.
func (l *closedLoop) client(ctx context.Context, n int) {
	send, hangUp := l.connect(n)
	defer hangUp()
	random := newRandom()
	for ctx.Err() == nil {
		r := l.plan.next(random)
		wanted := time.Now() // the latency of a rejected client counts from here
		for again := true; again && ctx.Err() == nil; {
			if l.left.Add(-1) < 0 {
				return
			}
			a := attempt{row: r.row, intended: wanted}
			a.answer, a.err = send(r.raw)
			a.done = time.Now()
			l.tally.count(n, a)
			again = l.again(ctx, a)
		}
	}
}

// again reports whether to send the same request again, after waiting for the time to do so.
func (l *closedLoop) again(ctx context.Context, a attempt) bool {
	switch {
	case a.err != nil:
		Pause(ctx, errorPause)
		return false
	case !a.answer.refused() || l.retry == RetryNone:
		return false
	case l.retry == RetryAfter:
		Pause(ctx, max(a.answer.retryAfter, errorPause))
	}
	return true
}

// Pause waits for d, or until ctx ends.
func Pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
