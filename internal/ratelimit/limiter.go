// Package ratelimit limits requests by key: in the memory of the process, or in Redis for all
// replicas together.
//
// The limits follow the generic cell rate algorithm (GCRA). A key may make its whole limit of
// requests at once. In the long run it may make as many in each window, refilled evenly.
package ratelimit

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"notesd/internal/netutil"
	"notesd/internal/redis"
)

// A Decision is the result of a limit for one request.
type Decision struct {
	Allowed   bool
	Limit     int           // requests that the limit allows in its window
	Remaining int           // requests that would be allowed at once now
	Reset     time.Duration // time until the whole limit would be allowed at once
	// RetryAfter is the time until one more request would be allowed; 0 when Allowed.
	RetryAfter time.Duration
}

// Err returns nil if the request is allowed, and a *LimitedError if it is not.
func (d Decision) Err() error {
	if d.Allowed {
		return nil
	}
	return &LimitedError{Reason: "rate_limit", Text: "Too many requests, please try again later.", Decision: d}
}

// A LimitedError is the error of a request that a limit rejects. Reason is a word for programs and
// Text a sentence for people. A Decision without a Limit says only when to try again.
type LimitedError struct {
	Reason, Text string
	Decision     Decision
}

func (e *LimitedError) Error() string { return e.Reason }

// A Limiter counts requests in Redis, for all replicas. Each replica may hold a lease on a few
// requests that Redis has counted in advance (lease.go). So the replicas together never allow more
// than the limit. The other replicas lack what one replica holds, for a second or until the key's
// next request at that replica. Without Redis, and while Redis is unavailable, each process counts
// for itself.
type Limiter struct {
	redis     *redis.Client // nil: counts are in memory only
	leases    *leaseTable
	leasing   singleflight.Group // coalesces requests for the lease of a key
	memory    *Buckets
	secret    []byte        // hides addresses and users in Redis's keys
	fallbacks atomic.Uint64 // decisions taken in memory because Redis was unavailable
}

// New returns a Limiter that counts in Redis, or in memory only if rdb is nil.
func New(rdb *redis.Client, secret string) *Limiter {
	return &Limiter{redis: rdb, leases: newLeaseTable(), memory: NewBuckets(), secret: []byte(secret)}
}

// Take counts one request of key against limit in window, both above 0. A refused request does not
// count. The error is the context's, never Redis's.
func (l *Limiter) Take(ctx context.Context, key string, limit int, window time.Duration) (Decision, error) {
	r := rateOf(limit, window)
	if l.redis != nil {
		d, err := l.takeShared(ctx, key, r)
		if err == nil {
			return d, nil
		}
		if ctx.Err() != nil {
			return Decision{}, context.Cause(ctx)
		}
		l.fallbacks.Add(1)
	}
	return l.memory.take(key, r), nil
}

// Fallbacks returns how many decisions were taken in memory because Redis was unavailable.
func (l *Limiter) Fallbacks() uint64 { return l.fallbacks.Load() }

// redisKey returns the Redis key for the count of key. Without the secret it reveals nothing of
// key, and key cannot be guessed by trial.
func (l *Limiter) redisKey(key string) string {
	mac := hmac.New(sha256.New, l.secret)
	mac.Write([]byte("rate\x00" + key))
	return redis.Prefix + "rate:" + hex.EncodeToString(mac.Sum(nil))
}

// NetworksPerSite is how many networks of a /48 of IPv6 may use their whole limits at once. Many
// customers get a /48, which has 65 536 networks of 64 bits.
const NetworksPerSite = 16

// TakeAddress counts one request of an address against limit, and against the limit of the site
// around it (see netutil.Networks).
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

// A rate is a limit in the terms of GCRA, in microseconds. Conforming requests are interval apart,
// and may come earlier than that by up to burst.
type rate struct {
	limit           int
	interval, burst int64
}

func rateOf(limit int, window time.Duration) rate {
	interval := max(1, window.Microseconds()/int64(limit))
	return rate{limit: limit, interval: interval, burst: interval * int64(limit)}
}

// advance counts a request at time now, for a key whose theoretical arrival time (TAT) is tat. The
// TAT is the time by which the key's requests so far are paid for. advance returns the TAT after
// the request. The TAT is unchanged if the request is refused.
func (r rate) advance(tat, now int64) (after int64, allowed bool) {
	tat = min(max(tat, now), now+r.burst)
	if tat+r.interval > now+r.burst {
		return tat, false
	}
	return tat + r.interval, true
}

// decide returns the Decision on a request. ahead is how far the key's TAT is ahead of the clock
// after the request.
func (r rate) decide(allowed bool, ahead int64) Decision {
	d := Decision{
		Allowed:   allowed,
		Limit:     r.limit,
		Remaining: int((r.burst - ahead) / r.interval),
		Reset:     time.Duration(ahead) * time.Microsecond,
	}
	if !allowed {
		d.RetryAfter = time.Duration(ahead+r.interval-r.burst) * time.Microsecond
	}
	return d
}
