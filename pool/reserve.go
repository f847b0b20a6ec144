package pool

import (
	"context"
	"sync"
	"time"
)

const (
	// A person's requests share a quarter of what can be set aside, those of an
	// address half, and either at least leastShare: a part of a list, say.
	personShare, addressShare = 4, 2
	leastShare                = 8 << 20

	// Of what a request takes while it works, an eighth at most is left when it
	// has ended and waits for its client: the answer.
	leftOver = 8
)

// A Reservation is the memory that is set aside for one request. Its zero value
// is empty. It is for one goroutine at a time.
type Reservation struct {
	holder  Request // who the bytes are counted for: the Request of the first Reserve
	bytes   int64
	waiting bool // for the client, which may take its time
}

// Bytes is how much is set aside.
func (m *Reservation) Bytes() int64 { return m.bytes }

// reservations are all that a pool has given out.
type reservations struct {
	mu        sync.Mutex         // guards what follows, and is never held while waiting
	total     int64              // what p.reserved shows without the lock
	waiting   int64              // of total, what is held for clients to send or to read
	passwords int64              // of total, what requests of the class Password hold
	thirsty   int                // requests of the class Password that wait in ReserveWithin
	held      map[string]holding // by person and by address
	freed     chan struct{}      // closed when bytes are given back; nil: nobody waits
}

// A holding is what one person's or address's requests have set aside.
type holding struct {
	bytes    int64
	requests int
}

// Reserve has m hold bytes for r, if it holds less. It refuses r with ErrMemory
// when with them the process would need more than StageHigh begins at (StageTight
// for bulk work). It refuses r with ErrShare while two or more other requests of
// r's person or address hold more than their share: one may be of any size, and
// so may the next, which begins when the client has read the end of an answer
// and the server not yet heard of it.
//
// What is kept for passwords may be had for the time that work takes, but not for
// what waits for clients, and not while a request of the class Password waits for it.
//
// The bytes are all that r will allocate, garbage too: to Go GOMEMLIMIT is a wish,
// and what is large is given before a collection has ended. So where there is
// garbage in the place of what is reserved, Reserve collects it first.
func (p *Pool) Reserve(m *Reservation, r Request, bytes int64) error {
	return p.reserve(m, r, bytes, forWork)
}

// ReserveArriving is Reserve for what a client sends while it sends it.
func (p *Pool) ReserveArriving(m *Reservation, r Request, bytes int64) error {
	return p.reserve(m, r, bytes, forClient)
}

// Fits is Reserve without setting anything aside: it refuses what would be refused.
func (p *Pool) Fits(m *Reservation, r Request, bytes int64) error {
	return p.reserve(m, r, bytes, forNothing)
}

// purpose is what bytes are reserved for.
type purpose int

const (
	forNothing purpose = iota // only to know whether they could be
	forClient                 // it sends, or reads, at its own pace
	forWork                   // which ends by itself
)

func (p *Pool) reserve(m *Reservation, r Request, bytes int64, what purpose) error {
	stages := p.stages.Load()
	if stages == nil || bytes <= m.bytes {
		return nil
	}
	why := p.tryReserve(m, r, bytes, what)
	if why == ErrMemory {
		stages.renew()
		why = p.tryReserve(m, r, bytes, what)
	}
	if why != "" {
		p.Shed(r, why)
		return &Refusal{Reason: why, RetryAfter: leastRetry}
	}
	if what != forNothing {
		stages.clear()
	}
	return nil
}

// ReserveWithin is Reserve that waits up to patience for others to give back.
func (p *Pool) ReserveWithin(ctx context.Context, m *Reservation, r Request, bytes int64, patience time.Duration) error {
	stages := p.stages.Load()
	if stages == nil || bytes <= m.bytes {
		return nil
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for first := true; ; first = false {
		freed := p.reservations.wait() // before the try: what is given back in between is not missed
		if p.tryReserve(m, r, bytes, forWork) == "" {
			stages.clear()
			return nil
		}
		if first {
			stages.renew() // at most once for all that wait: the rest is up to the others
			defer p.reservations.thirst(r)()
			continue
		}
		select {
		case <-freed:
		case <-timer.C:
			return p.Reserve(m, r, bytes)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// tryReserve returns why r can't have the bytes; empty: it can, and has them
// unless they are for nothing.
func (p *Pool) tryReserve(m *Reservation, r Request, bytes int64, what purpose) Reason {
	cfg := &p.stages.Load().cfg
	room, more := p.room.Load(), bytes-m.bytes
	all := &p.reservations
	all.mu.Lock()
	defer all.mu.Unlock()
	if r.Class != Password { // whose number is bounded by its class
		for _, share := range []struct {
			whose string
			part  int64
		}{{r.Person, personShare}, {r.Address, addressShare}} {
			others := all.held[share.whose]
			if m.bytes > 0 {
				others = holding{others.bytes - m.bytes, others.requests - 1}
			}
			if share.whose != "" && others.requests > 1 && others.bytes > max(leastShare, room/share.part) {
				return ErrShare
			}
		}
		if !all.keeps(room, cfg.Kept, more, what) {
			return ErrMemory
		}
	}
	if r.Class == Bulk {
		room -= cfg.Limit / 100 * (begins[StageHigh] - begins[StageTight])
	}
	switch {
	case all.total+more > room:
		return ErrMemory
	case what != forNothing:
		if m.bytes == 0 {
			m.holder = r
		}
		p.addReserved(m, more, what == forClient)
	}
	return ""
}

// keeps reports whether what is kept for passwords can be had by them once the
// work that runs has ended, with so many more bytes for another request. What
// they have already is a part of it. The caller holds the lock.
func (all *reservations) keeps(room, kept, more int64, what purpose) bool {
	others := all.total - all.passwords
	room -= max(kept, all.passwords)
	if all.thirsty > 0 {
		return others+more <= room
	}
	if what == forClient {
		return all.waiting+more+(others-all.waiting)/leftOver <= room
	}
	return all.waiting+(others-all.waiting+more)/leftOver <= room
}

// thirst makes it known that r waits, until the function that it returns is called.
func (all *reservations) thirst(r Request) (done func()) {
	if r.Class != Password {
		return func() {}
	}
	add := func(n int) {
		all.mu.Lock()
		defer all.mu.Unlock()
		all.thirsty += n
	}
	add(1)
	return func() { add(-1) }
}

// Shrink has m hold at most bytes, for a client to read.
func (p *Pool) Shrink(m *Reservation, bytes int64) {
	if m.bytes == 0 {
		return
	}
	all := &p.reservations
	all.mu.Lock()
	defer all.mu.Unlock()
	p.addReserved(m, min(0, bytes-m.bytes), true)
	if all.freed != nil {
		close(all.freed)
		all.freed = nil
	}
}

// addReserved adds more bytes to m, all of which wait for the client from now on
// or do not. The caller holds the lock of reservations.
func (p *Pool) addReserved(m *Reservation, more int64, waiting bool) {
	all := &p.reservations
	if m.waiting {
		all.waiting -= m.bytes
	}
	requests := 0
	switch {
	case m.bytes == 0:
		requests = 1
	case m.bytes+more == 0:
		requests = -1
	}
	m.bytes += more
	all.total += more
	if m.waiting = waiting; waiting {
		all.waiting += m.bytes
	}
	p.reserved.Store(all.total)
	if m.holder.Class == Password {
		all.passwords += more
	}
	if all.held == nil {
		all.held = map[string]holding{}
	}
	add := func(whose string) {
		now := holding{all.held[whose].bytes + more, all.held[whose].requests + requests}
		if all.held[whose] = now; now.requests == 0 {
			delete(all.held, whose)
		}
	}
	add(m.holder.Person)
	if m.holder.Address != m.holder.Person {
		add(m.holder.Address)
	}
}

// wait returns a channel that is closed when bytes are given back.
func (all *reservations) wait() <-chan struct{} {
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.freed == nil {
		all.freed = make(chan struct{})
	}
	return all.freed
}

// free is how much of room a request of any class could still have.
func (all *reservations) free(room, kept int64) int64 {
	all.mu.Lock()
	defer all.mu.Unlock()
	return max(0, room-all.total-max(0, kept-all.passwords))
}
