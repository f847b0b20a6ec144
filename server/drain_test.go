package server

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"notesd/internal/testkit"
	"notesd/pool"
	"notesd/server/router"
	"notesd/store/storetest"
)

// holding is a route that waits, and what it waits for.
type holding struct {
	began  chan bool
	finish chan bool
}

func newHolding() holding { return holding{make(chan bool, 100), make(chan bool)} }

func (h holding) routes() []router.Route {
	return []router.Route{get("/hold", func(c *router.Context) error {
		h.began <- true
		select {
		case <-h.finish:
			return c.Message("held")
		case <-c.Context().Done():
			return c.Context().Err()
		}
	})}
}

// await waits until a request is held.
func (h holding) await(t *testing.T) {
	t.Helper()
	select {
	case <-h.began:
	case <-time.After(10 * time.Second):
		t.Fatal("no request is held within 10 s")
	}
}

// ask sends a request, on a connection that has been used before, without waiting for the answer.
func (s *site) ask(t *testing.T, path string, c *client) *wire {
	t.Helper()
	w := s.dial(t)
	w.header("GET", "/healthz", nil)
	w.reply().want(http.StatusOK)
	w.header("GET", path, c)
	return w
}

// stopping stops the site. The channel is closed when it has.
func (s *site) stopping() chan bool {
	done := make(chan bool)
	go func() { s.stop(); close(done) }()
	return done
}

// lastLine is the log line of a site that has stopped.
func (s *site) lastLine(t *testing.T) map[string]any {
	t.Helper()
	lines := s.log.Entries()
	at := slices.IndexFunc(lines, func(line testkit.Entry) bool { return line["msg"] == "shutdown: done" })
	if at < 0 {
		t.Fatalf("the log ends with %v, want shutdown: done", lines[len(lines)-1])
	}
	for _, later := range lines[at+1:] { // of a request that was cut: its handler still has to notice
		if later["msg"] != "request" || later["status"] != float64(statusClientGone) {
			t.Errorf("%v after shutdown: done", later)
		}
	}
	return lines[at]
}

func unreachable(s *site) bool {
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err == nil {
		_ = conn.Close()
	}
	return err != nil
}

// TestLeave checks each stage of a shutdown: readiness fails at once, requests are served during
// the delay, the listener closes, later requests get a 503 with a reason, running requests finish,
// and one log line has the totals.
func TestLeave(t *testing.T) {
	t.Parallel()
	const delay = 3 * time.Second // most of it for a busy machine
	h := newHolding()
	s := withRoutes(t, h.routes(), workers(2), func(cfg *Config, _ *Deps) { cfg.ShutdownDelay = delay })
	c := s.someone()
	id := c.create(map[string]any{"title": "a", "content": "b"}).ID
	held := s.ask(t, "/hold", nil)
	h.await(t)
	kept := []*wire{s.dial(t), s.dial(t), s.dial(t)} // connections in use, and idle when it begins
	for _, w := range kept {
		w.header("GET", "/api/notes", c)
		r := w.reply().want(http.StatusOK)
		wantHeader(t, r, "Connection", "")
	}
	probe := s.visitor()
	probe.get("/readyz").want(http.StatusOK)

	done, began := s.stopping(), time.Now()
	var red reply
	testkit.Eventually(t, "readiness red", func() bool { red = probe.get("/readyz"); return red.status == http.StatusServiceUnavailable })
	if took := time.Since(began); testkit.TooLong(took, 50*time.Millisecond, 450*time.Millisecond) {
		t.Errorf("unready after %v, want 50 ms", took)
	}
	if row := red.checks()["process"]; row.Status != "draining" {
		t.Errorf("%s = %s, want the process draining", red.call, red.text)
	}
	served := 0
	for time.Since(began) < delay/5 { // everything is still served, and each answer closes its connection
		for _, path := range []string{"/api/notes/" + id, "/api/health", "/api/auth/me"} {
			w := s.dial(t)
			w.header("GET", path, c)
			r := w.reply().want(http.StatusOK)
			wantHeader(t, r, "Connection", "close")
			w.closed()
			served++
		}
		time.Sleep(50 * time.Millisecond)
	}
	kept[0].header("GET", "/api/notes", c)
	wantHeader(t, kept[0].reply().want(http.StatusOK), "Connection", "close")
	served++

	testkit.Eventually(t, "closed listener", func() bool { return unreachable(s) })
	if took := time.Since(began); took < delay {
		t.Errorf("the listener closed after %v, want %v", took, delay)
	}
	testkit.Eventually(t, "refusals", func() bool { return s.pool.Stats().Draining })
	kept[1].header("GET", "/api/notes", c)
	r := kept[1].reply().fails(http.StatusServiceUnavailable, "Server is shutting down, please try again")
	wantRefusal(t, r, "draining")
	wantHeader(t, r, "Connection", "close")
	kept[2].header("GET", "/api/health", nil)
	wantHeader(t, kept[2].reply().want(http.StatusOK), "Connection", "close") // alive to the end

	select {
	case <-done:
		t.Fatal("gone while a request runs")
	default:
	}
	close(h.finish)
	r = held.reply().want(http.StatusOK)
	wantHeader(t, r, "Connection", "close") // though it began before
	<-done
	last := s.lastLine(t)
	if last["shed"] != 1.0 || last["cut"] != 0.0 {
		t.Errorf("%v, want 1 shed and none cut", last)
	}
	if answered, ok := last["answered"].(float64); !ok || answered < float64(served+3) { // and the probes
		t.Errorf("%v, want at least %d answered", last, served+3)
	}
	answered, after := 0.0, false
	for _, line := range s.log.Entries() {
		after = after || strings.HasPrefix(line["msg"].(string), "shutdown: unready")
		if after && line["msg"] == "request" && line["reason"] != "draining" {
			answered++
		}
	}
	if more := last["answered"].(float64) - answered; more != 0 && more != 1 { // a probe just before the line that begins it
		t.Errorf("%v, but %v requests have a line in the log", last, answered)
	}
}

// Requests that are queued, or whose body still arrives, when the listener closes are served.
func TestLeaveServesWhatWaits(t *testing.T) {
	t.Parallel()
	h := newHolding()
	s := withRoutes(t, h.routes(), workers(1, func(c *pool.Config) { c.QueueTimeout = time.Minute }))
	c := s.someone()
	body := s.slowBody(t, c, "/api/notes", `{"title":"slow","content":"body"}`)
	testkit.Eventually(t, "the body on its way", func() bool { return s.pool.Stats().Yielded == 1 })
	held := s.ask(t, "/hold", nil)
	h.await(t)
	queued := s.ask(t, "/api/notes", c)
	testkit.Eventually(t, "a request in the queue", func() bool { return s.pool.Stats().Queued == 1 })
	done := s.stopping()
	testkit.Eventually(t, "refusals", func() bool { return s.pool.Stats().Draining })
	close(h.finish)
	held.reply().want(http.StatusOK)
	queued.reply().want(http.StatusOK)
	body.finish().want(http.StatusCreated)
	<-done
	if last := s.lastLine(t); last["cut"] != 0.0 || last["shed"] != 0.0 {
		t.Errorf("%v, want none cut nor shed", last)
	}
}

// A list on its way is sent to its end.
func TestLeaveFinishesStreams(t *testing.T) {
	t.Parallel()
	const notes, bytes = 400, 20 << 10
	s := onSQLite(t, func(cfg *Config, _ *Deps) { cfg.ShutdownTimeout = 30 * time.Second })
	c := s.someone()
	s.fill(t, c, notes, bytes)
	w := s.slowList(t, c)
	testkit.Eventually(t, "the list on its way", func() bool { return s.pool.Stats().Yielded == 1 })
	done := s.stopping()
	testkit.Eventually(t, "refusals", func() bool { return s.pool.Stats().Draining })
	text, err := w.finish()
	if err != nil {
		t.Fatal(err)
	}
	checkAll(t, text, notes, bytes)
	<-done
}

// Nobody who only holds a connection open holds the server up.
func TestLeaveWaitsForNoIdler(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, func(cfg *Config, _ *Deps) { cfg.ShutdownTimeout = 20 * time.Second })
	silent, half, idle, noBody := s.dial(t), s.dial(t), s.dial(t), s.dial(t)
	half.send("GET /api/notes HTTP/1.1\r\nHost: lo")
	idle.header("GET", "/healthz", nil)
	idle.reply().want(http.StatusOK)
	noBody.header("POST", "/api/auth/logout", nil, "Content-Length: 10")
	testkit.Eventually(t, "two fresh connections", func() bool { return s.server.conns.Pending() == 2 })
	began := time.Now()
	<-s.stopping()
	if took := time.Since(began); took > 6*time.Second {
		t.Errorf("left after %v, want some 2 s", took)
	}
	for _, w := range []*wire{silent, half, idle} {
		w.closed()
	}
	noBody.reply().want(http.StatusOK)
}

// What does not end within SHUTDOWN_TIMEOUT is cut, counted and an error.
func TestLeaveCuts(t *testing.T) {
	t.Parallel()
	h := newHolding()
	s := makeSite(t, storetest.Open(t, storetest.SQLite(t)), func(cfg *Config, _ *Deps) { cfg.ShutdownTimeout = 200 * time.Millisecond })
	s.extend(t, h.routes()...)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + ln.Addr().String()
	ctx, stop := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() { failed <- s.server.Serve(ctx, ln.(*net.TCPListener)) }()
	held := []*wire{s.dial(t), s.dial(t)}
	for _, w := range held {
		w.header("GET", "/hold", nil)
		h.await(t)
	}
	stop()
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "requests cut after 200ms: 2") {
		t.Errorf("Serve() = %v, want 2 requests cut", err)
	}
	for _, w := range held {
		if _, err := http.ReadResponse(w.in, nil); err == nil {
			t.Error("a request that was cut is answered")
		}
	}
	if last := s.lastLine(t); last["cut"] != 2.0 {
		t.Errorf("%v, want 2 cut", last)
	}
	testkit.Eventually(t, "rest", s.atRest)
}
