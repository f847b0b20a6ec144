package bench

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// An openLoop sends each request at its intended time. It uses the free connection that was used
// last, and opens another one if none is free. If all connections wait for responses, the request
// is not sent and is counted as unsent: the number of users is fixed, and each of them waits for a
// response (compare the dropped iterations of k6's arrival-rate executors). A request that waited
// for a connection would measure the queue of the generator.
type openLoop struct {
	Load
	clients
	tally    *tally
	arrivals arrivals
	random   *rand.Rand

	running sync.WaitGroup
	mu      sync.Mutex // guards what follows
	open    int        // number of connections, free or not
	free    []chan due
	unsent  int // during the measured time
	over    bool
}

// due is a request that is handed to a connection.
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

// run sends until ctx ends, and waits for the last responses.
func (o *openLoop) run(ctx context.Context, start time.Time) outcome {
	capped := true
	for range o.maxRequests {
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

// waitUntil returns true at t. It returns false, at t or earlier, if the load has ended.
func (o *openLoop) waitUntil(ctx context.Context, t time.Time) bool {
	const portion = 50 * time.Millisecond // how often ctx is checked
	for t.Before(o.tally.window.end) && ctx.Err() == nil {
		d := time.Until(t)
		if d <= 0 {
			return true
		}
		o.nap(min(d, portion))
	}
	return false
}

// hand hands d to a connection.
func (o *openLoop) hand(d due) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if last := len(o.free) - 1; last >= 0 {
		o.free[last] <- d // it never blocks: the client waits on this inbox
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

// serve runs the n-th connection.
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

// release makes a connection free. It ends the connection if the load is over.
func (o *openLoop) release(inbox chan due) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		close(inbox)
		return
	}
	o.free = append(o.free, inbox)
}

// finish lets each connection end after its last response.
func (o *openLoop) finish() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
	for _, inbox := range o.free {
		close(inbox)
	}
	o.free = nil
}
