package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"notesd/internal/ratelimit"
	"notesd/internal/redis"
	"notesd/internal/redis/redistest"
	"notesd/internal/testserver"
	"notesd/store"
	"notesd/store/storetest"
)

// eachSignInLimit runs a test with the counts in Redis and in either database.
func eachSignInLimit(t *testing.T, test func(t *testing.T, l *signInLimit)) {
	t.Run("Redis", func(t *testing.T) {
		test(t, newSignInLimit(redistest.Open(t, testserver.Redis(t)), nil, testSecret))
	})
	storetest.Each(t, func(t *testing.T, s *store.Store) { test(t, newSignInLimit(nil, s, testSecret)) })
}

// reserve returns nil for refund when it was refused.
func reserve(t *testing.T, l *signInLimit, address, account string) (refund func(context.Context), wait time.Duration) {
	t.Helper()
	refund, wait, err := l.reserve(t.Context(), address, account)
	if err != nil {
		t.Fatalf("reserve(%s, %s) = %v", address, account, err)
	}
	return refund, wait
}

func wantReserved(t *testing.T, l *signInLimit, address, account string, times int) {
	t.Helper()
	for i := range times {
		if _, wait := reserve(t, l, address, account); wait != 0 {
			t.Fatalf("sign-in %d of %s from %s: wait %v, want none", i+1, account, address, wait)
		}
	}
}

func wantRefused(t *testing.T, l *signInLimit, address, account string) {
	t.Helper()
	refund, wait := reserve(t, l, address, account)
	if refund != nil || wait <= signInWindow-time.Minute || wait > signInWindow {
		t.Errorf("sign-in of %s from %s: wait %v, want a refusal for %v, less the time since", account, address, wait, signInWindow)
	}
}

// Five failures for an account from one address; then it has to wait, and
// others needn't.
func TestSignInPair(t *testing.T) {
	eachSignInLimit(t, func(t *testing.T, l *signInLimit) {
		wantReserved(t, l, "203.0.113.7", "ann", signInsPerPair)
		wantRefused(t, l, "203.0.113.7", "ann")
		wantReserved(t, l, "203.0.113.7", "bob", 1)
		wantReserved(t, l, "203.0.113.8", "ann", 1)
	})
}

// Fifty failures from one address, whatever the accounts. Refused attempts
// are none of them: they tried no password.
func TestSignInAddress(t *testing.T) {
	eachSignInLimit(t, func(t *testing.T, l *signInLimit) {
		for account := range signInsPerAddress / signInsPerPair {
			wantReserved(t, l, "2001:db8::1", fmt.Sprint(account), signInsPerPair)
			wantRefused(t, l, "2001:db8::1", fmt.Sprint(account))
		}
		wantRefused(t, l, "2001:db8::1", "ann")
		wantRefused(t, l, "2001:db8::ffff", "ann") // the same network
		wantReserved(t, l, "2001:db8:0:1::1", "ann", 1)
	})
}

// Whoever signs in, or sends a 400, has failed nothing, even if the client has left by then.
func TestSignInRefund(t *testing.T) {
	eachSignInLimit(t, func(t *testing.T, l *signInLimit) {
		wantReserved(t, l, "203.0.113.7", "ann", signInsPerPair-1)
		left, leave := context.WithCancel(t.Context())
		leave()
		for range signInsPerAddress {
			refund, wait := reserve(t, l, "203.0.113.7", "ann")
			if wait != 0 {
				t.Fatalf("reserve() after refunds: wait %v, want none", wait)
			}
			refund(left)
		}
		wantReserved(t, l, "203.0.113.7", "ann", 1)
		wantRefused(t, l, "203.0.113.7", "ann")
		wantReserved(t, l, "203.0.113.7", "bob", signInsPerPair)
	})
}

// What is given back is free at once, however many were refused meanwhile.
func TestSignInRefusalCountsNothing(t *testing.T) {
	eachSignInLimit(t, func(t *testing.T, l *signInLimit) {
		wantReserved(t, l, "203.0.113.7", "ann", signInsPerPair-1)
		refund, _ := reserve(t, l, "203.0.113.7", "ann")
		for range 3 {
			wantRefused(t, l, "203.0.113.7", "ann")
		}
		refund(t.Context())
		wantReserved(t, l, "203.0.113.7", "ann", 1)
	})
}

// Guesses at the same time are no more than guesses in turn.
func TestSignInInParallel(t *testing.T) {
	eachSignInLimit(t, func(t *testing.T, l *signInLimit) {
		var passed atomic.Int64
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() {
				_, wait, err := l.reserve(t.Context(), "203.0.113.7", "ann")
				if err != nil {
					t.Errorf("reserve() = %v", err)
				} else if wait == 0 {
					passed.Add(1)
				}
			})
		}
		wg.Wait()
		if got := passed.Load(); got != signInsPerPair {
			t.Errorf("%d of 40 guesses passed, want %d", got, signInsPerPair)
		}
	})
}

// A window begins with its first failure and ends by itself, refunds or not.
func TestFailureCounts(t *testing.T) {
	eachSignInLimit(t, func(t *testing.T, l *signInLimit) {
		const window = 700 * time.Millisecond
		add := func(want int) (ends time.Time) {
			t.Helper()
			count, ends, err := l.counts.AddSignInFailure(t.Context(), "key", window)
			if err != nil || count != want {
				t.Errorf("AddSignInFailure() = %d, %v, want %d", count, err, want)
			}
			return ends
		}
		refund := func() {
			t.Helper()
			if err := l.counts.RefundSignInFailure(t.Context(), "key"); err != nil {
				t.Errorf("RefundSignInFailure() = %v", err)
			}
		}
		refund() // of a window that has passed: nothing
		began := time.Now()
		first := add(1)
		if left := first.Sub(began); left < window-10*time.Millisecond || left > 2*window {
			t.Errorf("the window ends %v after its first failure, want %v", left, window)
		}
		time.Sleep(window / 3)
		if again := add(2); again.Sub(first).Abs() > window/4 {
			t.Errorf("the second failure moved the end by %v", again.Sub(first))
		}
		refund()
		add(2)
		time.Sleep(window)
		add(1)
		refund()
		refund()
		add(1)
	})
}

// The counts tell nothing of who failed to sign in where.
func TestSignInKeysInRedis(t *testing.T) {
	l := newSignInLimit(redistest.Open(t, testserver.Redis(t)), nil, testSecret)
	wantReserved(t, l, "203.0.113.77", "ann@example.org", 1)
	all := redistest.Contents(t, l.counts.(redisFailures).redis)
	if len(all) != 2 {
		t.Errorf("Redis holds %v, want two counts", all)
	}
	for key := range all {
		if !strings.HasPrefix(key, "notesd:sign-in:") || strings.Contains(key, "203.0.113.77") || strings.Contains(key, "ann") {
			t.Errorf("Redis holds %q: want our prefix, and neither address nor account", key)
		}
	}
}

// Nobody tries passwords while nobody counts.
func TestSignInWithoutRedis(t *testing.T) {
	p := testserver.NewProxy(t, testserver.Redis(t))
	l := newSignInLimit(redistest.Open(t, p.URL()), nil, testSecret)
	wantReserved(t, l, "203.0.113.7", "ann", 1)
	p.Set(testserver.Refuse)
	if refund, wait, err := l.reserve(t.Context(), "203.0.113.7", "ann"); refund != nil || wait != 0 || !errors.Is(err, redis.ErrUnavailable) {
		t.Errorf("reserve() without Redis = %v, %v, want redis.ErrUnavailable", wait, err)
	}
}

// countsInMemory are failureCounts without a database.
type countsInMemory map[string]int

func (c countsInMemory) AddSignInFailure(_ context.Context, key string, window time.Duration) (int, time.Time, error) {
	c[key]++
	return c[key], time.Now().Add(window), nil
}

func (c countsInMemory) RefundSignInFailure(_ context.Context, key string) error {
	c[key]--
	return nil
}

// All networks of a /48 of IPv6 together have a bound.
func TestSignInLimitOfSite(t *testing.T) {
	l := &signInLimit{counts: countsInMemory{}, secret: []byte(testSecret)}
	allowed := 0
	for i := range signInsPerAddress*ratelimit.NetworksPerSite + 5 {
		_, wait, err := l.reserve(t.Context(), fmt.Sprintf("2001:db8:1:%x::1", i), fmt.Sprint("account ", i))
		if err != nil {
			t.Fatal(err)
		}
		if wait == 0 {
			allowed++
		}
	}
	if want := signInsPerAddress * ratelimit.NetworksPerSite; allowed != want {
		t.Errorf("%d sign-ins from one /48 failed, want %d", allowed, want)
	}
	if _, wait, err := l.reserve(t.Context(), "2001:db8:2::1", "account"); wait != 0 || err != nil {
		t.Errorf("another /48: %v, %v", wait, err)
	}
}
