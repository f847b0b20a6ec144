package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	redigo "github.com/gomodule/redigo/redis"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"notesd/internal/redis"
	"notesd/internal/redis/redistest"
	"notesd/internal/testserver"
)

func TestMain(m *testing.M) { testserver.Main(m) }

const testSecret = "a secret of at least thirty-two bytes"

// eachLimiter runs a test in memory and in Redis.
func eachLimiter(t *testing.T, test func(t *testing.T, l *Limiter)) {
	t.Run("memory", func(t *testing.T) { test(t, New(nil, testSecret)) })
	t.Run("Redis", func(t *testing.T) {
		l := New(redistest.Open(t, testserver.Redis(t)), testSecret)
		test(t, l)
		if got := l.Fallbacks(); got != 0 {
			t.Errorf("%d decisions fell back to memory, want 0", got)
		}
	})
}

func take(t *testing.T, l *Limiter, key string, limit int, window time.Duration) Decision {
	t.Helper()
	d, err := l.Take(t.Context(), key, limit, window)
	if err != nil {
		t.Fatalf("Take(%q) = %v", key, err)
	}
	return d
}

// A new key may use its whole limit at once and then has to wait. Another key is not affected.
func TestLimit(t *testing.T) {
	eachLimiter(t, func(t *testing.T, l *Limiter) {
		for i := range 5 {
			if d := take(t, l, "ip:a", 5, time.Hour); !d.Allowed || d.Remaining != 4-i || d.Limit != 5 || d.RetryAfter != 0 {
				t.Fatalf("request %d: %+v, want allowed, %d remaining", i+1, d, 4-i)
			}
		}
		d := take(t, l, "ip:a", 5, time.Hour)
		if d.Allowed || d.Remaining != 0 {
			t.Errorf("request 6: %+v, want refused", d)
		}
		if d.RetryAfter <= 11*time.Minute || d.RetryAfter > 12*time.Minute {
			t.Errorf("request 6: RetryAfter = %v, want a fifth of an hour, less the time since", d.RetryAfter)
		}
		if d.Reset <= 59*time.Minute || d.Reset > time.Hour {
			t.Errorf("request 6: Reset = %v, want an hour, less the time since", d.Reset)
		}
		if d := take(t, l, "ip:b", 5, time.Hour); !d.Allowed || d.Remaining != 4 {
			t.Errorf("another's request: %+v, want allowed, 4 remaining", d)
		}
	})
}

// Concurrent requests get no more than the limit.
func TestLimitInParallel(t *testing.T) {
	eachLimiter(t, func(t *testing.T, l *Limiter) {
		var allowed atomic.Int64
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				for range 20 {
					d, err := l.Take(t.Context(), "user:parallel", 100, time.Hour)
					if err != nil {
						t.Error(err)
					}
					if d.Allowed {
						allowed.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if got := allowed.Load(); got != 100 {
			t.Errorf("%d of 400 requests allowed, want 100", got)
		}
	})
}

// A refused request is allowed at RetryAfter and not a moment earlier. After Reset the whole limit is
// there again.
func TestLimitTellsTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(nil, testSecret)
		for range 10 {
			take(t, l, "k", 10, time.Minute)
		}
		d := take(t, l, "k", 10, time.Minute)
		if want := (Decision{Limit: 10, Reset: time.Minute, RetryAfter: 6 * time.Second}); d != want {
			t.Fatalf("Take() beyond the limit = %+v, want %+v", d, want)
		}
		time.Sleep(d.RetryAfter - time.Microsecond)
		if d := take(t, l, "k", 10, time.Minute); d.Allowed || d.RetryAfter != time.Microsecond {
			t.Errorf("Take() a moment early = %+v, want a refusal for 1µs", d)
		}
		time.Sleep(time.Microsecond)
		d = take(t, l, "k", 10, time.Minute)
		if !d.Allowed || d.Remaining != 0 {
			t.Errorf("Take() in time = %+v, want allowed, 0 remaining", d)
		}
		time.Sleep(d.Reset)
		if d := take(t, l, "k", 10, time.Minute); d.Remaining != 9 {
			t.Errorf("Take() after Reset = %+v, want 9 remaining", d)
		}
	})
}

// Whatever the limit, the window and the times of the requests: no window has more requests than
// the limit and what it refills, exactly Remaining are allowed at once, and a request at RetryAfter
// is allowed.
func TestRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 2000).Draw(t, "limit")
		window := time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "window"))
		p := rateOf(limit, window)
		var now, due, began, allowed int64
		for range rapid.IntRange(1, 100).Draw(t, "requests") {
			now += rapid.Int64Range(0, 3*p.interval).Draw(t, "pause")
			after, ok := p.advance(due, now)
			d := p.decide(ok, after-now)
			if ok {
				allowed++
			} else if _, ok := p.advance(after, now+d.RetryAfter.Microseconds()-1); ok {
				t.Fatalf("allowed before RetryAfter of %+v", d)
			} else if _, ok := p.advance(after, now+d.RetryAfter.Microseconds()); !ok {
				t.Fatalf("refused at RetryAfter of %+v", d)
			}
			if most := int64(limit) + (now-began)/p.interval; allowed > most {
				t.Fatalf("%d allowed after %dµs, want at most %d", allowed, now-began, most)
			}
			due = after
			checkRemaining(t, p, due, now, d)
		}
	})
}

func checkRemaining(t *rapid.T, p rate, due, now int64, d Decision) {
	for i := range d.Remaining {
		var ok bool
		if due, ok = p.advance(due, now); !ok {
			t.Fatalf("%+v, but only %d more were allowed", d, i)
		}
	}
	if _, ok := p.advance(due, now); ok {
		t.Fatalf("%+v, but one more was allowed", d)
	}
}

// If the limit was lowered or the clock set back, a key waits for one window at most.
func TestRateForgetsWhatIsTooFarAhead(t *testing.T) {
	p := rateOf(10, time.Minute)
	after, ok := p.advance(int64(24*time.Hour/time.Microsecond), 0)
	if d := p.decide(ok, after); ok || d.RetryAfter != 6*time.Second || d.Reset != time.Minute {
		t.Errorf("a day ahead: %+v, want refused for 6s", d)
	}
}

// Keys in Redis tell nothing of addresses and users, and expire.
func TestLimitKeysInRedis(t *testing.T) {
	l := New(redistest.Open(t, testserver.Redis(t)), testSecret)
	for _, key := range []string{"ip:203.0.113.77", "user:nobody@example.org"} {
		take(t, l, key, 10, time.Minute)
	}
	var rates int
	for key, value := range redistest.Contents(t, l.redis) {
		for _, secret := range []string{"203.0.113.77", "nobody", "example.org"} {
			if strings.Contains(key+value, secret) {
				t.Errorf("Redis holds %q = %q: shows %q", key, value, secret)
			}
		}
		if strings.HasPrefix(key, "notesd:rate:") {
			rates++
			if ttl, err := redigo.Int64(l.redis.Do(t.Context(), "PTTL", key)); err != nil || ttl < 0 || ttl > 3_600_000 {
				t.Errorf("PTTL %s = %d, %v, want at most the window", key, ttl, err)
			}
		}
	}
	if rates < 2 {
		t.Errorf("Redis holds %d counts, want those of this test", rates)
	}
}

// One EVALSHA counts a sixteenth of what remains.
func TestLimitRoundTrips(t *testing.T) {
	l := New(redistest.Open(t, testserver.Redis(t)), testSecret)
	take(t, l, "ip:other", 1000, time.Minute) // Redis learns the script
	redistest.Calls(t, l.redis)
	for range 62 + 58 + 1 {
		take(t, l, "ip:round-trips", 1000, time.Hour)
	}
	got := redistest.Calls(t, l.redis)
	for _, inside := range []string{"time", "get", "set"} { // the script
		delete(got, inside)
	}
	if diff := cmp.Diff(map[string]string{"evalsha": "3"}, got); diff != "" {
		t.Errorf("commands of 121 decisions (-want +got):\n%s", diff)
	}
}

// Without Redis each process counts for itself, and counts how often it had to.
func TestLimitWithoutRedis(t *testing.T) {
	p := testserver.NewProxy(t, testserver.Redis(t))
	l := New(redistest.Open(t, p.URL()), testSecret)
	take(t, l, "ip:away", 3, time.Hour)
	p.Set(testserver.Refuse)
	for i := range 3 {
		if d := take(t, l, "ip:away", 3, time.Hour); !d.Allowed {
			t.Errorf("request %d without Redis: %+v, want allowed", i+1, d)
		}
	}
	if d := take(t, l, "ip:away", 3, time.Hour); d.Allowed {
		t.Errorf("request 4 without Redis: %+v, want refused", d)
	}
	if got := l.Fallbacks(); got != 4 {
		t.Errorf("%d fallbacks counted, want 4", got)
	}
	p.Set(testserver.Pass)
	time.Sleep(redis.RetryAfter)
	if d := take(t, l, "ip:away", 3, time.Hour); !d.Allowed || d.Remaining != 1 {
		t.Errorf("with Redis back: %+v, want allowed, 1 remaining, as Redis counts", d)
	}
}

func TestLimitOfClientThatLeft(t *testing.T) {
	r := redistest.Open(t, testserver.Redis(t))
	l := New(r, testSecret)
	defer redistest.Occupy(t, r)()
	gone := errors.New("client gone")
	ctx, leave := context.WithCancelCause(t.Context())
	leave(gone)
	if _, err := l.Take(ctx, "ip:left", 3, time.Hour); !errors.Is(err, gone) {
		t.Errorf("Take() for a client that left = %v, want %v", err, gone)
	}
}

// However many keys there are, memory is bounded, and a key that has used up its limit is kept.
func TestBucketsAreBounded(t *testing.T) {
	l := New(nil, testSecret)
	for range 10 {
		take(t, l, "ip:greedy", 10, time.Hour)
	}
	for i := range 2 * bucketShards * bucketsPerShard {
		take(t, l, fmt.Sprint("ip:", i), 10, time.Hour)
	}
	if n := bucketCount(l.memory); n > bucketShards*bucketsPerShard {
		t.Errorf("%d keys remembered, want at most %d", n, bucketShards*bucketsPerShard)
	}
	if d := take(t, l, "ip:greedy", 10, time.Hour); d.Allowed {
		t.Errorf("the greedy client = %+v, want refused", d)
	}
}

// Keys whose time has passed make room for others.
func TestBucketsForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(nil, testSecret)
		for i := range 10_000 {
			take(t, l, fmt.Sprint("ip:", i), 10, time.Second)
		}
		time.Sleep(time.Second)
		for i := range 10_000 {
			take(t, l, fmt.Sprint("ip:later:", i), 10, time.Second)
		}
		if n := bucketCount(l.memory); n > 11_000 {
			t.Errorf("%d keys remembered, want the 10000 that count and few of the others", n)
		}
	})
}

func bucketCount(m *Buckets) (n int) {
	for i := range m.shards {
		n += len(m.shards[i].tat)
	}
	return n
}

func BenchmarkMemory(b *testing.B) {
	const clients = 10_000
	keys := make([]string, clients)
	for i := range keys {
		keys[i] = fmt.Sprintf("user:%036d", i)
	}
	l := New(nil, testSecret)
	b.Run("known", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			l.Take(b.Context(), keys[i%clients], 1000, time.Minute)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				l.Take(b.Context(), keys[i%clients], 1000, time.Minute)
			}
		})
	})
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			l.Take(b.Context(), fmt.Sprint("ip:", i), 1000, time.Minute)
		}
	})
}

func BenchmarkRedis(b *testing.B) {
	r := redistest.Open(b, testserver.Redis(b))
	l := New(r, testSecret)
	b.Run("take", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			l.Take(b.Context(), "user:bench", 1_000_000_000, time.Minute)
		}
	})
	b.Run("ping", func(b *testing.B) { // what any round trip costs
		b.ReportAllocs()
		for b.Loop() {
			redistest.Ping(b.Context(), r)
		}
	})
}
