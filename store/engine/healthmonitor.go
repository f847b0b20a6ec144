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

// With these intervals and probeTimeout, a caller that waits for a server that is gone learns it
// within checkInterval + slowAfter + probeTimeout: 800 ms.
const (
	checkInterval = 100 * time.Millisecond // between checks, while a caller waits
	slowAfter     = 200 * time.Millisecond // from then on the monitor asks about a statement
	retry         = 250 * time.Millisecond // between attempts to reach a server that is gone

	// maxDoubts is the number of consecutive checks after which a connection is aborted, if the
	// server answers but knows nothing of its request. That is 700 ms after the request.
	maxDoubts = 5
)

var (
	errSilent    = Unavailable(errors.New("the server has fallen silent"))
	errGivenUp   = Unavailable(errors.New("connection given up: the server is gone"))
	errProbeConn = errors.New("the server answers, but not on the probe connection")
)

// A healthMonitor tells a PostgreSQL server that is gone from one that is slow. Both send nothing
// for a while, and a waiting client sees no difference. So while a statement takes longer than
// slowAfter, the monitor asks on a connection of its own, the probe connection, whether the server
// is alive and at work on that statement.
//
// It promises:
//   - A server that sends nothing for probeTimeout, on the probe connection or any other, is gone.
//     All callers that wait for it get ErrUnavailable at once. So do all later callers until the
//     server answers again.
//   - A single connection whose far end has vanished is closed. A caller that waits for it gets
//     ErrUnavailable.
//   - A statement that the server is at work on is left alone, however long it takes.
//   - A server that is back is in use again within retry plus the time that it takes to connect.
//
// While no caller waits, the monitor does nothing at all.
type healthMonitor struct {
	server       *pgx.ConnConfig // configures the probe connection
	probeTimeout time.Duration
	log          *slog.Logger
	began        time.Time
	busy         chan struct{}    // has a token when a caller has begun to wait
	dropIdle     func()           // closes the idle connections
	report       func(gone error) // reports that the server is gone, or with nil that it is back

	mu    sync.Mutex // guards what follows
	conns map[*monitoredConn]struct{}
	down  error // nil: the server answers, as far as the monitor knows
}

// patientDialer dials with TCP keepalive. Its connections may be silent for long, as the probe
// connection is, and keepalive prevents firewalls from dropping them.
var patientDialer = net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
	Enable: true, Idle: 5 * time.Second, Interval: time.Second, Count: 3,
}}

// DialPatiently dials for a pgx.ConnConfig whose connection is idle most of the time.
func DialPatiently(ctx context.Context, network, address string) (net.Conn, error) {
	return patientDialer.DialContext(ctx, network, address)
}

func newHealthMonitor(server *pgx.ConnConfig, log *slog.Logger) *healthMonitor {
	m := &healthMonitor{
		server:       server.Copy(),
		probeTimeout: server.ConnectTimeout / 2,
		log:          log, began: time.Now(), busy: make(chan struct{}, 1), dropIdle: func() {},
		conns: make(map[*monitoredConn]struct{}),
	}
	m.report = func(gone error) {
		if gone != nil {
			log.Warn("database is gone", "error", gone)
		} else {
			log.Info("database answers")
		}
	}
	m.server.DialFunc = DialPatiently
	return m
}

// now returns the nanoseconds since the monitor's start. It is never 0.
func (m *healthMonitor) now() int64 { return max(1, int64(time.Since(m.began))) }

// wake makes run check, if it sleeps.
func (m *healthMonitor) wake() {
	select {
	case m.busy <- struct{}{}:
	default:
	}
}

// err returns nil while the server answers, and otherwise the reason why it can't be used.
func (m *healthMonitor) err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.down
}

// whyAborted returns the reason why the server is gone, or errGivenUp if the monitor aborted only
// one connection.
func (m *healthMonitor) whyAborted() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.abortedBecause()
}

// abortedBecause is whyAborted for a caller that holds mu.
func (m *healthMonitor) abortedBecause() error {
	if m.down != nil {
		return m.down
	}
	return errGivenUp
}

// watchConnsOf makes m watch the connections that pgx makes with cfg.
func (m *healthMonitor) watchConnsOf(cfg *pgx.ConnConfig) {
	cfg.DialFunc = m.dial
	build := cfg.BuildFrontend
	cfg.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		conn := monitoredOf(w)
		conn.connected.Store(true)
		return build(answers{r, conn}, w)
	}
}

// dial makes a monitored connection. It is pgx's DialFunc.
func (m *healthMonitor) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &monitoredConn{monitor: m, giveUp: cancel}
	if err := m.add(w); err != nil {
		return nil, err
	}
	w.wait()
	conn, err := DialPatiently(ctx, network, address)
	w.waiting.Store(0)
	if err != nil {
		m.remove(w)
		if errors.Is(err, context.Canceled) {
			err = w.why(err)
		}
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	w.Conn = conn
	if w.aborted.Load() {
		_ = conn.Close() // nothing has been sent on it
		return nil, w.monitor.abortedBecause()
	}
	return w, nil
}

func (m *healthMonitor) add(w *monitoredConn) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down != nil {
		return m.down
	}
	m.conns[w] = struct{}{}
	return nil
}

func (m *healthMonitor) remove(w *monitoredConn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.conns, w)
}

// abort closes connections. A caller that waits for one gets the reason of whyAborted.
func (m *healthMonitor) abort(conns ...*monitoredConn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range conns {
		w.aborted.Store(true)
		delete(m.conns, w)
		w.giveUp()
		if w.Conn != nil {
			_ = w.Conn.Close() // the other end is gone, or is given up
		}
	}
}

// those returns the connections that meet the condition.
func (m *healthMonitor) those(are func(*monitoredConn) bool) (found []*monitoredConn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for w := range m.conns {
		if are(w) {
			found = append(found, w)
		}
	}
	return found
}

func (m *healthMonitor) some(are func(*monitoredConn) bool) bool { return len(m.those(are)) > 0 }

// run watches until ctx ends.
func (m *healthMonitor) run(ctx context.Context) {
	for ctx.Err() == nil {
		probe, err := pgx.ConnectConfig(ctx, m.server)
		if err != nil {
			if ctx.Err() == nil && !refusesOne(err) {
				m.markDown(err)
			}
			_ = Pause(ctx, retry)
			continue
		}
		m.markUp()
		if err := m.watch(ctx, probe); errors.Is(err, errSilent) {
			m.markDown(err)
		}
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), retry)
		_ = probe.Close(ending) // it may be broken
		cancel()
	}
}

// refusesOne reports whether err is an answer of a running server that refuses only the probe
// connection. The server may have no connection to spare.
func refusesOne(err error) bool {
	const intervention = "57" // class 57: the server stops, starts or recovers
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && !strings.HasPrefix(e.Code, intervention)
}

// markDown marks the server as gone. All callers that wait for it, and all later ones, get the
// error.
func (m *healthMonitor) markDown(cause error) {
	gone := Unavailable(cause)
	m.mu.Lock()
	known := m.down != nil
	m.down = gone
	m.mu.Unlock()
	if known {
		return
	}
	m.report(gone)
	m.abort(m.those(func(*monitoredConn) bool { return true })...)
	m.dropIdle()
}

// markUp marks the server as reachable again.
func (m *healthMonitor) markUp() {
	m.mu.Lock()
	known := m.down != nil
	m.down = nil
	m.mu.Unlock()
	if known {
		m.report(nil)
	}
}

// watch probes the server whenever a statement takes long. It returns when the probe connection
// breaks, the server falls silent (errSilent) or ctx ends.
func (m *healthMonitor) watch(ctx context.Context, probe *pgx.Conn) error {
	for {
		if !m.some((*monitoredConn).active) {
			select {
			case <-m.busy:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := Pause(ctx, checkInterval); err != nil {
			return err
		}
		now := m.now()
		if !m.some(func(w *monitoredConn) bool { return w.late(now) }) {
			continue
		}
		if err := m.ask(ctx, probe); err != nil {
			return err
		}
	}
}

// ask probes the server for a sign of life, and asks which of the stuck connections' statements
// it is at work on. It aborts a connection after maxDoubts consecutive probes in which the server
// knew nothing of the statement.
func (m *healthMonitor) ask(ctx context.Context, probe *pgx.Conn) error {
	began := m.now()
	stuck := m.those(func(w *monitoredConn) bool { return w.stuck(began) })
	pids := make([]uint32, len(stuck))
	for i, w := range stuck {
		pids[i] = w.pid.Load()
	}
	busy, err := m.busyAmong(ctx, probe, pids)
	if err != nil {
		if errors.Is(err, errSilent) && m.some(func(w *monitoredConn) bool { return w.heard.Load() >= began }) {
			return errProbeConn
		}
		return err
	}
	for i, w := range stuck {
		known := slices.Contains(busy, pids[i])
		if w.stuck(began) && w.doubted(known) == maxDoubts {
			m.log.Warn("connection to the database has gone dead", "pid", pids[i])
			m.abort(w)
		}
	}
	return nil
}

// busyAmong returns those of the server processes pids that are at work on a statement. It returns
// all of them if a pooler in between makes the process ids meaningless. A server that hides its
// states returns NULL for them, which counts as at work. errSilent: the server did not answer.
func (m *healthMonitor) busyAmong(ctx context.Context, probe *pgx.Conn, pids []uint32) ([]uint32, error) {
	asking, cancel := context.WithTimeout(ctx, m.probeTimeout)
	defer cancel()
	var own uint32
	var busy []uint32
	err := probe.QueryRow(asking, `SELECT pg_backend_pid(), ARRAY(SELECT pid FROM pg_stat_activity
		WHERE pid = ANY($1::int[]) AND (state IS NULL OR state NOT LIKE 'idle%'))`, pids).Scan(&own, &busy)
	switch {
	case err != nil && asking.Err() != nil && ctx.Err() == nil:
		return nil, errSilent
	case err != nil:
		return nil, err
	case own != probe.PgConn().PID():
		return pids, nil
	}
	return busy, nil
}
