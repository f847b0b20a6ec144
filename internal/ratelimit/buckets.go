package ratelimit

import (
	"hash/maphash"
	"math"
	"sync"
	"time"
)

// Buckets remember at most bucketShards × bucketsPerShard keys.
const (
	bucketShards    = 64
	bucketsPerShard = 1024
	sampleSize      = 8 // entries examined to make room for one
)

// Buckets count requests by key in the memory of the process.
type Buckets struct {
	epoch  time.Time
	seed   maphash.Seed
	shards [bucketShards]bucketShard
}

// bucketShard has the theoretical arrival times of some keys, in microseconds since epoch.
type bucketShard struct {
	mu  sync.Mutex // guards tat, for a handful of map accesses at a time
	tat map[string]int64
	_   [48]byte // pads to a cache line
}

// NewBuckets returns Buckets without keys.
func NewBuckets() *Buckets {
	b := &Buckets{epoch: time.Now(), seed: maphash.MakeSeed()}
	for i := range b.shards {
		b.shards[i].tat = make(map[string]int64)
	}
	return b
}

// Take counts one request of key against limit in window, both above 0. A refused request does not
// count.
func (b *Buckets) Take(key string, limit int, window time.Duration) Decision {
	return b.take(key, rateOf(limit, window))
}

// Peek returns what Take would return, and does not count a request.
func (b *Buckets) Peek(key string, limit int, window time.Duration) Decision {
	r := rateOf(limit, window)
	now := b.now()
	s := b.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	tat, allowed := r.advance(s.tat[key], now)
	return r.decide(allowed, tat-now)
}

func (b *Buckets) take(key string, r rate) Decision {
	now := b.now()
	tat, allowed := b.shard(key).take(key, now, r)
	return r.decide(allowed, tat-now)
}

func (b *Buckets) now() int64 { return time.Since(b.epoch).Microseconds() }

func (b *Buckets) shard(key string) *bucketShard {
	return &b.shards[maphash.String(b.seed, key)%bucketShards]
}

func (s *bucketShard) take(key string, now int64, r rate) (tat int64, allowed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tat, known := s.tat[key]
	if !known {
		s.makeRoom(now)
	}
	tat, allowed = r.advance(tat, now)
	if allowed {
		s.tat[key] = tat
	}
	return tat, allowed
}

// makeRoom examines sampleSize entries, beginning with a random one. It evicts those whose
// theoretical arrival time has passed, since a new key would get the same decision. If the shard is
// full and there is no such entry among them, it evicts the one with the lowest time: its key has
// the shortest wait, which is what the eviction forgives.
func (s *bucketShard) makeRoom(now int64) {
	looked, loser, least := 0, "", int64(math.MaxInt64)
	for key, tat := range s.tat {
		if tat <= now {
			delete(s.tat, key)
		} else if tat < least {
			loser, least = key, tat
		}
		if looked++; looked == sampleSize {
			break
		}
	}
	if len(s.tat) >= bucketsPerShard {
		delete(s.tat, loser)
	}
}
