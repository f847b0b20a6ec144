package server

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"notesd/internal/testkit"
	"notesd/pool"
	"notesd/server/admin"
	"notesd/server/router"
	"notesd/store/storetest"
)

// withRoutes is a site, on SQLite, that has more routes than the contract.
func withRoutes(t *testing.T, routes []router.Route, edits ...options) *site {
	t.Helper()
	s := makeSite(t, storetest.Open(t, storetest.SQLite(t)), edits...)
	s.extend(t, routes...)
	s.serve()
	s.awaitReady()
	return s
}

// extend gives a site that does not serve yet more routes.
func (s *site) extend(t *testing.T, routes ...router.Route) {
	t.Helper()
	if err := s.server.open(append(s.server.doors(), routes)); err != nil {
		t.Fatal(err)
	}
	s.server.http.Handler = s.server.router
}

// get is a route of class Read.
func get(path string, handle func(*router.Context) error) router.Route {
	return router.Route{Method: http.MethodGet, Path: path, Class: router.Read, Handle: handle}
}

// midway sends a part of an answer before it does what else it does.
func midway(then func() error) func(*router.Context) error {
	return func(c *router.Context) error {
		_, _ = c.Writer().Write([]byte(strings.Repeat(" ", 2000) + `{"success":true,"data":[`))
		if err := c.SendPart(); err != nil {
			return err
		}
		_, _ = c.Writer().Write([]byte(`"half of the rest",`))
		return then()
	}
}

func faultyRoutes() []router.Route {
	secret := errors.New("secret detail")
	return []router.Route{
		get("/panic/text", func(*router.Context) error { panic("secret detail") }),
		get("/panic/error", func(*router.Context) error { panic(secret) }),
		get("/panic/known", func(*router.Context) error { panic(router.ErrUnavailable) }),
		get("/panic/nil", func(*router.Context) error { var c *router.Context; c.SetHeader("", ""); return nil }),
		get("/panic/written", func(c *router.Context) error { _, _ = c.Writer().Write([]byte("half")); panic("secret detail") }),
		get("/panic/status", func(c *router.Context) error {
			c.Header().Set("Etag", `"x"`)
			c.Writer().WriteHeader(http.StatusCreated)
			panic("secret detail")
		}),
		get("/error", func(*router.Context) error { return secret }),
		get("/abort", func(*router.Context) error { panic(http.ErrAbortHandler) }),
		get("/exit", func(*router.Context) error { runtime.Goexit(); return nil }),
		get("/midway/panic", midway(func() error { panic("secret detail") })),
		get("/midway/error", midway(func() error { return secret })),
		get("/midway/exit", midway(func() error { runtime.Goexit(); return nil })),
		{Method: http.MethodGet, Path: "/free/panic", Class: router.Free, Handle: func(*router.Context) error { panic("secret detail") }},
		{Method: http.MethodGet, Path: "/free/abort", Class: router.Free, Handle: func(*router.Context) error { panic(http.ErrAbortHandler) }},
		{Method: http.MethodGet, Path: "/admin/panic", Class: router.Free, Auth: router.Admin, Handle: func(*router.Context) error { panic("secret detail") }},
	}
}

// A panic costs the request that it is in, and no other: a 500 with an id, one
// entry in the log with the stack, a new worker.
func TestPanic(t *testing.T) {
	t.Parallel()
	tests := []struct {
		path   string
		panics uint64
	}{
		{"/panic/text", 1},
		{"/panic/error", 1},
		{"/panic/known", 1},
		{"/panic/nil", 1},
		{"/panic/written", 1},
		{"/panic/status", 1},
		{"/error", 0},
		{"/free/panic", 0},
		{"/admin/panic", 0},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			s := withRoutes(t, faultyRoutes(), workers(2))
			c := s.someone().in(t)
			asks := c
			if strings.HasPrefix(tt.path, "/admin/") {
				asks = c.asAdmin()
			}
			before := s.workerIDs()
			r := asks.get(tt.path).fails(http.StatusInternalServerError, "Internal server error")
			var f failure
			r.decode(&f)
			if f.RequestID == "" || f.RequestID != r.header.Get("X-Request-Id") || r.keys() != "error,requestId,success" {
				t.Errorf("%s = %s, want it with the request's id and no more", r.call, r.text)
			}
			wantHeader(t, r, "Etag", "")
			if line := s.line(r); line["status"] != 500.0 || line["route"] != tt.path {
				t.Errorf("log line %v, want status 500", line)
			}
			if tt.panics > 0 || strings.HasSuffix(tt.path, "panic") {
				if n := strings.Count(s.log.String(), "panic_test.go"); n == 0 {
					t.Errorf("the log has no stack: %s", s.log)
				}
			}
			if n := strings.Count(s.log.String(), `"level":"ERROR"`); n != 1 {
				t.Errorf("%d errors in the log, want one:\n%s", n, s.log)
			}
			stats := s.pool.Stats()
			if stats.Panics != tt.panics || stats.Restarts != tt.panics || stats.Busy > 0 {
				t.Errorf("%d panics, %d restarts, %d busy, want %d, %d and none", stats.Panics, stats.Restarts, stats.Busy, tt.panics, tt.panics)
			}
			fresh := 0
			for id := range s.workerIDs() {
				if !before[id] {
					fresh++
				}
			}
			if fresh != int(tt.panics) || len(s.workerIDs()) != 2 {
				t.Errorf("workers %v before, %v after, want %d new", before, s.workerIDs(), tt.panics)
			}
			c.get("/api/notes").want(http.StatusOK)
		})
	}
}

func (s *site) workerIDs() map[uint64]bool {
	ids := map[uint64]bool{}
	for _, shard := range s.pool.Stats().Shards {
		for _, w := range shard.Workers {
			ids[w.ID] = true
		}
	}
	return ids
}

// Where a part of the answer has left, or the handler wants it so, the connection is cut.
func TestCut(t *testing.T) {
	t.Parallel()
	tests := []struct {
		path             string
		part             bool // of the answer is there
		panics, restarts uint64
	}{
		{"/abort", false, 0, 0},
		{"/free/abort", false, 0, 0},
		{"/exit", false, 0, 1},
		{"/midway/panic", true, 1, 1},
		{"/midway/error", true, 0, 0},
		{"/midway/exit", true, 0, 1},
	}
	for _, tt := range tests {
		for _, coding := range []string{"identity", "gzip"} {
			t.Run(tt.path+" "+coding, func(t *testing.T) {
				s := withRoutes(t, faultyRoutes(), workers(2))
				w := s.dial(t)
				w.header("GET", tt.path, nil, "Accept-Encoding: "+coding)
				w.in = bufio.NewReaderSize(w.Conn, 16)
				text, err := w.finish()
				if !errors.Is(err, io.ErrUnexpectedEOF) || tt.part != (text != "") {
					t.Errorf("read %q, %v, want the connection cut, with a part before %v", text, err, tt.part)
				}
				testkit.Eventually(t, "rest", s.atRest)
				if p := s.pool.Stats(); p.Panics != tt.panics || p.Restarts != tt.restarts || len(s.workerIDs()) != 2 {
					t.Errorf("%d panics, %d restarts, workers %v, want %d, %d and two workers", p.Panics, p.Restarts, s.workerIDs(),
						tt.panics, tt.restarts)
				}
				s.visitor().in(t).get("/api/auth/me").want(http.StatusUnauthorized)
			})
		}
	}
}

// Beside panics everybody else is served, and in the end every worker is idle.
func TestPanicsBesideOthers(t *testing.T) {
	t.Parallel()
	s := withRoutes(t, faultyRoutes(), workers(2))
	c := s.someone()
	var wg sync.WaitGroup
	for i := range 8 {
		visitor := s.visitor()
		wg.Go(func() {
			for range 20 {
				if i%2 == 0 {
					if r := visitor.get("/panic/text"); r.status != http.StatusInternalServerError {
						t.Errorf("%s = %d %s, want 500", r.call, r.status, r.text)
					}
				} else if r := c.get("/api/notes"); r.status != http.StatusOK {
					t.Errorf("%s = %d %s, want 200", r.call, r.status, r.text)
				}
			}
		})
	}
	wg.Wait()
	if p := s.pool.Stats(); p.Panics != 80 || p.Restarts != 80 || p.Busy > 0 || p.Workers != 2 {
		t.Errorf("%d panics, %d restarts, %d of %d busy, want 80, 80, 0 of 2", p.Panics, p.Restarts, p.Busy, p.Workers)
	}
}

// A route that keeps panicking is refused for a while; the others are not.
func TestQuarantinedRoute(t *testing.T) {
	t.Parallel()
	s := withRoutes(t, faultyRoutes(), workers(2, func(c *pool.Config) { c.RestartThreshold, c.RestartWindow = 3, time.Minute }))
	c := s.someone()
	for range 3 {
		c.get("/panic/text").fails(http.StatusInternalServerError, "Internal server error")
	}
	r := c.get("/panic/text").want(http.StatusServiceUnavailable)
	wantRefusal(t, r, "route_quarantined")
	c.get("/api/notes").want(http.StatusOK)
	c.get("/panic/error").fails(http.StatusInternalServerError, "Internal server error")
	var in admin.State
	c.asAdmin().get("/api/runtime").want(http.StatusOK).decode(&in)
	quarantined := map[string]bool{}
	for _, row := range in.Pool.Quarantine {
		quarantined[row.Route] = row.Quarantined
	}
	if !quarantined["/panic/text"] || quarantined["/panic/error"] || in.Pool.Quarantined != 1 || in.Pool.Released != 0 {
		t.Errorf("/api/runtime has %+v, %d ever, want /panic/text alone quarantined", in.Pool.Quarantine, in.Pool.Quarantined)
	}
}

// Panics that are alike are one row on /api/runtime and one stack in the log,
// with a worker or without; and nowhere but in the log is what they said.
func TestPanicKinds(t *testing.T) {
	t.Parallel()
	s := withRoutes(t, faultyRoutes(), workers(2))
	c := s.someone().asAdmin()
	want := map[string]uint64{"/panic/text": 5, "/panic/error": 3, "/free/panic": 4, "/admin/panic": 2}
	for path, n := range want {
		for range n {
			c.get(path).fails(http.StatusInternalServerError, "Internal server error")
		}
	}
	r := c.asAdmin().get("/api/runtime").want(http.StatusOK)
	var in admin.State
	r.decode(&in)
	got := map[string]uint64{}
	for _, kind := range in.Pool.PanicKinds {
		got[kind.Route] = kind.Count
		if len(kind.Fingerprint) != 16 || !strings.Contains(kind.Frame, "faultyRoutes") || time.Time(kind.First).After(time.Time(kind.Last)) {
			t.Errorf("/api/runtime has %+v, want where it was and when", kind)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kinds of panics (-want +got):\n%s", diff)
	}
	if strings.Contains(r.text, "secret detail") {
		t.Errorf("%s shows what a panic said", r.call)
	}
	if n := strings.Count(s.log.String(), `"stack":`); n != len(want) {
		t.Errorf("%d stacks in the log, want %d", n, len(want))
	}
}

// REQUEST_TIMEOUT ends work that takes longer, and says so.
func TestRequestTimeout(t *testing.T) {
	t.Parallel()
	s := withRoutes(t, []router.Route{get("/wait", func(c *router.Context) error {
		<-c.Context().Done()
		return c.Context().Err()
	}), get("/wait/cause", func(c *router.Context) error {
		<-c.Context().Done()
		return context.Cause(c.Context())
	})}, func(cfg *Config, _ *Deps) { cfg.RequestTimeout = 100 * time.Millisecond })
	for _, path := range []string{"/wait", "/wait/cause"} {
		r := s.visitor().get(path).fails(http.StatusServiceUnavailable, "The request took too long")
		wantRefusal(t, r, "timeout")
	}
}

// A handler whose client has left is told so; nobody is answered.
func TestClientLeaves(t *testing.T) {
	t.Parallel()
	began, told := make(chan bool), make(chan error, 1)
	s := withRoutes(t, []router.Route{get("/wait", func(c *router.Context) error {
		began <- true
		<-c.Context().Done()
		told <- c.Context().Err()
		return c.Context().Err()
	})})
	w := s.dial(t)
	w.header("GET", "/wait", nil)
	<-began
	_ = w.Close()
	if err := <-told; !errors.Is(err, context.Canceled) {
		t.Errorf("the handler is told %v, want %v", err, context.Canceled)
	}
	testkit.Eventually(t, "its log line", func() bool {
		for _, line := range s.log.Entries() {
			if line["route"] == "/wait" && line["status"] == 499.0 {
				return true
			}
		}
		return false
	})
	if strings.Contains(s.log.String(), `"level":"ERROR"`) {
		t.Errorf("a client that left is an error in the log:\n%s", s.log)
	}
}
