package pool

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// A Reason says why a request was rejected. It is an error, so that errors.Is(err, ErrFull) works
// on a *RejectedError.
type Reason string

// The reasons, in the words that clients read.
const (
	ErrFull Reason = "queue_full"
	// ErrShare rejects a request of a flow that has more than twice as many waiters as the other
	// flows have on average.
	ErrShare    Reason = "user_share"
	ErrTimeout  Reason = "queue_timeout"
	ErrOverload Reason = "overload" // the queue stands, and the request had waited for too long
	ErrMemory   Reason = "memory"   // memory is too short for the request
	ErrDraining Reason = "draining"

	ErrQuarantined Reason = "route_quarantined"
)

func (r Reason) Error() string { return "pool: " + string(r) }

// A RejectedError is the error of a rejected request, which got no worker.
type RejectedError struct {
	Reason Reason
	Waited time.Duration
	// RetryAfter is derived from how many requests were served and rejected lately, unless more is
	// known.
	RetryAfter time.Duration
}

func (r *RejectedError) Error() string { return r.Reason.Error() + " after " + r.Waited.String() }

// Unwrap returns the Reason.
func (r *RejectedError) Unwrap() error { return r.Reason }

// A place is the position of a request in the order.
type place struct {
	class   Class
	person  string
	arrived time.Duration
	resumes bool // reacquires after Yield, so it was admitted earlier
}

// The queue is the one order of all requests that wait for a worker. It keeps a line for each
// class.
//
// No wake-up is lost, because each side publishes before it checks. A request that is about to wait
// raises waiting and then looks for a free worker, under the lock. A request that gives a worker
// back sets its bit and then looks at waiting. All of these are sequentially consistent atomics. So
// either the first sees the bit, or the second sees the waiter, takes the lock and grants what is
// free. The limit of a class does not change the argument: held changes only under the lock, and
// the code that lowers it grants free workers afterwards. Draining works alike: see grab and
// settle.
//
// Which waiter goes first is decided under the lock alone. A worker that is taken without the lock,
// while the queue is empty, is not counted. So held may be less than a class without a limit really
// holds, by the turns that began before any request had to wait.
//
// No waiter is overtaken by grab. grab admits a new request only while waiting is 0, that is, when
// it came before all requests that wait now.
type queue struct {
	_          cacheLine
	waiting    atomic.Int64 // number of waiters in all lines; written under mu
	draining   atomic.Bool  // written under mu
	overloaded atomic.Int32 // number of overloaded lines; written under mu
	_          cacheLine    // end of the fields that every request reads

	mu      sync.Mutex // guards what follows; never held while waiting
	decided *waiter    // waiters to wake, chained by next
	lines   [NumClasses]line
	joined  uint64        // number of waiters that ever joined
	outside int           // number of permits that have yielded
	idle    chan struct{} // closed when draining is done

	workerShares, queueShares [NumClasses]int // guaranteed shares; constant after init
	delayTarget               time.Duration   // constant after init
}

func (q *queue) init(cfg *Config) {
	for c := range q.lines {
		q.lines[c].init(cfg.FlowLimit)
	}
	q.idle = make(chan struct{})
	q.workerShares = sharesOf(cfg.Shards*cfg.WorkersPerShard, cfg.Limits)
	q.queueShares = sharesOf(cfg.QueueLength, [NumClasses]int{})
	q.delayTarget = cfg.DelayTarget
}

// A waiter is one request in the order.
type waiter struct {
	place
	number  uint64        // breaks ties: the first that joined goes first
	joined  time.Duration // when it began to wait
	who     *person       // the flow; nil: back from Yield
	listed  bool
	decided verdict
	// verdict receives decided, once, from the goroutine that took the waiter off its line.
	verdict chan verdict
	timer   *time.Timer

	next, prev     *waiter // of the same flow, or among those back from Yield
	older, younger *waiter // of the same class
}

// A verdict is the outcome of a wait: a grant of a worker, or the reason of a rejection.
type verdict struct {
	worker *worker
	reason Reason
}

func newWaiter() *waiter {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return &waiter{verdict: make(chan verdict, 1), timer: timer}
}

// before reports whether w came before v.
func (w *waiter) before(v *waiter) bool {
	if w.arrived != v.arrived {
		return w.arrived < v.arrived
	}
	return w.number < v.number
}

// link puts w into the ring that next is in, before it.
func (w *waiter) link(next *waiter) {
	w.prev, w.next = next.prev, next
	w.prev.next, w.next.prev = w, w
}

func (w *waiter) unlink() {
	w.prev.next, w.next.prev = w.next, w.prev
}

// insert puts the waiter w into the line of its class.
func (q *queue) insert(w *waiter, now time.Duration) {
	q.joined++
	w.number, w.joined = q.joined, now
	l := &q.lines[w.class]
	q.roll(l, now)
	if l.waiting == 0 {
		q.catchUp(w.class)
	}
	l.add(w)
	w.listed = true
	q.waiting.Add(1)
}

// decide takes the waiter w out of its line. unlock delivers the verdict.
func (q *queue) decide(w *waiter, v verdict) {
	l := &q.lines[w.class]
	l.remove(w)
	if l.waiting == 0 {
		l.codel.calm = true
	}
	w.listed = false
	if q.waiting.Add(-1) == 0 {
		q.forget()
	}
	w.decided = v
	w.prev, w.next = nil, q.decided
	q.decided = w
}

// unlock releases the lock and then wakes the waiters that have a verdict. To wake a goroutine may
// take a system call, which is too long to hold the lock for.
func (q *queue) unlock() {
	w := q.decided
	q.decided = nil
	q.mu.Unlock()
	for w != nil {
		next := w.next
		w.next = nil
		w.verdict <- w.decided // from here on w belongs to another goroutine
		w = next
	}
}

// find returns a worker for the request whose place is at, and the time of the grant.
func (p *Pool) find(ctx context.Context, at place, now time.Duration) (*worker, time.Duration, error) {
	if ctx.Err() != nil {
		return nil, 0, p.abandoned(ctx)
	}
	if !at.resumes && p.inCrowd(at.class) {
		return nil, 0, p.refusedInCrowd(at)
	}
	if w := p.grab(at.class, now); w != nil {
		return w, now, nil
	}
	return p.wait(ctx, at, now)
}

// grab takes a worker without the lock, when one is free and the queue is empty.
//
// It checks draining again once it has a worker. Refuse sets draining before it looks for workers
// that are held. So either grab sees draining and gives the worker back, or Drain sees the worker
// held and waits for its release.
func (p *Pool) grab(c Class, now time.Duration) *worker {
	if p.cfg.Limits[c] > 0 || p.queue.waiting.Load() > 0 || p.queue.draining.Load() {
		return nil
	}
	w := p.takeFree(now)
	if w != nil && p.queue.draining.Load() {
		p.giveBack(w, c)
		return nil
	}
	return w
}

// wait joins the queue and returns the worker that the request is granted, and the time of the
// grant.
func (p *Pool) wait(ctx context.Context, at place, now time.Duration) (*worker, time.Duration, error) {
	w := p.waiters.Get().(*waiter)
	defer p.waiters.Put(w)
	w.place = at

	bound := p.bound(ctx, at, now)
	p.join(w, now, bound > 0)
	v, err := p.await(ctx, w, bound)
	if err != nil {
		return nil, 0, err
	}
	began := p.now()
	if v.worker == nil {
		return nil, 0, p.refused(Request{Class: at.class, Flow: at.person}, v.reason, began-now)
	}
	v.worker.shard.wait.Record(began - now)
	return v.worker, began, nil
}

// bound returns the longest time that a request may wait.
func (p *Pool) bound(ctx context.Context, at place, now time.Duration) time.Duration {
	most := p.cfg.QueueTimeout
	if at.resumes && p.cfg.ReturnTimeout > 0 {
		most = p.cfg.ReturnTimeout
	}
	if deadline, ok := ctx.Deadline(); ok {
		return min((deadline.Sub(p.epoch)-now)/4, most)
	}
	return most
}

// join puts the waiter w into the queue and grants free workers to the first waiters, of which w
// may be one. If the queue is full, it evicts the waiter that is worth least, which may be w too.
func (p *Pool) join(w *waiter, now time.Duration, patient bool) {
	q := &p.queue
	q.mu.Lock()
	defer q.unlock()
	if q.draining.Load() && !w.resumes {
		w.verdict <- verdict{reason: ErrDraining}
		return
	}
	q.insert(w, now) // raises waiting before serve looks for free workers
	p.serve(now)
	if int(q.waiting.Load()) > p.cfg.QueueLength {
		l := &q.lines[q.excess()]
		l.codel.excess = true
		least, why := l.victim()
		q.decide(least, verdict{reason: why})
	}
	if w.listed && !patient {
		q.decide(w, verdict{reason: ErrTimeout})
	}
}

// await returns the verdict on the waiter w, or context.Cause(ctx) when ctx ends first. A worker
// that arrives together with the end of ctx is given back. One that arrives together with the end
// of the bound is taken.
func (p *Pool) await(ctx context.Context, w *waiter, bound time.Duration) (verdict, error) {
	select {
	case v := <-w.verdict: // the verdict is there already, so no timer is needed
		return v, nil
	default:
	}
	w.timer.Reset(bound)
	defer w.timer.Stop()
	var v verdict
	select {
	case v = <-w.verdict:
	case <-w.timer.C:
		v = p.leave(w, ErrTimeout)
	case <-ctx.Done():
		v = p.leave(w, "")
	}
	if ctx.Err() == nil {
		return v, nil
	}
	if v.worker != nil {
		p.giveBack(v.worker, w.class)
	}
	return verdict{}, p.abandoned(ctx)
}

// leave takes the waiter w off its line, unless it was taken off meanwhile, and returns the verdict
// on it.
func (p *Pool) leave(w *waiter, why Reason) verdict {
	p.queue.mu.Lock()
	if w.listed {
		if why == ErrTimeout {
			p.queue.lines[w.class].codel.excess = true
		}
		p.queue.decide(w, verdict{reason: why})
	}
	p.queue.unlock()
	return <-w.verdict
}

// giveBack releases the worker w and grants free workers to the waiters.
func (p *Pool) giveBack(w *worker, c Class) {
	q := &p.queue
	counted, granted, who := w.counted, w.granted, w.who
	w.counted, w.who = false, nil
	w.shard.free.Or(w.bit) // from here on w belongs to another request
	if !counted && q.waiting.Load() == 0 && !q.draining.Load() {
		return
	}
	q.mu.Lock()
	defer q.unlock()
	var now time.Duration
	if q.waiting.Load() > 0 {
		now = p.now()
	}
	if l := &q.lines[c]; counted {
		l.held--
		l.released(who)
		if q.waiting.Load() > 0 {
			l.charge(c, now-granted)
		}
	}
	p.settle(now)
}

// addOutside counts a turn that yields, or ends that.
func (p *Pool) addOutside(n int) {
	p.queue.mu.Lock()
	defer p.queue.unlock()
	p.queue.outside += n
	p.settle(p.now())
}

// settle follows up a change: it grants free workers to waiters, and tells Drain when no request is
// left. The caller holds the lock.
func (p *Pool) settle(now time.Duration) {
	p.serve(now)
	q := &p.queue
	if !q.draining.Load() || q.waiting.Load() > 0 || q.outside > 0 || !p.allFree() {
		return
	}
	select {
	case <-q.idle:
	default:
		close(q.idle)
	}
}

// serve grants free workers to the waiters, in their order. The caller holds the lock.
func (p *Pool) serve(now time.Duration) {
	q := &p.queue
	for q.waiting.Load() > 0 {
		c, ok := q.turn(&p.cfg.Limits, now)
		if !ok {
			return
		}
		worker := p.takeFree(now)
		if worker == nil {
			return
		}
		worker.counted, worker.granted = true, now
		l := &q.lines[c]
		l.held++
		q.roll(l, now)
		w := l.next()
		worker.who = l.served(w, now)
		if !w.resumes {
			q.sawWait(l, now-w.joined)
		}
		q.decide(w, verdict{worker: worker})
		if l.codel.overloaded {
			q.shedStale(l, now)
		}
	}
}

// abandoned counts a request whose client went away, and returns the cause.
func (p *Pool) abandoned(ctx context.Context) error {
	p.abandons.Add(1)
	return context.Cause(ctx)
}
