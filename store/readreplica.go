package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
)

// A readReplica takes the reading of lists off the primary, without anybody
// seeing a difference. Its servers are hot standbys: PostgreSQL that follows the
// primary by its log and answers reading queries.
//
// It promises: what is read is what the primary had at one moment between call
// and return. So a person finds what they wrote, at whichever process, and
// nobody who has seen something new is shown something older. Whatever is wrong
// with the standbys, the primary is read instead, and while one is known to be
// out of order it isn't asked at all.
//
// It is what HTTP does with a copy and If-None-Match. The primary tells the
// number of the person's last change, one row by its key; the standby is read in
// one snapshot that begins with the same number. Only if the two are equal is
// what it holds used.
//
// Why that is the primary's answer: whoever changes a person's notes adds to
// that number in the same transaction, and holds its row until then. So these
// transactions commit one after another, on a standby in the same order, and
// each is seen together with its number. Who sees number 7 sees 1 to 7 and no
// more, here and there: the same notes, as they were on the primary when it told
// the number. This depends on no clock, on no order of question and replay, and
// not on synchronous_commit.
//
// Waiting until the standby has replayed the log up to where the primary's ends
// (ReadIndex; Ongaro, "Consensus: bridging theory and practice", 6.4) would
// promise less for more. Everybody waits for what anybody writes; commits that
// don't wait for the disk may be visible before the log's end is known; and the
// standby may show a commit before the primary does, which waits for its
// synchronous standbys first: a note would be there in a list and then, alone,
// not yet.
//
// Equal numbers mean the same only in the same history. So a standby must follow
// the primary's system on the primary's timeline (see place for the database): one
// that was left behind by a failover may hold changes that were lost, under
// numbers that have been given again.
type readReplica struct {
	store    *Store
	server   *pgx.ConnConfig
	greeter  *greeter
	conns    int
	watchdog *watchdog
	log      *slog.Logger
	standby  atomic.Pointer[standby] // nil: not known yet which are the right ones
	doubts   chan struct{}           // has a token when somebody's read has failed

	reads     atomic.Uint64
	fallbacks [numFallbacks]atomic.Uint64

	mu     sync.Mutex // guards what follows
	why    error      // the primary is read; nil: the standby
	said   error      // what the log says is wrong; nil: nothing
	lag    lag
	closed bool
}

// A Fallback is a reason why a list was read on the primary.
type Fallback uint8

const (
	Down     Fallback = iota // no standby answers, or not in time
	Unfit                    // what answers is no standby of the primary, or on another timeline
	Behind                   // it does not have the person's last change yet
	Ahead                    // it has one that the primary did not show
	Conflict                 // the query and the replay were in each other's way
	Failed                   // anything else

	numFallbacks = int(iota)
)

func (f Fallback) String() string {
	return [...]string{"down", "unfit", "behind", "ahead", "conflict", "failed"}[f]
}

var (
	errBehind = errors.New("the read replica does not have the last change yet")
	errAhead  = errors.New("the read replica has a later change")
	errUnseen = errors.New("the read replica was not looked at yet")
)

// An unfit standby is none of the primary's.
type unfit string

const errOtherDatabase = unfit("its database is another than that of DATABASE_URL")

func (u unfit) Error() string { return "DATABASE_READ_URL: " + string(u) }

// fallbackFor is what err means for a read.
func fallbackFor(err error) Fallback {
	switch {
	case errors.Is(err, errBehind):
		return Behind
	case errors.Is(err, errAhead):
		return Ahead
	case cancelled(err):
		return Conflict
	case errors.Is(err, errUnseen), errors.Is(err, context.DeadlineExceeded), errors.Is(translate(err), ErrUnavailable):
		return Down
	}
	if _, ok := errors.AsType[unfit](err); ok {
		return Unfit
	}
	return Failed
}

// cancelled reports whether a standby, which is well, has given up a query: it
// stood in the way of the replay, or had to wait for what the replay has locked, or
// took too long.
func cancelled(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && slices.Contains([]string{"40001", "40P01", "55P03", "57014"}, e.Code)
}

// ReplicaStats are figures of the read replica.
type ReplicaStats struct {
	Why       string // everything is read on the primary; "": the replica is read
	Reads     uint64 // that it has answered
	Fallbacks [numFallbacks]uint64
	LagBytes  int64         // of the log, that it has to replay
	Lag       time.Duration // since it had replayed everything there was; right to a second
}

// Replica returns the figures of the read replica, if there is one.
func (s *Store) Replica() (stats ReplicaStats, ok bool) {
	r := s.replica
	if r == nil {
		return stats, false
	}
	stats.Reads = r.reads.Load()
	for f := range r.fallbacks {
		stats.Fallbacks[f] = r.fallbacks[f].Load()
	}
	if _, err := r.usable(); err != nil {
		stats.Why = err.Error()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	stats.LagBytes, stats.Lag = r.lag.bytes, r.lag.since(time.Now())
	return stats, true
}

// newReadReplica makes one that is to be run.
func newReadReplica(s *Store, cfg Config) (*readReplica, error) {
	server, err := ParsePostgresURL(cfg.ReadURL)
	if err != nil {
		return nil, fmt.Errorf("read replica: %w", err)
	}
	r := &readReplica{store: s, server: server, greeter: newGreeter(cfg.ReadURL, cfg.Log), conns: cfg.MaxConns, watchdog: newWatchdog(server, cfg.Log), log: cfg.Log,
		doubts: make(chan struct{}, 1), why: errUnseen}
	r.watchdog.tell = func(error) { r.doubt() }
	r.watchdog.dropIdle = r.dropIdle
	r.watchdog.attend(server)
	return r, nil
}

// readNotes has notes of owner's read by fn, which may be called twice: what is
// read is the primary's of one moment. fn reads nothing else.
func (s *Store) readNotes(ctx context.Context, owner string, fn func(db *gorm.DB) error) error {
	if s.replica != nil {
		err := s.replica.read(ctx, owner, fn)
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	return s.readOnPrimary(ctx, owner, fn)
}

func (s *Store) readOnPrimary(ctx context.Context, _ string, fn func(db *gorm.DB) error) error {
	return fn(s.reader(ctx))
}

// read is readNotes on the standby. With an error nothing was read.
func (r *readReplica) read(ctx context.Context, owner string, fn func(db *gorm.DB) error) error {
	standby, err := r.usable()
	if err == nil {
		now, unknown := r.store.primaryVersion(ctx, owner)
		if unknown != nil {
			return unknown // whoever reads there will hear why
		}
		err = r.inTime(ctx, func(ctx context.Context) error { return standby.read(ctx, owner, now, fn) })
	}
	switch {
	case err == nil:
		r.reads.Add(1)
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	f := fallbackFor(err)
	r.fallbacks[f].Add(1)
	if f == Down || f == Unfit || f == Failed {
		r.give(err)
	}
	return err
}

// inTime leaves half of the time that ctx has for the primary.
func (r *readReplica) inTime(ctx context.Context, fn func(ctx context.Context) error) error {
	if end, ok := ctx.Deadline(); ok {
		half, cancel := context.WithTimeout(ctx, time.Until(end)/2)
		defer cancel()
		ctx = half
	}
	return fn(ctx)
}

// usable is the standby to read, or why it is not to be read.
func (r *readReplica) usable() (*standby, error) {
	if err := r.watchdog.err(); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.standby.Load(), r.why
}

// give has everybody read the primary until the standby has been looked at, which is to be soon.
func (r *readReplica) give(err error) {
	r.mu.Lock()
	if r.why == nil {
		r.why = err
	}
	r.mu.Unlock()
	r.doubt()
}

// doubt has the standby looked at before its time.
func (r *readReplica) doubt() {
	select {
	case r.doubts <- struct{}{}:
	default:
	}
}

const (
	lookEvery = time.Second            // at a standby
	lookLeast = 100 * time.Millisecond // between two looks
	lookTime  = 2 * time.Second        // that one may take
	muchLag   = 10 * time.Second       // worth a word
)

// run looks at the standby until ctx ends.
func (r *readReplica) run(ctx context.Context) {
	for r.store.state.wait(ctx) == nil && ctx.Err() == nil {
		r.look(ctx)
		if pause(ctx, lookLeast) != nil {
			return
		}
		select {
		case <-r.doubts:
		case <-time.After(lookEvery - lookLeast):
		case <-ctx.Done():
		}
	}
}

// look finds out whether the standby can be read. While the primary does not
// answer, that is not known and does not matter.
func (r *readReplica) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	now, err := r.store.primaryPosition(ctx)
	if err != nil {
		return
	}
	asked := time.Now()
	replayed, err := r.lookAt(ctx, now)
	if gone := r.watchdog.err(); gone != nil {
		err = gone
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.why = err
	if err == nil {
		r.lag.note(asked, now.LSN, replayed)
	}
	r.tell()
}

// tell logs, once, what is wrong with the standby, and that nothing is any more. The caller holds mu.
func (r *readReplica) tell() {
	trouble := r.why
	if trouble == nil && r.lag.since(time.Now()) >= muchLag {
		trouble = errBehind
	}
	switch {
	case trouble == nil && r.said != nil:
		r.log.Info("read replica is in use again")
	case trouble == nil || r.said != nil && fallbackFor(r.said) == fallbackFor(trouble):
		return
	case trouble == errBehind:
		r.log.Warn("read replica is far behind, lists of those who have written since are read on the primary", "bytes", r.lag.bytes)
	default:
		r.log.Warn("read replica is not used, lists are read on the primary", "error", trouble)
	}
	r.said = trouble
}

// lookAt returns up to where the standby has replayed the log of a primary that is now so.
func (r *readReplica) lookAt(ctx context.Context, now position) (replayed int64, err error) {
	if err := r.watchdog.err(); err != nil {
		return 0, err
	}
	standby := r.standby.Load()
	if standby == nil || standby.follows != now.origin() {
		if standby, err = r.follow(now.origin()); err != nil {
			return 0, err
		}
	}
	return standby.look(ctx, now, func(db *gorm.DB) error {
		_, err := r.store.noteRefs(db, "", ListQuery{Search: "needle", Tags: []string{"tag"}})
		return err
	})
}

// follow makes the connections to standbys of another origin, and lets go of those that there are.
func (r *readReplica) follow(o origin) (*standby, error) {
	next, err := newStandby(r.server, r.greeter, o, r.conns)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errors.Join(errUnseen, next.close())
	}
	last := r.standby.Swap(next)
	if last != nil {
		return next, last.close()
	}
	return next, nil
}

func (r *readReplica) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if standby := r.standby.Load(); standby != nil {
		return standby.close()
	}
	return nil
}

func (r *readReplica) dropIdle() {
	if standby := r.standby.Load(); standby != nil {
		standby.dropIdle()
	}
}

func (r *readReplica) stats() (sql.DBStats, bool) {
	standby := r.standby.Load()
	if standby == nil {
		return sql.DBStats{}, false
	}
	return pool(standby.db).Stats(), true
}
