package server

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"notesd/internal/redis/redistest"
	"notesd/internal/testkit"
	"notesd/internal/testserver"
	"notesd/server/admin"
	"notesd/store"
)

// TestHealth: the process is alive, and says when.
func TestHealth(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	for _, path := range []string{"/api/health", "/healthz"} {
		r := s.visitor().get(path).want(http.StatusOK)
		var in struct {
			Success            bool
			Message, Timestamp string
		}
		r.decode(&in)
		at, err := time.Parse(time.RFC3339, in.Timestamp)
		if !in.Success || in.Message != "API is healthy" || err != nil || !apiTime.MatchString(in.Timestamp) ||
			time.Since(at) > time.Minute || r.keys() != "message,success,timestamp" {
			t.Errorf("%s = %s", r.call, r.text)
		}
	}
}

// checks are the rows of a readiness answer, by name.
func (r reply) checks() map[string]admin.Dependency {
	r.t.Helper()
	var in struct{ Checks []admin.Dependency }
	r.decode(&in)
	rows := map[string]admin.Dependency{}
	for _, row := range in.Checks {
		rows[row.Name] = row
	}
	return rows
}

// Ready names every dependency with its latency. Database, schema, sessions
// and draining decide; pool and memory inform.
func TestReady(t *testing.T) {
	t.Parallel()
	test := func(t *testing.T, s *site) {
		release := s.occupy(t, 2)
		defer release()
		for _, path := range []string{"/api/health/ready", "/readyz"} {
			r := s.visitor().get(path).want(http.StatusOK)
			rows := r.checks()
			for name, decides := range map[string]bool{"process": true, "database": true, "schema": true, "sessions": true, "pool": false} {
				row, ok := rows[name]
				if !ok || row.Decides != decides || row.Status != "up" && decides {
					t.Errorf("%s = %s, want a row for %s, decides %v", r.call, r.text, name, decides)
				}
			}
			if rows["database"].LatencyMs == nil || *rows["database"].LatencyMs < 0 {
				t.Errorf("%s = %s, want the database's latency", r.call, r.text)
			}
			if rows["pool"].Status != "full" { // it is, and decides nothing
				t.Errorf("%s = %s, want the pool full", r.call, r.text)
			}
		}
	}
	eachSite(t, test, workers(2))
	t.Run("Redis", func(t *testing.T) {
		s := onSQLite(t, workers(2), onRedis(t, testserver.Redis(t)))
		test(t, s)
		if row := s.visitor().get("/readyz").checks()["sessions"]; row.LatencyMs == nil {
			t.Errorf("the sessions' row is %+v, want Redis's latency", row)
		}
	})
}

func onRedis(t *testing.T, url string) options {
	return func(_ *Config, deps *Deps) { deps.Redis = redistest.Open(t, url) }
}

// told is how long a client may wait for its 503 while a dependency is away.
const told = time.Second

// An outage is a way in which a dependency, reached through a proxy, goes away.
type outage struct {
	name       string
	begin, end func(t *testing.T, server *testserver.Server, p *testserver.Proxy)
}

// outages has one of each kind: all connections end, or none does and all are silent.
func outages() []outage {
	pass := func(_ *testing.T, _ *testserver.Server, p *testserver.Proxy) { p.Set(testserver.Pass) }
	return []outage{
		{"stops", func(t *testing.T, s *testserver.Server, _ *testserver.Proxy) { s.Stop(t) },
			func(t *testing.T, s *testserver.Server, _ *testserver.Proxy) { s.Start(t) }},
		{"stalls", func(_ *testing.T, _ *testserver.Server, p *testserver.Proxy) { p.Set(testserver.Stall) }, pass},
		{"is half-open", func(_ *testing.T, _ *testserver.Server, p *testserver.Proxy) { p.Set(testserver.HalfOpen) }, pass},
	}
}

// A site whose database is away answers 503 with a reason, soon, and never
// 500; once the database is there it is well again by itself. It tells of each once.
func TestDatabaseAway(t *testing.T) {
	for _, o := range outages() {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			testDatabaseAway(t, o)
		})
	}
}

func testDatabaseAway(t *testing.T, o outage) {
	db := testserver.NewPostgres(t)
	proxy := testserver.NewProxy(t, db.URL())
	alerts, events := recordedAlerts()
	s := onDatabase(t, proxy.URL(), uncopied, func(_ *Config, deps *Deps) { deps.Alerts = alerts })
	c := s.someone()
	note := c.create(map[string]any{"title": "a", "content": "b"})
	o.begin(t, db, proxy)
	tests := []struct {
		method, path string
		body         any
	}{
		{"GET", "/api/auth/me", nil},
		{"GET", "/api/notes", nil},
		{"GET", "/api/notes?limit=1", nil},
		{"GET", "/api/notes/" + note.ID, nil},
		{"POST", "/api/notes", map[string]any{"title": "a", "content": "b"}},
		{"PATCH", "/api/notes/" + note.ID, map[string]any{"title": "b"}},
		{"PATCH", "/api/notes/" + note.ID + "/pin", nil},
		{"PATCH", "/api/notes/" + note.ID + "/trash", nil},
		{"DELETE", "/api/notes/" + note.ID, nil},
		{"POST", "/api/auth/login", credentialsOf("a@b.example", "eight ch")},
		{"POST", "/api/auth/register", credentialsOf("a@b.example", "eight ch")},
		{"POST", "/api/auth/logout", nil},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			began := time.Now()
			r := c.in(t).request(tt.method, tt.path, tt.body).want(http.StatusServiceUnavailable)
			if took := time.Since(began); testkit.TooLong(took, told, 500*time.Millisecond) {
				t.Errorf("%s took %v, want at most 1 s", r.call, took)
			}
			wantRefusal(t, r, "dependency_down")
			if strings.Contains(r.text, "postgres") || strings.Contains(r.text, "sql") {
				t.Errorf("%s = %s, want no word of what is behind", r.call, r.text)
			}
			if len(r.cookies) > 0 {
				t.Errorf("%s sets %v while nobody knows who is signed in", r.call, r.cookies)
			}
		})
	}
	c.get("/api/health").want(http.StatusOK)                                            // alive all the same
	s.visitor().get("/api/auth/me").fails(http.StatusUnauthorized, "Not authenticated") // which asks no store
	var down reply
	testkit.Eventually(t, "readiness red", func() bool {
		down = c.get("/readyz")
		return down.status == http.StatusServiceUnavailable
	})
	rows := down.checks()
	if rows["database"].Status != "down" || rows["process"].Status != "up" || strings.Contains(down.text, "refused") {
		t.Errorf("%s = %s, want the database down, and why only in the log", down.call, down.text)
	}
	c.asAdmin().get("/api/runtime").want(http.StatusOK)
	c.asAdmin().get("/metrics").want(http.StatusOK)

	o.end(t, db, proxy)
	began := time.Now()
	testkit.Eventually(t, "readiness green", func() bool { return c.get("/readyz").status == http.StatusOK })
	c.get("/api/notes/" + note.ID).want(http.StatusOK)
	if took := time.Since(began); testkit.TooLong(took, 2*time.Second, time.Second) {
		t.Errorf("back after %v, want at most 2 s", took)
	}
	log := s.log.String()
	for _, line := range []string{"dependency is down", "dependency is back"} {
		if n := strings.Count(log, line); n != 1 {
			t.Errorf("%q is in the log %d times, want once", line, n)
		}
	}
	if strings.Contains(log, "unexpected error") {
		t.Error("a database that is away is logged as an unexpected error")
	}
	for _, kind := range []string{"dependency_down", "dependency_up"} {
		if e := nextEvent(t, events); e.Kind != kind || e.Subject != "database" {
			t.Errorf("got %+v, want %s of the database", e, kind)
		}
	}
	if n := len(events); n > 0 {
		t.Errorf("got %d events more, want none", n)
	}
}

// With its Redis away nobody signs in or out, and those who are signed in wait;
// the general limit goes on in memory.
func TestRedisGone(t *testing.T) {
	for _, o := range outages() {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			testRedisGone(t, o)
		})
	}
}

func testRedisGone(t *testing.T, o outage) {
	server := testserver.NewRedis(t)
	proxy := testserver.NewProxy(t, server.URL())
	alerts, events := recordedAlerts()
	s := onSQLite(t, onRedis(t, proxy.URL()), func(_ *Config, deps *Deps) { deps.Alerts = alerts })
	c := s.member("ada@example.com")
	o.begin(t, server, proxy)
	soon := func(send func() reply) reply {
		t.Helper()
		began := time.Now()
		r := send()
		if took := time.Since(began); testkit.TooLong(took, told, 500*time.Millisecond) {
			t.Errorf("%s took %v, want at most 1 s", r.call, took)
		}
		return r
	}
	for _, path := range []string{"/api/auth/me", "/api/notes"} {
		wantRefusal(t, soon(func() reply { return c.get(path).want(http.StatusServiceUnavailable) }), "dependency_down")
	}
	for _, send := range []func() reply{
		func() reply { return s.visitor().login("", "ada@example.com", password) },
		func() reply { return c.post("/api/auth/logout", nil) },
	} {
		r := soon(send).want(http.StatusServiceUnavailable)
		wantRefusal(t, r, "dependency_down")
		if len(r.cookies) > 0 {
			t.Errorf("%s sets %v, want no cookie set or cleared", r.call, r.cookies)
		}
	}
	r := soon(func() reply {
		return s.visitor().get("/api/notes").fails(http.StatusUnauthorized, "Authentication required")
	})
	if _, err := r.number("RateLimit-Remaining"); err != nil {
		t.Errorf("%s has no RateLimit-Remaining: %v", r.call, err)
	}
	c.get("/api/health").want(http.StatusOK)
	testkit.Eventually(t, "readiness red", func() bool {
		r := c.get("/readyz")
		return r.status == http.StatusServiceUnavailable && r.checks()["sessions"].Status == "down" && r.checks()["database"].Status == "up"
	})
	o.end(t, server, proxy)
	began := time.Now()
	testkit.Eventually(t, "readiness green", func() bool { return c.get("/readyz").status == http.StatusOK })
	if took := time.Since(began); testkit.TooLong(took, 2*time.Second, time.Second) {
		t.Errorf("back after %v, want at most 2 s", took)
	}
	c.get("/api/auth/me").want(http.StatusOK) // the session has outlived it
	for _, kind := range []string{"dependency_down", "dependency_up"} {
		if e := nextEvent(t, events); e.Kind != kind || e.Subject != "sessions" {
			t.Errorf("got %+v, want %s of the sessions", e, kind)
		}
	}
	if n := len(events); n > 0 {
		t.Errorf("got %d events more, want none", n)
	}
}

// A database that was never there: unready, and every route that needs it says so.
func TestDatabaseNeverThere(t *testing.T) {
	t.Parallel()
	db, err := store.Open(t.Context(), store.Config{URL: "postgres://nobody@127.0.0.1:1/none", Log: testkit.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s := makeSite(t, db)
	s.serve()
	c := s.visitor()
	testkit.Eventually(t, "a first look", func() bool { return c.get("/readyz").checks()["database"].LatencyMs != nil })
	r := c.get("/readyz").want(http.StatusServiceUnavailable)
	if row := r.checks()["database"]; row.Status != "down" {
		t.Errorf("%s = %s, want the database down", r.call, r.text)
	}
	c.get("/healthz").want(http.StatusOK)
	wantRefusal(t, c.login("", "ada@example.com", password).want(http.StatusServiceUnavailable), "dependency_down")
	wantRefusal(t, c.get("/api/notes", "Cookie", "sessionId="+newToken()).want(http.StatusServiceUnavailable), "dependency_down")
}

// A database that is still being connected to for the first time is not ready, and not lost either:
// there is neither an alert nor a warning.
func TestStartingDatabase(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	alerts, events := recordedAlerts()
	db, err := store.Open(t.Context(), store.Config{Log: testkit.Log(t),
		URL: "postgres://u@" + silent.Addr().String() + "/n?sslmode=disable&connect_timeout=60"})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s := makeSite(t, db, func(_ *Config, deps *Deps) { deps.Alerts = alerts })
	s.serve()
	defer s.stop()
	c := s.visitor().in(t)
	testkit.Eventually(t, "a check", func() bool { return strings.Contains(c.get("/readyz").text, `"not connected yet"`) })
	c.get("/readyz").want(http.StatusServiceUnavailable)
	time.Sleep(300 * time.Millisecond) // the next check
	select {
	case e := <-events:
		t.Errorf("an alert: %+v", e)
	default:
	}
	if strings.Contains(s.log.String(), "dependency is down") {
		t.Errorf("logged %s", s.log)
	}
}
