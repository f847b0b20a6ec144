package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"notesd/server/admin"
	"notesd/server/router"
	"notesd/store/storetest"
)

// A bubble is a site in fake time: its connections are in memory, so that a
// second of a slow client takes none.
type bubble struct {
	*site
	conns   chan net.Conn
	clients sync.WaitGroup // that send in the background
}

// inBubble runs test on a site in fake time, which must be at rest when the
// test ends.
func inBubble(t *testing.T, test func(t *testing.T, b *bubble), routes ...router.Route) {
	synctest.Test(t, func(t *testing.T) {
		b := &bubble{site: makeSite(t, storetest.Open(t, storetest.SQLite(t))), conns: make(chan net.Conn)}
		b.extend(t, routes...)
		served := make(chan error)
		go func() { served <- b.server.http.Serve(b) }()
		test(t, b)
		synctest.Wait()
		if !b.atRest() {
			t.Errorf("at the end %+v", b.pool.Stats())
		}
		b.clients.Wait()
		if err := errors.Join(b.server.http.Close(), ignore(<-served, http.ErrServerClosed)); err != nil {
			t.Error(err)
		}
	})
}

func ignore(err, target error) error {
	if errors.Is(err, target) {
		return nil
	}
	return err
}

// Accept implements net.Listener.
func (b *bubble) Accept() (net.Conn, error) {
	conn, ok := <-b.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (b *bubble) Close() error   { close(b.conns); return nil }
func (b *bubble) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// peer is the server's end of a connection that has an address.
type peer struct{ net.Conn }

func (peer) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// dial hides the site's, which needs a network.
func (b *bubble) dial(t *testing.T) *wire {
	client, server := net.Pipe()
	b.conns <- peer{server}
	t.Cleanup(func() { _ = client.Close() })
	return &wire{t, client, bufio.NewReader(client)}
}

// trickle sends text in the background, a byte after each pause, until it is
// through or the server has closed the connection.
func (b *bubble) trickle(w *wire, text string, pause time.Duration) {
	b.clients.Go(func() {
		for i := range len(text) {
			time.Sleep(pause)
			if _, err := io.WriteString(w.Conn, text[i:i+1]); err != nil {
				return
			}
		}
	})
}

// within fails the test unless so long has passed since began.
func within(t *testing.T, began time.Time, want time.Duration) {
	t.Helper()
	if got := time.Since(began); got != want {
		t.Errorf("after %v, want %v", got, want)
	}
}

func (s *site) wantClients(t *testing.T, want admin.Clients) {
	t.Helper()
	synctest.Wait()
	if got := s.server.admin.State().Clients; got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}

// A header has ten seconds, however often a byte of it comes: the first of a
// connection from its beginning, a later one from its own.
func TestTricklingHeader(t *testing.T) {
	t.Parallel()
	const beginning = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
	t.Run("first", func(t *testing.T) {
		inBubble(t, func(t *testing.T, b *bubble) {
			w := b.dial(t)
			began := time.Now()
			w.send(beginning)
			b.trickle(w, "never ending", time.Second-1)
			w.closed()
			within(t, began, headerTimeout)
			b.wantClients(t, admin.Clients{SlowHeaders: 1})
		})
	})
	t.Run("never begun", func(t *testing.T) {
		inBubble(t, func(t *testing.T, b *bubble) {
			w := b.dial(t)
			began := time.Now()
			w.closed()
			within(t, began, headerTimeout)
			b.wantClients(t, admin.Clients{SlowHeaders: 1})
		})
	})
	t.Run("later", func(t *testing.T) {
		inBubble(t, func(t *testing.T, b *bubble) {
			w := b.dial(t)
			w.header("GET", "/healthz", nil)
			w.reply().want(http.StatusOK)
			time.Sleep(30 * time.Second)
			began := time.Now()
			w.send(beginning)
			b.trickle(w, "never ending", time.Second-1)
			w.closed()
			within(t, began, headerTimeout)
		})
	})
	t.Run("idle", func(t *testing.T) {
		inBubble(t, func(t *testing.T, b *bubble) {
			w := b.dial(t)
			w.header("GET", "/healthz", nil)
			w.reply().want(http.StatusOK)
			began := time.Now()
			w.closed()
			within(t, began, idleTimeout)
			b.wantClients(t, admin.Clients{})
		})
	})
	t.Run("just in time", func(t *testing.T) {
		inBubble(t, func(t *testing.T, b *bubble) {
			w := b.dial(t)
			time.Sleep(headerTimeout - 1)
			w.header("GET", "/healthz", nil)
			w.reply().want(http.StatusOK)
			b.wantClients(t, admin.Clients{})
		})
	})
}

// A body has 30 s and a second more for each 16 KiB that has come, however often
// a byte of it comes, and 10 s where nothing does. Then it is 408, and no worker
// was held for it.
func TestTricklingBody(t *testing.T) {
	t.Parallel()
	const text = `{"name":"CLS","value":1,"rating":"good"}`
	tests := []struct {
		name, line string
		bytes      int // that come, one a second
		allowed    time.Duration
	}{
		{"with a length", "Content-Length: 100", 200, 30 * time.Second},
		{"in one chunk", "Transfer-Encoding: chunked", 200, bodyPatience},
		{"nothing comes", "Content-Length: 100", 0, bodyPatience},
		{"it stops", "Content-Length: 100", 7, bodyPatience + 7*time.Second},
		{"asks before sending", "Content-Length: 100\r\nExpect: 100-continue", 200, 30 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bubble) {
				w := b.dial(t)
				began := time.Now()
				w.header("POST", "/api/metrics/vitals", nil, tt.line, "Content-Type: application/json")
				if strings.Contains(tt.line, "Expect") {
					_, _ = w.in.ReadString('\n')
					_, _ = w.in.ReadString('\n')
				}
				part := text[:10]
				if strings.Contains(tt.line, "chunked") {
					part = "ff\r\n" + part
				}
				b.trickle(w, (part + strings.Repeat(" ", 200))[:tt.bytes], time.Second)
				time.Sleep(tt.allowed - 1)
				synctest.Wait()
				if s := b.pool.Stats(); s.Busy != 0 || s.Yielded != 1 {
					t.Errorf("%d workers busy, %d outside, want 0 and 1", s.Busy, s.Yielded)
				}
				r := w.reply().fails(http.StatusRequestTimeout, "Request body came too slowly")
				within(t, began, tt.allowed)
				wantHeader(t, r, "Connection", "close")
				w.closed()
				b.wantClients(t, admin.Clients{SlowBodies: 1})
			})
		})
	}
}

// A body that comes at the least rate, byte by byte, is taken.
func TestPatientBody(t *testing.T) {
	t.Parallel()
	const text = `{"name":"CLS","value":1,"rating":"good"}`
	inBubble(t, func(t *testing.T, b *bubble) {
		w := b.dial(t)
		w.header("POST", "/api/metrics/vitals", nil, fmt.Sprintf("Content-Length: %d", len(text)), "Content-Type: application/json")
		b.trickle(w, text, 30*time.Second/time.Duration(len(text))-1)
		w.reply().want(http.StatusCreated)
		b.wantClients(t, admin.Clients{})
	})
}

// take reads an answer, n bytes after each pause, until it has ended or is cut. It pauses no more
// once hurry is closed. It returns how many bytes there were.
func (w *wire) take(n int64, pause time.Duration, hurry <-chan struct{}) (total int64) {
	answer, err := http.ReadResponse(w.in, nil)
	for err == nil {
		select {
		case <-time.After(pause):
		case <-hurry:
		}
		var got int64
		got, err = io.CopyN(io.Discard, answer.Body, n)
		total += got
	}
	return total
}

// An answer has 30 s and a second more for each 16 KiB. A reader that takes
// none of it, or a byte now and then, is cut; one at the least rate gets it
// all. No worker is held for any.
func TestTricklingReader(t *testing.T) {
	t.Parallel()
	const bytes = 160 << 10
	const allowed = sendGrace + 10*time.Second + sendSlack
	whole := func(c *router.Context) error {
		c.Header().Set("Content-Type", "application/octet-stream")
		_, err := c.Writer().Write(make([]byte, bytes))
		return err
	}
	inParts := func(c *router.Context) error {
		if err := whole(c); err != nil {
			return err
		}
		return c.SendPart()
	}
	tests := []struct {
		name  string
		read  int64 // bytes
		pause time.Duration
		cut   bool
	}{
		{"none for an hour", 1, time.Hour, true},
		{"a byte a second", 1, time.Second, true},
		{"too slowly", 3 << 10, time.Second, true},
		{"at the least rate", 5 << 10, time.Second, false},
	}
	for _, tt := range tests {
		for _, rt := range []router.Route{get("/whole", whole), get("/parts", inParts)} {
			t.Run(tt.name+rt.Path, func(t *testing.T) {
				inBubble(t, func(t *testing.T, b *bubble) {
					w := b.dial(t)
					w.header("GET", rt.Path, nil)
					got, hurry := make(chan int64), make(chan struct{})
					go func() { got <- w.take(tt.read, tt.pause, hurry) }()
					time.Sleep(allowed - 1)
					synctest.Wait()
					if b.pool.Stats().Busy > 0 {
						t.Error("a slow reader holds a worker")
					}
					if running := b.server.router.Counts().Running.Load() > 0; running != tt.cut {
						t.Errorf("just before %v it is being sent: %v, want %v", allowed, running, tt.cut)
					}
					time.Sleep(time.Nanosecond)
					synctest.Wait()
					if b.server.router.Counts().Running.Load() > 0 {
						t.Errorf("after %v it is still being sent", allowed)
					}
					want := admin.Clients{}
					if tt.cut {
						want.SlowReaders = 1
					}
					b.wantClients(t, want)
					close(hurry) // what was on its way is read: a byte an hour would take years of the server's clocks
					if n := <-got; n < bytes != tt.cut {
						t.Errorf("got %d bytes, want %d unless it was cut", n, bytes)
					}
				}, rt)
			})
		}
	}
}

// A connection that is cut is closed at once, whatever of the body is missing:
// net/http would read on in that, for ever.
func TestCutBeforeBody(t *testing.T) {
	t.Parallel()
	ends := map[string]func(){"/abort": func() { panic(http.ErrAbortHandler) }, "/exit": runtime.Goexit}
	for _, line := range []string{"Content-Length: 100", "Transfer-Encoding: chunked", "Content-Length: 10000000"} {
		for pattern, end := range ends {
			t.Run(pattern+" "+line, func(t *testing.T) {
				inBubble(t, func(t *testing.T, b *bubble) {
					w := b.dial(t)
					began := time.Now()
					w.header("POST", pattern, nil, line)
					b.trickle(w, strings.Repeat("1", 100), time.Second)
					w.closed()
					within(t, began, 0)
				}, router.Route{Method: http.MethodPost, Path: pattern, Class: router.Write, Handle: func(*router.Context) error { end(); return nil }})
			})
		}
	}
}

// Who hangs up, in the queue or while the request runs, leaves nothing behind
// and is counted.
func TestHangUp(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bubble) {
		var all []*wire
		workers := b.pool.Stats().Workers
		for range workers + 3 {
			w := b.dial(t)
			w.header("GET", "/wait", nil)
			all = append(all, w)
		}
		synctest.Wait()
		if s := b.pool.Stats(); s.Busy != workers || s.Queued != 3 {
			t.Errorf("%d busy, %d queued, want %d and 3", s.Busy, s.Queued, workers)
		}
		for _, w := range all {
			_ = w.Close()
		}
		b.wantClients(t, admin.Clients{HungUp: uint64(len(all))})
	}, get("/wait", func(c *router.Context) error { <-c.Context().Done(); return c.Context().Err() }))
}

// Requests that come at once on one connection are answered in their order, one
// after the other.
func TestPipelined(t *testing.T) {
	t.Parallel()
	running := 0
	inBubble(t, func(t *testing.T, b *bubble) {
		w := b.dial(t)
		const many = 50
		b.clients.Go(func() {
			for i := range many {
				w.send("GET /slow?%d HTTP/1.1\r\nHost: localhost\r\n\r\n", i)
			}
		})
		for i := range many {
			if r := w.reply().want(http.StatusOK); r.text != fmt.Sprintf("%q\n", fmt.Sprint(i)) {
				t.Errorf("answer %d is %q", i, r.text)
			}
		}
		if s := b.pool.Stats(); s.Done != many {
			t.Errorf("%d requests done, want %d", s.Done, many)
		}
	}, get("/slow", func(c *router.Context) error {
		if running++; running > 1 {
			t.Errorf("%d requests of one connection run at once", running)
		}
		time.Sleep(time.Second)
		running--
		return c.JSON(http.StatusOK, c.Request().URL.RawQuery)
	}))
}

// What follows a body that was refused is no request: the connection ends there.
func TestPipelinedBehindRefusal(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, bodyLimit(1000))
	for _, line := range []string{"Content-Length: 1001", "Transfer-Encoding: chunked"} {
		w := s.dial(t)
		w.header("POST", "/api/metrics/vitals", nil, line, "Content-Type: application/json")
		body := strings.Repeat("x", 1001)
		if strings.Contains(line, "chunked") {
			body = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
		}
		w.send("%sGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", body)
		w.reply().fails(http.StatusRequestEntityTooLarge, "Request body too large")
		w.closed()
	}
	if n := s.server.router.Counts().OversizeBodies.Load(); n != 2 {
		t.Errorf("%d bodies counted as too large, want 2", n)
	}
	for path, want := range map[string]string{
		"/api/runtime": `"oversizeBodies":2`,
		"/metrics":     `notesd_clients_given_up_total{what="oversize_body"} 2`,
	} {
		if r := s.administrator().get(path).want(http.StatusOK); !strings.Contains(r.text, want) {
			t.Errorf("%s does not say %s", r.call, want)
		}
	}
}
