// Package pool decides which requests run now, which wait, and which are rejected.
//
// A pool has shards, one for each core in use, and a shard has workers. A worker is not a goroutine
// but a bounded slot with an id and a state. A request holds a worker while its handler runs, on
// the goroutine of its own connection. To hand a request to another goroutine, while net/http owns
// its writer and context, is how the response of one user reaches another, and it costs two context
// switches.
//
// What the pool promises:
//
//   - At most Shards × WorkersPerShard requests run and at most QueueLength wait. No request waits
//     longer than QueueTimeout, or than a quarter of the time its context has left, whichever is
//     less. A request that reacquires after Yield may wait ReturnTimeout instead of QueueTimeout.
//   - There is one order for all shards: a worker that becomes free on any shard goes to the first
//     request of that order. Each class has a guaranteed share of the workers, and gets a share of
//     the remaining time by its weight. A class that holds as many workers as its limit allows is
//     passed over and does not hold up the others. Inside a class the least served flow goes
//     first, and inside a flow the order is first come, first served.
//   - A class is overloaded when its queue stands (its delay was longer than DelayTarget for 20
//     DelayTargets) and it can't hold the requests that come. The overload lasts until the queue
//     was empty. While it lasts, the newest request of a flow goes first, and a request that has
//     waited for two DelayTargets is shed.
//   - A full queue sheds the request that is worth least. That is the newest one of the flow with
//     the most requests, in the least worthy class that holds more than its share of the queue. No
//     class and no flow can fill the queue so that another finds no place.
//   - A request whose client hangs up leaves the order at once, and its handler never starts.
//   - A request that holds a worker gives it back, whatever its handler does: return, panic or
//     runtime.Goexit. A panic or a Goexit retires the worker: a new worker with a fresh id takes
//     the slot, so the pool never gets smaller.
//   - A request that holds its worker for far too long is found, and some of these requests are
//     replaced: see Watch.
//   - A pool that drains refuses new requests and finishes all that it has accepted.
//
// Admission without contention costs a handful of atomic operations and one reading of the clock.
// Everything else goes through one mutex, which is held for nanoseconds and never while waiting.
// There is one lock because there is one order for all shards.
package pool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// MaxWorkersPerShard is the most workers that a shard can have: the free workers are the bits of
// one word.
const MaxWorkersPerShard = 64

// Config holds the settings of a pool.
type Config struct {
	Shards          int // at least 1
	WorkersPerShard int // 1 to MaxWorkersPerShard

	QueueLength  int           // most requests that may wait; 0: none waits
	QueueTimeout time.Duration // longest wait for a worker; 0: none waits
	// ReturnTimeout is the longest wait of a request that reacquires after Yield; 0: QueueTimeout.
	// To refuse such a request throws away the work that was done for it, and may cut off a
	// response that is half sent.
	ReturnTimeout time.Duration
	DelayTarget   time.Duration // the wait that a queue may have permanently; 0: any (see codel)

	// Limits holds the most workers that each class may hold at once; 0: all. Requests of a limited
	// class take the lock even when there is no contention.
	Limits [NumClasses]int

	// FlowLimit is the most workers of a class that a flow may be given at once while other
	// flows, which send one request at a time, are active; 0: all.
	FlowLimit int

	// Passthrough is the panic value that is intended (http.ErrAbortHandler for a server): Do gives
	// the worker back and panics with it again.
	Passthrough error

	// RestartThreshold panics of one route within RestartWindow quarantine the route. Its requests
	// are then refused (ErrQuarantined), except for a probe now and then. The first probe
	// that ends well releases the route. 0: no route is ever quarantined. OnBreaker is called
	// for each change; it must not block.
	RestartThreshold int
	RestartWindow    time.Duration
	OnBreaker        func(BreakerEvent)

	// A request that has held a worker for StuckAfter is stuck: see Watch. 0: none ever is. OnStuck
	// is called for each stuck request; it must not block.
	StuckAfter time.Duration
	OnStuck    func(StuckEvent)

	Log *slog.Logger // nil: slog.Default()
}

func (cfg Config) check() error {
	var errs []error
	if cfg.Shards < 1 {
		errs = append(errs, fmt.Errorf("%d shards, want at least 1", cfg.Shards))
	}
	if cfg.WorkersPerShard < 1 || cfg.WorkersPerShard > MaxWorkersPerShard {
		errs = append(errs, fmt.Errorf("%d workers a shard, want 1 to %d", cfg.WorkersPerShard, MaxWorkersPerShard))
	}
	if cfg.QueueLength < 0 {
		errs = append(errs, fmt.Errorf("queue length %d, want 0 or more", cfg.QueueLength))
	}
	if cfg.DelayTarget < 0 {
		errs = append(errs, fmt.Errorf("delay target %v, want 0 or more", cfg.DelayTarget))
	}
	if cfg.QueueTimeout < 0 {
		errs = append(errs, fmt.Errorf("queue timeout %v, want 0 or more", cfg.QueueTimeout))
	}
	if cfg.FlowLimit < 0 {
		errs = append(errs, fmt.Errorf("person limit %d, want 0 or more", cfg.FlowLimit))
	}
	for c, limit := range cfg.Limits {
		if limit < 0 {
			errs = append(errs, fmt.Errorf("limit %d of class %v, want 0 or more", limit, Class(c)))
		}
	}
	return errors.Join(errs...)
}

// A Request describes a request to the pool.
type Request struct {
	Class Class
	// Flow is the user or the address that fairness applies to. Empty: no particular one.
	Flow string
	// Address is where the request comes from, for the address's share of the memory that can be
	// reserved. Empty: no particular one.
	Address string
	Route   string // the pattern, not the path: Stats shows it while the request runs

	// Cancel ends the context of the request, with ErrStuck as the cause, when the request turns
	// out to be stuck. nil: the context can't be ended.
	Cancel context.CancelCauseFunc
}

// A Pool admits requests to its workers. Make one with New.
type Pool struct {
	cfg    Config
	log    *slog.Logger
	epoch  time.Time // times inside the pool are durations since epoch
	shards []shard

	queue    queue
	waiters  sync.Pool     // of *waiter; one per pool, because their channels belong to its synctest bubble
	abandons atomic.Uint64 // requests whose context ended before they had a worker

	delayed           atomic.Int64 // rejected requests whose responses are delayed: see AddDelayed
	saturated         atomic.Bool  // too many goroutines are ready to run: see Sample
	rejectedSaturated atomic.Bool  // a request was refused for that since the last look

	pressure     atomic.Int32 // a Pressure: how short memory is
	room         atomic.Int64 // bytes that may be reserved, as of the last look
	reserved     atomic.Int64
	reservations reservations
	monitor      atomic.Pointer[PressureMonitor] // nil: memory has no limit

	breaker      breaker
	rejections   rejections
	stuck        stuck
	fingerprints fingerprints
}

// New returns a pool at rest. It starts no goroutine and needs no closing. It panics when cfg is
// out of bounds; the code that reads the settings checks them before.
func New(cfg Config) *Pool {
	if err := cfg.check(); err != nil {
		panic(fmt.Errorf("pool.New: %w", err))
	}
	p := &Pool{
		cfg:    cfg,
		log:    cfg.Log,
		epoch:  time.Now(),
		shards: make([]shard, cfg.Shards),
	}
	if p.log == nil {
		p.log = slog.Default()
	}
	for i := range p.shards {
		p.shards[i].init(p, i)
	}
	p.queue.init(&p.cfg)
	p.queue.expiry.timer = time.AfterFunc(time.Hour, p.expire)
	p.queue.expiry.timer.Stop()
	p.rejections.init()
	p.stuck.init(p)
	p.fingerprints.seen = map[string]*seenPanic{}
	p.breaker.pool, p.breaker.routes = p, map[string]*routeState{}
	p.room.Store(math.MaxInt64)
	p.waiters.New = func() any { return newWaiter() }
	return p
}

// now returns the time since the pool was made. It is one reading of the monotonic clock, which
// costs half as much as time.Now.
func (p *Pool) now() time.Duration { return time.Since(p.epoch) }

// Acquire waits until the request r has a worker and returns its permit, which the
// caller must Release. It returns a *RejectedError when the queue is full (ErrFull), the wait is
// too long (ErrTimeout) or the pool drains (ErrDraining), and context.Cause(ctx) when ctx ends
// first. It does not check whether ctx belongs to a request that has a worker already: Do does.
func (p *Pool) Acquire(ctx context.Context, r Request) (Permit, error) {
	now := p.now()
	w, began, err := p.acquire(ctx, place{class: r.Class, flowName: r.Flow, arrived: now}, now)
	if err != nil {
		return Permit{}, err
	}
	return w.newPermit(r, now, began), nil
}

// newPermit begins a permit for r, which has arrived and was then given the worker.
func (w *worker) newPermit(r Request, arrived, given time.Duration) Permit {
	return Permit{
		worker:  w,
		number:  w.begin(r, given),
		id:      w.id.Load(),
		request: r,
		arrived: arrived,
		waited:  given - arrived,
	}
}

// Do runs fn with a worker held. It returns fn's error or, if fn did not run, the error that
// Acquire returned. The worker is given back when fn ends, or earlier by Release, or for a while
// by Yield.
//
// Do logs a panic in fn, retires the worker and returns the panic as a *PanicError. It does the
// same for runtime.Goexit, which then goes on ending the goroutine. Do panics again with a value
// that errors.Is the Passthrough.
//
// The context that fn gets knows the Permit. A nested Do with that context, or with one derived
// from it, takes no second permit: it runs its fn at once with the same worker, as long as that
// worker is held. Once fn has begun, Do always waits for its end.
func (p *Pool) Do(ctx context.Context, r Request, fn func(context.Context, *Permit) error) error {
	if t, ok := ctx.Value(permitKey{p}).(*Permit); ok && t.holds() {
		return fn(ctx, t)
	}
	if err := p.checkPressure(r); err != nil {
		return err
	}
	probe, err := p.breaker.allow(r)
	if err != nil {
		return err
	}
	t, err := p.Acquire(ctx, r)
	if err != nil {
		if probe {
			p.breaker.abort(r.Route)
		}
		return err
	}
	if probe {
		defer p.breaker.success(r.Route) // unless fn panics
	}
	return p.run(context.WithValue(ctx, permitKey{p}, &t), &t, fn)
}

// TryDo is Do for a request that has no context yet, and that can have a worker at once. If it would
// have to wait, or may be refused, TryDo does nothing and reports false. The request may then go
// through Do.
func (p *Pool) TryDo(r Request, fn func(*Permit) error) (done bool, err error) {
	if p.Pressure() != PressureNone || p.breaker.anyTroubled.Load() || p.MaybeSaturated() {
		return false, nil
	}
	now := p.now()
	w := p.tryAcquire(r.Class, now)
	if w == nil {
		return false, nil
	}
	t := w.newPermit(r, now, now)
	return true, p.run(context.Background(), &t, func(_ context.Context, t *Permit) error { return fn(t) })
}

// permitKey is the context key of the Permit that a context belongs to. There is one key for each
// pool.
type permitKey struct{ pool *Pool }

// run calls fn, gives t's worker back however fn ends, and returns a panic as an error.
func (p *Pool) run(ctx context.Context, t *Permit, fn func(context.Context, *Permit) error) (err error) {
	t.unlabelled = ctx
	t.label()
	defer t.unlabel()
	defer t.Release() // runs last, even if the handling of a panic panics itself
	returned := false
	defer func() {
		if !returned {
			err = p.caught(t, recover())
		}
	}()
	err = fn(ctx, t)
	returned = true
	return err
}

// Refuse makes the pool refuse new requests from now on (ErrDraining). Requests that wait, run or
// have yielded go on.
func (p *Pool) Refuse() {
	p.queue.mu.Lock()
	defer p.queue.unlock()
	p.queue.draining.Store(true)
	p.dispatchAndNotify(p.now())
}

// LastCalls says whether the load is about to end, because new clients go elsewhere. Then nothing is
// gained by an early rejection: as long as there is room in the queue, every request waits there,
// and the oldest goes first.
func (p *Pool) LastCalls(yes bool) {
	p.queue.lastCalls.Store(yes)
	if yes {
		p.queue.endOverload()
	}
}

// Drain refuses new requests and returns nil once no request runs, waits or has yielded. It returns
// context.Cause(ctx) when ctx ends before. It does not wait for stuck requests that were replaced:
// Stats lists those that still run.
func (p *Pool) Drain(ctx context.Context) error {
	p.Refuse()
	select {
	case <-p.queue.idle:
		return nil
	default:
	}
	select {
	case <-p.queue.idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// AddInFlight adds to a shard's bytes in flight: the request and response bodies held in memory. A
// negative number gives bytes back.
func (p *Pool) AddInFlight(shard int, bytes int64) {
	p.shards[shard].bytesInFlight.Add(bytes)
}
