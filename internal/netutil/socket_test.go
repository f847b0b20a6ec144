package netutil

import (
	"net"
	"testing"
	"time"
)

// pair returns both ends of a TCP connection.
func pair(t *testing.T) (ours, theirs *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := ln.Accept() // the kernel has completed the connection already
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = client.Close() // both may be closed
		_ = server.Close()
	})
	return client.(*net.TCPConn), server.(*net.TCPConn)
}

func TestPeek(t *testing.T) {
	for name, test := range map[string]struct {
		peer         func(c *net.TCPConn) error // what the other side does
		open, unread bool
	}{
		"nothing happened": {func(*net.TCPConn) error { return nil }, true, false},
		"closed":           {func(c *net.TCPConn) error { return c.Close() }, false, false},
		"reset":            {func(c *net.TCPConn) error { _ = c.SetLinger(0); return c.Close() }, false, false},
		"sent":             {func(c *net.TCPConn) error { _, err := c.Write([]byte("x")); return err }, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := pair(t)
			if err := test.peer(theirs); err != nil {
				t.Fatal(err)
			}
			for limit := time.Now().Add(10 * time.Second); StillOpen(ours) != test.open; time.Sleep(time.Millisecond) {
				if time.Now().After(limit) {
					t.Fatalf("StillOpen() = %v, want %v", !test.open, test.open)
				}
			}
			if got := HasUnread(ours); got != test.unread {
				t.Errorf("HasUnread() = %v, want %v", got, test.unread)
			}
			if !test.unread {
				return
			}
			if n, err := ours.Read(make([]byte, 2)); n != 1 || err != nil {
				t.Errorf("Read() = %d, %v, want the byte that was only looked at", n, err)
			}
		})
	}
}

// Neither function waits for a Read that is pending.
func TestPeekWhileReading(t *testing.T) {
	ours, _ := pair(t)
	go func() { _, _ = ours.Read(make([]byte, 1)) }() // ends when the test closes the connection
	time.Sleep(10 * time.Millisecond)                 // it waits by then, as a rule
	answers := make(chan bool)
	go func() { answers <- StillOpen(ours) && !HasUnread(ours) }()
	select {
	case ok := <-answers:
		if !ok {
			t.Error("an open connection with nothing to read is not reported as such")
		}
	case <-time.After(10 * time.Second):
		t.Error("blocked by the pending Read")
	}
}

// A connection without a socket is neither open nor has it bytes to read, as far as is known.
func TestNoSocket(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	if StillOpen(ours) || HasUnread(ours) {
		t.Errorf("StillOpen() = %v, HasUnread() = %v, want false", StillOpen(ours), HasUnread(ours))
	}
}
