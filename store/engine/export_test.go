package engine

import (
	"net"
	"sync/atomic"
	"time"
)

// Sever ends every connection of d to PostgreSQL, as its health monitor does with those that went dead.
func Sever(d *DB) { d.monitor.abort(d.monitor.those(func(*monitoredConn) bool { return true })...) }

// lateWriter is a connection whose writer gets no core for a while after a write.
type lateWriter struct {
	*net.TCPConn
	prompt *atomic.Bool // no longer
}

func (c lateWriter) Write(b []byte) (int, error) {
	n, err := c.TCPConn.Write(b)
	if !c.prompt.Load() {
		time.Sleep(40 * time.Millisecond)
	}
	return n, err
}

// LateWrites has all connections of d to PostgreSQL, which are idle, write so until it is told to stop.
func LateWrites(d *DB) (stop func()) {
	prompt := new(atomic.Bool)
	d.monitor.mu.Lock()
	defer d.monitor.mu.Unlock()
	for w := range d.monitor.conns {
		w.Conn = lateWriter{w.Conn.(*net.TCPConn), prompt}
	}
	return func() { prompt.Store(true) }
}

// Reads is how many connections of d to PostgreSQL are being read.
func Reads(d *DB) int {
	return len(d.monitor.those(func(w *monitoredConn) bool {
		idle := w.reading.TryLock()
		if idle {
			w.reading.Unlock()
		}
		return !idle
	}))
}
