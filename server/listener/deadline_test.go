package listener

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// countingConn counts the deadlines that are set on the socket.
type countingConn struct {
	net.Conn
	set int
}

func (c *countingConn) SetReadDeadline(t time.Time) error {
	c.set++
	return c.Conn.SetReadDeadline(t)
}

// deadlineConn returns a Conn, its socket, and the client's end of it.
func deadlineConn(t *testing.T) (*Conn, *countingConn, net.Conn) {
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
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	counted := &countingConn{Conn: server}
	return &Conn{Conn: counted}, counted, client
}

func setDeadline(t *testing.T, c *Conn, at time.Time) {
	t.Helper()
	if err := c.SetReadDeadline(at); err != nil {
		t.Fatal(err)
	}
}

// A read ends when its deadline has passed, neither earlier nor much later, whatever deadlines were
// set before.
func TestReadDeadline(t *testing.T) {
	const soon = 30 * time.Millisecond
	c, _, client := deadlineConn(t)
	p := make([]byte, 1)
	for name, set := range map[string]func(at time.Time){
		"alone":            func(at time.Time) { setDeadline(t, c, at) },
		"after a later":    func(at time.Time) { setDeadline(t, c, at.Add(time.Hour)); setDeadline(t, c, at) },
		"after none":       func(at time.Time) { setDeadline(t, c, time.Time{}); setDeadline(t, c, at) },
		"after an end":     func(at time.Time) { setDeadline(t, c, time.Unix(1, 0)); setDeadline(t, c, at) },
		"after an earlier": func(at time.Time) { setDeadline(t, c, at.Add(-soon/2)); setDeadline(t, c, at) },
		"while it reads": func(at time.Time) {
			setDeadline(t, c, at.Add(time.Hour))
			time.AfterFunc(soon/2, func() { _ = c.SetReadDeadline(at) })
		},
		"of both": func(at time.Time) {
			if err := c.SetDeadline(at); err != nil {
				t.Fatal(err)
			}
		},
	} {
		began := time.Now()
		set(began.Add(soon))
		_, err := c.Read(p)
		var timeout net.Error
		if took := time.Since(began); took < soon || took > time.Minute || !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%s: Read() = %v after %v, want a timeout after %v", name, err, took, soon)
		}
	}

	// An earlier deadline that is still in force ends nothing.
	setDeadline(t, c, time.Now().Add(soon))
	go func() { time.Sleep(soon / 2); _ = c.SetReadDeadline(time.Time{}) }()
	time.AfterFunc(2*soon, func() { _, _ = client.Write([]byte("x")) })
	if n, err := c.Read(p); n != 1 || err != nil {
		t.Errorf("Read() = %d, %v, want the byte that came after a deadline which was removed", n, err)
	}

	// As net/http ends a read in the background.
	setDeadline(t, c, time.Time{})
	ended := make(chan error)
	for range 1000 {
		go func() { _, err := c.Read(p); ended <- err }()
		setDeadline(t, c, time.Unix(1, 0))
		if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("Read() = %v, want a timeout", err)
		}
		setDeadline(t, c, time.Time{})
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(p); err != io.EOF {
		t.Errorf("Read() = %v, want EOF", err)
	}
}

// The deadlines of requests that follow each other are set on the socket once.
func TestReadDeadlineKept(t *testing.T) {
	c, counted, client := deadlineConn(t)
	p := make([]byte, 1)
	for range 100 {
		if _, err := client.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		setDeadline(t, c, time.Now().Add(time.Minute)) // idle
		if _, err := c.Read(p); err != nil {
			t.Fatal(err)
		}
		setDeadline(t, c, time.Time{})
		setDeadline(t, c, time.Now().Add(time.Second)) // header, which has arrived
		setDeadline(t, c, time.Time{})
	}
	if counted.set != 1 {
		t.Errorf("%d deadlines were set, want 1", counted.set)
	}
}
