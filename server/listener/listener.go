// Package listener accepts the clients' connections: their number is bounded, they are counted, and
// on shutdown none that the kernel has accepted is lost.
package listener

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// A Listener closes only when its backlog is empty: the backlog has connections that the kernel has
// completed, and would reset. If another process shares the socket, the backlog is left to it.
type Listener struct {
	*net.TCPListener
	shared, draining atomic.Bool
}

// New makes a Listener. shared tells whether another process has the same socket.
func New(tcp *net.TCPListener, shared bool) *Listener {
	l := &Listener{TCPListener: tcp}
	l.shared.Store(shared)
	return l
}

// SetShared says that another process has the same socket from now on.
func (l *Listener) SetShared() { l.shared.Store(true) }

// Drain makes Accept return the connections in the backlog, unless they are left to another process,
// and then close the Listener.
func (l *Listener) Drain() {
	l.draining.Store(true)
	_ = l.SetDeadline(time.Now()) // ends the Accept that waits
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
	return &Conn{Conn: c}, nil
}

// acceptBacklog accepts a connection of the backlog, or closes the listener if there is none. It
// calls the kernel itself: TCPListener.Accept would report its deadline first.
func (l *Listener) acceptBacklog() (net.Conn, error) {
	raw, err := l.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	controlErr := raw.Control(func(ln uintptr) {
		_ = syscall.Listen(int(ln), 0) // the kernel puts new clients off, and refuses them when they try again
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
