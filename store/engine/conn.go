package engine

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// A monitoredConn is one network connection to PostgreSQL, or one in the making, that
// a healthMonitor watches. Times are the monitor's: nanoseconds since it began.
type monitoredConn struct {
	net.Conn // nil while it is being made; guarded by the health monitor's mu until then
	monitor  *healthMonitor
	giveUp   func() // ends the making

	pid       atomic.Uint32 // of the server's process at the other end; 0: not known
	connected atomic.Bool   // pgx reads it through answers
	waiting   atomic.Int64  // since when the server is waited for; 0: it is not
	heard     atomic.Int64  // when bytes last came
	writing   atomic.Int64  // since when bytes are on their way out; 0: none are
	wrote     atomic.Int64  // when they last were
	aborted   atomic.Bool   // by the health monitor
	reading   sync.Mutex    // held by a Read

	// Of its health monitor's loop alone: how often in a row the server knew nothing of
	// what is waited for, and since when that is.
	doubts int
	doubt  int64
}

// Read may be called when nobody waits for the server: once pgx is connected, it
// also reads idle connections in the background (jackc/pgx#1673), and those that it
// is about to close. So from then on answers tells who waits.
func (w *monitoredConn) Read(b []byte) (int, error) {
	if !w.connected.Load() {
		w.wait()
		defer w.waiting.Store(0)
	}
	w.reading.Lock()
	defer w.reading.Unlock()
	n, err := w.Conn.Read(b)
	if n > 0 {
		w.heard.Store(w.monitor.now())
	}
	return n, w.why(err)
}

func (w *monitoredConn) Write(b []byte) (int, error) {
	w.writing.Store(w.monitor.now())
	w.monitor.wake()
	n, err := w.Conn.Write(b)
	w.wrote.Store(w.monitor.now())
	w.writing.Store(0)
	return n, w.why(err)
}

// endReading ends a Read that is under way while nobody waits for the server. To pgx
// it looks like a deadline, which ends its reading in the background and no more.
func (w *monitoredConn) endReading() error {
	if w.reading.TryLock() {
		w.reading.Unlock()
		return nil
	}
	if err := w.Conn.SetReadDeadline(time.Unix(1, 0)); err != nil {
		return err
	}
	w.reading.Lock()
	defer w.reading.Unlock()
	return w.Conn.SetReadDeadline(time.Time{})
}

// answers is what pgx reads the server's messages from. A Read of it is somebody
// who waits for one.
type answers struct {
	io.Reader
	conn *monitoredConn
}

func (a answers) Read(b []byte) (int, error) {
	a.conn.wait()
	defer a.conn.waiting.Store(0)
	return a.Reader.Read(b)
}

// wait says that somebody waits for the server from now on.
func (w *monitoredConn) wait() {
	w.waiting.Store(w.monitor.now())
	w.monitor.wake()
}

// why is err, or the reason for it where the health monitor caused it.
func (w *monitoredConn) why(err error) error {
	if err != nil && w.aborted.Load() {
		return w.monitor.whyAborted()
	}
	return err
}

func (w *monitoredConn) Close() error {
	w.monitor.remove(w)
	err := w.Conn.Close()
	if w.aborted.Load() { // and so closed already
		return nil
	}
	return err
}

// late reports whether, at now, the connection has been waited for, or written to, for
// longer than slowAfter.
func (w *monitoredConn) late(now int64) bool {
	return overdue(w.waiting.Load(), now) || overdue(w.writing.Load(), now)
}

func overdue(since, now int64) bool { return since != 0 && now-since >= int64(slowAfter) }

// active reports whether somebody waits for the connection or writes to it.
func (w *monitoredConn) active() bool { return w.waiting.Load() != 0 || w.writing.Load() != 0 }

// stuck reports whether, at now, the connection's own server process has had a
// whole request for slowAfter and said nothing.
func (w *monitoredConn) stuck(now int64) bool {
	return w.pid.Load() != 0 && overdue(w.waiting.Load(), now) &&
		w.writing.Load() == 0 && now-w.wrote.Load() >= int64(slowAfter)
}

// doubted notes whether the server knows what the connection is waited for, and
// returns how often in a row it did not.
func (w *monitoredConn) doubted(known bool) int {
	since := w.waiting.Load()
	if known || since != w.doubt {
		w.doubts, w.doubt = 0, since
	}
	if !known {
		w.doubts++
	}
	return w.doubts
}

// monitoredUnder is the monitoredConn that conn's bytes go over.
func monitoredUnder(conn *pgx.Conn) *monitoredConn { return monitoredOf(conn.PgConn().Conn()) }

// monitoredOf is the monitoredConn that a connection of pgx's is, or has under its TLS.
func monitoredOf(conn any) *monitoredConn {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	return conn.(*monitoredConn)
}
