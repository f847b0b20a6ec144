package listener

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

const headerTimeout = 10 * time.Second

// silent returns a connection of an address that has a socket, with the client's end of it.
func silent(t *testing.T, last byte) *closing {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(syscall.Close(fds[0]), syscall.Close(fds[1])) })
	return &closing{addr: net.IPv4(127, 0, 0, last), fd: fds[0], far: fds[1]}
}

// Of one address 256 connections may be silent for longer than three seconds, and 4096 for less. The
// oldest is closed first. A connection that has sent something, even if it is unread, is not closed,
// and other addresses have bounds of their own.
func TestSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var counts Counts
		exempt := func(addr netip.Addr) bool { return addr == netip.MustParseAddr("127.0.0.9") }
		c := NewTracker(exempt, &counts, 0, headerTimeout)
		open := func(last byte, n int) (all []*closing) {
			for range n {
				conn := &closing{addr: net.IPv4(127, 0, 0, last), fd: -1}
				c.Track(conn, http.StateNew)
				all = append(all, conn)
			}
			return all
		}
		closed := func(all []*closing) (n int) {
			for _, conn := range all {
				if conn.closed() {
					n++
				}
			}
			return n
		}
		unread := silent(t, 2)
		if _, err := syscall.Write(unread.far, []byte("GET")); err != nil {
			t.Fatal(err)
		}
		begun := silent(t, 2) // what it had sent was read, and no more came
		c.Track(unread, http.StateNew)
		c.Track(begun, http.StateNew)
		flood, proxied := open(2, maxBurst+10), open(9, maxBurst+10)
		if n := closed(flood); n != 12 || closed(flood[:maxBurst-2]) != 0 {
			t.Errorf("%d of %d at once are closed, want the last 12", n, len(flood))
		}
		if closed(open(3, MaxPending)) > 0 {
			t.Error("another address has no room")
		}
		time.Sleep(pendingGrace - 1)
		synctest.Wait()
		if n := closed(flood); n != 12 || begun.closed() {
			t.Errorf("%d are closed before their time", n-12)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if n := closed(flood); n != len(flood)-MaxPending+1 || !begun.closed() || unread.closed() || !flood[0].closed() ||
			flood[maxBurst-3].closed() {
			t.Errorf("%d silent ones are closed, want all but %d, the oldest first and not the one that has sent", n, MaxPending-1)
		}
		time.Sleep(pendingGrace)
		next := open(2, 1)
		if closed(next) > 0 || unread.closed() || closed(flood) != len(flood)-MaxPending+2 {
			t.Error("a new connection does not take the place of the oldest silent one")
		}
		if closed(proxied) > 0 {
			t.Error("a trusted proxy is held to the bound of an address")
		}
		for conn := range c.pending {
			c.Track(conn, http.StateClosed)
		}
		if len(c.byNetwork) > 0 {
			t.Errorf("%d addresses are known when all connections have gone", len(c.byNetwork))
		}
	})
}

// A connection is evicted only if nothing that its client has sent waits to be read.
func TestEvictUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var counts Counts
		c := NewTracker(func(netip.Addr) bool { return false }, &counts, 16, headerTimeout)
		var all []*closing
		for i := range 14 {
			conn := silent(t, byte(i))
			c.Track(conn, http.StateNew)
			all = append(all, conn)
		}
		for _, i := range []int{1, 2} { // these have been answered, and 1 asks again
			c.Track(all[i], http.StateActive)
			c.Track(all[i], http.StateIdle)
		}
		for _, i := range []int{0, 1} {
			if _, err := syscall.Write(all[i].far, []byte("GET")); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(newConnGrace)
		var late []*closing
		for range 5 {
			conn := silent(t, 20)
			c.Track(conn, http.StateNew)
			late = append(late, conn)
		}
		for i, conn := range all {
			if want := i == 2 || i == 3 || i == 4; conn.closed() != want {
				t.Errorf("connection %d closed: %v, want %v", i, conn.closed(), want)
			}
		}
		for i, conn := range late {
			if conn.closed() {
				t.Errorf("new connection %d is closed, and there was room to make", i)
			}
		}
	})
}

// From seven eighths of the bound on a new connection closes the one that has been idle longest. At
// the bound it closes the oldest that has sent no request for a second. If there is none, it is
// closed itself.
func TestMaxConns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const maxConns = 16
		var counts Counts
		c := NewTracker(func(netip.Addr) bool { return false }, &counts, maxConns, headerTimeout)
		open := func() *closing {
			conn := &closing{addr: net.IPv4(127, 0, 0, 1), fd: -1}
			c.Track(conn, http.StateNew)
			return conn
		}
		counted := func(evicted, rejected uint64) {
			t.Helper()
			if counts.Evicted.Load() != evicted || counts.RejectedFull.Load() != rejected {
				t.Errorf("%d evicted, %d rejected, want %d and %d",
					counts.Evicted.Load(), counts.RejectedFull.Load(), evicted, rejected)
			}
		}
		var all []*closing
		for range maxConns - 2 {
			conn := open()
			c.Track(conn, http.StateActive)
			all = append(all, conn)
		}
		for _, i := range []int{5, 3, 4} {
			c.Track(all[i], http.StateIdle)
		}
		c.Track(all[5], http.StateActive)
		c.Track(all[5], http.StateIdle) // and so not the longest any more
		counted(0, 0)

		fifteenth := open()
		counted(1, 0)
		if !all[3].closed() {
			t.Error("a connection was closed, but not the one that was idle longest")
		}
		c.Track(all[3], http.StateClosed) // net/http says so later
		open()
		open()
		counted(3, 0)
		for range 2 { // nobody is idle now
			open()
		}
		counted(3, 0)
		if last := open(); !last.closed() {
			t.Error("a connection above the bound is open")
		}
		counted(3, 1)
		time.Sleep(newConnGrace)
		if late := open(); late.closed() || !fifteenth.closed() {
			t.Error("a connection that asks for nothing does not make room after a second")
		}
		counted(4, 1)
		for conn := range c.open {
			c.Track(conn, http.StateClosed)
		}
		if n := len(c.open) + c.idle.Len() + c.unused.Len() + len(c.pending); n > 1 {
			t.Errorf("%d connections are known when all are closed", n)
		}
	})
}

// closing is a connection that remembers that it was closed.
type closing struct {
	net.Conn
	addr    net.IP
	fd, far int // of a socket, where there is one, and its other end
	gone    atomic.Bool
}

func (c *closing) Close() error                          { c.gone.Store(true); return nil }
func (c *closing) closed() bool                          { return c.gone.Load() }
func (c *closing) RemoteAddr() net.Addr                  { return &net.TCPAddr{IP: c.addr, Port: 1} }
func (c *closing) SyscallConn() (syscall.RawConn, error) { return socket{fd: c.fd}, nil }

// socket is a syscall.RawConn that can only be asked.
type socket struct {
	syscall.RawConn
	fd int
}

func (s socket) Control(f func(fd uintptr)) error { f(uintptr(s.fd)); return nil }

func TestMaxConnsFollowsMemory(t *testing.T) {
	t.Parallel()
	for memory, want := range map[int64]int{0: 0, 1 << 20: MaxPending, 64 << 20: 682, 1 << 30: 10_922} {
		if got := MaxConns(memory); got != want {
			t.Errorf("MaxConns(%d) = %d, want %d", memory, got, want)
		}
	}
}

// Pending connections are counted by the networks that the limits count by.
func TestPendingOfNetwork(t *testing.T) {
	for name, test := range map[string]struct {
		address func(i int) string
		want    int // are let in
	}{
		"IPv4":               {func(int) string { return "192.0.2.1" }, maxBurst},
		"IPv4, written as 6": {func(int) string { return "::ffff:192.0.2.1" }, maxBurst},
		"a /64":              {func(i int) string { return fmt.Sprintf("2001:db8::%x", i) }, maxBurst},
		"a /48":              {func(i int) string { return fmt.Sprintf("2001:db8:0:%x::1", i) }, maxBurst},
		"zones":              {func(i int) string { return fmt.Sprintf("fe80::1%%eth%d", i) }, maxBurst},
	} {
		t.Run(name, func(t *testing.T) {
			c := NewTracker(func(netip.Addr) bool { return false }, &Counts{}, 0, headerTimeout)
			var conns []net.Conn
			for i := range test.want + 10 {
				conn := &struct{ net.Conn }{}
				if c.admit(conn, netip.MustParseAddr(test.address(i)).Unmap()) {
					conns = append(conns, conn)
				}
			}
			if len(conns) != test.want {
				t.Errorf("%d connections were let in, want %d", len(conns), test.want)
			}
			for _, conn := range conns {
				c.endPending(conn)
			}
			if len(c.byNetwork)+len(c.bySite) > 0 || len(c.pending) > 0 {
				t.Errorf("%d networks and %d connections are remembered", len(c.byNetwork)+len(c.bySite), len(c.pending))
			}
		})
	}
}
