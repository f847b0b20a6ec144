package server

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// mostFresh is how many connections of one address may be without a complete
// request header. Trusted proxies have no such bound.
const mostFresh = 256

// connections knows the connections whose first request has not been read: a
// client that opens them and sends nothing is held to mostFresh, and when the
// server leaves they are closed rather than waited for. One that has been used
// is bounded by time alone: by headerTimeout once a header has begun, as the
// first, and by idleTimeout before.
type connections struct {
	exempt func(netip.Addr) bool
	seen   *clientCounts

	mu     sync.Mutex // guards what follows
	fresh  map[net.Conn]freshConn
	counts map[netip.Addr]int // of fresh, by address
}

type freshConn struct {
	addr  netip.Addr
	since time.Time
}

func newConnections(exempt func(netip.Addr) bool, seen *clientCounts) *connections {
	return &connections{exempt: exempt, seen: seen, fresh: map[net.Conn]freshConn{}, counts: map[netip.Addr]int{}}
}

// track is the http.Server's ConnState hook. A connection leaves StateNew when
// its header has been read.
func (c *connections) track(conn net.Conn, state http.ConnState) {
	if state != http.StateNew {
		c.forget(conn)
		return
	}
	peer, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err == nil && !c.admit(conn, peer.Addr().Unmap()) {
		c.seen.refused.Add(1)
		_ = conn.Close()
	}
}

func (c *connections) admit(conn net.Conn, addr netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts[addr] >= mostFresh && !c.exempt(addr) {
		return false
	}
	c.fresh[conn] = freshConn{addr, time.Now()}
	c.counts[addr]++
	return true
}

func (c *connections) forget(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	was, ok := c.fresh[conn]
	if !ok {
		return
	}
	delete(c.fresh, conn)
	if c.counts[was.addr]--; c.counts[was.addr] == 0 {
		delete(c.counts, was.addr)
	}
	if time.Since(was.since) >= headerTimeout { // net/http gives up then, and says no more of it
		c.seen.headers.Add(1)
	}
}

// closeFresh closes the connections that have asked for nothing by the end of patience.
func (c *connections) closeFresh(patience time.Duration) {
	for deadline := time.Now().Add(patience); c.anyFresh() && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.fresh {
		_ = conn.Close()
	}
}

func (c *connections) anyFresh() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.fresh) > 0
}

// listener closes only when its backlog is empty: the kernel has completed
// connections there that nobody has accepted yet, and would reset them.
type listener struct {
	*net.TCPListener
	leaving atomic.Bool
}

// leave has Accept take what is in the backlog, and close then.
func (l *listener) leave() {
	l.leaving.Store(true)
	_ = l.SetDeadline(time.Now()) // for the Accept that waits
}

func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.TCPListener.Accept()
	if err != nil && l.leaving.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
		return l.acceptLast()
	}
	return conn, err
}

// acceptLast accepts a connection of the backlog, or closes the listener when
// there is none. It asks the kernel itself: Accept's deadline would come first.
func (l *listener) acceptLast() (net.Conn, error) {
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
