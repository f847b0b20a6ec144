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
	class      Class
	flowName   string
	arrived    time.Duration
	reacquires bool // reacquires after Yield, so it was admitted earlier
}

// The queue is the one order of all requests that wait for a worker. It keeps a queue for each
// class.
//
// No wake-up is lost, because each side publishes before it checks. A request that is about to wait
// raises waiting and then looks for a free worker, under the lock. A request that gives a worker
// back sets its bit and then looks at waiting. All of these are sequentially consistent atomics. So
// either the first sees the bit, or the second sees the waiter, takes the lock and grants what is
// free. The limit of a class does not change the argument: held changes only under the lock, and
// the code that lowers it grants free workers afterwards. Draining works alike: see tryAcquire and
// dispatchAndNotify.
//
// Which waiter goes first is decided under the lock alone. A worker that is taken without the lock,
// while the queue is empty, is not counted. So held may be less than a class without a limit really
// holds, by the permits that began before any request had to wait.
//
// No waiter is overtaken by tryAcquire. tryAcquire admits a new request only while waiting is 0,
// that is, when it came before all requests that wait now.
type queue struct {
	_          cacheLine
	waiting    atomic.Int64 // number of waiters of all classes; written under mu
	draining   atomic.Bool  // written under mu
	overloaded atomic.Int32 // number of overloaded classes; written under mu
	lastCalls  atomic.Bool  // see LastCalls
	_          cacheLine    // end of the fields that every request reads

	mu       sync.Mutex // guards what follows; never held while waiting
	resolved *waiter    // waiters to wake, chained by next
	classes  [NumClasses]classQueue
	joined   uint64 // number of waiters that ever joined
	expiry   expiry
	yielded  int           // number of permits that have yielded
	idle     chan struct{} // closed when draining is done

	workerShares, queueShares [NumClasses]int // guaranteed shares; constant after init
	delayTarget               time.Duration   // constant after init
}

func (q *queue) init(cfg *Config) {
	for c := range q.classes {
		q.classes[c].init(cfg.FlowLimit)
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
	expires time.Duration // when it is rejected, unless it gets a worker
	flow    *flow         // the flow; nil: back from Yield
	listed  bool
	outcome outcome
	// result receives outcome, once, from the goroutine that took the waiter off its queue.
	result chan outcome

	next, prev     *waiter // of the same flow, or among those back from Yield
	older, younger *waiter // of the same class
}

// An outcome is how a wait ended: a grant of a worker, or the reason of a rejection.
type outcome struct {
	worker *worker
	reason Reason
}

func newWaiter() *waiter { return &waiter{result: make(chan outcome, 1)} }

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

// insert puts the waiter w into the queue of its class.
func (q *queue) insert(w *waiter, now time.Duration) {
	q.joined++
	w.number, w.joined = q.joined, now
	cq := &q.classes[w.class]
	q.roll(cq, now)
	if cq.waiting == 0 {
		q.catchUp(w.class)
	}
	cq.add(w)
	w.listed = true
	q.waiting.Add(1)
}

// resolve takes the waiter w out of its queue. unlock delivers the outcome.
func (q *queue) resolve(w *waiter, v outcome) {
	cq := &q.classes[w.class]
	cq.remove(w)
	if cq.waiting == 0 {
		cq.codel.calm = true
	}
	w.listed = false
	if q.waiting.Add(-1) == 0 {
		q.resetService()
	}
	w.outcome = v
	w.prev, w.next = nil, q.resolved
	q.resolved = w
}

// unlock releases the lock and then wakes the waiters that have an outcome. To wake a goroutine may
// take a system call, which is too long to hold the lock for.
func (q *queue) unlock() {
	w := q.resolved
	q.resolved = nil
	q.mu.Unlock()
	for w != nil {
		next := w.next
		w.next = nil
		w.result <- w.outcome // from here on w belongs to another goroutine
		w = next
	}
}

// acquire returns a worker for the request whose place is at, and the time of the grant.
func (p *Pool) acquire(ctx context.Context, at place, now time.Duration) (*worker, time.Duration, error) {
	if ctx.Err() != nil {
		return nil, 0, p.abandoned(ctx)
	}
	if !at.reacquires && p.Saturated(at.class) {
		return nil, 0, p.RejectSaturated(Request{Class: at.class, Flow: at.flowName}, 0)
	}
	if w := p.tryAcquire(at.class, now); w != nil {
		return w, now, nil
	}
	return p.wait(ctx, at, now)
}

// tryAcquire takes a worker without the lock, when one is free and the queue is empty.
//
// It checks draining again once it has a worker. Refuse sets draining before it looks for workers
// that are held. So either tryAcquire sees draining and gives the worker back, or Drain sees the
// worker held and waits for its release.
func (p *Pool) tryAcquire(c Class, now time.Duration) *worker {
	if p.cfg.Limits[c] > 0 || p.queue.waiting.Load() > 0 || p.queue.draining.Load() {
		return nil
	}
	w := p.takeFree(now)
	if w != nil && p.queue.draining.Load() {
		p.release(w, c)
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

	limit := p.maxWait(ctx, at, now)
	p.join(w, now, limit)
	v, err := p.await(ctx, w)
	if err != nil {
		return nil, 0, err
	}
	began := p.now()
	if v.worker == nil {
		return nil, 0, p.reject(Request{Class: at.class, Flow: at.flowName}, v.reason, began-now)
	}
	v.worker.shard.wait.Record(began - now)
	return v.worker, began, nil
}

// maxWait returns the longest time that a request may wait.
func (p *Pool) maxWait(ctx context.Context, at place, now time.Duration) time.Duration {
	most := p.cfg.QueueTimeout
	if at.reacquires && p.cfg.ReturnTimeout > 0 {
		most = p.cfg.ReturnTimeout
	}
	if deadline, ok := ctx.Deadline(); ok {
		return min((deadline.Sub(p.epoch)-now)/4, most)
	}
	return most
}

// join puts the waiter w into the queue and grants free workers to the first waiters, of which w
// may be one. If the queue is full, it evicts the waiter that is worth least, which may be w too. w
// waits for at most limit.
func (p *Pool) join(w *waiter, now, limit time.Duration) {
	q := &p.queue
	q.mu.Lock()
	defer q.unlock()
	if q.draining.Load() && !w.reacquires {
		w.result <- outcome{reason: ErrDraining}
		return
	}
	q.insert(w, now) // raises waiting before dispatch looks for free workers
	p.dispatch(now)
	if int(q.waiting.Load()) > p.cfg.QueueLength {
		cq := &q.classes[q.overfullClass()]
		cq.codel.excess = true
		least, why := cq.victim()
		q.resolve(least, outcome{reason: why})
	}
	switch {
	case !w.listed:
	case limit <= 0:
		q.resolve(w, outcome{reason: ErrTimeout})
	default:
		w.expires = now + limit
		q.expiry.atMost(w.expires, now)
	}
}

// await returns the outcome for the waiter w, or context.Cause(ctx) when ctx ends first. A worker
// that arrives together with the end of ctx is given back. One that arrives together with the end
// of the wait is taken.
func (p *Pool) await(ctx context.Context, w *waiter) (outcome, error) {
	var v outcome
	select {
	case v = <-w.result:
	case <-ctx.Done():
		v = p.withdraw(w)
	}
	if ctx.Err() == nil {
		return v, nil
	}
	if v.worker != nil {
		p.release(v.worker, w.class)
	}
	return outcome{}, p.abandoned(ctx)
}

// withdraw takes the waiter w off its queue, unless it was taken off meanwhile, and returns the
// outcome for it.
func (p *Pool) withdraw(w *waiter) outcome {
	p.queue.mu.Lock()
	if w.listed {
		p.queue.resolve(w, outcome{})
	}
	p.queue.unlock()
	return <-w.result
}

// An expiry is the timer that ends waits which have become too long. There is one for all waiters,
// because to set and to stop one for each took a quarter of a contended turn. It may fire too early,
// as it is not stopped when its waiter gets a worker, and never too late.
type expiry struct {
	timer *time.Timer
	at    time.Duration // when it fires; 0: it is not set
}

// atMost sets the timer to at, unless it fires before.
func (e *expiry) atMost(at, now time.Duration) {
	if e.at == 0 || at < e.at {
		e.at = at
		e.timer.Reset(at - now)
	}
}

// expire rejects the waiters whose time is over.
func (p *Pool) expire() {
	q, now := &p.queue, p.now()
	q.mu.Lock()
	defer q.unlock()
	q.expiry.at = 0
	for c := range q.classes {
		cq := &q.classes[c]
		for w := cq.returned.next; w != &cq.returned; {
			next := w.next
			q.expireOne(cq, w, now)
			w = next
		}
		for w := cq.ages.younger; w != &cq.ages; {
			next := w.younger
			q.expireOne(cq, w, now)
			w = next
		}
	}
}

// expireOne rejects the waiter w if its time is over, and otherwise sets the timer for it.
func (q *queue) expireOne(cq *classQueue, w *waiter, now time.Duration) {
	if w.expires > now {
		q.expiry.atMost(w.expires, now)
		return
	}
	cq.codel.excess = true
	q.resolve(w, outcome{reason: ErrTimeout})
}

// release gives back the worker w and grants free workers to the waiters.
func (p *Pool) release(w *worker, c Class) {
	q := &p.queue
	counted, granted, flow := w.counted, w.granted, w.flow
	w.counted, w.flow = false, nil
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
	if cq := &q.classes[c]; counted {
		cq.held--
		cq.releasedBy(flow)
		if q.waiting.Load() > 0 {
			cq.charge(c, now-granted)
		}
	}
	p.dispatchAndNotify(now)
}

// addYielded counts a permit that yields, or ends that.
func (p *Pool) addYielded(n int) {
	p.queue.mu.Lock()
	defer p.queue.unlock()
	p.queue.yielded += n
	p.dispatchAndNotify(p.now())
}

// dispatchAndNotify follows up a change: it grants free workers to waiters, and tells Drain when no
// request is left. The caller holds the lock.
func (p *Pool) dispatchAndNotify(now time.Duration) {
	p.dispatch(now)
	q := &p.queue
	if !q.draining.Load() || q.waiting.Load() > 0 || q.yielded > 0 || !p.allFree() {
		return
	}
	select {
	case <-q.idle:
	default:
		close(q.idle)
	}
}

// dispatch grants free workers to the waiters, in their order. The caller holds the lock.
func (p *Pool) dispatch(now time.Duration) {
	q := &p.queue
	for q.waiting.Load() > 0 {
		c, ok := q.nextClass(&p.cfg.Limits, now)
		if !ok {
			return
		}
		worker := p.takeFree(now)
		if worker == nil {
			return
		}
		worker.counted, worker.granted = true, now
		cq := &q.classes[c]
		cq.held++
		q.roll(cq, now)
		w := cq.next()
		worker.flow = cq.grantTo(w, now)
		if !w.reacquires {
			q.recordWait(cq, now-w.joined)
		}
		q.resolve(w, outcome{worker: worker})
		if cq.codel.overloaded {
			q.shedStale(cq, now)
		}
	}
}

// abandoned counts a request whose client went away, and returns the cause.
func (p *Pool) abandoned(ctx context.Context) error {
	p.abandons.Add(1)
	return context.Cause(ctx)
}
