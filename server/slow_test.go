package server

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"notesd/internal/testkit"
	"notesd/pool"
)

// workers is a pool of n workers in one shard.
func workers(n int, edits ...func(*pool.Config)) options {
	return func(_ *Config, deps *Deps) {
		c := pool.Config{Shards: 1, WorkersPerShard: n, QueueLength: 64, QueueTimeout: time.Second,
			Passthrough: http.ErrAbortHandler, Log: deps.Log}
		for _, edit := range edits {
			edit(&c)
		}
		deps.Pool = pool.New(c)
	}
}

// slowBody is a request whose body has begun and is not finished.
type slowBody struct {
	*wire
	rest string
}

func (s *site) slowBody(t *testing.T, c *client, path, body string) slowBody {
	t.Helper()
	w := s.dial(t)
	w.header("POST", path, c, "Content-Type: application/json", "Content-Length: "+strconv.Itoa(len(body)))
	w.send("%s", body[:len(body)/2])
	return slowBody{w, body[len(body)/2:]}
}

func (b slowBody) finish() reply {
	b.t.Helper()
	b.send("%s", b.rest)
	return b.reply()
}

// Who sends slowly holds no worker: fifty of them leave a pool of eight free,
// and are served when they are done.
func TestSlowBodies(t *testing.T) {
	t.Parallel()
	const many = 50
	s := onSQLite(t, workers(8, func(c *pool.Config) { c.Limits[pool.Password] = 1 }))
	c := s.someone()
	tests := []struct {
		name, path, body string
		client           *client
		status           int
	}{
		{"notes", "/api/notes", `{"title":"slow","content":"body"}`, c, 201},
		{"sign-ins, of which one runs at a time", "/api/auth/login", `{"email":"nobody@example.com"}`, nil, 400},
		{"vitals", "/api/metrics/vitals", `{"name":"CLS","value":0.1,"rating":"good"}`, nil, 201},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var slow []slowBody
			for range many {
				slow = append(slow, s.slowBody(t, tt.client, tt.path, tt.body))
			}
			testkit.Eventually(t, "fifty bodies on their way", func() bool { return s.pool.Stats().Yielded == many })
			if stats := s.pool.Stats(); stats.Busy > 0 || stats.Queued > 0 {
				t.Errorf("%d workers busy and %d requests queued, want none", stats.Busy, stats.Queued)
			}
			began := time.Now()
			c.in(t).get("/api/notes").want(http.StatusOK)
			if took := time.Since(began); testkit.TooLong(took, 0, time.Second) {
				t.Errorf("a request beside them took %v, want it at once", took)
			}
			for _, b := range slow {
				b.finish().want(tt.status)
			}
			testkit.Eventually(t, "rest", s.atRest)
		})
	}
}

// REQUEST_TIMEOUT bounds the work, not the time a body takes to arrive, and so
// does what the server says that requests took.
func TestSlowBodyOutlastsTimeout(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		sampler := s.server.Admin().NewSampler(2*time.Second, 0)
		b := s.slowBody(t, s.someone(), "/api/notes", `{"title":"slow","content":"body"}`)
		time.Sleep(2200 * time.Millisecond)
		b.finish().want(http.StatusCreated)
		if got := sampler.Sample(); got.Timed != 1 || got.Slow > 0 {
			t.Errorf("sample %+v, want one request, and it quick: its client was slow", got)
		}
	}, func(cfg *Config, _ *Deps) { cfg.RequestTimeout = 2 * time.Second })
}

// A client that leaves in the middle of its body leaves nothing behind.
func TestLeftInTheBody(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	c := s.someone()
	b := s.slowBody(t, c, "/api/notes", `{"title":"slow","content":"body"}`)
	testkit.Eventually(t, "the body on its way", func() bool { return s.pool.Stats().Yielded == 1 })
	_ = b.Close()
	testkit.Eventually(t, "rest", s.atRest)
	if notes := c.get("/api/notes").notes(); len(notes) != 0 {
		t.Errorf("half a body made %d notes", len(notes))
	}
}

// A client that leaves the queue is not served.
func TestLeftInTheQueue(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, workers(1, func(c *pool.Config) { c.QueueTimeout = 20 * time.Second }))
	c := s.someone()
	id := c.create(map[string]any{"title": "a", "content": ""}).ID
	release := s.occupy(t, 1)
	w := s.dial(t)
	w.header("PATCH", "/api/notes/"+id+"/pin", c)
	testkit.Eventually(t, "the request in the queue", func() bool { return s.pool.Stats().Queued == 1 })
	_ = w.Close()
	testkit.Eventually(t, "an empty queue", func() bool { return s.pool.Stats().Queued == 0 })
	release()
	if note := c.get("/api/notes/" + id).note(); note.IsPinned {
		t.Error("who left the queue flipped a flag")
	}
	if n := s.pool.Stats().Abandoned; n != 1 {
		t.Errorf("%d abandoned, want 1", n)
	}
}

// occupy takes n workers until it is called off or the test ends.
func (s *site) occupy(t *testing.T, n int) (release func()) {
	t.Helper()
	var turns []*pool.Permit
	for range n {
		turn, err := s.pool.Acquire(context.Background(), pool.Request{Class: pool.Read, Route: "test"})
		if err != nil {
			t.Fatal(err)
		}
		turns = append(turns, &turn)
	}
	release = func() {
		for _, turn := range turns {
			turn.Release()
		}
	}
	t.Cleanup(release)
	return release
}

// A full pool turns away what finds no room in the queue or waits too long,
// and says so; probes and administrators are answered.
func TestFullPool(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		queue  int
		wait   time.Duration
		reason string
		least  int64 // milliseconds waited
	}{
		{"nobody waits", 0, time.Second, "queue_full", 0},
		{"nobody waits any time", 5, 0, "queue_timeout", 0},
		{"waited in vain", 5, 200 * time.Millisecond, "queue_timeout", 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := onSQLite(t, workers(2, func(c *pool.Config) { c.QueueLength, c.QueueTimeout = tt.queue, tt.wait }))
			c := s.someone()
			release := s.occupy(t, 2)
			r := c.in(t).get("/api/notes").fails(http.StatusServiceUnavailable, "Server is busy, please try again")
			wantRefusal(t, r, tt.reason)
			var f failure
			r.decode(&f)
			if f.WaitedMs == nil || *f.WaitedMs < tt.least || *f.WaitedMs > tt.least+5000 {
				t.Errorf("%s = %s, want some %d ms waited", r.call, r.text, tt.least)
			}
			if line := s.line(r); line["reason"] != tt.reason || line["status"] != 503.0 {
				t.Errorf("log line %v, want reason %s", line, tt.reason)
			}
			for _, path := range []string{"/api/health", "/healthz", "/readyz", "/api/runtime", "/metrics", "/api/metrics"} {
				c.asAdmin().in(t).get(path).want(http.StatusOK)
			}
			release()
			c.in(t).get("/api/notes").want(http.StatusOK)
		})
	}
}

// A write that waits for its commit holds no worker.
func TestCommitHoldsNothing(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, workers(1))
	c := s.someone()
	release := s.lockDatabase(t)
	written := make(chan reply, 1)
	go func() { written <- c.post("/api/notes", map[string]any{"title": "a", "content": ""}) }()
	testkit.Eventually(t, "a write on its way", func() bool {
		p := s.pool.Stats()
		return p.Yielded == 1 && p.Busy == 0
	})
	c.get("/api/auth/me").want(http.StatusOK)
	release()
	(<-written).want(http.StatusCreated)
	testkit.Eventually(t, "rest", s.atRest)
}

// lockDatabase keeps everybody from writing to the SQLite file until the function it returns is called.
func (s *site) lockDatabase(t *testing.T) (release func()) {
	t.Helper()
	db, err := sql.Open("sqlite", s.database)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	return sync.OnceFunc(func() {
		if err := errors.Join(func() error { _, err := db.Exec("ROLLBACK"); return err }(), db.Close()); err != nil {
			t.Error(err)
		}
	})
}

// However a connection's bytes are cut into pieces, each request gets its own body. An empty line in a body is not taken
// for a header's end.
func TestBodiesInPieces(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, uncounted)
	c := s.someone()
	var stream strings.Builder
	var ends []int // of headers and bodies
	const requests = 3
	for i := range requests {
		body := fmt.Sprintf("{\"title\":\"%d\",\r\n\r\n\"content\":\"%s\"}", i, strings.Repeat("x", 20*i))
		fmt.Fprintf(&stream, "POST /api/notes HTTP/1.1\r\nHost: localhost\r\nCookie: sessionId=%s\r\nContent-Length: %d\r\n\r\n", c.token(), len(body))
		ends = append(ends, stream.Len())
		stream.WriteString(body)
		ends = append(ends, stream.Len())
	}
	whole := stream.String()
	cuts := [][]int{{}, ends, ends[:1], ends[1:2]}
	for _, end := range ends[:len(ends)-1] {
		for near := -3; near <= 3; near++ {
			cuts = append(cuts, []int{end + near}, []int{end + near, end + near + 20})
		}
	}
	for _, at := range cuts {
		w := s.dial(t)
		sent := 0
		for _, end := range append(at, len(whole)) {
			w.send("%s", whole[sent:end])
			time.Sleep(2 * time.Millisecond) // a piece is a read of the server's
			sent = end
		}
		for i := range requests {
			if got := w.reply().want(http.StatusCreated).note(); got.Title != strconv.Itoa(i) || len(got.Content) != 20*i {
				t.Fatalf("cut at %v: note %d has the title %q and %d bytes", at, i, got.Title, len(got.Content))
			}
		}
		_ = w.Close()
	}
}
