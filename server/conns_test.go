package server

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"notesd/internal/testkit"
	"notesd/server/listener"
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

// Many connections that open at once from one address, and ask at once, are all answered.
func TestBurstOfConnections(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	conns := make([]net.Conn, listener.MaxPending+listener.MaxPending/4) // more take a busy machine too long
	for i := range conns {
		conns[i] = s.connect(t, "127.0.0.2")
	}
	testkit.Eventually(t, "all connections", func() bool { return s.server.conns.Pending() == len(conns) })
	for i, conn := range conns {
		if !served(conn) {
			t.Fatalf("connection %d is closed without an answer", i)
		}
	}
	if n := s.server.counts.RejectedPending.Load(); n != 0 {
		t.Errorf("%d connections counted as refused, want none", n)
	}
}

// A trusted proxy brings everybody's connections.
func TestFreshConnectionsOfProxy(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, behind())
	for range listener.MaxPending + 10 {
		s.connect(t, "127.0.0.2")
	}
	testkit.Eventually(t, "fresh connections", func() bool { return s.server.conns.Pending() == listener.MaxPending+10 })
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
