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

// A monitoredConn is one network connection to PostgreSQL that a healthMonitor watches. The
// connection may still be in the making. Times are the monitor's: nanoseconds since it began.
type monitoredConn struct {
	// Conn is nil while the connection is being made. Until then the health monitor's mu guards it.
	net.Conn
	monitor *healthMonitor
	giveUp  func() // cancels the dial

	pid       atomic.Uint32 // of the server process at the other end; 0: not known
	connected atomic.Bool   // pgx reads from it through answers
	waiting   atomic.Int64  // start of the current wait for the server; 0: no caller waits
	heard     atomic.Int64  // when bytes were last received
	writing   atomic.Int64  // start of the current Write; 0: none is under way
	wrote     atomic.Int64  // when the last Write ended
	aborted   atomic.Bool   // set by the health monitor
	reading   sync.Mutex    // held by a Read

	// Only the health monitor's loop uses these fields. doubts counts the consecutive looks at
	// which the server knew nothing of the awaited request. doubt is the start of that wait.
	doubts int
	doubt  int64
}

// Read counts as a wait for the server only until pgx is connected. After that pgx also reads idle
// connections in the background (jackc/pgx#1673), and connections that it is about to close. From
// then on answers records the waits.
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

// endReading ends a background Read, one that is under way while no caller waits for the server. To
// pgx the end looks like a deadline. It ends pgx's background read and nothing else.
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

// answers is the reader from which pgx takes the server's messages. A Read of it means that a
// caller waits for a message.
type answers struct {
	io.Reader
	conn *monitoredConn
}

func (a answers) Read(b []byte) (int, error) {
	a.conn.wait()
	defer a.conn.waiting.Store(0)
	return a.Reader.Read(b)
}

// wait records that a caller waits for the server from now on.
func (w *monitoredConn) wait() {
	w.waiting.Store(w.monitor.now())
	w.monitor.wake()
}

// why returns err, or the health monitor's reason if the monitor caused err.
func (w *monitoredConn) why(err error) error {
	if err != nil && w.aborted.Load() {
		return w.monitor.whyAborted()
	}
	return err
}

func (w *monitoredConn) Close() error {
	w.monitor.remove(w)
	err := w.Conn.Close()
	if w.aborted.Load() { // abort has closed it already
		return nil
	}
	return err
}

// late reports whether, at now, a caller has waited for the connection, or written to it, for
// longer than slowAfter.
func (w *monitoredConn) late(now int64) bool {
	return overdue(w.waiting.Load(), now) || overdue(w.writing.Load(), now)
}

func overdue(since, now int64) bool { return since != 0 && now-since >= int64(slowAfter) }

// active reports whether a caller waits for the connection or writes to it.
func (w *monitoredConn) active() bool { return w.waiting.Load() != 0 || w.writing.Load() != 0 }

// stuck reports whether, at now, the connection's own server process has had a complete request for
// slowAfter and has sent nothing.
func (w *monitoredConn) stuck(now int64) bool {
	return w.pid.Load() != 0 && overdue(w.waiting.Load(), now) &&
		w.writing.Load() == 0 && now-w.wrote.Load() >= int64(slowAfter)
}

// doubted records whether the server knows the request that the connection waits for. It returns
// how many times in a row the server did not know it.
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

// monitoredUnder returns the monitoredConn that carries conn's bytes.
func monitoredUnder(conn *pgx.Conn) *monitoredConn { return monitoredOf(conn.PgConn().Conn()) }

// monitoredOf returns the monitoredConn that a connection of pgx is, or has under its TLS.
func monitoredOf(conn any) *monitoredConn {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	return conn.(*monitoredConn)
}
