package ratelimit

import (
	"context"
	"hash/maphash"
	"sync"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// To ask Redis about every request would cost as much as many an answer. So a process takes a quota
// lease: Redis counts several requests at once, and the process lets them pass by itself. A lease is
// a sixteenth of what remains to the key. So a key that is near its limit is counted one by one, and
// no replica holds much that another may lack.
const (
	leaseShare     = 16
	maxLease       = 256         // requests
	leaseTime      = time.Second // afterwards the rest goes back, with the key's next request
	leaseShards    = 64
	leasesPerShard = 256 // keys without room for a lease are counted one by one
)

// A lease is requests of a key that Redis has counted and that have not been made.
type lease struct {
	left  int64     // of them
	tat   int64     // of the key with all of them, by Redis's clock in microseconds
	clock int64     // Redis's,
	at    time.Time // and ours, when it replied
}

// ahead returns how far the key's tat is ahead after a request of this lease. What is left of the
// lease does not count.
func (l lease) ahead(r rate) int64 {
	return max(r.interval, l.tat-l.left*r.interval-l.now())
}

// now returns the time by Redis's clock.
func (l lease) now() int64 { return l.clock + time.Since(l.at).Microseconds() }

// A leaseTable has the leases of this process. They are at most leaseShards × leasesPerShard, so a
// client with many addresses takes no more memory.
type leaseTable struct {
	seed   maphash.Seed
	shards [leaseShards]leaseShard
}

type leaseShard struct {
	mu     sync.Mutex // guards leases, for a map access or a few
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

// take takes one request of key's lease, and returns what is left. ok is false if there is none.
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

// remove removes key's lease, if there is one, for its rest to be returned. It makes room for the
// next lease, and reports whether there is any.
func (t *leaseTable) remove(key string) (held lease, room bool) {
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	held = s.leases[key]
	delete(s.leases, key)
	s.deleteExpired()
	return held, len(s.leases) < leasesPerShard
}

// put keeps a lease on key.
func (t *leaseTable) put(key string, held lease) {
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases[key] = held
}

// deleteExpired looks at a few leases, from a random one on, and deletes those whose tat has passed:
// to return their rest would change nothing.
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

// leaseScript is rate.advance inside Redis, for several requests at once and by Redis's clock, which
// is the same for all replicas.
//
// KEYS: the key. ARGV: interval and burst; how many requests of an earlier lease come back, and the
// key's tat with them, after which time has paid for them; which share of what remains is wanted,
// and how many requests at most. It replies how many it has counted, 0 for a refusal, how far ahead
// the key's tat is now, and the time. Microseconds since 1970 fit a Lua number exactly.
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

// takeShared counts one request of key for all replicas. The error is the context's or Redis's.
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

// lease gets key's next lease from Redis. If there is none, it returns the refusal.
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
