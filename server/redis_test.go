package server

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"golang.org/x/sync/errgroup"

	"notesd/internal/testkit"
	"notesd/internal/testserver"
	"notesd/store"
)

func openRedis(t testing.TB, rawURL string) *Redis {
	t.Helper()
	r, err := OpenRedis(rawURL)
	if err != nil {
		t.Fatalf("OpenRedis() = %v", err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// Ping asks Redis for a sign of life.
func (r *Redis) Ping(ctx context.Context) error {
	_, err := r.command(ctx, "PING")
	return err
}

func TestOpenRedis(t *testing.T) {
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
			r, err := OpenRedis(test.url)
			if ok := err == nil; ok != test.ok {
				t.Fatalf("OpenRedis(%q) = %v, want ok %v", test.url, err, test.ok)
			}
			if err == nil {
				r.Close()
			} else if strings.Contains(err.Error(), "secret") {
				t.Errorf("OpenRedis(%q) = %v: shows the password", test.url, err)
			}
		})
	}
}

// What Redis says no to, and what a transaction of several commands says no to
// in one of them, is Redis not being available.
func TestRedisRefusals(t *testing.T) {
	r := openRedis(t, testserver.Redis(t))
	if _, err := r.command(t.Context(), "NOSUCHCOMMAND"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("an unknown command = %v, want store.ErrUnavailable", err)
	}
	err := r.atomically(t.Context(),
		redisCommand{"SET", []any{"refusals", "text"}},
		redisCommand{"LPUSH", []any{"refusals", "x"}},
		redisCommand{"DEL", []any{"refusals"}})
	if !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a list command on a text = %v, want store.ErrUnavailable", err)
	}
	if err := r.Ping(t.Context()); err != nil {
		t.Errorf("Ping() after refusals = %v, want nil", err)
	}
}

func TestRedisWrongPassword(t *testing.T) {
	address := strings.TrimPrefix(testserver.Redis(t), "redis://")
	r := openRedis(t, "redis://:secret@"+address)
	err := r.Ping(t.Context())
	if !errors.Is(err, store.ErrUnavailable) || strings.Contains(err.Error(), "secret") {
		t.Errorf("Ping() with a wrong password = %v, want store.ErrUnavailable and no password", err)
	}
}

// Whatever becomes of the way to Redis, callers are told within a second, more
// of them than there are connections, and it is over within two of its end.
func TestRedisFaults(t *testing.T) {
	for _, fault := range testserver.Faults {
		t.Run(fault.String(), func(t *testing.T) {
			t.Parallel()
			p := testserver.NewProxy(t, testserver.Redis(t))
			r := openRedis(t, p.URL())
			occupy(t, r)()
			p.Set(fault)
			until := time.Now().Add(2 * time.Second)
			var longest atomic.Int64
			var callers sync.WaitGroup
			for range redisConnections + 36 {
				callers.Go(func() {
					for time.Now().Before(until) {
						began := time.Now()
						err := r.Ping(t.Context())
						if took := int64(time.Since(began)); took > longest.Load() {
							longest.Store(took) // or one that is nearly as long
						}
						if !errors.Is(err, store.ErrUnavailable) {
							t.Errorf("Ping() = %v, want store.ErrUnavailable", err)
						}
						time.Sleep(10 * time.Millisecond)
					}
				})
			}
			callers.Wait()
			if took := time.Duration(longest.Load()); testkit.TooLong(took, time.Second, 500*time.Millisecond) {
				t.Errorf("a Ping took %v, want 1s at most", took)
			}
			if got := r.Stats().Failures; got == 0 {
				t.Errorf("Stats().Failures = %d, want some", got)
			}
			p.Set(testserver.Pass)
			ended := time.Now()
			for r.Ping(t.Context()) != nil && time.Since(ended) < 10*time.Second {
				time.Sleep(10 * time.Millisecond)
			}
			took := time.Since(ended)
			t.Logf("told within %v, back after %v", time.Duration(longest.Load()), took)
			if testkit.TooLong(took, 2*time.Second, 500*time.Millisecond) {
				t.Errorf("back after %v, want 2s at most", took)
			}
			pingByMany(t, r)
		})
	}
}

// While Redis is lost one caller tries it, and the others are refused at once.
func TestRedisLostIsTriedByOne(t *testing.T) {
	p := testserver.NewProxy(t, testserver.Redis(t))
	p.Set(testserver.Stall)
	r := openRedis(t, p.URL())
	r.Ping(t.Context())
	time.Sleep(redisRest)

	before := p.Accepted()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if err := r.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("Ping() = %v, want store.ErrUnavailable", err)
			}
		})
	}
	wg.Wait()
	if got := p.Accepted() - before; got < 1 || got > 2 {
		t.Errorf("50 callers made %d connections to a lost Redis, want 1, or 2 if they took a second to start", got)
	}
}

// A command whose answer is lost may have been carried out: it is not sent again.
func TestRedisLostAnswer(t *testing.T) {
	for name, lose := range map[string]func(*testserver.Proxy, string){
		"cut":        func(p *testserver.Proxy, mark string) { p.CutAnswer(mark, 0) },
		"cut midway": func(p *testserver.Proxy, mark string) { p.CutAnswer(mark, 3) },
		"half-open":  func(p *testserver.Proxy, mark string) { p.LoseAnswer(mark) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := testserver.NewProxy(t, testserver.Redis(t))
			failures := redisFailures{openRedis(t, p.URL())}
			count := func() (int, error) {
				n, _, err := failures.AddSignInFailure(t.Context(), "key", time.Minute)
				return n, err
			}
			if n, err := count(); n != 1 || err != nil {
				t.Fatalf("AddSignInFailure() = %d, %v, want 1", n, err)
			}
			lose(p, "*2\r\n:2\r\n")
			if n, err := count(); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("AddSignInFailure() whose answer is lost = %d, %v, want store.ErrUnavailable", n, err)
			}
			if name == "half-open" {
				time.Sleep(redisRest)
			} // else only a connection broke, not Redis
			if n, err := count(); n != 3 || err != nil {
				t.Errorf("AddSignInFailure() = %d, %v, want 3: each was counted once", n, err)
			}
			if p.Losses() != 1 {
				t.Error("no answer was lost: nothing was proved")
			}
		})
	}
}

// After a restart of the server every idle connection is dead. Nobody notices.
func TestRedisRestart(t *testing.T) {
	t.Parallel()
	server := testserver.NewRedis(t)
	r := openRedis(t, server.URL())
	for range 2 {
		occupy(t, r)()
		if got := r.Stats().Idle; got != redisConnections {
			t.Fatalf("%d connections are idle, want %d", got, redisConnections)
		}
		server.Stop(t)
		server.Start(t)
	}
	pingByMany(t, r)
	if s := r.Stats(); s.Failures != 0 || s.InUse != 0 {
		t.Errorf("Stats() after a restart = %+v, want no failures and none in use", s)
	}
}

// With every connection in use, redisstore's Pool.Get included, a caller waits
// a bounded time, or until its client has left.
func TestRedisFull(t *testing.T) {
	r := openRedis(t, testserver.Redis(t))
	sessions := newRedisSessions(r, unreset{})
	release := occupy(t, r)

	began := time.Now()
	_, err := sessions.FindSession(t.Context(), "any")
	if took := time.Since(began); !errors.Is(err, store.ErrUnavailable) || took < redisWait || took > 2*time.Second {
		t.Errorf("FindSession() with all connections in use = %v after %v, want store.ErrUnavailable after %v", err, took, redisWait)
	}
	gone := errors.New("client gone")
	ctx, leave := context.WithCancelCause(t.Context())
	leave(gone)
	if err := r.Ping(ctx); !errors.Is(err, gone) {
		t.Errorf("Ping() of a client that left = %v, want %v", err, gone)
	}
	release()
	if _, err := sessions.FindSession(t.Context(), "any"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("FindSession() with connections free again = %v, want store.ErrNotFound", err)
	}
}

// pingByMany has Redis asked as often as there are connections, by few at a time: on a busy machine many that dial at
// once take longer than a dial may.
func pingByMany(t *testing.T, r *Redis) {
	t.Helper()
	var callers errgroup.Group
	callers.SetLimit(4)
	for range redisConnections {
		callers.Go(func() error { return r.Ping(t.Context()) })
	}
	if err := callers.Wait(); err != nil {
		t.Errorf("Ping() = %v, want nil", err)
	}
}

// occupy takes every connection, one after the other, until release is called.
func occupy(t *testing.T, r *Redis) (release func()) {
	var done sync.WaitGroup
	free := make(chan struct{})
	for range redisConnections {
		held := make(chan struct{})
		done.Go(func() {
			err := r.do(t.Context(), func() error {
				conn := r.pool.Get()
				defer conn.Close()
				close(held)
				<-free
				return conn.Err()
			})
			if err != nil {
				t.Errorf("do() = %v", err)
			}
		})
		<-held
	}
	return func() { close(free); done.Wait() }
}

// commandCalls returns how often each command ran since the last call, as the server counts.
func commandCalls(t testing.TB, r *Redis) map[string]string {
	t.Helper()
	info, err := redis.String(r.command(t.Context(), "INFO", "commandstats"))
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string]string{}
	for line := range strings.Lines(info) {
		if name, rest, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls="); ok {
			calls[name], _, _ = strings.Cut(rest, ",")
		}
	}
	if _, err := r.command(t.Context(), "CONFIG", "RESETSTAT"); err != nil {
		t.Fatal(err)
	}
	for _, own := range []string{"info", "config|resetstat"} {
		delete(calls, own)
	}
	return calls
}
