package server

import (
	"container/list"
	"context"
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

const (
	connBytes = 24 << 10    // what an idle connection takes, the kernel's part too; 17 KiB were measured without that
	connShare = 4           // one byte of memory in so many is for connections
	grace     = time.Second // in which a new connection is not closed for another
)

// connections knows the connections whose first request has not been read: a
// client that opens them and sends nothing is held to mostFresh, and when the
// server leaves they are closed rather than waited for. One that has been used
// is bounded by time alone: by headerTimeout once a header has begun, as the
// first, and by idleTimeout before.
//
// Where memory has a limit, so have all connections together: most. From seven
// eighths of it on, each new one has the one closed that has been idle longest,
// and at most, if none is idle, the oldest without a request. So a probe gets
// in whatever others leave open, unless all of them are at work: then it is the
// new one that is closed.
type connections struct {
	exempt func(netip.Addr) bool
	seen   *clientCounts
	most   int // 0: no bound

	mu     sync.Mutex // guards what follows
	fresh  map[net.Conn]freshConn
	counts map[netip.Addr]int // of fresh, by address
	open   map[net.Conn]*openConn
	idle   list.List // of the net.Conns that are, the longest first
	asking list.List // of those that have not asked yet, likewise
}

// openConn is a connection's place in idle or asking, while it is in one.
type openConn struct {
	line  *list.List
	place *list.Element
	since time.Time // when it was opened
}

// mostConnections fit into their share of memory bytes; 0, for no limit, is no bound.
func mostConnections(memory int64) int {
	if memory <= 0 {
		return 0
	}
	return max(mostFresh, int(memory/connShare/connBytes))
}

type freshConn struct {
	addr  netip.Addr
	since time.Time
}

func newConnections(exempt func(netip.Addr) bool, seen *clientCounts, most int) *connections {
	return &connections{exempt: exempt, seen: seen, most: most, fresh: map[net.Conn]freshConn{}, counts: map[netip.Addr]int{},
		open: map[net.Conn]*openConn{}}
}

// track is the http.Server's ConnState hook. A connection leaves StateNew when
// its header has been read.
func (c *connections) track(client net.Conn, state http.ConnState) {
	if c.most > 0 && !c.place(client, state) {
		c.seen.crowded.Add(1)
		_ = client.Close()
		return
	}
	if state != http.StateNew {
		if ours, ok := client.(*conn); !ok || !ours.asked { // once: this is every request's way
			c.forget(client)
			if ok {
				ours.asked = true
			}
		}
		return
	}
	peer, err := netip.ParseAddrPort(client.RemoteAddr().String())
	if err == nil && !c.admit(client, peer.Addr().Unmap()) {
		c.seen.refused.Add(1)
		_ = client.Close()
	}
}

// place puts a connection where one of its state belongs, and reports whether
// there is room for it.
func (c *connections) place(conn net.Conn, state http.ConnState) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	it := c.open[conn]
	if it == nil {
		if state != http.StateNew {
			return true // closed for another, and not told yet
		}
		if !c.makeRoom() {
			return false
		}
		it = &openConn{since: time.Now()}
		c.open[conn] = it
	}
	if it.line != nil {
		it.line.Remove(it.place)
		it.line = nil
	}
	switch state {
	case http.StateNew:
		it.line = &c.asking
	case http.StateIdle:
		it.line = &c.idle
	case http.StateClosed, http.StateHijacked:
		delete(c.open, conn)
	}
	if it.line != nil {
		it.place = it.line.PushBack(conn)
	}
	return true
}

// makeRoom closes a connection for a new one where that is due, and reports
// whether there is room. The caller holds mu.
func (c *connections) makeRoom() bool {
	if len(c.open) < c.most-c.most/8 || c.closeFirst(&c.idle, 0) {
		return true
	}
	return len(c.open) < c.most || c.closeFirst(&c.asking, grace)
}

// closeFirst closes the first in line, if it was opened longer than age ago.
func (c *connections) closeFirst(line *list.List, age time.Duration) bool {
	first := line.Front()
	if first == nil {
		return false
	}
	conn := first.Value.(net.Conn)
	if time.Since(c.open[conn].since) < age {
		return false
	}
	line.Remove(first)
	delete(c.open, conn)
	c.seen.evicted.Add(1)
	_ = conn.Close()
	return true
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

// closeFresh closes the connections that have asked for nothing by the end of
// patience, or of ctx.
func (c *connections) closeFresh(ctx context.Context, patience time.Duration) {
	for deadline := time.Now().Add(patience); c.anyFresh() && time.Now().Before(deadline) && ctx.Err() == nil; {
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
// connections there that nobody has accepted yet, and would reset them. But
// when another process has the same socket, the backlog is that one's.
type listener struct {
	*net.TCPListener
	shared, leaving atomic.Bool
}

// leave has Accept take what is in the backlog, unless that is another's, and close then.
func (l *listener) leave() {
	l.leaving.Store(true)
	_ = l.SetDeadline(time.Now()) // for the Accept that waits
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.TCPListener.Accept()
	if err != nil && l.leaving.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
		if l.shared.Load() {
			return nil, errors.Join(net.ErrClosed, l.Close())
		}
		c, err = l.acceptLast()
	}
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c}, nil
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
