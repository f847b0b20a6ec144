package bench

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// A run is void when one request in a hundred left later than lateBoundMs
// through the generator's own fault, and later than latePart of the p99 that
// it measured: then that is not the server's.
const (
	lateBoundMs = 5
	latePart    = 0.1
)

// Retry is what a client of a closed loop does when it is turned away.
type Retry string

const (
	RetryNone  Retry = "none"  // it goes on to its next request
	RetryNow   Retry = "now"   // it sends the same request again at once
	RetryAfter Retry = "after" // it waits as long as Retry-After says, and sends it again
)

// A Load is what is done to a target: a closed loop of clients, each sending its next request when
// the last is answered, or an open one that sends at a rate, whatever the answers.
type Load struct {
	plan        *Plan
	connections int     // of a closed loop; the most that an open one may use at once
	rate        float64 // requests a second of an open loop; 0: a closed loop
	fixed       bool    // the open loop sends evenly spaced, not at random
	retry       Retry   // of a closed loop
	warm        time.Duration
	measured    time.Duration // after warm
	most        int           // requests, after which the load ends early
	probed      bool          // health is asked for meanwhile
}

// NewClosedLoad is a closed loop of clients who send the requests of a plan and do not try again
// when they are refused.
func NewClosedLoad(p *Plan, connections int, measured time.Duration) Load {
	return Load{plan: p, connections: connections, retry: RetryNone, warm: warmUp(measured), measured: measured,
		most: MaxRequests}
}

// Short is the load with at most so many requests, and with hardly any warm-up, which takes some of
// them.
func (l Load) Short(requests int) Load {
	l.warm, l.most = min(l.warm, 100*time.Millisecond), requests
	return l
}

// clients are where a load's requests go: connect makes the n-th client.
type clients struct {
	connect func(n int) (exchange exchange, close func())
	nap     func(time.Duration) // sleeps, in short and exact portions
}

// exchange sends a request and returns its answer.
type exchange func(request []byte) (answer, error)

// wires are clients with a connection to addr each, cut when ctx ends.
func wires(ctx context.Context, addr netip.AddrPort) clients {
	return clients{nap: napFor, connect: func(n int) (exchange, func()) {
		w := &wire{addr: addr.String(), from: ClientAddress(addr.Addr(), n), cut: ctx}
		return w.exchange, w.close
	}}
}

// An outcome is what a load measured.
type outcome struct {
	*stripe                // what was counted
	measured time.Duration // less than asked for when the load ended early
	unsent   int           // because every connection was waiting for an answer
	capped   bool          // the bound of requests ended it
}

// run does the load, until its time is over or ctx ends. begun and over are
// called when the measured time begins and ends.
func (l Load) run(ctx context.Context, c clients, begun, over func()) outcome {
	start := time.Now()
	w := window{start.Add(l.warm), start.Add(l.warm + l.measured)}
	t := newTally(w, len(l.plan.rows))
	ctx, cancel := context.WithDeadline(ctx, w.end)
	defer cancel()
	var watching sync.WaitGroup
	watching.Go(func() { watch(ctx, w, begun, over) })

	var o outcome
	if l.rate > 0 {
		o = newOpenLoop(l, c, t).run(ctx, start)
	} else {
		o = newClosedLoop(l, c, t).run(ctx)
	}
	o.measured = min(max(time.Since(w.begin), 0), l.measured)
	cancel()
	watching.Wait()
	o.stripe = t.merged()
	return o
}

// watch tells of the measured time's begin and end.
func watch(ctx context.Context, w window, begun, over func()) {
	select {
	case <-time.After(time.Until(w.begin)):
	case <-ctx.Done():
	}
	begun()
	<-ctx.Done()
	over()
}

func newRandom() *rand.Rand { return rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())) }
