// Package pool decides which requests run now, which wait, and which are
// turned away.
//
// A pool has shards, one for each core in use, and a shard has workers. A
// worker is not a goroutine but a bounded slot with an id and a state: a
// request holds one while its handler runs, on the goroutine of its own
// connection. Handing a request to another goroutine, while net/http owns its
// writer and context, is how one user's answer reaches another, and costs two
// context switches.
//
// What the pool promises:
//
//   - At most Shards × WorkersPerShard requests run and at most QueueLength
//     wait. Nothing waits longer than QueueTimeout, or than a quarter of the
//     time its context has left, whichever is less; for who comes back
//     from Outside ReturnTimeout stands in place of QueueTimeout.
//   - There is one order for all shards: a worker that becomes free on any
//     goes to the first of that order. Each class has a guaranteed share of the
//     workers, and of what is left time by its weight; one that holds as many
//     workers as its limit allows is passed over and holds up nobody else.
//     Inside a class the person least served goes first, and inside a person
//     it is first come first served.
//   - A class whose queue stands, longer than DelayTarget and for 20 of them,
//     and can't hold what comes, is overloaded until it was empty: the newest of
//     a person goes first, and who has waited for two DelayTargets is shed.
//   - A full queue sheds the least worth first: the newest of the person with
//     the most of them in the least worthy class that holds more than its share
//     of the queue. No class and no person can fill it so that another finds no
//     place.
//   - Whoever hangs up leaves the order at once, and its handler never starts.
//   - Who holds a worker gives it back, whatever its handler does: return,
//     panic or runtime.Goexit. The last two retire the worker: another with a
//     fresh id takes the slot, so the pool never gets smaller.
//   - A request that holds its worker for far too long is found, and some of
//     these are replaced: see Watch.
//   - A pool that drains refuses newcomers and finishes all it has accepted.
//
// The way in without contention is a handful of atomic operations and one
// reading of the clock. Everything else goes through one mutex, held for
// nanoseconds and never while waiting: the order is one for all shards, so its
// lock is too.
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

// MaxWorkersPerShard is the most workers a shard can have: its free ones are
// the bits of one word.
const MaxWorkersPerShard = 64

// Config is what a pool needs to know.
type Config struct {
	Shards          int // at least 1
	WorkersPerShard int // 1 to MaxWorkersPerShard

	QueueLength  int           // waiting requests at most; 0: nobody waits
	QueueTimeout time.Duration // longest wait for a worker; 0: nobody waits
	// ReturnTimeout is the longest wait of one who comes back from Outside; 0:
	// QueueTimeout. To refuse that one throws away what was done for it, and may
	// cut an answer that is half sent.
	ReturnTimeout time.Duration
	DelayTarget   time.Duration // the wait that a queue may have for good; 0: any (see codel)

	// Limits holds the most workers that a class may hold at once; 0: all.
	// Requests of a limited class take the lock even when there is no
	// contention.
	Limits [NumClasses]int

	// PersonLimit is the most workers that a person may be given at once of a
	// class while others are about who ask for one thing at a time; 0: all.
	PersonLimit int

	// Passthrough is the panic value that is no accident (http.ErrAbortHandler
	// for a server): Do gives the worker back and panics with it again.
	Passthrough error

	// RestartThreshold panics of one route within RestartWindow quarantine it:
	// its requests are refused (ErrQuarantined) but for a trial now and then,
	// and the first that ends well releases it. 0: never. OnQuarantine is told;
	// it must not block.
	RestartThreshold int
	RestartWindow    time.Duration
	OnQuarantine     func(QuarantineEvent)

	// A request that has held a worker for StuckAfter is stuck: see Watch. 0:
	// none ever is. OnStuck is told; it must not block.
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
	if cfg.PersonLimit < 0 {
		errs = append(errs, fmt.Errorf("person limit %d, want 0 or more", cfg.PersonLimit))
	}
	for c, limit := range cfg.Limits {
		if limit < 0 {
			errs = append(errs, fmt.Errorf("limit %d of class %v, want 0 or more", limit, Class(c)))
		}
	}
	return errors.Join(errs...)
}

// A Request is what the pool is told about one.
type Request struct {
	Class  Class
	Person string // who it is fair to: a user, or an address; empty: nobody in particular
	// Address is where it comes from, for the address's share of what can be
	// reserved; empty: nowhere in particular.
	Address string
	Route   string // the pattern, not the path: it is shown while the request runs

	// Cancel ends the context of the request, with ErrStuck as the cause, when
	// it turns out to be stuck. nil: nobody can.
	Cancel context.CancelCauseFunc
}

// A Pool admits requests to its workers. Make one with New.
type Pool struct {
	cfg    Config
	log    *slog.Logger
	epoch  time.Time // times inside the pool are durations since then
	shards []shard

	queue    queue
	waiters  sync.Pool     // of *waiter; per pool, for their timers belong to its clock
	abandons atomic.Uint64 // requests whose context ended before they had a worker

	held      atomic.Int64 // whose refusals are
	crowded   atomic.Bool  // too many goroutines are ready to run: see Sample
	crowdShed atomic.Bool  // somebody was refused for that since the last look

	stage        atomic.Int32 // a Stage: how short memory is
	room         atomic.Int64 // bytes that may be reserved, by the last look
	reserved     atomic.Int64
	reservations reservations
	stages       atomic.Pointer[Stages] // nil: there is no limit

	quarantine   quarantine
	ledger       ledger
	stuck        stuck
	fingerprints fingerprints
}

// New returns a pool at rest. It starts no goroutine and needs no closing. It
// panics when cfg is out of bounds, which whoever reads the settings checks.
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
	p.ledger.init()
	p.stuck.init(p)
	p.fingerprints.seen = map[string]*seenPanic{}
	p.quarantine.pool, p.quarantine.routes = p, map[string]*troubledRoute{}
	p.room.Store(math.MaxInt64)
	p.waiters.New = func() any { return newWaiter() }
	return p
}

// now is the time since the pool was made: one reading of the monotonic clock,
// half the price of time.Now.
func (p *Pool) now() time.Duration { return time.Since(p.epoch) }

// Acquire waits until r has a worker and returns its Turn, which the caller
// must Release. It returns a *Refusal when the queue is full (ErrFull), the
// wait too long (ErrTimeout) or the pool draining (ErrDraining), and
// context.Cause(ctx) when ctx ends first. It does not look whether ctx is that
// of a request which has a worker already: Do does.
func (p *Pool) Acquire(ctx context.Context, r Request) (Turn, error) {
	now := p.now()
	w, began, err := p.find(ctx, place{class: r.Class, person: r.Person, arrived: now}, now)
	if err != nil {
		return Turn{}, err
	}
	return Turn{
		worker:  w,
		number:  w.begin(r, began),
		id:      w.id.Load(),
		request: r,
		arrived: now,
		waited:  began - now,
	}, nil
}

// Do runs fn with a worker held, and returns fn's error or, without having run
// fn, what Acquire returned. The worker is given back when fn ends, or before
// by Release, or for a while by Outside.
//
// A panic in fn comes back as a *PanicError, was logged and retires the
// worker; so does runtime.Goexit, which then goes on ending the goroutine. Do
// panics again with what errors.Is the Passthrough.
//
// The context that fn gets knows the Turn: with it, or one made from it, a
// nested Do is no second turn but runs its fn at once with the same worker,
// as long as that is held. Once begun, fn is always waited for.
func (p *Pool) Do(ctx context.Context, r Request, fn func(context.Context, *Turn) error) error {
	if t, ok := ctx.Value(turnKey{p}).(*Turn); ok && t.holds() {
		return fn(ctx, t)
	}
	if err := p.spare(r); err != nil {
		return err
	}
	trial, err := p.quarantine.enter(r)
	if err != nil {
		return err
	}
	t, err := p.Acquire(ctx, r)
	if err != nil {
		if trial {
			p.quarantine.missed(r.Route)
		}
		return err
	}
	if trial {
		defer p.quarantine.passed(r.Route) // unless it panics
	}
	return p.run(context.WithValue(ctx, turnKey{p}, &t), &t, fn)
}

// turnKey finds the Turn that a context belongs to, one for each pool.
type turnKey struct{ pool *Pool }

// run calls fn, gives t's worker back however fn ends, and hands a panic back
// as an error.
func (p *Pool) run(ctx context.Context, t *Turn, fn func(context.Context, *Turn) error) (err error) {
	t.unlabelled = ctx
	t.label()
	defer t.unlabel()
	defer t.Release() // last of all, even if what is done about a panic panics
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

// Refuse turns newcomers away from now on (ErrDraining). Those that wait, run
// or are Outside go on.
func (p *Pool) Refuse() {
	p.queue.mu.Lock()
	defer p.queue.unlock()
	p.queue.draining.Store(true)
	p.settle(p.now())
}

// Drain refuses newcomers and returns nil once nothing runs, waits or is
// Outside, or context.Cause(ctx) when ctx ends before. It does not wait for
// stuck requests that were replaced: Stats has those that still run.
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

// Hold adds to a shard's bytes in flight: request bodies and answers held in
// memory. A negative number gives back.
func (p *Pool) Hold(shard int, bytes int64) {
	p.shards[shard].bytesInFlight.Add(bytes)
}
