package engine_test

import (
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"notesd/store/engine"
	"notesd/store/storetest"
)

// tcpPair is both ends of one connection.
func tcpPair(t *testing.T) (ours, theirs *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, _ := ln.Accept()
		accepted <- c
	}()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	other := <-accepted
	t.Cleanup(func() {
		_ = c.Close() // both may be closed
		_ = other.Close()
	})
	return c.(*net.TCPConn), other.(*net.TCPConn)
}

// awaitReader returns once a goroutine of this file's waits for the network.
func awaitReader(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		stacks := make([]byte, 1<<20)
		for one := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
			if strings.Contains(one, "[IO wait") && strings.Contains(one, "wire_test.go") {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody waits for the network")
		}
	}
}

// StillOpen tells a connection that may be used from one that may not, at once,
// also while a library has a Read pending on it.
func TestStillOpen(t *testing.T) {
	tests := []struct {
		name  string
		far   func(theirs *net.TCPConn) error // what the other side does
		wants bool
	}{
		{"nothing has happened", func(*net.TCPConn) error { return nil }, true},
		{"the other side has closed it", func(c *net.TCPConn) error { return c.Close() }, false},
		{"the other side has reset it", func(c *net.TCPConn) error { _ = c.SetLinger(0); return c.Close() }, false},
	}
	for _, test := range tests {
		for _, reading := range []bool{false, true} {
			t.Run(test.name+map[bool]string{true: ", with a Read pending"}[reading], func(t *testing.T) {
				ours, theirs := tcpPair(t)
				over := make(chan struct{})
				if reading {
					go func() {
						defer close(over)
						_, _ = ours.Read(make([]byte, 1)) // it ends with the connection
					}()
					awaitReader(t)
				}
				if err := test.far(theirs); err != nil {
					t.Fatal(err)
				}
				if !test.wants { // what the other side did has to arrive first
					if reading {
						<-over
					} else if _, err := ours.Read(make([]byte, 1)); err == nil {
						t.Fatal("Read = nil, want the end")
					}
				}
				answer := make(chan bool, 1)
				go func() { answer <- engine.StillOpen(ours) }()
				select {
				case got := <-answer:
					if got != test.wants {
						t.Errorf("StillOpen = %v, want %v", got, test.wants)
					}
				case <-time.After(10 * time.Second):
					t.Error("StillOpen waits for the pending Read")
				}
			})
		}
	}
	t.Run("bytes have come unasked", func(t *testing.T) {
		ours, theirs := tcpPair(t)
		if _, err := theirs.Write([]byte("goodbye")); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(10 * time.Second); engine.StillOpen(ours); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("StillOpen = true, want false")
			}
		}
		if n, err := ours.Read(make([]byte, 7)); n != 7 || err != nil {
			t.Errorf("Read afterwards = %d, %v, want all 7 bytes", n, err)
		}
	})
}

// A write that was kept from its core leaves pgx reading an idle connection in
// the background (jackc/pgx#1673). Nobody waits for what it reads: the watchdog
// leaves the connection alone, and it is used again.
func TestPostgresIdleReader(t *testing.T) {
	t.Parallel()
	var said logLines
	db, err := engine.Open(t.Context(), engine.Config{URL: storetest.Postgres(t), MaxConns: 2, Log: slog.New(slog.NewTextHandler(&said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	ready(t, db)
	first, second := pids(t, db)
	prompt := engine.LateWrites(db)
	ask := func() (pid int) {
		if err := db.Reader(t.Context()).Raw("SELECT pg_backend_pid()").Scan(&pid).Error; err != nil {
			t.Errorf("a query = %v", err)
		}
		return pid
	}
	var long sync.WaitGroup
	long.Go(func() { // the watchdog looks while somebody waits, which is more than ten times
		if err := db.Reader(t.Context()).Exec("SELECT pg_sleep(1.5)").Error; err != nil {
			t.Errorf("a query that takes 1.5 s = %v", err)
		}
	})
	for db.Stats()["database"].InUse == 0 {
		time.Sleep(time.Millisecond)
	}
	idle := ask()
	long.Wait()
	prompt()
	if n := engine.Reads(db); n == 0 {
		t.Error("nobody reads the idle connections: nothing was proved")
	}
	if again := ask(); again != idle && again != first && again != second {
		t.Errorf("process %d answers, want one of %d and %d: the connections are well", again, first, second)
	}
	if n := engine.Reads(db); n > 1 {
		t.Errorf("%d connections are still read, want at most the one that was not used again", n)
	}
	if text := said.String(); strings.Contains(text, "gone dead") {
		t.Errorf("the log says\n%s", text)
	}
}

// pids are the server's processes at the ends of both connections.
func pids(t *testing.T, db *engine.DB) (first, second int) {
	t.Helper()
	var both sync.WaitGroup
	for _, pid := range []*int{&first, &second} {
		both.Go(func() {
			if err := db.Reader(t.Context()).Raw("SELECT pg_backend_pid() FROM pg_sleep(0.2)").Scan(pid).Error; err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	if first == second {
		t.Fatal("one connection answered both")
	}
	return first, second
}

type logLines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logLines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
