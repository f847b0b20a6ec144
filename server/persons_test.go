package server

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"notesd/internal/testkit"
	"notesd/pool"
)

// onePlace is a pool with one worker and room for three to wait.
func onePlace(_ *Config, deps *Deps) {
	deps.Pool = pool.New(pool.Config{Shards: 1, WorkersPerShard: 1, QueueLength: 3, QueueTimeout: time.Minute, Log: deps.Log})
}

// awaitQueued waits until so many requests of a class wait.
func (s *site) awaitQueued(class pool.Class, n int) {
	s.t.Helper()
	testkit.Eventually(s.t, fmt.Sprint(n, " of ", class, " to wait"), func() bool { return s.pool.Stats().Classes[class].Queued == n })
}

// Two people behind one address have a queue each, since their sessions are
// known from before: who fills it makes room for the other, and is told why.
func TestQueueIsByPerson(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, onePlace)
	ada, bob := s.member("ada@example.com"), s.member("bob@example.com")
	ada.get("/api/notes").want(http.StatusOK)
	bob.get("/api/notes").want(http.StatusOK)
	turn, err := s.pool.Acquire(t.Context(), pool.Request{})
	if err != nil {
		t.Fatal(err)
	}
	get := func(c *client) chan reply {
		r := make(chan reply, 1)
		go func() { r <- c.get("/api/notes") }()
		return r
	}
	first := get(ada)
	s.awaitQueued(pool.Read, 1)
	second := get(ada)
	s.awaitQueued(pool.Read, 2)
	third := get(ada)
	s.awaitQueued(pool.Read, 3)
	fourth := get(bob)
	wantRefusal(t, (<-third).fails(http.StatusTooManyRequests, "Too many requests at once, please try again later."), "user_share")
	turn.Release()
	(<-first).want(http.StatusOK)
	(<-second).want(http.StatusOK)
	(<-fourth).want(http.StatusOK)
}

// A list that is searched is another class than one that is not.
func TestSearchIsAClass(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, onePlace)
	ada := s.member("ada@example.com")
	for query, class := range map[string]pool.Class{
		"": pool.Read, "?search=": pool.Read, "?archived=true": pool.Read, "?search=a": pool.Search, "?q=a": pool.Search, "?%73earch=a": pool.Search,
	} {
		turn, err := s.pool.Acquire(t.Context(), pool.Request{})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			ada.get("/api/notes" + query).want(http.StatusOK)
		}()
		s.awaitQueued(class, 1)
		turn.Release()
		<-done
	}
}
