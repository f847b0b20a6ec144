// Package listener accepts connections: bounded, counted and drained.
package listener

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// A Listener closes only when its backlog is empty: the kernel has completed
// connections there that nobody has accepted yet, and would reset them. But
// when another process has the same socket, the backlog is that one's.
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

// Drain has Accept take what is in the backlog, unless that is another's, and close then.
func (l *Listener) Drain() {
	l.draining.Store(true)
	_ = l.SetDeadline(time.Now()) // for the Accept that waits
}

func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.TCPListener.Accept()
	if err != nil && l.draining.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
		if l.shared.Load() {
			return nil, errors.Join(net.ErrClosed, l.Close())
		}
		c, err = l.acceptLast()
	}
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: c}, nil
}

// acceptLast accepts a connection of the backlog, or closes the listener when
// there is none. It asks the kernel itself: Accept's deadline would come first.
func (l *Listener) acceptLast() (net.Conn, error) {
	raw, err := l.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	controlErr := raw.Control(func(ln uintptr) {
		_ = syscall.Listen(int(ln), 0) // new clients are put off by the kernel, and refused when they try again
		fd, _, err = syscall.Accept(int(ln))
	})
	if err := errors.Join(controlErr, err); err != nil {
		_ = l.Close()
		return nil, net.ErrClosed
	}
	syscall.CloseOnExec(fd)
	_ = syscall.SetNonblock(fd, true)
	f := os.NewFile(uintptr(fd), "")
	defer f.Close() // FileConn has one of its own
	return net.FileConn(f)
}
