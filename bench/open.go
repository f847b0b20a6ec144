package bench

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// An openLoop sends each request at its intended time on a connection that is
// free, the one used last, opening another when none is. When all of them wait
// for answers the request is not sent, and counted as that: there are so many
// people and no more, and each waits for an answer (the dropped iterations of
// k6's arrival-rate executors). To have it wait for a connection would measure
// the queue of the generator.
type openLoop struct {
	Load
	clients
	tally    *tally
	arrivals arrivals
	random   *rand.Rand

	running sync.WaitGroup
	mu      sync.Mutex // guards what follows
	open    int        // connections, free or not
	free    []chan due
	unsent  int // of the measured time
	over    bool
}

// due is a request on its way to a connection.
type due struct {
	Request
	intended time.Time
}

func newOpenLoop(l Load, c clients, t *tally) *openLoop {
	o := &openLoop{Load: l, clients: c, tally: t, arrivals: arrivals{rate: l.rate}, random: newRandom()}
	if !l.fixed {
		o.arrivals.poisson = newRandom()
	}
	return o
}

// run sends until ctx ends, and waits for the answers.
func (o *openLoop) run(ctx context.Context, start time.Time) outcome {
	capped := true
	for range o.most {
		intended := start.Add(o.arrivals.next())
		if !o.waitUntil(ctx, intended) {
			capped = false
			break
		}
		o.hand(due{Request: o.plan.next(o.random), intended: intended})
	}
	o.finish()
	o.running.Wait()
	return outcome{unsent: o.unsent, capped: capped}
}

// waitUntil returns at t, or before: false, when the load is over by then.
func (o *openLoop) waitUntil(ctx context.Context, t time.Time) bool {
	const portion = 50 * time.Millisecond // to see that ctx has ended
	for t.Before(o.tally.window.end) && ctx.Err() == nil {
		d := time.Until(t)
		if d <= 0 {
			return true
		}
		o.nap(min(d, portion))
	}
	return false
}

// hand gives d to a connection.
func (o *openLoop) hand(d due) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if last := len(o.free) - 1; last >= 0 {
		o.free[last] <- d // it has room: its client is waiting
		o.free = o.free[:last]
		return
	}
	if o.open == o.connections {
		if o.tally.window.holds(d.intended) {
			o.unsent++
		}
		return
	}
	inbox := make(chan due, 1)
	inbox <- d
	n := o.open
	o.open++
	o.running.Go(func() { o.serve(n, inbox) })
}

// serve is the life of the n-th connection.
func (o *openLoop) serve(n int, inbox chan due) {
	send, hangUp := o.connect(n)
	defer hangUp()
	for d := range inbox {
		sent := time.Now()
		a := attempt{row: d.row, intended: d.intended, late: sent.Sub(d.intended)}
		a.answer, a.err = send(d.raw)
		a.done = time.Now()
		o.tally.count(n, a)
		o.release(inbox)
	}
}

// release makes a connection free, or ends it when the load is over.
func (o *openLoop) release(inbox chan due) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		close(inbox)
		return
	}
	o.free = append(o.free, inbox)
}

// finish lets the connections end when they have their last answer.
func (o *openLoop) finish() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
	for _, inbox := range o.free {
		close(inbox)
	}
	o.free = nil
}
