package ratelimit

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"notesd/internal/redis/redistest"
	"notesd/internal/testserver"
)

// limiterReplicas returns the limiters of n processes that share a Redis.
func limiterReplicas(t *testing.T, n int) (all []*Limiter) {
	url := testserver.Redis(t)
	for range n {
		all = append(all, New(redistest.Open(t, url), testSecret))
	}
	return all
}

// However requests are spread, the replicas together allow exactly the limit.
func TestLeasesTogether(t *testing.T) {
	const limit = 1000
	replicas := limiterReplicas(t, 3)
	var allowed atomic.Int64
	var wg sync.WaitGroup
	for _, l := range replicas {
		for range 4 {
			wg.Go(func() {
				for range limit / 8 {
					if d, err := l.Take(t.Context(), "user:of all", limit, time.Hour); err != nil {
						t.Error(err)
					} else if d.Allowed {
						allowed.Add(1)
					}
				}
			})
		}
	}
	wg.Wait()
	if got := allowed.Load(); got != limit {
		t.Errorf("%d of %d requests allowed, want %d", got, 12*(limit/8), limit)
	}
}

// What one replica holds another lacks. It comes back with the key's next request after a second.
func TestLeaseComesBack(t *testing.T) {
	const limit, first, second = 1600, 1600 / leaseShare, 1500 / leaseShare // the leases
	replicas := limiterReplicas(t, 2)
	one, other := replicas[0], replicas[1]
	for i := range 3 {
		if d := take(t, one, "user:back", limit, time.Hour); d.Remaining != limit-1-i {
			t.Errorf("request %d: %d remaining, want %d", i+1, d.Remaining, limit-1-i)
		}
	}
	if d := take(t, other, "user:back", limit, time.Hour); d.Remaining != limit-first-1 {
		t.Errorf("the other replica: %d remaining, want %d", d.Remaining, limit-first-1)
	}
	time.Sleep(leaseTime)
	if d := take(t, one, "user:back", limit, time.Hour); d.Remaining != limit-4-second {
		t.Errorf("a second later: %d remaining, want %d", d.Remaining, limit-4-second)
	}
}

// Requests that time has paid for do not come back as well.
func TestLeaseComesBackOnce(t *testing.T) {
	l := limiterReplicas(t, 1)[0]
	const limit, window = 160, 1600 * time.Millisecond // one each 10 ms: the lease of 10 is paid in a tenth of a second
	take(t, l, "user:once", limit, window)
	time.Sleep(leaseTime)
	began, allowed := time.Now(), 0
	for range 2 * limit {
		if take(t, l, "user:once", limit, window).Allowed {
			allowed++
		}
	}
	if most := limit + int(time.Since(began)/(window/limit)) + 1; allowed < limit || allowed > most {
		t.Errorf("%d allowed at once, want %d to %d", allowed, limit, most)
	}
}

// Keys beyond the bound get no lease, and expired leases make room.
func TestLeasesAreBounded(t *testing.T) {
	l := newLeaseTable()
	hour := time.Hour.Microseconds()
	for i := range 4 * leaseShards * leasesPerShard {
		if _, room := l.remove(fmt.Sprint(i)); room {
			l.put(fmt.Sprint(i), lease{left: 1, tat: hour, at: time.Now()})
		}
	}
	if n := l.count(); n > leaseShards*leasesPerShard || n < leaseShards*leasesPerShard/2 {
		t.Errorf("%d leases, want at most %d", n, leaseShards*leasesPerShard)
	}
	for i := range l.shards {
		for key, held := range l.shards[i].leases {
			held.tat = 0
			l.shards[i].leases[key] = held
		}
	}
	for i := range leaseShards * leasesPerShard {
		l.remove(fmt.Sprint("another ", i))
	}
	if n := l.count(); n > leaseShards {
		t.Errorf("%d leases that time has paid for, want about none", n)
	}
}

func (l *leaseTable) count() (n int) {
	for i := range l.shards {
		n += len(l.shards[i].leases)
	}
	return n
}
