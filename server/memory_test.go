package server

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"notesd/internal/testkit"
	"notesd/pool"
	"notesd/server/admin"
	"notesd/server/auth"
)

// What is reserved for a large body, note or part of a list is enough for all
// that Go allocates for it, wherever that is large itself: what is folded by the
// piece is left out.
func TestCopies(t *testing.T) {
	s := onSQLite(t)
	ada := s.member("ada@example.com")
	const size = 4 << 20 // with what is around it just above a power of two: the worst for buffers that double
	for name, text := range map[string]string{
		"plain":   strings.Repeat("eight by", size/8),
		"capital": strings.Repeat("Eight by", size/8),
		"escaped": strings.Repeat(`eight \n`, size/8),
	} {
		t.Run(name, func(t *testing.T) {
			worst := 1.0
			if name == "escaped" { // nothing but letters and escapes, into buffers that no request has left behind
				worst = 1.5
			}
			body := `{"title":"large","content":"` + text + `"}`
			path := ""
			for _, c := range []struct {
				method, below, body string
				most                float64
			}{
				{"POST", "", body, bodyCopies},
				{"GET", "", "", readCopies},
				{"PATCH", "", body, bodyCopies + readCopies},
				{"PATCH", "", `{"title":"other"}`, readCopies},
				{"PATCH", "/pin", "", readCopies},
			} {
				var location string
				copies := float64(allocated(func() { location = ada.sendLarge(t, c.method, "/api/notes"+path+c.below, c.body) })) / size
				t.Logf("%s %s allocates %.1f times its size", c.method, path+c.below, copies)
				if most := worst * c.most; copies > most {
					t.Errorf("%s %s allocates %.1f times its size, want at most %.0f", c.method, path+c.below, copies, most)
				}
				if location != "" {
					path = strings.TrimPrefix(location, "/api/notes")
				}
			}
		})
	}
	if copies := float64(allocated(func() { ada.sendLarge(t, "GET", "/api/notes", "") })) / size; copies > 3*readCopies {
		t.Errorf("a list of three allocates %.1f times the size of one, want at most %d", copies, 3*readCopies)
	}
}

// allocated is how many bytes do has the heap give out.
func allocated(do func()) uint64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// sendLarge sends a request without copying it or its response, and returns the path of the note
// that it created.
func (c *client) sendLarge(t *testing.T, method, path, body string) (location string) {
	t.Helper()
	r := httptest.NewRequest(method, c.url+path, strings.NewReader(body))
	r.RequestURI = ""
	r.Header.Set("Content-Type", "application/json")
	answer, err := c.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode >= http.StatusBadRequest {
		t.Fatalf("%s %s = %d, %v", method, path, answer.StatusCode, err)
	}
	return answer.Header.Get("Location")
}

// With no room left, what is large is refused, read or written, and says why;
// what is small is served; and all is as before when there is room again.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	ada := s.member("ada@example.com")
	large := ada.create(map[string]any{"title": "large", "content": strings.Repeat("large ", 20_000)})
	small := ada.create(map[string]any{"title": "small", "content": "small"})
	m := s.limitMemory(t)

	path := "/api/notes/" + large.ID
	m.take(80)
	free := m.reserveAll()
	for what, r := range map[string]reply{
		"a large note":        ada.get(path),
		"a change to it":      ada.patch(path, map[string]any{"title": "changed"}),
		"a flip of it":        ada.patch(path+"/pin", nil),
		"a list with it":      ada.get("/api/notes"),
		"another large note":  ada.post("/api/notes", map[string]any{"title": "x", "content": strings.Repeat("large ", 20_000)}),
		"a sign-up":           s.visitor().post("/api/auth/register", map[string]any{"email": "b@example.com", "password": "eight ch"}),
		"a sign-in":           s.visitor().post("/api/auth/login", map[string]any{"email": "ada@example.com", "password": "eight ch"}),
		"a sign-in of nobody": s.visitor().post("/api/auth/login", map[string]any{"email": "c@example.com", "password": "eight ch"}),
	} {
		var f failure
		r.decode(&f)
		if r.status != http.StatusServiceUnavailable || f.Reason != "memory" || r.header.Get("Retry-After") == "" {
			t.Errorf("%s without room: %d %q, Retry-After %q, want 503 memory with it", what, r.status, f.Reason, r.header.Get("Retry-After"))
		}
	}
	ada.get("/api/notes/" + small.ID).want(http.StatusOK)
	ada.patch("/api/notes/"+small.ID+"/pin", nil).want(http.StatusOK)

	free()
	m.take(0)
	var after struct{ Data noteJSON }
	ada.get(path).want(http.StatusOK).decode(&after)
	if after.Data.Title != "large" || after.Data.IsPinned || after.Data.Revision != large.Revision || len(after.Data.Content) != 120_000 {
		t.Errorf("the note was changed by what was refused: revision %d, was %d", after.Data.Revision, large.Revision)
	}
	ada.patch(path, map[string]any{"title": "changed"}).want(http.StatusOK)
	ada.get("/api/notes").want(http.StatusOK)
	testkit.Eventually(t, "rest", s.atRest)
}

// A long list is bulk work, refused when memory is tight; a short one is a read, as ever.
func TestLongListsAreBulk(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	ada := s.member("ada@example.com")
	m := s.limitMemory(t)
	half := map[string]any{"title": "x", "content": strings.Repeat("x", partBytes/2-1)}
	ada.create(half)
	ada.create(half)
	m.take(86)
	ada.get("/api/notes").want(http.StatusOK)
	ada.create(map[string]any{"title": "one more", "content": ""})
	ada.get("/api/notes").fails(http.StatusServiceUnavailable, "Server is short of memory, please try again")
	ada.get("/api/notes?limit=2").want(http.StatusOK)
	m.take(0)
	ada.get("/api/notes").want(http.StatusOK)
	testkit.Eventually(t, "rest", s.atRest)
}

// Whatever one person's clients leave standing, bodies that were announced or have half come and
// answers that nobody reads, the others sign up, sign in and write long notes, and all of it is seen. The test runs
// alone: what tests beside it keep in memory would be taken for the server's.
func TestIdleClientsKeepNobodyOut(t *testing.T) {
	var monitor *pool.PressureMonitor
	s := onSQLite(t, func(_ *Config, deps *Deps) {
		deps.Pool = newPool(deps.Log)
		monitor = newMonitor(deps.Pool, deps.Log)
		deps.Stages = monitor
	})
	eve, bob := s.member("eve@example.com"), s.member("bob@example.com")
	long := eve.create(map[string]any{"title": "long", "content": strings.Repeat("long text", 1<<20)})
	m := s.watchMemory(t, monitor)
	const room = 300 << 20
	full := map[string]any{"title": "half a megabyte", "content": strings.Repeat("Eight ch", 1<<16)}
	length := "Content-Length: " + strconv.Itoa(10_000_000)
	for i, tt := range []struct {
		name      string
		begin     func(w *wire)
		reserved  int64 // bytes at least
		announced int64 // bytes at most
	}{
		{"announced", func(w *wire) { w.header("POST", "/api/notes", eve, length); w.send("{") }, 0, 0},
		{"announced in chunks", func(w *wire) {
			w.header("POST", "/api/notes", eve, "Transfer-Encoding: chunked")
			w.send("989680\r\n{")
		}, 0, 0},
		{"half of it came", func(w *wire) {
			w.header("POST", "/api/notes", eve, length)
			_, _ = io.WriteString(w.Conn, strings.Repeat(" ", 5_000_000)) // fails where it was refused
		}, 10_000_000, room / 2}, // one at least: how many fit depends on when the garbage is collected
		{"unread", func(w *wire) { w.header("GET", "/api/notes/"+long.ID, eve) }, 9 << 20, room / 2},
		{"unread in a list", func(w *wire) { w.header("GET", "/api/notes", eve) }, 9 << 20, room / 2},
		{"unread, of a change that did not match", func(w *wire) {
			w.header("PATCH", "/api/notes/"+long.ID+"/pin", eve, `If-Match: "another"`)
		}, 9 << 20, room / 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m.leave(room)
			var idle []*wire
			var begun sync.WaitGroup
			for range 16 {
				w := s.wire(t, "127.0.0.2")
				_ = w.Conn.(*net.TCPConn).SetReadBuffer(4 << 10)
				begun.Go(func() { tt.begin(w) })
				idle = append(idle, w)
			}
			begun.Wait()
			testkit.Eventually(t, "memory set aside, but for no worker", func() bool {
				now := m.stages.Stats()
				return now.Reserved >= tt.reserved && now.Reserved <= tt.announced && s.pool.Stats().Busy == 0
			})
			var state admin.State
			s.visitor().asAdmin().get("/api/runtime").decode(&state)
			if got := state.Stages.Reserved; got < tt.reserved || got > tt.announced {
				t.Errorf("/api/runtime says that %d bytes are reserved, want %d to %d", got, tt.reserved, tt.announced)
			}
			s.visitor().in(t).post("/api/auth/login", map[string]any{"email": "bob@example.com", "password": "correct horse"}).want(http.StatusOK)
			s.visitor().in(t).post("/api/auth/register", map[string]any{"email": strconv.Itoa(i) + "@example.com", "password": "correct horse"}).want(http.StatusCreated)
			bob.in(t).post("/api/notes", full).want(http.StatusCreated)
			for _, w := range idle {
				_ = w.Close()
			}
			m.take(0)
			testkit.Eventually(t, "rest", s.atRest)
			testkit.Eventually(t, "nothing reserved", func() bool { return m.stages.Stats().Reserved == 0 })
		})
	}

	free := m.reserveAll()
	testkit.Eventually(t, "readiness that tells of it", func() bool {
		var state struct{ Checks []admin.Dependency }
		s.visitor().get("/readyz").want(http.StatusOK).decode(&state)
		return slices.ContainsFunc(state.Checks, func(row admin.Dependency) bool { return row.Name == "memory" && row.Status != "up" })
	})
	free()
}

// scarcity makes memory short on a site that has a limit of a TB.
type scarcity struct {
	t      *testing.T
	pool   *pool.Pool
	stages *pool.PressureMonitor
	taken  int64
}

func (s *site) limitMemory(t *testing.T) *scarcity {
	t.Helper()
	return s.watchMemory(t, newMonitor(s.pool, s.server.deps.Log))
}

// newMonitor returns a monitor with a limit of a TB.
func newMonitor(p *pool.Pool, log *slog.Logger) *pool.PressureMonitor {
	return pool.NewPressureMonitor(pool.PressureConfig{Limit: 1 << 40, Kept: auth.HashBytes, Pool: p, Log: log})
}

// watchMemory runs the monitor until the test ends.
func (s *site) watchMemory(t *testing.T, monitor *pool.PressureMonitor) *scarcity {
	t.Helper()
	m := &scarcity{t: t, pool: s.pool, stages: monitor}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { m.stages.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
	return m
}

// take has so many percent of the limit in use, and waits until that is seen.
func (m *scarcity) take(percent int64) {
	m.t.Helper()
	bytes := int64(1<<40) / 100 * percent
	m.pool.AddInFlight(0, bytes-m.taken)
	m.taken = bytes
	calm := percent < 80
	testkit.Eventually(m.t, "a look at memory", func() bool {
		it := m.stages.Stats()
		return it.Needed >= bytes && it.Needed < bytes+1<<34 && (!calm || it.Pressure == pool.PressureNone)
	})
}

// leave has all but so many bytes in use of those that can be set aside. The heap of the test
// counts too, so its garbage is collected first.
func (m *scarcity) leave(bytes int64) {
	m.t.Helper()
	runtime.GC()
	testkit.Eventually(m.t, "a look at memory", func() bool { return m.stages.Stats().Needed > 0 })
	hold := m.stages.Stats().Free - bytes
	m.pool.AddInFlight(0, hold)
	m.taken += hold
	testkit.Eventually(m.t, "a look at memory", func() bool { return m.stages.Stats().Free < 2*bytes })
}

// reserveAll leaves no room, and would not if a GB became free.
func (m *scarcity) reserveAll() (free func()) {
	var all pool.Reservation
	for bytes := int64(1 << 39); bytes >= 1<<20; bytes /= 2 {
		for m.pool.Reserve(&all, pool.Request{Class: pool.Password}, all.Bytes()+bytes) == nil {
		}
	}
	m.pool.AddInFlight(0, 1<<30)
	testkit.Eventually(m.t, "a look at memory", func() bool { return m.stages.Stats().Needed >= m.taken+1<<30 })
	return func() {
		m.pool.Shrink(&all, 0)
		m.pool.AddInFlight(0, -1<<30)
	}
}
