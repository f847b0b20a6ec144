package server

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
	leaseMost      = 256
	leaseTime      = time.Second // afterwards the rest goes back, with the key's next request
	leaseShards    = 64
	leasesPerShard = 256 // keys without room for a lease are counted one by one
)

// A lease is requests of a key that Redis has counted and nobody has made.
type lease struct {
	left  int64     // of them
	due   int64     // of the key, all of them counted, by Redis's clock in microseconds
	clock int64     // Redis's,
	at    time.Time // and ours, when it answered
}

// ahead is how far the key is, after a request that this lease had room for:
// what it has left is not yet made.
func (l lease) ahead(p pace) int64 {
	return max(p.interval, l.due-l.left*p.interval-l.now())
}

// now is Redis's clock.
func (l lease) now() int64 { return l.clock + time.Since(l.at).Microseconds() }

// leases are those of this process. At most leaseShards × leasesPerShard of
// them, so that whoever comes with many addresses takes no more memory.
type leases struct {
	seed   maphash.Seed
	shards [leaseShards]leaseShard
}

type leaseShard struct {
	mu sync.Mutex // guards of, for a map access or a few
	of map[string]lease
}

func newLeases() *leases {
	l := &leases{seed: maphash.MakeSeed()}
	for i := range l.shards {
		l.shards[i].of = map[string]lease{}
	}
	return l
}

func (l *leases) shard(key string) *leaseShard {
	return &l.shards[maphash.String(l.seed, key)%leaseShards]
}

// spend takes one request of key's lease, and returns what is left; false: there is none.
func (l *leases) spend(key string) (lease, bool) {
	s := l.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	held := s.of[key]
	if held.left == 0 || time.Since(held.at) >= leaseTime {
		return lease{}, false
	}
	held.left--
	s.of[key] = held
	return held, true
}

// end takes away key's lease, for what is left to be returned, and makes room for the next one. There may be none.
func (l *leases) end(key string) (held lease, room bool) {
	s := l.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	held = s.of[key]
	delete(s.of, key)
	s.forget()
	return held, len(s.of) < leasesPerShard
}

// begin keeps what Redis has counted of key.
func (l *leases) begin(key string, held lease) {
	s := l.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of[key] = held
}

// forget looks at a few leases, from a random one on, and forgets those whose key has had its time: to return
// something would change nothing.
func (s *leaseShard) forget() {
	looked := 0
	for key, l := range s.of {
		if l.now() >= l.due {
			delete(s.of, key)
		}
		if looked++; looked == bucketSample {
			break
		}
	}
}

// leaseScript is pace.advance inside Redis for several requests at once, by
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
func (l *limiter) takeShared(ctx context.Context, key string, p pace) (decision, error) {
	for {
		if held, ok := l.leases.spend(key); ok {
			return p.decide(true, held.ahead(p)), nil
		}
		asked := l.asking.DoChan(key, func() (any, error) { return l.lease(context.WithoutCancel(ctx), key, p) })
		select {
		case r := <-asked:
			if r.Err != nil {
				return decision{}, r.Err
			}
			if refusal := r.Val.(decision); refusal.Limit != 0 {
				return refusal, nil
			}
		case <-ctx.Done():
			return decision{}, context.Cause(ctx)
		}
	}
}

// lease asks Redis for key's next lease. The decision is a refusal, or nothing.
func (l *limiter) lease(ctx context.Context, key string, p pace) (refusal decision, err error) {
	last, room := l.leases.end(key)
	most := 1
	if room {
		most = leaseMost
	}
	answer, err := redigo.Int64s(l.redis.RunScript(ctx, leaseScript, "notesd:rate:"+seal(l.secret, "rate", key),
		p.interval, p.burst, last.left, last.due, leaseShare, most))
	if err != nil {
		return decision{}, err
	}
	counted, ahead, now := answer[0], answer[1], answer[2]
	if counted == 0 {
		return p.decide(false, ahead), nil
	}
	l.leases.begin(key, lease{left: counted, due: now + ahead, clock: now, at: time.Now()})
	return decision{}, nil
}
