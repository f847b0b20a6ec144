package bench

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// A run is void if one request in a hundred was sent later than lateBoundMs through the generator's
// own fault, and this delay is more than latePart of the measured p99. The measured p99 is then not
// the server's alone.
const (
	lateBoundMs = 5
	latePart    = 0.1
)

// Retry says what a client of a closed loop does when its request is refused.
type Retry string

const (
	RetryNone  Retry = "none"  // it goes on to its next request
	RetryNow   Retry = "now"   // it sends the same request again at once
	RetryAfter Retry = "after" // it waits as long as Retry-After says, and sends it again
)

// A Load is the load that is put on a target. It is a closed loop of clients, each of which sends
// its next request when the previous one is answered, or an open loop that sends at a rate that
// does not depend on the responses.
type Load struct {
	plan        *Plan
	connections int     // clients of a closed loop; the maximum of an open loop
	rate        float64 // requests a second of an open loop; 0: a closed loop
	fixed       bool    // the open loop sends evenly spaced instead of at random
	retry       Retry   // of a closed loop
	warm        time.Duration
	measured    time.Duration // begins after warm
	maxRequests int           // maximum number of requests, after which the load ends early
	probed      bool          // health is probed during the load
}

// NewClosedLoad returns a closed loop of clients that send the requests of a plan and do not retry
// when they are refused.
func NewClosedLoad(p *Plan, connections int, measured time.Duration) Load {
	return Load{plan: p, connections: connections, retry: RetryNone, warm: warmUp(measured), measured: measured,
		maxRequests: MaxRequests}
}

// Short returns the load with at most so many requests. Its warm-up is very short, because the
// warm-up uses some of the requests.
func (l Load) Short(requests int) Load {
	l.warm, l.maxRequests = min(l.warm, 100*time.Millisecond), requests
	return l
}

// clients are the connections to the server under load. The function connect makes the n-th client.
type clients struct {
	connect func(n int) (exchange exchange, close func())
	nap     func(time.Duration) // sleeps for short and exact times
}

// exchange sends a request and returns its response.
type exchange func(request []byte) (answer, error)

// wires returns clients that each have a connection to addr. The connections are closed when ctx
// ends.
func wires(ctx context.Context, addr netip.AddrPort) clients {
	return clients{nap: napFor, connect: func(n int) (exchange, func()) {
		w := &wire{addr: addr.String(), from: ClientAddress(addr.Addr(), n), cut: ctx}
		return w.exchange, w.close
	}}
}

// An outcome is the raw result of a load.
type outcome struct {
	*stripe                // the counts
	measured time.Duration // shorter than requested if the load ended early
	unsent   int           // requests not sent, because every connection was waiting for a response
	capped   bool          // the bound on requests ended the load
}

// run runs the load until its time is over or ctx ends. It calls begun and over at the beginning
// and the end of the measured time.
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

// watch calls begun and over at the beginning and the end of the measured time.
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
