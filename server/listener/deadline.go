package listener

import (
	"errors"
	"os"
	"sync"
	"time"
)

// A readDeadline is the deadline of a connection's reads. net/http sets it six times for each request,
// and mostly to a later time. It is set on the socket only when a read needs it: there an earlier one
// may still be in force, and when that passes the read goes on.
type readDeadline struct {
	mu      sync.Mutex
	wanted  time.Time // as it was set; zero: none
	inForce time.Time // as the socket has it
	reading bool      // a read waits for the socket
}

// longAgo is after the time that net/http sets to end a read at once.
var longAgo = time.Unix(1000, 0)

// endsReads reports whether the deadline t is one that ends reads at once.
func endsReads(t time.Time) bool { return t.Before(longAgo) && !t.IsZero() }

// tooLate reports whether the deadline in force lets a read wait for longer than wanted.
func (d *readDeadline) tooLate() bool {
	return !d.wanted.IsZero() && (d.inForce.IsZero() || d.wanted.Before(d.inForce))
}

// SetReadDeadline sets the deadline of reads, and of the read that waits.
func (c *Conn) SetReadDeadline(t time.Time) error {
	d := &c.deadline
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = t
	if d.reading && d.tooLate() {
		return c.enforceDeadline()
	}
	return nil
}

// SetDeadline sets the deadline of reads and writes.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.Conn.SetWriteDeadline(t))
}

// enforceDeadline sets the wanted deadline on the socket. The caller holds the mutex.
func (c *Conn) enforceDeadline() error {
	c.deadline.inForce = c.deadline.wanted
	return c.Conn.SetReadDeadline(c.deadline.wanted)
}

// readWithin reads until the wanted deadline.
func (c *Conn) readWithin(p []byte) (n int, err error) {
	d := &c.deadline
	d.mu.Lock()
	defer d.mu.Unlock()
	if endsReads(d.wanted) {
		return 0, os.ErrDeadlineExceeded
	}
	for {
		if d.tooLate() || endsReads(d.inForce) {
			if err := c.enforceDeadline(); err != nil {
				return 0, err
			}
		}
		d.reading = true
		d.mu.Unlock()
		n, err = c.Conn.Read(p)
		d.mu.Lock()
		d.reading = false
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) ||
			!d.wanted.IsZero() && time.Until(d.wanted) <= 0 {
			return n, err
		}
		if err := c.enforceDeadline(); err != nil { // an earlier deadline was in force
			return 0, err
		}
	}
}
