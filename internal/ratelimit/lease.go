package ratelimit

import (
	"context"
	"hash/maphash"
	"sync"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// A query to Redis for every request would cost as much as many a response. So a process takes a
// quota lease: Redis counts several requests at once, and the process admits them by itself. A
// lease is a sixteenth of what remains for the key. So the requests of a key that is near its limit
// are counted one by one, and no replica holds much that another replica may lack.
const (
	leaseShare = 16
	maxLease   = 256 // requests
	// leaseTime is how long a lease is valid. Its rest is then returned with the key's next
	// request.
	leaseTime      = time.Second
	leaseShards    = 64
	leasesPerShard = 256 // keys without room for a lease are counted one by one
)

// A lease is a number of requests of a key that Redis has counted and that have not been made yet.
type lease struct {
	left int64 // requests that are left
	// tat is the key's theoretical arrival time after all of them, by Redis's clock in
	// microseconds.
	tat   int64
	clock int64     // Redis's time of the reply
	at    time.Time // our time of the reply
}

// ahead returns how far the key's tat is ahead of the clock after a request of this lease. The
// requests that are left in the lease do not count.
func (l lease) ahead(r rate) int64 {
	return max(r.interval, l.tat-l.left*r.interval-l.now())
}

// now returns the time by Redis's clock.
func (l lease) now() int64 { return l.clock + time.Since(l.at).Microseconds() }

// A leaseTable has the leases of this process. It has at most leaseShards × leasesPerShard leases,
// so a client with many addresses takes no more memory.
type leaseTable struct {
	seed   maphash.Seed
	shards [leaseShards]leaseShard
}

type leaseShard struct {
	mu     sync.Mutex // guards leases, for one or a few map accesses
	leases map[string]lease
}

func newLeaseTable() *leaseTable {
	t := &leaseTable{seed: maphash.MakeSeed()}
	for i := range t.shards {
		t.shards[i].leases = map[string]lease{}
	}
	return t
}

func (t *leaseTable) shard(key string) *leaseShard {
	return &t.shards[maphash.String(t.seed, key)%leaseShards]
}

// take takes one request from key's lease, and returns the lease with the requests that are left.
// ok is false if there is no valid lease.
func (t *leaseTable) take(key string) (l lease, ok bool) {
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	held := s.leases[key]
	if held.left == 0 || time.Since(held.at) >= leaseTime {
		return lease{}, false
	}
	held.left--
	s.leases[key] = held
	return held, true
}

// remove removes and returns key's lease, if there is one, so that its rest can be returned to
// Redis. It also deletes expired leases, and reports whether there is room for a new one.
func (t *leaseTable) remove(key string) (held lease, room bool) {
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	held = s.leases[key]
	delete(s.leases, key)
	s.deleteExpired()
	return held, len(s.leases) < leasesPerShard
}

// put stores a lease for key.
func (t *leaseTable) put(key string, held lease) {
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases[key] = held
}

// deleteExpired examines sampleSize leases, beginning with a random one. It deletes those whose tat
// has passed, since returning their rest to Redis would change nothing.
func (s *leaseShard) deleteExpired() {
	looked := 0
	for key, l := range s.leases {
		if l.now() >= l.tat {
			delete(s.leases, key)
		}
		if looked++; looked == sampleSize {
			break
		}
	}
}

// leaseScript runs rate.advance in Redis, for several requests at once. It uses Redis's clock,
// which is the same for all replicas.
//
// KEYS: the key. ARGV: the interval and the burst; the number of requests of an earlier lease that
// are returned; the key's tat with them, after which they have expired and change nothing; the
// divisor for the share of what remains that is wanted; the maximum number of requests. The reply
// is the number of requests that were counted, or 0 for a rejection; how far the key's tat is ahead
// now; the time. Microseconds since 1970 fit a Lua number exactly.
var leaseScript = redigo.NewScript(1, `
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local back, backDue, share, most = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local due = tonumber(redis.call('GET', KEYS[1]) or now)
if now < backDue then
	due = due - back * interval
end
due = math.min(math.max(due, now), now + burst)
local room = math.floor((now + burst - due) / interval)
if room < 1 then
	return {0, due - now, now}
end
local count = math.max(1, math.min(most, math.floor(room / share)))
due = due + count * interval
redis.call('SET', KEYS[1], string.format('%.0f', due), 'PX', math.ceil((due - now) / 1000))
return {count, due - now, now}`)

// takeShared counts one request of key for all replicas. The error is either the context's or
// Redis's.
func (l *Limiter) takeShared(ctx context.Context, key string, r rate) (Decision, error) {
	for {
		if held, ok := l.leases.take(key); ok {
			return r.decide(true, held.ahead(r)), nil
		}
		leased := l.leasing.DoChan(key, func() (any, error) { return l.lease(context.WithoutCancel(ctx), key, r) })
		select {
		case result := <-leased:
			if result.Err != nil {
				return Decision{}, result.Err
			}
			if refusal := result.Val.(Decision); refusal.Limit != 0 {
				return refusal, nil
			}
		case <-ctx.Done():
			return Decision{}, context.Cause(ctx)
		}
	}
}

// lease gets key's next lease from Redis. If Redis grants none, lease returns the rejection.
func (l *Limiter) lease(ctx context.Context, key string, r rate) (refusal Decision, err error) {
	last, room := l.leases.remove(key)
	most := 1
	if room {
		most = maxLease
	}
	reply, err := redigo.Int64s(l.redis.RunScript(ctx, leaseScript, l.redisKey(key),
		r.interval, r.burst, last.left, last.tat, leaseShare, most))
	if err != nil {
		return Decision{}, err
	}
	counted, ahead, now := reply[0], reply[1], reply[2]
	if counted == 0 {
		return r.decide(false, ahead), nil
	}
	l.leases.put(key, lease{left: counted, tat: now + ahead, clock: now, at: time.Now()})
	return Decision{}, nil
}
