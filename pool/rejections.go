package pool

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

const (
	rejectionMinutes = 15
	rateSeconds      = 5  // rates are measured over these
	maxFlows         = 64 // entries counted by name in a minute

	minRetry = time.Second
	maxRetry = time.Minute
)

// rejections counts the rejected requests by flow and reason: in total, by second for the rates,
// and by minute for operators to read.
type rejections struct {
	mu      sync.Mutex // guards what follows
	total   map[Reason]uint64
	byPool  [NumClasses]map[Reason]uint64 // those of total that the pool itself rejected
	seconds [rateSeconds]span
	minutes [rejectionMinutes]span
	flows   [rejectionMinutes]topFlows
}

// A span is a second or a minute.
type span struct {
	number int64 // seconds or minutes since the pool was made, from 1; 0: never used
	// done is the number of requests that were done at the first rejection in the span.
	done     uint64
	rejected map[Reason]uint64
}

func (rs *rejections) init() {
	rs.total = map[Reason]uint64{}
	for c := range rs.byPool {
		rs.byPool[c] = map[Reason]uint64{}
	}
}

// count records that r was rejected, when done requests had been served, and returns how long the
// client should wait before it sends r again. The caller holds the lock.
func (rs *rejections) count(r Request, why Reason, now time.Duration, done uint64) (retryAfter time.Duration) {
	rs.total[why]++
	current(rs.seconds[:], now, time.Second, done).rejected[why]++
	minute := current(rs.minutes[:], now, time.Minute, done)
	minute.rejected[why]++
	rs.flows[minute.number%rejectionMinutes].count(minute.number, rejectedFlow{r.Flow, why})
	return rs.retryAfter(now, done)
}

// current returns the span that contains now, of a ring of spans that are each of length long.
func current(ring []span, now, long time.Duration, done uint64) *span {
	number := int64(now/long) + 1
	s := &ring[number%int64(len(ring))]
	if s.number != number {
		*s = span{number: number, done: done, rejected: map[Reason]uint64{}}
	}
	return s
}

// retryAfter returns how long a client should wait before it sends a rejected request again. When
// demand is k times what is served, and each client comes back after k times as long, the demand is
// what can be served. So the mean is k seconds. It has a jitter of a half either way, so that the
// requests that are rejected in one second do not come back in one second.
func (rs *rejections) retryAfter(now time.Duration, done uint64) time.Duration {
	first := int64(now/time.Second) + 1 - (rateSeconds - 1)
	served, shed := done, uint64(0)
	for i := range rs.seconds {
		if s := &rs.seconds[i]; s.number >= first {
			served = min(served, s.done)
			for _, n := range s.rejected {
				shed += n
			}
		}
	}
	served = max(1, done-served)
	k := float64(served+shed) / float64(served)
	mean := min(time.Duration(k*float64(minRetry)), maxRetry)
	return max(minRetry, mean/2+rand.N(mean))
}

// A rejectedFlow is a flow that was rejected for a reason.
type rejectedFlow struct {
	Flow   string
	Reason Reason
}

// topFlows counts the flows that were rejected most in a minute, in bounded memory. A new entry
// in a full topFlows takes the place, and the count, of the lowest entry ("Space-Saving": Metwally,
// Agrawal and El Abbadi, ICDT 2005). Every entry with more than one in maxFlows of all rejections
// is in it.
type topFlows struct {
	minute int64
	counts map[rejectedFlow]uint64
}

func (r *topFlows) count(minute int64, who rejectedFlow) {
	if r.minute != minute {
		r.minute, r.counts = minute, make(map[rejectedFlow]uint64, maxFlows)
	}
	n, known := r.counts[who]
	if !known && len(r.counts) >= maxFlows {
		least := who
		for other, count := range r.counts {
			if least == who || count < n {
				least, n = other, count
			}
		}
		delete(r.counts, least)
	}
	r.counts[who] = n + 1
}

// Rejections lists the flows that were rejected in the last quarter of an hour, and the reasons.
type Rejections struct {
	Minutes []RejectedMinute // the minutes with rejections, the oldest first
	Flows   []RejectedFlow   // the most often rejected first
}

// RejectedMinute is one minute of Rejections.
type RejectedMinute struct {
	Begins   time.Time
	Rejected map[Reason]uint64
}

// RejectedFlow is how often a flow was rejected for one reason. Count may be a little too high when
// there were very many flows.
type RejectedFlow struct {
	Flow   string
	Reason Reason
	Count  uint64
}

// CountRejected counts a request that the caller rejected for a reason of its own, which is not the
// pool's.
func (p *Pool) CountRejected(r Request, why Reason) {
	p.rejections.mu.Lock()
	defer p.rejections.mu.Unlock()
	p.rejections.count(r, why, p.now(), p.done())
}

// reject counts a rejection by the pool and returns it.
func (p *Pool) reject(r Request, why Reason, waited time.Duration) *RejectedError {
	p.rejections.mu.Lock()
	defer p.rejections.mu.Unlock()
	p.rejections.byPool[r.Class][why]++
	return &RejectedError{Reason: why, Waited: waited, RetryAfter: p.rejections.count(r, why, p.now(), p.done())}
}

// RejectedTotals returns the number of rejections since the start, by reason: those by the pool,
// and those that callers reported to CountRejected.
func (p *Pool) RejectedTotals() map[Reason]uint64 {
	p.rejections.mu.Lock()
	defer p.rejections.mu.Unlock()
	return maps.Clone(p.rejections.total)
}

// Rejections returns the flows that were rejected lately.
func (p *Pool) Rejections() Rejections {
	rs, now := &p.rejections, p.now()
	rs.mu.Lock()
	defer rs.mu.Unlock()
	out := Rejections{Minutes: []RejectedMinute{}, Flows: []RejectedFlow{}}
	flows := map[rejectedFlow]uint64{}
	first := int64(now/time.Minute) + 1 - (rejectionMinutes - 1)
	for i, minute := range rs.minutes {
		if minute.number < max(first, 1) {
			continue
		}
		begins := p.epoch.Add(time.Duration(minute.number-1) * time.Minute)
		out.Minutes = append(out.Minutes, RejectedMinute{Begins: begins, Rejected: maps.Clone(minute.rejected)})
		for who, n := range rs.flows[i].counts {
			flows[who] += n
		}
	}
	slices.SortFunc(out.Minutes, func(a, b RejectedMinute) int { return a.Begins.Compare(b.Begins) })
	for who, n := range flows {
		out.Flows = append(out.Flows, RejectedFlow{who.Flow, who.Reason, n})
	}
	slices.SortFunc(out.Flows, func(a, b RejectedFlow) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Flow, b.Flow), cmp.Compare(a.Reason, b.Reason))
	})
	out.Flows = out.Flows[:min(len(out.Flows), maxFlows)]
	return out
}

// done returns the number of requests that had a worker and gave it back.
func (p *Pool) done() (n uint64) {
	for i := range p.shards {
		n += p.shards[i].done.Load()
	}
	return n
}
