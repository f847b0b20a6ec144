// Package ratelimit limits requests by key: in the memory of the process, or in Redis for all
// replicas together.
//
// Limits are those of the generic cell rate algorithm (GCRA): a key may make its whole limit of
// requests at once, and as many in each window on the long run, refilled evenly.
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

// A Decision is a limit's answer to one request.
type Decision struct {
	Allowed    bool
	Limit      int           // how many requests the limit allows in its window
	Remaining  int           // how many of them would be allowed at once now
	Reset      time.Duration // until all of them would be
	RetryAfter time.Duration // until one more would be; 0 when Allowed
}

// A Limiter counts in Redis for all replicas. Each replica may hold a lease on a few requests that
// Redis has counted in advance (lease.go). So never more is allowed, and what one replica holds the
// others lack, for a second or until the key's next request there. While Redis is away, and without
// it, each process counts for itself.
type Limiter struct {
	redis     *redis.Client // nil: only memory
	leases    *leaseTable
	leasing   singleflight.Group // requests for leases, by key
	memory    *Buckets
	secret    []byte        // hides addresses and users in Redis's keys
	fallbacks atomic.Uint64 // decisions taken in memory because Redis was away
}

// New returns a Limiter that counts in Redis, or only in memory if rdb is nil.
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

// Fallbacks returns how many decisions were taken in memory because Redis was away.
func (l *Limiter) Fallbacks() uint64 { return l.fallbacks.Load() }

// redisKey returns the name of a key's count in Redis. Without the secret it tells nothing of the
// key, and nobody can try out keys.
func (l *Limiter) redisKey(key string) string {
	mac := hmac.New(sha256.New, l.secret)
	mac.Write([]byte("rate\x00" + key))
	return redis.Prefix + "rate:" + hex.EncodeToString(mac.Sum(nil))
}

// NetworksPerSite is how many networks may use their whole limits at once in a /48 of IPv6. Many
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

// A rate is a limit in the terms of GCRA, in microseconds: conforming requests are interval apart,
// and may come ahead of that by burst.
type rate struct {
	limit           int
	interval, burst int64
}

func rateOf(limit int, window time.Duration) rate {
	interval := max(1, window.Microseconds()/int64(limit))
	return rate{limit: limit, interval: interval, burst: interval * int64(limit)}
}

// advance counts a request at now of a key whose theoretical arrival time is tat: the time up to
// which its requests so far are paid. It returns the tat after the request, which is unchanged if
// the request is refused.
func (r rate) advance(tat, now int64) (after int64, allowed bool) {
	tat = min(max(tat, now), now+r.burst)
	if tat+r.interval > now+r.burst {
		return tat, false
	}
	return tat + r.interval, true
}

// decide returns the Decision on a request after which the key's tat is ahead of the clock by so
// much.
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
