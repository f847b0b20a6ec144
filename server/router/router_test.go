package router

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"notesd/internal/ratelimit"
	"notesd/internal/testkit"
	"notesd/pool"
)

// byHeader believes a header that names the user.
type byHeader struct{}

func (byHeader) Cached(r *http.Request) Identity { return Identity{UserID: r.Header.Get("X-User")} }
func (byHeader) Hint(r *http.Request) string     { return r.Header.Get("X-User") }
func (b byHeader) Authenticate(_ context.Context, r *http.Request, _ string) (Identity, error) {
	return b.Cached(r), nil
}

// newTestConfig is a router's configuration with a pool of one worker, and the log.
func newTestConfig() (Config, *testkit.LogBuffer) {
	log := &testkit.LogBuffer{}
	cfg := Config{RequestTimeout: time.Minute, BodyLimit: 1 << 20, Auth: byHeader{}, Limiter: ratelimit.New(nil, "secret"),
		CheckAdmin: func(http.Header, string) error { return NewError(http.StatusUnauthorized, "no") },
		Log:        slog.New(slog.NewJSONHandler(log, nil))}
	cfg.Pool = pool.New(pool.Config{Shards: 1, WorkersPerShard: 1, QueueLength: 1, QueueTimeout: time.Minute,
		Passthrough: http.ErrAbortHandler, Log: cfg.Log})
	return cfg, log
}

// serve serves the routes until the test ends.
func serve(t *testing.T, routes ...Route) (*Router, *httptest.Server, *testkit.LogBuffer) {
	t.Helper()
	cfg, log := newTestConfig()
	rt, err := New(cfg, routes)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(rt)
	t.Cleanup(s.Close)
	return rt, s, log
}

// A route that contradicts itself is refused when the server starts.
func TestRouteMistakes(t *testing.T) {
	handle := func(*Context) error { return nil }
	fast := func(Lookup) *Entry { return nil }
	for _, route := range []Route{
		{Method: "GET", Path: "/x", Handle: handle},
		{Method: "GET", Path: "/x", Class: Read},
		{Method: "GET", Path: "/X", Class: Read, Handle: handle},
		{Method: "GET", Path: "/x", Class: Free, Auth: SignedIn, Handle: handle},
		{Method: "POST", Path: "/x", Class: Read, Handle: handle, Fast: fast},
	} {
		cfg, _ := newTestConfig()
		if _, err := New(cfg, []Route{route}); err == nil {
			t.Errorf("New() takes the route %+v", route)
		}
	}
}

// A path matches in any case and with one trailing slash, but what is data in it stays as it is.
func TestCanonicalPath(t *testing.T) {
	data := dataParts([]*Route{{Path: "/api/notes/:id"}, {Path: "/api/notes/:id/versions/:at"}, {Path: "/dav/*"}, {Path: "/"}})
	for path, want := range map[string]string{
		"/":                           "/",
		"/API/Notes/":                 "/api/notes",
		"/API/Notes/AbC":              "/api/notes/AbC",
		"/API/Notes/AbC/PIN/":         "/api/notes/AbC/pin",
		"/Api/Notes/AbC/Versions/XyZ": "/api/notes/AbC/versions/XyZ",
		"/API/Other/AbC":              "/api/other/abc",
		"/DAV/Some/Where.TXT":         "/dav/Some/Where.TXT",
		"/api/notes//PIN":             "/api/notes//pin",
		"":                            "",
	} {
		if got := canonicalPath(path, data); got != want {
			t.Errorf("canonicalPath(%q) = %q, want %q", path, got, want)
		}
	}
}
