package server

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash/maphash"
	"math"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"notesd/internal/netutil"
	"notesd/internal/redis"
)

// decision is what a limit says to one request.
type decision struct {
	Allowed    bool
	Limit      int           // how many the limit allows in its window
	Remaining  int           // how many of them would be allowed at once now
	Reset      time.Duration // until all of them would be
	RetryAfter time.Duration // until one more would be; 0 when Allowed
}

// writeHeaders tells the client where it stands.
func (d decision) writeHeaders(h http.Header) {
	h.Set("RateLimit-Limit", strconv.Itoa(d.Limit))
	h.Set("RateLimit-Remaining", strconv.Itoa(d.Remaining))
	h.Set("RateLimit-Reset", strconv.Itoa(seconds(d.Reset)))
	if !d.Allowed {
		h.Set("Retry-After", strconv.Itoa(seconds(d.RetryAfter)))
	}
}

// limiter limits requests by key: at most limit at once, and limit in a
// window on the long run, refilled evenly (GCRA). With Redis the count is one for all
// replicas, of which each may have some counted in advance (lease.go): never more is
// allowed, and what one has in advance another lacks, for a second or until the key's next
// request there. While Redis is away, and without it, each process counts for itself.
type limiter struct {
	redis     *redis.Client // nil: only memory
	leases    *leases
	asking    singleflight.Group // Redis for leases, by key
	memory    *bucketMap
	secret    []byte        // hides addresses and people in Redis's keys
	fallbacks atomic.Uint64 // decisions taken in memory because Redis was away
}

func newLimiter(r *redis.Client, secret string) *limiter {
	return &limiter{redis: r, leases: newLeases(), memory: newBucketMap(), secret: []byte(secret)}
}

// Take counts one request of key against limit in window, both above 0. A
// refused request doesn't count. The error is the context's, never Redis's.
func (l *limiter) Take(ctx context.Context, key string, limit int, window time.Duration) (decision, error) {
	p := paceOf(limit, window)
	if l.redis != nil {
		d, err := l.takeShared(ctx, key, p)
		if err == nil {
			return d, nil
		}
		if ctx.Err() != nil {
			return decision{}, context.Cause(ctx)
		}
		l.fallbacks.Add(1)
	}
	return l.memory.take(key, p), nil
}

// pace is a limit as GCRA sees it, in microseconds: requests of the ideal
// client are interval apart, and real ones may run ahead of it by burst.
type pace struct {
	limit           int
	interval, burst int64
}

func paceOf(limit int, window time.Duration) pace {
	interval := max(1, window.Microseconds()/int64(limit))
	return pace{limit: limit, interval: interval, burst: interval * int64(limit)}
}

// advance counts a request at now of a key that is due at due: the time up to
// which its requests so far are paid. It returns the time that is due after
// it, unchanged for a request that must be refused.
func (p pace) advance(due, now int64) (after int64, allowed bool) {
	due = min(max(due, now), now+p.burst)
	if due+p.interval > now+p.burst {
		return due, false
	}
	return due + p.interval, true
}

// decide puts into words how far, after this request, a key is ahead.
func (p pace) decide(allowed bool, ahead int64) decision {
	d := decision{
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

// A bucketMap remembers at most bucketShards × bucketsPerShard keys.
const (
	bucketShards    = 64
	bucketsPerShard = 1024
	bucketSample    = 8 // how many entries are looked at to make room for one
)

// bucketMap holds how far each key is due, in the memory of the process.
type bucketMap struct {
	began  time.Time
	seed   maphash.Seed
	shards [bucketShards]bucketShard
}

type bucketShard struct {
	mu  sync.Mutex // guards due, for a handful of map accesses at a time
	due map[string]int64
	_   [48]byte // to a cache line of its own
}

func newBucketMap() *bucketMap {
	m := &bucketMap{began: time.Now(), seed: maphash.MakeSeed()}
	for i := range m.shards {
		m.shards[i].due = make(map[string]int64)
	}
	return m
}

func (m *bucketMap) take(key string, p pace) decision {
	now := time.Since(m.began).Microseconds()
	due, allowed := m.shards[maphash.String(m.seed, key)%bucketShards].take(key, now, p)
	return p.decide(allowed, due-now)
}

// peek is what take would say, without counting anything.
func (m *bucketMap) peek(key string, p pace) decision {
	now := time.Since(m.began).Microseconds()
	s := &m.shards[maphash.String(m.seed, key)%bucketShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	due, allowed := p.advance(s.due[key], now)
	return p.decide(allowed, due-now)
}

func (s *bucketShard) take(key string, now int64, p pace) (due int64, allowed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	due, known := s.due[key]
	if !known {
		s.makeRoom(now)
	}
	due, allowed = p.advance(due, now)
	if allowed {
		s.due[key] = due
	}
	return due, allowed
}

// makeRoom looks at a few entries, from a random one on, and forgets those that
// are due no more: a new key would get the same answer. In a full shard, when
// all of the few are still due, it forgets the one with the least to lose.
func (s *bucketShard) makeRoom(now int64) {
	looked, loser, least := 0, "", int64(math.MaxInt64)
	for key, due := range s.due {
		if due <= now {
			delete(s.due, key)
		} else if due < least {
			loser, least = key, due
		}
		if looked++; looked == bucketSample {
			break
		}
	}
	if len(s.due) >= bucketsPerShard {
		delete(s.due, loser)
	}
}

// sitesNetworks is how many networks may use their whole limits at once in a
// /48 of IPv6. That is what many get who ask for a network: 65 536 of 64 bits.
const sitesNetworks = 16

// takeAddress counts one request of an address against limit, and against that
// of the site around it.
func takeAddress(address string, limit int, take func(key string, limit int) (decision, error)) (decision, error) {
	network, site := netutil.Networks(address)
	d, err := take("ip:"+network, limit)
	if err != nil || !d.Allowed || site == "" {
		return d, err
	}
	wider, err := take("site:"+site, limit*sitesNetworks)
	if !wider.Allowed {
		return wider, err
	}
	return d, err
}

// seal is text under secret: equal texts look equal, and without the secret
// nobody can tell or try out what they are. One purpose's seals say nothing
// about another's.
func seal(secret []byte, purpose, text string) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(purpose))
	mac.Write([]byte{0})
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}
