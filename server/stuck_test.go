package server

import (
	"context"
	"database/sql"
	"net/http"
	"sync"
	"testing"
	"time"

	"notesd/internal/testkit"
	"notesd/pool"
	"notesd/server/admin"
	"notesd/server/router"
	"notesd/store/storetest"
)

// impatient is a pool of n workers that finds requests stuck after d.
func impatient(n int, d time.Duration) options {
	return workers(n, func(c *pool.Config) { c.StuckAfter = d })
}

// watchPool looks for stuck requests until the test ends.
func (s *site) watchPool(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() { s.pool.Watch(ctx) })
	t.Cleanup(func() { stop(); watching.Wait() })
}

// One stuck request is replaced and nobody notices. One more makes the pool
// smaller: unready, until one of them has ended.
func TestReadyWhileStuck(t *testing.T) {
	t.Parallel()
	end := make(chan bool)
	s := withRoutes(t, []router.Route{get("/stuck", func(c *router.Context) error { <-end; return c.Message("done") })},
		impatient(2, 200*time.Millisecond))
	s.watchPool(t)
	c := s.someone()
	answers := make(chan reply)
	stick := func(n int) {
		go func() { answers <- s.visitor().get("/stuck") }()
		testkit.Eventually(t, "a stuck request", func() bool { return len(s.pool.Stats().Stuck.Permits) == n })
	}
	stick(1)
	if row := c.get("/readyz").want(http.StatusOK).checks()["pool"]; row.Decides || row.Status != "up" {
		t.Errorf("with one stuck request the pool's row is %+v, want it up", row)
	}
	stick(2)
	if row := c.get("/readyz").want(http.StatusServiceUnavailable).checks()["pool"]; !row.Decides || row.Status != "stuck" {
		t.Errorf("with two stuck requests the pool's row is %+v, want it stuck, which decides", row)
	}
	c.get("/api/notes").want(http.StatusOK) // those that come all the same are served

	var in admin.State
	c.asAdmin().get("/api/runtime").want(http.StatusOK).decode(&in)
	stuck := in.Pool.Stuck
	if stuck.Found != 2 || stuck.Recovered != 0 || stuck.Replaced != 1 || stuck.Bound != 1 || len(stuck.Turns) != 2 || in.Pool.Idle != 1 {
		t.Fatalf("/api/runtime has %+v, %d idle, want two stuck, one replaced, one idle", stuck, in.Pool.Idle)
	}
	if first, second := stuck.Turns[0], stuck.Turns[1]; first.Replacement == 0 || second.Replacement != 0 || first.Route != "/stuck" ||
		first.Class != "read" || first.Worker == 0 {
		t.Errorf("/api/runtime has %+v, want the first replaced", stuck.Turns)
	}

	end <- true
	(<-answers).want(http.StatusOK)
	testkit.Eventually(t, "readiness green", func() bool { return c.get("/readyz").status == http.StatusOK })
	end <- true
	(<-answers).want(http.StatusOK)
	testkit.Eventually(t, "rest", s.atRest)
	if p := s.pool.Stats(); p.Idle != 2 || p.Stuck.Recovered != 2 || p.Restarts != 0 {
		t.Errorf("at the end %d idle, %+v, want two and two recovered", p.Idle, p.Stuck)
	}
}

// A stuck request's context ends down to the SQL: a statement that waits for a
// lock gives up, and its connection is free.
func TestStuckInSQL(t *testing.T) {
	t.Parallel()
	s := onDatabase(t, storetest.Postgres(t), uncopied, impatient(2, 300*time.Millisecond))
	s.watchPool(t)
	c := s.someone()
	id := c.create(map[string]any{"title": "locked", "content": ""}).ID
	unlock := s.lockNotes(t)
	began := time.Now()
	r := c.get("/api/notes/"+id).fails(http.StatusServiceUnavailable, "The request took too long")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("given up after %v, want some 300 ms", took) // REQUEST_TIMEOUT is minutes here
	}
	wantRefusal(t, r, "timeout")
	testkit.Eventually(t, "connections back", func() bool {
		for _, db := range s.store.Stats() {
			if db.InUse > 0 {
				return false
			}
		}
		return true
	})
	unlock()
	if got := c.get("/api/notes/" + id).want(http.StatusOK).note(); got.Title != "locked" {
		t.Errorf("the title is %q, want it as it was", got.Title)
	}
	if p := s.pool.Stats(); p.Stuck.Found != 1 || p.Stuck.Recovered != 1 || p.Busy != 0 {
		t.Errorf("at the end %+v, %d busy, want one found and recovered", p.Stuck, p.Busy)
	}
}

// lockNotes keeps everybody from reading and writing notes until the function it returns is called.
func (s *site) lockNotes(t *testing.T) (unlock func()) {
	t.Helper()
	db, err := sql.Open("pgx", s.database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), "LOCK TABLE notes IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	return func() { _ = tx.Rollback() }
}

// What a handler does while it waits for its client it does not do any more once stuck.
func TestStuckOutside(t *testing.T) {
	t.Parallel()
	s := withRoutes(t, []router.Route{get("/late", func(c *router.Context) error {
		<-c.Context().Done()
		if cause := context.Cause(c.Context()); cause != pool.ErrStuck {
			t.Errorf("the handler's context ends by %v, want %v", cause, pool.ErrStuck)
		}
		return c.Yield(func() error { t.Error("sends"); return nil })
	})}, impatient(1, 200*time.Millisecond))
	s.watchPool(t)
	wantRefusal(t, s.visitor().get("/late").fails(http.StatusServiceUnavailable, "The request took too long"), "timeout")
	testkit.Eventually(t, "rest", s.atRest)
}
