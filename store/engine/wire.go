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

// A wire is one network connection to PostgreSQL, or one in the making, under
// the eyes of a watchdog. Times are the watchdog's: nanoseconds since it began.
type wire struct {
	net.Conn // nil while it is being made; guarded by the watchdog's mu until then
	dog      *watchdog
	giveUp   func() // ends the making

	pid       atomic.Uint32 // of the server's process at the other end; 0: not known
	connected atomic.Bool   // pgx reads it through answers
	waiting   atomic.Int64  // since when the server is waited for; 0: it is not
	heard     atomic.Int64  // when bytes last came
	writing   atomic.Int64  // since when bytes are on their way out; 0: none are
	wrote     atomic.Int64  // when they last were
	severed   atomic.Bool   // by the watchdog
	reading   sync.Mutex    // held by a Read

	// Of its watchdog's loop alone: how often in a row the server knew nothing of
	// what is waited for, and since when that is.
	doubts int
	doubt  int64
}

// Read may be called when nobody waits for the server: once pgx is connected, it
// also reads idle connections in the background (jackc/pgx#1673), and those that it
// is about to close. So from then on answers tells who waits.
func (w *wire) Read(b []byte) (int, error) {
	if !w.connected.Load() {
		w.wait()
		defer w.waiting.Store(0)
	}
	w.reading.Lock()
	defer w.reading.Unlock()
	n, err := w.Conn.Read(b)
	if n > 0 {
		w.heard.Store(w.dog.now())
	}
	return n, w.why(err)
}

func (w *wire) Write(b []byte) (int, error) {
	w.writing.Store(w.dog.now())
	w.dog.wake()
	n, err := w.Conn.Write(b)
	w.wrote.Store(w.dog.now())
	w.writing.Store(0)
	return n, w.why(err)
}

// endReading ends a Read that is under way while nobody waits for the server. To pgx
// it looks like a deadline, which ends its reading in the background and no more.
func (w *wire) endReading() error {
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
	wire *wire
}

func (a answers) Read(b []byte) (int, error) {
	a.wire.wait()
	defer a.wire.waiting.Store(0)
	return a.Reader.Read(b)
}

// wait says that somebody waits for the server from now on.
func (w *wire) wait() {
	w.waiting.Store(w.dog.now())
	w.dog.wake()
}

// why is err, or the reason for it where the watchdog caused it.
func (w *wire) why(err error) error {
	if err != nil && w.severed.Load() {
		return w.dog.whySevered()
	}
	return err
}

func (w *wire) Close() error {
	w.dog.remove(w)
	err := w.Conn.Close()
	if w.severed.Load() { // and so closed already
		return nil
	}
	return err
}

// late reports whether, at now, the wire has been waited for, or written to, for
// longer than patience.
func (w *wire) late(now int64) bool {
	return overdue(w.waiting.Load(), now) || overdue(w.writing.Load(), now)
}

func overdue(since, now int64) bool { return since != 0 && now-since >= int64(patience) }

// active reports whether somebody waits for the wire or writes to it.
func (w *wire) active() bool { return w.waiting.Load() != 0 || w.writing.Load() != 0 }

// stuck reports whether, at now, the wire's own server process has had a
// whole request for patience and said nothing.
func (w *wire) stuck(now int64) bool {
	return w.pid.Load() != 0 && overdue(w.waiting.Load(), now) && w.writing.Load() == 0 && now-w.wrote.Load() >= int64(patience)
}

// doubted notes whether the server knows what the wire is waited for, and
// returns how often in a row it did not.
func (w *wire) doubted(known bool) int {
	since := w.waiting.Load()
	if known || since != w.doubt {
		w.doubts, w.doubt = 0, since
	}
	if !known {
		w.doubts++
	}
	return w.doubts
}

// wireUnder is the wire that conn's bytes go over.
func wireUnder(conn *pgx.Conn) *wire { return wireOf(conn.PgConn().Conn()) }

// wireOf is the wire that a connection of pgx's is, or has under its TLS.
func wireOf(conn any) *wire {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	return conn.(*wire)
}
