package ratelimit

import (
	"context"
	"hash/maphash"
	"sync"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// To ask Redis about every request would cost as much as many an answer. So a
// process has several counted at once, a lease, and lets them pass by itself: a
// sixteenth of what remains to the key, so that a key that is near its limit is
// counted one by one, and no replica has much that another may lack.
const (
	leaseShare     = 16
	maxLease       = 256
	leaseTime      = time.Second // afterwards the rest goes back, with the key's next request
	leaseShards    = 64
	leasesPerShard = 256 // keys without room for a lease are counted one by one
)

// A lease is requests of a key that Redis has counted and nobody has made.
type lease struct {
	left  int64     // of them
	tat   int64     // of the key, all of them counted, by Redis's clock in microseconds
	clock int64     // Redis's,
	at    time.Time // and ours, when it answered
}

// ahead is how far the key is, after a request that this lease had room for:
// what it has left is not yet made.
func (l lease) ahead(p rate) int64 {
	return max(p.interval, l.tat-l.left*p.interval-l.now())
}

// now is Redis's clock.
func (l lease) now() int64 { return l.clock + time.Since(l.at).Microseconds() }

// A leaseTable has the leases of this process. At most leaseShards × leasesPerShard of
// them, so that whoever comes with many addresses takes no more memory.
type leaseTable struct {
	seed   maphash.Seed
	shards [leaseShards]leaseShard
}

type leaseShard struct {
	mu     sync.Mutex // guards leases, for a map access or a few
	leases map[string]lease
}

func newLeaseTable() *leaseTable {
	l := &leaseTable{seed: maphash.MakeSeed()}
	for i := range l.shards {
		l.shards[i].leases = map[string]lease{}
	}
	return l
}

func (l *leaseTable) shard(key string) *leaseShard {
	return &l.shards[maphash.String(l.seed, key)%leaseShards]
}

// take takes one request of key's lease, and returns what is left; false: there is none.
func (l *leaseTable) take(key string) (lease, bool) {
	s := l.shard(key)
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

// remove takes away key's lease, for what is left to be returned, and makes room for the next one. There may be none.
func (l *leaseTable) remove(key string) (held lease, room bool) {
	s := l.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	held = s.leases[key]
	delete(s.leases, key)
	s.forget()
	return held, len(s.leases) < leasesPerShard
}

// put keeps what Redis has counted of key.
func (l *leaseTable) put(key string, held lease) {
	s := l.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases[key] = held
}

// forget looks at a few leases, from a random one on, and forgets those whose key has had its time: to return
// something would change nothing.
func (s *leaseShard) forget() {
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

// leaseScript is rate.advance inside Redis for several requests at once, by
// Redis's clock, which is the same for all replicas. KEYS: the key. ARGV:
// interval, burst; how many of an earlier lease come back, and when the key was
// due with them: later than that, time has paid for them; which share of what
// remains is wanted, and how many at most. It answers how many it has counted, 0
// for a refusal, how far ahead the key is now, and the time. Microseconds since
// 1970 fit a Lua number exactly.
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
func (l *Limiter) takeShared(ctx context.Context, key string, p rate) (Decision, error) {
	for {
		if held, ok := l.leases.take(key); ok {
			return p.decide(true, held.ahead(p)), nil
		}
		asked := l.asking.DoChan(key, func() (any, error) { return l.lease(context.WithoutCancel(ctx), key, p) })
		select {
		case r := <-asked:
			if r.Err != nil {
				return Decision{}, r.Err
			}
			if refusal := r.Val.(Decision); refusal.Limit != 0 {
				return refusal, nil
			}
		case <-ctx.Done():
			return Decision{}, context.Cause(ctx)
		}
	}
}

// lease asks Redis for key's next lease. The decision is a refusal, or nothing.
func (l *Limiter) lease(ctx context.Context, key string, p rate) (refusal Decision, err error) {
	last, room := l.leases.remove(key)
	most := 1
	if room {
		most = maxLease
	}
	answer, err := redigo.Int64s(l.redis.RunScript(ctx, leaseScript, l.redisKey(key),
		p.interval, p.burst, last.left, last.tat, leaseShare, most))
	if err != nil {
		return Decision{}, err
	}
	counted, ahead, now := answer[0], answer[1], answer[2]
	if counted == 0 {
		return p.decide(false, ahead), nil
	}
	l.leases.put(key, lease{left: counted, tat: now + ahead, clock: now, at: time.Now()})
	return Decision{}, nil
}
