package engine

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// With these, and silence, who asks a server that has gone knows it within
// beat + patience + silence: 800 ms.
const (
	beat     = 100 * time.Millisecond // between looks, while somebody waits
	patience = 200 * time.Millisecond // how long a statement may take before it is in doubt
	retry    = 250 * time.Millisecond // between attempts to reach a server that is gone

	// lastDoubt is the look in a row at which a wire is given up that the
	// server, which is well, knows nothing of: 700 ms after its request.
	lastDoubt = 5
)

var (
	errSilent  = Unavailable(errors.New("the server has fallen silent"))
	errGivenUp = Unavailable(errors.New("connection given up: the server is gone"))
	errSentry  = errors.New("the server answers, but not on the watchdog's connection")
)

// A watchdog tells a PostgreSQL server that is gone from one that is slow.
// Both say nothing for a while, and a client that waits sees no difference; so
// while a statement takes longer than patience it asks on a connection of its
// own, the sentry, whether the server is alive and at work on that statement.
//
// It promises:
//   - A server from which nothing comes for silence, on the sentry or any other
//     connection, is gone. All that wait for it get ErrUnavailable at once, and
//     so does everybody else until it answers again.
//   - A single connection whose far end has vanished is closed, and who waits
//     for it gets ErrUnavailable.
//   - A statement that the server is at work on is left alone, however long.
//   - A server that is back is in use again within retry and what it takes to
//     connect.
//
// While nobody waits it does nothing at all.
type watchdog struct {
	server   *pgx.ConnConfig // of the sentry
	silence  time.Duration
	log      *slog.Logger
	began    time.Time
	busy     chan struct{}    // has a token when somebody has begun to wait
	dropIdle func()           // lets go of the connections that lie idle
	tell     func(gone error) // says that the server is gone, or with nil that it is back

	mu    sync.Mutex // guards what follows
	wires map[*wire]struct{}
	gone  error // nil: the server answers, as far as is known
}

// patientDialer keeps connections alive on which nothing is said for long, the sentry's
// among them: no firewall forgets them.
var patientDialer = net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
	Enable: true, Idle: 5 * time.Second, Interval: time.Second, Count: 3,
}}

// DialPatiently is what a pgx.ConnConfig of a connection that waits most of the time dials with.
func DialPatiently(ctx context.Context, network, address string) (net.Conn, error) {
	return patientDialer.DialContext(ctx, network, address)
}

func newWatchdog(server *pgx.ConnConfig, log *slog.Logger) *watchdog {
	d := &watchdog{
		server:  server.Copy(),
		silence: server.ConnectTimeout / 2,
		log:     log, began: time.Now(), busy: make(chan struct{}, 1), dropIdle: func() {},
		wires: make(map[*wire]struct{}),
	}
	d.tell = func(gone error) {
		if gone != nil {
			log.Warn("database is gone", "error", gone)
		} else {
			log.Info("database answers")
		}
	}
	d.server.DialFunc = DialPatiently
	return d
}

// now is the time since the start, in nanoseconds and never 0.
func (d *watchdog) now() int64 { return max(1, int64(time.Since(d.began))) }

// wake has run look, if it sleeps.
func (d *watchdog) wake() {
	select {
	case d.busy <- struct{}{}:
	default:
	}
}

// err is nil while the server answers, else why it may not be asked.
func (d *watchdog) err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.gone
}

// whySevered is why the server is gone, or errGivenUp where only one connection was.
func (d *watchdog) whySevered() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.severedBecause()
}

// severedBecause is whySevered for a caller that holds mu.
func (d *watchdog) severedBecause() error {
	if d.gone != nil {
		return d.gone
	}
	return errGivenUp
}

// attend has d watch the connections that pgx makes with cfg.
func (d *watchdog) attend(cfg *pgx.ConnConfig) {
	cfg.DialFunc = d.dial
	build := cfg.BuildFrontend
	cfg.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		wire := wireOf(w)
		wire.connected.Store(true)
		return build(answers{r, wire}, w)
	}
}

// dial makes a wire. It is what pgx connects with.
func (d *watchdog) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &wire{dog: d, giveUp: cancel}
	if err := d.add(w); err != nil {
		return nil, err
	}
	w.wait()
	conn, err := DialPatiently(ctx, network, address)
	w.waiting.Store(0)
	if err != nil {
		d.remove(w)
		if errors.Is(err, context.Canceled) {
			err = w.why(err)
		}
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	w.Conn = conn
	if w.severed.Load() {
		_ = conn.Close() // nothing has been said on it
		return nil, w.dog.severedBecause()
	}
	return w, nil
}

func (d *watchdog) add(w *wire) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gone != nil {
		return d.gone
	}
	d.wires[w] = struct{}{}
	return nil
}

func (d *watchdog) remove(w *wire) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.wires, w)
}

// sever ends wires. A caller that waits for one gets the reason of whySevered.
func (d *watchdog) sever(wires ...*wire) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range wires {
		w.severed.Store(true)
		delete(d.wires, w)
		w.giveUp()
		if w.Conn != nil {
			_ = w.Conn.Close() // nobody is there to hear it
		}
	}
}

// those returns the wires that are as asked.
func (d *watchdog) those(are func(*wire) bool) (found []*wire) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for w := range d.wires {
		if are(w) {
			found = append(found, w)
		}
	}
	return found
}

func (d *watchdog) some(are func(*wire) bool) bool { return len(d.those(are)) > 0 }

// run watches until ctx ends.
func (d *watchdog) run(ctx context.Context) {
	for ctx.Err() == nil {
		sentry, err := pgx.ConnectConfig(ctx, d.server)
		if err != nil {
			if ctx.Err() == nil && !refusesOne(err) {
				d.lose(err)
			}
			_ = Pause(ctx, retry)
			continue
		}
		d.find()
		if err := d.watch(ctx, sentry); errors.Is(err, errSilent) {
			d.lose(err)
		}
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), retry)
		_ = sentry.Close(ending) // it may be broken
		cancel()
	}
}

// refusesOne reports whether err is the answer of a server that is there, if not
// for the sentry: it may have no connection to spare.
func refusesOne(err error) bool {
	const intervention = "57" // it stops, starts or recovers, and is there for nobody
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && !strings.HasPrefix(e.Code, intervention)
}

// lose has everybody who waits for the server, and who comes, know that it is gone.
func (d *watchdog) lose(cause error) {
	gone := Unavailable(cause)
	d.mu.Lock()
	known := d.gone != nil
	d.gone = gone
	d.mu.Unlock()
	if known {
		return
	}
	d.tell(gone)
	d.sever(d.those(func(*wire) bool { return true })...)
	d.dropIdle()
}

// find lets everybody ask the server again.
func (d *watchdog) find() {
	d.mu.Lock()
	known := d.gone != nil
	d.gone = nil
	d.mu.Unlock()
	if known {
		d.tell(nil)
	}
}

// watch asks, whenever a statement takes long, until the sentry breaks, the
// server falls silent (errSilent) or ctx ends.
func (d *watchdog) watch(ctx context.Context, sentry *pgx.Conn) error {
	for {
		if !d.some((*wire).active) {
			select {
			case <-d.busy:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := Pause(ctx, beat); err != nil {
			return err
		}
		now := d.now()
		if !d.some(func(w *wire) bool { return w.late(now) }) {
			continue
		}
		if err := d.ask(ctx, sentry); err != nil {
			return err
		}
	}
}

// ask asks the server for a sign of life, and which of the stuck wires'
// statements it is at work on. A wire whose statement it repeatedly knows
// nothing of is severed.
func (d *watchdog) ask(ctx context.Context, sentry *pgx.Conn) error {
	began := d.now()
	stuck := d.those(func(w *wire) bool { return w.stuck(began) })
	pids := make([]uint32, len(stuck))
	for i, w := range stuck {
		pids[i] = w.pid.Load()
	}
	busy, err := d.busyAmong(ctx, sentry, pids)
	if err != nil {
		if errors.Is(err, errSilent) && d.some(func(w *wire) bool { return w.heard.Load() >= began }) {
			return errSentry
		}
		return err
	}
	for i, w := range stuck {
		known := slices.Contains(busy, pids[i])
		if w.stuck(began) && w.doubted(known) == lastDoubt {
			d.log.Warn("connection to the database has gone dead", "pid", pids[i])
			d.sever(w)
		}
	}
	return nil
}

// busyAmong returns those of the server's processes that are at work on a
// statement, or all where a pooler in between makes its numbers meaningless.
// A server that keeps its states to itself says NULL. errSilent: no answer.
func (d *watchdog) busyAmong(ctx context.Context, sentry *pgx.Conn, pids []uint32) ([]uint32, error) {
	asking, cancel := context.WithTimeout(ctx, d.silence)
	defer cancel()
	var own uint32
	var busy []uint32
	err := sentry.QueryRow(asking, `SELECT pg_backend_pid(), ARRAY(SELECT pid FROM pg_stat_activity
		WHERE pid = ANY($1::int[]) AND (state IS NULL OR state NOT LIKE 'idle%'))`, pids).Scan(&own, &busy)
	switch {
	case err != nil && asking.Err() != nil && ctx.Err() == nil:
		return nil, errSilent
	case err != nil:
		return nil, err
	case own != sentry.PgConn().PID():
		return pids, nil
	}
	return busy, nil
}
