package server

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"notesd/internal/testkit"
)

// connect opens a connection from a loopback address of the test's choice.
func (s *site) connect(t *testing.T, from string) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	return conn
}

// served tells whether a request on conn is answered.
func served(conn net.Conn) bool {
	if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		return false
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

func (s *site) fresh() int {
	s.server.conns.mu.Lock()
	defer s.server.conns.mu.Unlock()
	return len(s.server.conns.fresh)
}

// Many connections that open at once from one address, and ask at once, are all answered.
func TestBurstOfConnections(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	conns := make([]net.Conn, mostFresh+mostFresh/4) // more take a busy machine longer than freshGrace
	for i := range conns {
		conns[i] = s.connect(t, "127.0.0.2")
	}
	testkit.Eventually(t, "all connections", func() bool { return s.fresh() == len(conns) })
	for i, conn := range conns {
		if !served(conn) {
			t.Fatalf("connection %d is closed without an answer", i)
		}
	}
	if n := s.server.clients.refused.Load(); n != 0 {
		t.Errorf("%d connections counted as refused, want none", n)
	}
}

// silent is a connection of an address, and the client's end of it.
func silent(t *testing.T, last byte) *closing {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(syscall.Close(fds[0]), syscall.Close(fds[1])) })
	return &closing{addr: net.IPv4(127, 0, 0, last), fd: fds[0], far: fds[1]}
}

// Of one address 256 connections may be silent for longer than three seconds, and 4096 for less.
// What is closed is the oldest. One that has sent, be it unread, is none of them; and other
// addresses have theirs.
func TestSilentConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen clientCounts
		c := newConnections(func(addr netip.Addr) bool { return addr == netip.MustParseAddr("127.0.0.9") }, &seen, 0)
		open := func(last byte, n int) (all []*closing) {
			for range n {
				conn := &closing{addr: net.IPv4(127, 0, 0, last), fd: -1}
				c.track(conn, http.StateNew)
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
		c.track(unread, http.StateNew)
		c.track(begun, http.StateNew)
		flood, proxied := open(2, mostBurst+10), open(9, mostBurst+10)
		if n := closed(flood); n != 12 || closed(flood[:mostBurst-2]) != 0 {
			t.Errorf("%d of %d at once are closed, want the last 12", n, len(flood))
		}
		if closed(open(3, mostFresh)) > 0 {
			t.Error("another address has no room")
		}
		time.Sleep(freshGrace - 1)
		synctest.Wait()
		if n := closed(flood); n != 12 || begun.closed() {
			t.Errorf("%d are closed before their time", n-12)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if n := closed(flood); n != len(flood)-mostFresh+1 || !begun.closed() || unread.closed() || !flood[0].closed() || flood[mostBurst-3].closed() {
			t.Errorf("%d silent ones are closed, want all but %d, the oldest first and not the one that has sent", n, mostFresh-1)
		}
		time.Sleep(freshGrace)
		next := open(2, 1)
		if closed(next) > 0 || unread.closed() || closed(flood) != len(flood)-mostFresh+2 {
			t.Error("a new connection does not take the place of the oldest silent one")
		}
		if closed(proxied) > 0 {
			t.Error("a trusted proxy is held to the bound of an address")
		}
		for conn := range c.fresh {
			c.track(conn, http.StateClosed)
		}
		if len(c.lines) > 0 {
			t.Errorf("%d addresses are known when all connections have gone", len(c.lines))
		}
	})
}

// When all connections are many, one is closed for another only if nothing that it has sent waits.
func TestMostConnectionsUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen clientCounts
		c := newConnections(func(netip.Addr) bool { return false }, &seen, 16)
		var all []*closing
		for i := range 14 {
			conn := silent(t, byte(i))
			c.track(conn, http.StateNew)
			all = append(all, conn)
		}
		for _, i := range []int{1, 2} { // these have been answered, and 1 asks again
			c.track(all[i], http.StateActive)
			c.track(all[i], http.StateIdle)
		}
		for _, i := range []int{0, 1} {
			if _, err := syscall.Write(all[i].far, []byte("GET")); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(grace)
		var late []*closing
		for range 5 {
			conn := silent(t, 20)
			c.track(conn, http.StateNew)
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

// A trusted proxy brings everybody's connections.
func TestFreshConnectionsOfProxy(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, behind())
	for range mostFresh + 10 {
		s.connect(t, "127.0.0.2")
	}
	testkit.Eventually(t, "fresh connections", func() bool { return s.fresh() == mostFresh+10 })
	if !served(s.connect(t, "127.0.0.2")) {
		t.Error("a trusted proxy is held to the bound of an address")
	}
}

// A header that does not come is waited for ten seconds, no longer, with no worker held.
func TestSlowHeader(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, workers(1))
	w := s.dial(t)
	began := time.Now()
	w.send("GET /api/notes HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
	if s.pool.Stats().Busy > 0 {
		t.Error("a header that has not come holds a worker")
	}
	s.visitor().get("/api/auth/me").want(http.StatusUnauthorized)
	w.closed()
	if took := time.Since(began); took < headerTimeout-time.Second || took > headerTimeout+5*time.Second {
		t.Errorf("closed after %v, want %v", took, headerTimeout)
	}
}

// What is no HTTP, or too much of it, is refused by its own status, never a 500.
func TestBrokenHeader(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	tests := []struct {
		name, text string
		status     int
	}{
		{"no HTTP", "hello\r\n\r\n", 400},
		{"no host", "GET /healthz HTTP/1.1\r\n\r\n", 400},
		{"two hosts", "GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
		{"bad escape in the path", "GET /api/notes/%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"bad length", "POST /api/notes HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400},
		{"two lengths", "POST /api/notes HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
		{"unknown coding", "POST /api/notes HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
		{"unknown version", "GET /healthz HTTP/9.9\r\nHost: a\r\n\r\n", 505},
		{"header of 1 MB", "GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", 431},
		{"10 000 headers", "GET /healthz HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X-Number: 1\r\n", 10_000) + "\r\n", 431},
		{"3 000 that fit", "GET /healthz HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("a:\r\n", 3_000) + "\r\n", 200},
		{"HTTP/1.0", "GET /healthz HTTP/1.0\r\n\r\n", 200},
		{"whole address", "GET http://notes.local/healthz HTTP/1.1\r\nHost: notes.local\r\n\r\n", 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := s.dial(t)
			go func() { _, _ = io.WriteString(w.Conn, tt.text) }() // refused before it is through
			w.reply().want(tt.status)
		})
	}
}

// deadlines is a ResponseWriter that keeps the deadlines it is given.
type deadlines struct {
	*httptest.ResponseRecorder
	write time.Time
	sets  int
}

func (d *deadlines) SetWriteDeadline(at time.Time) error {
	d.write = at
	d.sets++
	return nil
}

// A reader has 30 s for every send and a second more for each 16 KiB of it.
func TestLeastRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			bytes int
			want  time.Duration
		}{{0, 30 * time.Second}, {leastRate - 1, 30 * time.Second}, {leastRate, 31 * time.Second}, {1 << 20, 94 * time.Second}} {
			w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
			a := newAnswer(w, httptest.NewRequest("GET", "/", nil), "id", new(atomic.Bool))
			_, _ = a.Write(make([]byte, tt.bytes))
			if err := a.send(); err != nil {
				t.Fatal(err)
			}
			if got := time.Until(w.write); got != tt.want+sendSlack {
				t.Errorf("%d bytes may take %v, want %v and %v more", tt.bytes, got, tt.want, sendSlack)
			}
		}
	})
}

// The deadline of an answer serves the next ones on its connection as long as
// it gives them their time.
func TestDeadlineServesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		r := httptest.NewRequest("GET", "/", nil)
		r = r.WithContext(withConn(r.Context(), nil))
		for i, tt := range []struct {
			pause time.Duration
			bytes int
			left  time.Duration // until the deadline that the connection has then
			set   bool
		}{
			{0, 0, sendGrace + sendSlack, true},
			{sendSlack, 0, sendGrace, false},
			{time.Millisecond, 0, sendGrace + sendSlack, true},
			{0, leastRate, sendGrace + sendSlack, false},
			{0, 2 * leastRate, sendGrace + 2*time.Second + sendSlack, true}, // a longer one needs more
			{0, 0, sendGrace + sendSlack, true},                             // and a short one is not given as much
		} {
			time.Sleep(tt.pause)
			before := w.sets
			a := newAnswer(w, r, "id", new(atomic.Bool))
			_, _ = a.Write(make([]byte, tt.bytes))
			if err := a.send(); err != nil {
				t.Fatal(err)
			}
			if got, set := time.Until(w.write), w.sets != before; got != tt.left || set != tt.set {
				t.Errorf("answer %d: %v until the deadline, set anew %v, want %v, %v", i, got, set, tt.left, tt.set)
			}
		}
	})
}

// From seven eighths of the bound on a new connection has the one closed that
// has been idle longest; at the bound, the oldest that has asked for nothing for
// a second; and if there is none, it is closed itself.
func TestMostConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 16
		var seen clientCounts
		c := newConnections(func(netip.Addr) bool { return false }, &seen, most)
		open := func() *closing {
			conn := &closing{addr: net.IPv4(127, 0, 0, 1), fd: -1}
			c.track(conn, http.StateNew)
			return conn
		}
		counted := func(evicted, crowded uint64) {
			t.Helper()
			if seen.evicted.Load() != evicted || seen.crowded.Load() != crowded {
				t.Errorf("%d evicted, %d crowded, want %d and %d", seen.evicted.Load(), seen.crowded.Load(), evicted, crowded)
			}
		}
		var all []*closing
		for range most - 2 {
			conn := open()
			c.track(conn, http.StateActive)
			all = append(all, conn)
		}
		for _, i := range []int{5, 3, 4} {
			c.track(all[i], http.StateIdle)
		}
		c.track(all[5], http.StateActive)
		c.track(all[5], http.StateIdle) // and so not the longest any more
		counted(0, 0)

		fifteenth := open()
		counted(1, 0)
		if !all[3].closed() {
			t.Error("a connection was closed, but not the one that was idle longest")
		}
		c.track(all[3], http.StateClosed) // net/http says so later
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
		time.Sleep(grace)
		if late := open(); late.closed() || !fifteenth.closed() {
			t.Error("a connection that asks for nothing does not make room after a second")
		}
		counted(4, 1)
		for conn := range c.open {
			c.track(conn, http.StateClosed)
		}
		if n := len(c.open) + c.idle.Len() + c.asking.Len() + len(c.fresh); n > 1 {
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

func TestConnectionsFollowMemory(t *testing.T) {
	t.Parallel()
	for memory, want := range map[int64]int{0: 0, 1 << 20: mostFresh, 64 << 20: 682, 1 << 30: 10_922} {
		if got := mostConnections(memory); got != want {
			t.Errorf("mostConnections(%d) = %d, want %d", memory, got, want)
		}
	}
}
