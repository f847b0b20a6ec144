package pool

import (
	"context"
	"sync"
	"time"
)

const (
	// The requests of a flow share a quarter of the memory that can be reserved, those
	// of an address share half. Either share is at least minShare, which is enough for a part of
	// a list, for example.
	flowShare, addressShare = 4, 2
	minShare                = 8 << 20

	// Of the memory that a request takes while it works, at most an eighth is left when the work
	// has ended and the request waits for its client: the response.
	leftOver = 8
)

// A Reservation is the memory that is set aside for one request. The zero value is empty. It is for
// one goroutine at a time.
type Reservation struct {
	holder  Request // the bytes are counted for it; it is the Request of the first Reserve
	bytes   int64
	waiting bool // the request waits for its client, which may take its time
}

// Bytes returns the number of bytes that are set aside.
func (m *Reservation) Bytes() int64 { return m.bytes }

// reservations are all reservations that a pool has given out.
type reservations struct {
	mu    sync.Mutex // guards what follows; never held while waiting
	total int64      // p.reserved shows it without the lock
	// waiting is the part of total that is held while clients send or read.
	waiting int64
	// passwords is the part of total that requests of the class Password hold.
	passwords int64
	// waitingPasswords is the number of requests of the class Password that wait in ReserveWithin.
	waitingPasswords int
	held             map[string]holding // by flow and by address
	// freed is closed when bytes are given back. nil: no request waits.
	freed chan struct{}
}

// A holding is the memory that the requests of one flow or one address have reserved.
type holding struct {
	bytes    int64
	requests int
}

// Reserve makes the reservation m hold at least the given bytes for the request r.
//
// It refuses r with ErrMemory when with these bytes the process would need more than the amount at
// which PressureHigh begins (PressureLow for bulk work). It refuses r with ErrShare while two or
// more other requests of r's flow or address hold more than their share. One request may be of any
// size, and so may the next: the next begins when the client has read the end of a response and the
// server has not yet heard of it.
//
// The memory that is kept for passwords may be used for the time that work takes. It may not be
// used for anything that waits for a client, nor while a request of the class Password waits for
// it.
//
// The bytes are all that r will allocate, garbage included. To Go, GOMEMLIMIT is only a wish, and a
// large allocation succeeds before a collection has ended. So if garbage takes the place of the
// reserved bytes, Reserve collects it first.
func (p *Pool) Reserve(m *Reservation, r Request, bytes int64) error {
	return p.reserve(m, r, bytes, forWork)
}

// ReserveArriving is Reserve for data that a client sends, while the client sends it.
func (p *Pool) ReserveArriving(m *Reservation, r Request, bytes int64) error {
	return p.reserve(m, r, bytes, forClient)
}

// Fits is Reserve without reserving anything: it refuses what Reserve would refuse.
func (p *Pool) Fits(m *Reservation, r Request, bytes int64) error {
	return p.reserve(m, r, bytes, forNothing)
}

// A purpose is what bytes are reserved for.
type purpose int

const (
	forNothing purpose = iota // for a test of whether the bytes could be reserved
	forClient                 // for a client, which sends or reads at its own pace
	forWork                   // for work, which ends by itself
)

func (p *Pool) reserve(m *Reservation, r Request, bytes int64, what purpose) error {
	monitor := p.monitor.Load()
	if monitor == nil || bytes <= m.bytes {
		return nil
	}
	why := p.tryReserve(m, r, bytes, what)
	if why == ErrMemory {
		monitor.refresh()
		why = p.tryReserve(m, r, bytes, what)
	}
	if why != "" {
		p.CountRejected(r, why)
		return &RejectedError{Reason: why, RetryAfter: minRetry}
	}
	if what != forNothing {
		monitor.collectIfTight()
	}
	return nil
}

// ReserveWithin is Reserve that waits up to patience for other requests to give bytes back.
func (p *Pool) ReserveWithin(
	ctx context.Context, m *Reservation, r Request, bytes int64, patience time.Duration,
) error {
	monitor := p.monitor.Load()
	if monitor == nil || bytes <= m.bytes {
		return nil
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for first := true; ; first = false {
		freed := p.reservations.wait() // before the try, so that it misses no bytes given back
		if p.tryReserve(m, r, bytes, forWork) == "" {
			monitor.collectIfTight()
			return nil
		}
		if first {
			monitor.refresh() // at most once for all waiters: the rest is up to the other requests
			defer p.reservations.countWaiting(r)()
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

// tryReserve returns why r can't have the bytes. If the reason is empty, r can have them, and has
// them unless they are for nothing.
func (p *Pool) tryReserve(m *Reservation, r Request, bytes int64, what purpose) Reason {
	cfg := &p.monitor.Load().cfg
	room, more := p.room.Load(), bytes-m.bytes
	all := &p.reservations
	all.mu.Lock()
	defer all.mu.Unlock()
	if r.Class != Password { // the class bounds the number of these requests
		for _, share := range []struct {
			whose string
			part  int64
		}{{r.Flow, flowShare}, {r.Address, addressShare}} {
			others := all.held[share.whose]
			if m.bytes > 0 {
				others = holding{others.bytes - m.bytes, others.requests - 1}
			}
			if share.whose != "" && others.requests > 1 && others.bytes > max(minShare, room/share.part) {
				return ErrShare
			}
		}
		if !all.keeps(room, cfg.Kept, more, what) {
			return ErrMemory
		}
	}
	if r.Class == Bulk {
		room -= cfg.Limit / 100 * (pressureStarts[PressureHigh] - pressureStarts[PressureLow])
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

// keeps reports whether password requests can still have the memory that is kept for them once the
// running work has ended, if another request gets more bytes. The bytes that they have already are
// a part of it. The caller holds the lock.
func (all *reservations) keeps(room, kept, more int64, what purpose) bool {
	others := all.total - all.passwords
	room -= max(kept, all.passwords)
	if all.waitingPasswords > 0 {
		return others+more <= room
	}
	if what == forClient {
		return all.waiting+more+(others-all.waiting)/leftOver <= room
	}
	return all.waiting+(others-all.waiting+more)/leftOver <= room
}

// countWaiting records that r waits, if it is of the class Password, until the returned function is
// called.
func (all *reservations) countWaiting(r Request) (done func()) {
	if r.Class != Password {
		return func() {}
	}
	add := func(n int) {
		all.mu.Lock()
		defer all.mu.Unlock()
		all.waitingPasswords += n
	}
	add(1)
	return func() { add(-1) }
}

// Shrink makes the reservation m hold at most the given bytes, for a client to read.
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

// addReserved adds more bytes to the reservation m. From now on, all bytes of m wait for the
// client, or none do. The caller holds the lock of reservations.
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
	add(m.holder.Flow)
	if m.holder.Address != m.holder.Flow {
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

// free returns how many bytes of room a request of any class could still reserve.
func (all *reservations) free(room, kept int64) int64 {
	all.mu.Lock()
	defer all.mu.Unlock()
	return max(0, room-all.total-max(0, kept-all.passwords))
}
