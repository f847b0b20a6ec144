// Package listener accepts the clients' connections. It limits and counts them. On shutdown it
// loses no connection that the kernel has accepted.
package listener

import (
	"errors"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// A Listener closes only when its backlog is empty. The backlog has connections that the kernel has
// completed, and that the kernel would reset. If another process shares the socket, the backlog is
// left to that process.
type Listener struct {
	*net.TCPListener
	shared, draining atomic.Bool
	shedder          *shedding
}

// New returns a Listener. shared says whether another process has the same socket.
func New(tcp *net.TCPListener, shared bool) *Listener {
	l := &Listener{TCPListener: tcp}
	l.shared.Store(shared)
	return l
}

// ShedWith makes s reject requests on the connections that the Listener accepts, before h sees them.
// h must serve the Listener, with WithConn and with the ConnState hook of t.
func (l *Listener) ShedWith(s Shedder, h *http.Server, t *Tracker) {
	l.shedder = &shedding{Shedder: s, tracker: t, headerTimeout: h.ReadHeaderTimeout, idleTimeout: h.IdleTimeout}
}

// SetShared says that another process has the same socket from now on.
func (l *Listener) SetShared() { l.shared.Store(true) }

// Drain makes Accept return the connections in the backlog, and then close the Listener. If another
// process shares the socket, Accept leaves the backlog to that process.
func (l *Listener) Drain() {
	l.draining.Store(true)
	_ = l.SetDeadline(time.Now()) // ends a blocked Accept
}

// Accept returns the next connection, as a *Conn.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.TCPListener.Accept()
	if err != nil && l.draining.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
		if l.shared.Load() {
			return nil, errors.Join(net.ErrClosed, l.Close())
		}
		c, err = l.acceptBacklog()
	}
	if err != nil {
		return nil, err
	}
	setUserTimeout(c)
	return &Conn{Conn: c, shedder: l.shedder}, nil
}

// acceptBacklog accepts a connection from the backlog. If there is none, it closes the listener. It
// calls the kernel itself, because TCPListener.Accept would report its deadline first.
func (l *Listener) acceptBacklog() (net.Conn, error) {
	raw, err := l.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	controlErr := raw.Control(func(ln uintptr) {
		// The kernel puts new clients off, and refuses them when they try again.
		_ = syscall.Listen(int(ln), 0)
		fd, _, err = syscall.Accept(int(ln))
	})
	if err := errors.Join(controlErr, err); err != nil {
		_ = l.Close()
		return nil, net.ErrClosed
	}
	syscall.CloseOnExec(fd)
	_ = syscall.SetNonblock(fd, true)
	f := os.NewFile(uintptr(fd), "")
	defer f.Close() // FileConn duplicates the descriptor
	return net.FileConn(f)
}
