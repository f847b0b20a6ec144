package ratelimit

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"notesd/internal/netutil"
	"notesd/internal/redis"
)

// A Decision is what a limit says to one request.
type Decision struct {
	Allowed    bool
	Limit      int           // how many the limit allows in its window
	Remaining  int           // how many of them would be allowed at once now
	Reset      time.Duration // until all of them would be
	RetryAfter time.Duration // until one more would be; 0 when Allowed
}

// A Limiter limits requests by key: at most limit at once, and limit in a
// window on the long run, refilled evenly (GCRA). With Redis the count is one for all
// replicas, of which each may have some counted in advance (lease.go): never more is
// allowed, and what one has in advance another lacks, for a second or until the key's next
// request there. While Redis is away, and without it, each process counts for itself.
type Limiter struct {
	redis     *redis.Client // nil: only memory
	leases    *leaseTable
	asking    singleflight.Group // Redis for leases, by key
	memory    *Buckets
	secret    []byte        // hides addresses and people in Redis's keys
	fallbacks atomic.Uint64 // decisions taken in memory because Redis was away
}

// New makes a Limiter. Without Redis it counts in memory alone.
func New(r *redis.Client, secret string) *Limiter {
	return &Limiter{redis: r, leases: newLeaseTable(), memory: NewBuckets(), secret: []byte(secret)}
}

// Take counts one request of key against limit in window, both above 0. A
// refused request doesn't count. The error is the context's, never Redis's.
func (l *Limiter) Take(ctx context.Context, key string, limit int, window time.Duration) (Decision, error) {
	p := rateOf(limit, window)
	if l.redis != nil {
		d, err := l.takeShared(ctx, key, p)
		if err == nil {
			return d, nil
		}
		if ctx.Err() != nil {
			return Decision{}, context.Cause(ctx)
		}
		l.fallbacks.Add(1)
	}
	return l.memory.take(key, p), nil
}

// Fallbacks is how many decisions were taken in memory because Redis was away.
func (l *Limiter) Fallbacks() uint64 { return l.fallbacks.Load() }

// redisKey is the name of a key's count in Redis. Without the secret nobody can tell or try out keys.
func (l *Limiter) redisKey(key string) string {
	mac := hmac.New(sha256.New, l.secret)
	mac.Write([]byte("rate\x00" + key))
	return redis.Prefix + "rate:" + hex.EncodeToString(mac.Sum(nil))
}

// rate is a limit as GCRA sees it, in microseconds: requests of the ideal
// client are interval apart, and real ones may run ahead of it by burst.
type rate struct {
	limit           int
	interval, burst int64
}

func rateOf(limit int, window time.Duration) rate {
	interval := max(1, window.Microseconds()/int64(limit))
	return rate{limit: limit, interval: interval, burst: interval * int64(limit)}
}

// advance counts a request at now of a key that is due at due: the time up to
// which its requests so far are paid. It returns the time that is due after
// it, unchanged for a request that must be refused.
func (p rate) advance(due, now int64) (after int64, allowed bool) {
	due = min(max(due, now), now+p.burst)
	if due+p.interval > now+p.burst {
		return due, false
	}
	return due + p.interval, true
}

// decide puts into words how far, after this request, a key is ahead.
func (p rate) decide(allowed bool, ahead int64) Decision {
	d := Decision{
		Allowed:   allowed,
		Limit:     p.limit,
		Remaining: int((p.burst - ahead) / p.interval),
		Reset:     time.Duration(ahead) * time.Microsecond,
	}
	if !allowed {
		d.RetryAfter = time.Duration(ahead+p.interval-p.burst) * time.Microsecond
	}
	return d
}

// Buckets remember at most bucketShards × bucketsPerShard keys.
const (
	bucketShards    = 64
	bucketsPerShard = 1024
	sampleSize      = 8 // how many entries are looked at to make room for one
)

// Buckets hold how far each key is due, in the memory of the process.
type Buckets struct {
	began  time.Time
	seed   maphash.Seed
	shards [bucketShards]bucketShard
}

type bucketShard struct {
	mu  sync.Mutex // guards tat, for a handful of map accesses at a time
	tat map[string]int64
	_   [48]byte // to a cache line of its own
}

// NewBuckets knows no key.
func NewBuckets() *Buckets {
	m := &Buckets{began: time.Now(), seed: maphash.MakeSeed()}
	for i := range m.shards {
		m.shards[i].tat = make(map[string]int64)
	}
	return m
}

// Take counts one request of key against limit in window, both above 0. A
// refused request doesn't count.
func (m *Buckets) Take(key string, limit int, window time.Duration) Decision {
	return m.take(key, rateOf(limit, window))
}

func (m *Buckets) take(key string, p rate) Decision {
	now := time.Since(m.began).Microseconds()
	due, allowed := m.shards[maphash.String(m.seed, key)%bucketShards].take(key, now, p)
	return p.decide(allowed, due-now)
}

// Peek is what Take would say, without counting anything.
func (m *Buckets) Peek(key string, limit int, window time.Duration) Decision {
	p := rateOf(limit, window)
	now := time.Since(m.began).Microseconds()
	s := &m.shards[maphash.String(m.seed, key)%bucketShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	due, allowed := p.advance(s.tat[key], now)
	return p.decide(allowed, due-now)
}

func (s *bucketShard) take(key string, now int64, p rate) (due int64, allowed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	due, known := s.tat[key]
	if !known {
		s.makeRoom(now)
	}
	due, allowed = p.advance(due, now)
	if allowed {
		s.tat[key] = due
	}
	return due, allowed
}

// makeRoom looks at a few entries, from a random one on, and forgets those that
// are due no more: a new key would get the same answer. In a full shard, when
// all of the few are still due, it forgets the one with the least to lose.
func (s *bucketShard) makeRoom(now int64) {
	looked, loser, least := 0, "", int64(math.MaxInt64)
	for key, due := range s.tat {
		if due <= now {
			delete(s.tat, key)
		} else if due < least {
			loser, least = key, due
		}
		if looked++; looked == sampleSize {
			break
		}
	}
	if len(s.tat) >= bucketsPerShard {
		delete(s.tat, loser)
	}
}

// NetworksPerSite is how many networks may use their whole limits at once in a
// /48 of IPv6. That is what many get who ask for a network: 65 536 of 64 bits.
const NetworksPerSite = 16

// TakeAddress counts one request of an address against limit, and against that
// of the site around it.
func TakeAddress(address string, limit int, take func(key string, limit int) (Decision, error)) (Decision, error) {
	network, site := netutil.Networks(address)
	d, err := take("ip:"+network, limit)
	if err != nil || !d.Allowed || site == "" {
		return d, err
	}
	wider, err := take("site:"+site, limit*NetworksPerSite)
	if !wider.Allowed {
		return wider, err
	}
	return d, err
}
