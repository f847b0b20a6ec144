package redis_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"
	"golang.org/x/sync/errgroup"

	"notesd/internal/redis"
	"notesd/internal/redis/redistest"
	"notesd/internal/testkit"
	"notesd/internal/testserver"
)

func TestOpen(t *testing.T) {
	for _, test := range []struct {
		name, url string
		ok        bool
	}{
		{"plain", "redis://localhost:6379", true},
		{"database", "redis://:secret@localhost:6379/3", true},
		{"TLS", "rediss://user:secret@redis.example:6380/0", true},
		{"no port", "redis://localhost", true},
		{"no URL", "redis://:secret@local host", false},
		{"bad escape", "redis://:secret%zz@localhost", false},
		{"no scheme", "localhost:6379", false},
		{"another scheme", "http://:secret@localhost", false},
		{"no host", "redis:///1", false},
		{"opaque", "redis:secret", false},
		{"no number", "redis://:secret@localhost/notes", false},
		{"negative", "redis://:secret@localhost/-1", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := redis.Open(test.url)
			if ok := err == nil; ok != test.ok {
				t.Fatalf("Open(%q) = %v, want ok %v", test.url, err, test.ok)
			}
			if err == nil {
				c.Close()
			} else if strings.Contains(err.Error(), "secret") {
				t.Errorf("Open(%q) = %v: shows the password", test.url, err)
			}
		})
	}
}

// A command that Redis refuses, alone or in a transaction, fails with ErrUnavailable.
func TestRefusedCommands(t *testing.T) {
	c := redistest.Open(t, testserver.Redis(t))
	if _, err := c.Do(t.Context(), "NOSUCHCOMMAND"); !errors.Is(err, redis.ErrUnavailable) {
		t.Errorf("an unknown command = %v, want ErrUnavailable", err)
	}
	err := c.Transaction(t.Context(),
		redis.NewCommand("SET", "refusals", "text"),
		redis.NewCommand("LPUSH", "refusals", "x"),
		redis.NewCommand("DEL", "refusals"))
	if !errors.Is(err, redis.ErrUnavailable) {
		t.Errorf("a list command on a text = %v, want ErrUnavailable", err)
	}
	if err := redistest.Ping(t.Context(), c); err != nil {
		t.Errorf("Ping() after refusals = %v, want nil", err)
	}
}

func TestWrongPassword(t *testing.T) {
	address := strings.TrimPrefix(testserver.Redis(t), "redis://")
	c := redistest.Open(t, "redis://:secret@"+address)
	err := redistest.Ping(t.Context(), c)
	if !errors.Is(err, redis.ErrUnavailable) || strings.Contains(err.Error(), "secret") {
		t.Errorf("Ping() with a wrong password = %v, want ErrUnavailable and no password", err)
	}
}

// Whatever happens to the connections, callers get an error within a second, though they are more
// than the connections. When the fault ends, they are served again within two seconds.
func TestFaults(t *testing.T) {
	for _, fault := range testserver.Faults {
		t.Run(fault.String(), func(t *testing.T) {
			t.Parallel()
			p := testserver.NewProxy(t, testserver.Redis(t))
			c := redistest.Open(t, p.URL())
			redistest.Occupy(t, c)()
			p.Set(fault)
			until := time.Now().Add(2 * time.Second)
			var longest atomic.Int64
			var callers sync.WaitGroup
			for range redis.MaxConns + 36 {
				callers.Go(func() {
					for time.Now().Before(until) {
						began := time.Now()
						err := redistest.Ping(t.Context(), c)
						if took := int64(time.Since(began)); took > longest.Load() {
							longest.Store(took) // or one that is nearly as long
						}
						if !errors.Is(err, redis.ErrUnavailable) {
							t.Errorf("Ping() = %v, want ErrUnavailable", err)
						}
						time.Sleep(10 * time.Millisecond)
					}
				})
			}
			callers.Wait()
			if took := time.Duration(longest.Load()); testkit.TooLong(took, time.Second, 500*time.Millisecond) {
				t.Errorf("a Ping took %v, want 1s at most", took)
			}
			if got := c.Stats().Failures; got == 0 {
				t.Errorf("Stats().Failures = %d, want some", got)
			}
			p.Set(testserver.Pass)
			ended := time.Now()
			for redistest.Ping(t.Context(), c) != nil && time.Since(ended) < 10*time.Second {
				time.Sleep(10 * time.Millisecond)
			}
			took := time.Since(ended)
			t.Logf("told within %v, back after %v", time.Duration(longest.Load()), took)
			if testkit.TooLong(took, 2*time.Second, 500*time.Millisecond) {
				t.Errorf("back after %v, want 2s at most", took)
			}
			pingByMany(t, c)
		})
	}
}

// While Redis is lost one caller tries it, and the others are refused at once.
func TestLostRedisIsTriedByOne(t *testing.T) {
	p := testserver.NewProxy(t, testserver.Redis(t))
	p.Set(testserver.Stall)
	c := redistest.Open(t, p.URL())
	redistest.Ping(t.Context(), c)
	time.Sleep(redis.RetryAfter)

	before := p.Accepted()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if err := redistest.Ping(t.Context(), c); !errors.Is(err, redis.ErrUnavailable) {
				t.Errorf("Ping() = %v, want ErrUnavailable", err)
			}
		})
	}
	wg.Wait()
	if got := p.Accepted() - before; got < 1 || got > 2 {
		t.Errorf("50 callers made %d connections to a lost Redis, want 1, or 2 if they took a second to start", got)
	}
}

// countScript counts one up, and replies with an array that a proxy can recognise.
var countScript = redigo.NewScript(1, `return {redis.call('INCR', KEYS[1]), 7}`)

// A command whose reply is lost may have been carried out, so it is not sent again.
func TestLostReply(t *testing.T) {
	for name, lose := range map[string]func(*testserver.Proxy, string){
		"cut":        func(p *testserver.Proxy, mark string) { p.CutAnswer(mark, 0) },
		"cut midway": func(p *testserver.Proxy, mark string) { p.CutAnswer(mark, 3) },
		"half-open":  func(p *testserver.Proxy, mark string) { p.LoseAnswer(mark) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := testserver.NewProxy(t, testserver.Redis(t))
			c := redistest.Open(t, p.URL())
			count := func() (int64, error) {
				reply, err := redigo.Int64s(c.RunScript(t.Context(), countScript, "key"))
				if err != nil {
					return 0, err
				}
				return reply[0], nil
			}
			if n, err := count(); n != 1 || err != nil {
				t.Fatalf("RunScript() = %d, %v, want 1", n, err)
			}
			lose(p, "*2\r\n:2\r\n")
			if n, err := count(); !errors.Is(err, redis.ErrUnavailable) {
				t.Errorf("RunScript() whose reply is lost = %d, %v, want ErrUnavailable", n, err)
			}
			if name == "half-open" {
				time.Sleep(redis.RetryAfter)
			} // else only a connection broke, not Redis
			if n, err := count(); n != 3 || err != nil {
				t.Errorf("RunScript() = %d, %v, want 3: each was counted once", n, err)
			}
			if p.Losses() != 1 {
				t.Error("no reply was lost: nothing was proved")
			}
		})
	}
}

// After a restart of the server every idle connection is dead. Callers do not notice.
func TestRestart(t *testing.T) {
	t.Parallel()
	server := testserver.NewRedis(t)
	c := redistest.Open(t, server.URL())
	for range 2 {
		redistest.Occupy(t, c)()
		if got := c.Stats().Idle; got != redis.MaxConns {
			t.Fatalf("%d connections are idle, want %d", got, redis.MaxConns)
		}
		server.Stop(t)
		server.Start(t)
	}
	pingByMany(t, c)
	if s := c.Stats(); s.Failures != 0 || s.InUse != 0 {
		t.Errorf("Stats() after a restart = %+v, want no failures and none in use", s)
	}
}

// While every connection is in use, a caller waits a bounded time, or until its client has left.
func TestAllConnectionsInUse(t *testing.T) {
	c := redistest.Open(t, testserver.Redis(t))
	release := redistest.Occupy(t, c)

	began := time.Now()
	err := redistest.Ping(t.Context(), c)
	took := time.Since(began)
	if !errors.Is(err, redis.ErrUnavailable) || took < redis.AcquireTimeout || took > 2*time.Second {
		t.Errorf("Ping() = %v after %v, want ErrUnavailable after %v", err, took, redis.AcquireTimeout)
	}
	gone := errors.New("client gone")
	ctx, leave := context.WithCancelCause(t.Context())
	leave(gone)
	if err := redistest.Ping(ctx, c); !errors.Is(err, gone) {
		t.Errorf("Ping() of a client that left = %v, want %v", err, gone)
	}
	release()
	if err := redistest.Ping(t.Context(), c); err != nil {
		t.Errorf("Ping() with connections free again = %v, want nil", err)
	}
}

// pingByMany sends as many pings as there are connections, few at a time: on a busy machine many
// dials at once take longer than a dial may.
func pingByMany(t *testing.T, c *redis.Client) {
	t.Helper()
	var callers errgroup.Group
	callers.SetLimit(4)
	for range redis.MaxConns {
		callers.Go(func() error { return redistest.Ping(t.Context(), c) })
	}
	if err := callers.Wait(); err != nil {
		t.Errorf("Ping() = %v, want nil", err)
	}
}
