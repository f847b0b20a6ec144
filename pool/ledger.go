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
	ledgerMinutes = 15
	ledgerSeconds = 5  // that rates are measured over
	mostPeople    = 64 // counted by name in a minute

	leastRetry = time.Second
	mostRetry  = time.Minute
)

// A ledger remembers who was turned away and why: in all, by second for the
// rates, by minute for people to read.
type ledger struct {
	mu      sync.Mutex // guards what follows
	total   map[Reason]uint64
	refused [NumClasses]map[Reason]uint64 // of total, by the pool itself
	seconds [ledgerSeconds]span
	minutes [ledgerMinutes]span
	people  [ledgerMinutes]ranking
}

// A span is a second or a minute.
type span struct {
	number int64  // of those since the pool was made, from 1; 0: never used
	done   uint64 // requests that were by its first refusal, or by the first after the last span
	shed   map[Reason]uint64
}

func (l *ledger) init() {
	l.total = map[Reason]uint64{}
	for c := range l.refused {
		l.refused[c] = map[Reason]uint64{}
	}
}

// count notes that r was turned away, when done requests had been served, and
// returns when it should come back. The caller holds the lock.
func (l *ledger) count(r Request, why Reason, now time.Duration, done uint64) (retryAfter time.Duration) {
	l.total[why]++
	current(l.seconds[:], now, time.Second, done).shed[why]++
	minute := current(l.minutes[:], now, time.Minute, done)
	minute.shed[why]++
	l.people[minute.number%ledgerMinutes].count(minute.number, shedPerson{r.Person, why})
	return l.retryAfter(now, done)
}

// current is the span that now is in, of a ring of spans that are long.
func current(ring []span, now, long time.Duration, done uint64) *span {
	number := int64(now/long) + 1
	s := &ring[number%int64(len(ring))]
	if s.number != number {
		*s = span{number: number, done: done, shed: map[Reason]uint64{}}
	}
	return s
}

// retryAfter is when one that is turned away should come back. When demand is k
// times what is served, and each comes back after k times as long, what comes
// is what can be served; so k seconds, with a jitter of a half either way, for
// those who are turned away in one second not to come back in one.
func (l *ledger) retryAfter(now time.Duration, done uint64) time.Duration {
	first := int64(now/time.Second) + 1 - (ledgerSeconds - 1)
	served, shed := done, uint64(0)
	for i := range l.seconds {
		if s := &l.seconds[i]; s.number >= first {
			served = min(served, s.done)
			for _, n := range s.shed {
				shed += n
			}
		}
	}
	served = max(1, done-served)
	k := float64(served+shed) / float64(served)
	mean := min(time.Duration(k*float64(leastRetry)), mostRetry)
	return max(leastRetry, mean/2+rand.N(mean))
}

// A shedPerson is one who was turned away for a reason.
type shedPerson struct {
	Person string
	Reason Reason
}

// A ranking counts who was turned away most in a minute, in bounded memory: a
// newcomer to a full ranking takes the place, and the count, of the least
// ("Space-Saving": Metwally, Agrawal and El Abbadi, ICDT 2005). Whoever was
// turned away more often than a mostPeople-th of all is in it.
type ranking struct {
	minute int64
	counts map[shedPerson]uint64
}

func (r *ranking) count(minute int64, who shedPerson) {
	if r.minute != minute {
		r.minute, r.counts = minute, make(map[shedPerson]uint64, mostPeople)
	}
	n, known := r.counts[who]
	if !known && len(r.counts) >= mostPeople {
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

// Sheds is who was turned away in the last quarter of an hour, and why.
type Sheds struct {
	Minutes []ShedMinute // those in which somebody was, the oldest first
	People  []ShedPerson // the most often turned away first
}

// ShedMinute is one minute of Sheds.
type ShedMinute struct {
	Begins time.Time
	Shed   map[Reason]uint64
}

// ShedPerson is how often one was turned away for one reason: a little too
// often, perhaps, where there were very many.
type ShedPerson struct {
	Person string
	Reason Reason
	Count  uint64
}

// Shed counts a request that its caller turned away for a reason that is none
// of the pool's.
func (p *Pool) Shed(r Request, why Reason) {
	p.ledger.mu.Lock()
	defer p.ledger.mu.Unlock()
	p.ledger.count(r, why, p.now(), p.done())
}

// refused counts and returns a refusal of the pool's.
func (p *Pool) refused(r Request, why Reason, waited time.Duration) *Refusal {
	p.ledger.mu.Lock()
	defer p.ledger.mu.Unlock()
	p.ledger.refused[r.Class][why]++
	return &Refusal{Reason: why, Waited: waited, RetryAfter: p.ledger.count(r, why, p.now(), p.done())}
}

// ShedTotals is how many were turned away since the start, by reason: by the
// pool, and by callers who told Shed.
func (p *Pool) ShedTotals() map[Reason]uint64 {
	p.ledger.mu.Lock()
	defer p.ledger.mu.Unlock()
	return maps.Clone(p.ledger.total)
}

// Sheds returns who was turned away of late.
func (p *Pool) Sheds() Sheds {
	l, now := &p.ledger, p.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Sheds{Minutes: []ShedMinute{}, People: []ShedPerson{}}
	people := map[shedPerson]uint64{}
	first := int64(now/time.Minute) + 1 - (ledgerMinutes - 1)
	for i, minute := range l.minutes {
		if minute.number < max(first, 1) {
			continue
		}
		begins := p.epoch.Add(time.Duration(minute.number-1) * time.Minute)
		s.Minutes = append(s.Minutes, ShedMinute{Begins: begins, Shed: maps.Clone(minute.shed)})
		for who, n := range l.people[i].counts {
			people[who] += n
		}
	}
	slices.SortFunc(s.Minutes, func(a, b ShedMinute) int { return a.Begins.Compare(b.Begins) })
	for who, n := range people {
		s.People = append(s.People, ShedPerson{who.Person, who.Reason, n})
	}
	slices.SortFunc(s.People, func(a, b ShedPerson) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Person, b.Person), cmp.Compare(a.Reason, b.Reason))
	})
	s.People = s.People[:min(len(s.People), mostPeople)]
	return s
}

// done is how many requests had a worker and gave it back.
func (p *Pool) done() (n uint64) {
	for i := range p.shards {
		n += p.shards[i].done.Load()
	}
	return n
}
