package server

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"notesd/store"
	"notesd/store/storetest"
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

// doorway is a way to Redis that can be shut.
type doorway struct {
	listener net.Listener
	behind   string // host:port of Redis
	database string // as in the URL
	accepted atomic.Int64
	mute     atomic.Bool // new connections are taken and never answered
	wg       sync.WaitGroup

	mu    sync.Mutex // guards conns
	conns []net.Conn
}

// newDoorway stands before the Redis of rawURL. URL leads through it.
func newDoorway(t testing.TB, rawURL string) *doorway {
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	d := &doorway{behind: u.Host, database: u.Path}
	d.open(t, "127.0.0.1:0")
	t.Cleanup(d.shut)
	return d
}

func (d *doorway) URL() string { return "redis://" + d.listener.Addr().String() + d.database }

func (d *doorway) open(t testing.TB, address string) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	d.listener = listener
	d.wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			d.accepted.Add(1)
			d.keep(conn)
			if !d.mute.Load() {
				d.wg.Go(func() { d.pass(conn) })
			}
		}
	})
}

func (d *doorway) keep(conn net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conns = append(d.conns, conn)
}

func (d *doorway) pass(conn net.Conn) {
	defer conn.Close()
	back, err := net.Dial("tcp", d.behind)
	if err != nil {
		return
	}
	d.keep(back)
	d.wg.Go(func() { io.Copy(conn, back); conn.Close() })
	io.Copy(back, conn)
	back.Close()
}

// cut breaks all connections; new ones are let in.
func (d *doorway) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, conn := range d.conns {
		conn.Close()
	}
	d.conns = nil
}

// shut breaks all connections and refuses new ones.
func (d *doorway) shut() {
	d.listener.Close()
	d.cut()
	d.wg.Wait()
	d.cut()
}

func (d *doorway) reopen(t testing.TB) { d.open(t, d.listener.Addr().String()) }

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
	r := openRedis(t, storetest.Redis(t))
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
	address := strings.TrimPrefix(storetest.Redis(t), "redis://")
	r := openRedis(t, "redis://:secret@"+address)
	err := r.Ping(t.Context())
	if !errors.Is(err, store.ErrUnavailable) || strings.Contains(err.Error(), "secret") {
		t.Errorf("Ping() with a wrong password = %v, want store.ErrUnavailable and no password", err)
	}
}

// A server that is gone, or takes connections and never answers, costs the
// first request a bounded time and the next ones nothing.
func TestRedisAway(t *testing.T) {
	for _, test := range []struct {
		name string
		away func(d *doorway)
	}{
		{"refuses", func(d *doorway) { d.shut() }},
		{"is mute", func(d *doorway) { d.mute.Store(true); d.cut() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDoorway(t, storetest.Redis(t))
			r := openRedis(t, d.URL())
			if err := r.Ping(t.Context()); err != nil {
				t.Fatalf("Ping() = %v", err)
			}
			test.away(d)
			began := time.Now()
			for range 1 + 20 { // without a rest the 20 would take ten seconds of a mute server
				if err := r.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("Ping() = %v, want store.ErrUnavailable", err)
				}
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("21 Pings took %v, want at most 2s", took)
			}
			if got := r.Stats().Failures; got == 0 {
				t.Errorf("Stats().Failures = %d, want some", got)
			}
		})
	}
}

// While Redis is lost one caller tries it, and the others are refused at once.
func TestRedisLostIsTriedByOne(t *testing.T) {
	d := newDoorway(t, storetest.Redis(t))
	d.mute.Store(true)
	r := openRedis(t, d.URL())
	r.Ping(t.Context())
	time.Sleep(redisRest)

	before := d.accepted.Load()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if err := r.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("Ping() = %v, want store.ErrUnavailable", err)
			}
		})
	}
	wg.Wait()
	if got := d.accepted.Load() - before; got < 1 || got > 2 {
		t.Errorf("50 callers made %d connections to a lost Redis, want 1, or 2 if they took a second to start", got)
	}
}

func TestRedisBackByItself(t *testing.T) {
	d := newDoorway(t, storetest.Redis(t))
	r := openRedis(t, d.URL())
	for range 3 {
		if err := r.Ping(t.Context()); err != nil {
			t.Fatalf("Ping() = %v", err)
		}
		d.shut()
		if err := r.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("Ping() while away = %v, want store.ErrUnavailable", err)
		}
		d.reopen(t)
		began, err := time.Now(), errRedisLost
		for err != nil && time.Since(began) < 2*time.Second {
			time.Sleep(10 * time.Millisecond)
			err = r.Ping(t.Context())
		}
		if err != nil {
			t.Fatalf("Ping() 2s after it came back = %v, want nil", err)
		}
	}
}

// After a restart of the server every idle connection is dead. Nobody notices.
func TestRedisRestart(t *testing.T) {
	d := newDoorway(t, storetest.Redis(t))
	r := openRedis(t, d.URL())
	occupy(t, r)()
	d.cut()
	var wg sync.WaitGroup
	for range redisConnections {
		wg.Go(func() {
			if err := r.Ping(t.Context()); err != nil {
				t.Errorf("Ping() = %v, want nil", err)
			}
		})
	}
	wg.Wait()
	if s := r.Stats(); s.Failures != 0 || s.InUse != 0 {
		t.Errorf("Stats() after a restart = %+v, want no failures and none in use", s)
	}
}

// With every connection in use, redisstore's Pool.Get included, a caller waits
// a bounded time, or until its client has left.
func TestRedisFull(t *testing.T) {
	r := openRedis(t, storetest.Redis(t))
	sessions := newRedisSessions(r)
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

// occupy takes every connection until release is called.
func occupy(t *testing.T, r *Redis) (release func()) {
	var held, done sync.WaitGroup
	free := make(chan struct{})
	for range redisConnections {
		held.Add(1)
		done.Go(func() {
			err := r.do(t.Context(), func() error {
				conn := r.pool.Get()
				defer conn.Close()
				held.Done()
				<-free
				return conn.Err()
			})
			if err != nil {
				t.Errorf("do() = %v", err)
			}
		})
	}
	held.Wait()
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
