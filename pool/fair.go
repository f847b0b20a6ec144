package pool

import (
	"container/heap"
	"time"
)

// A line is the queue of one class: its waiters, and the service that the class has had. Waiters
// that reacquire after Yield are served first, by arrival, because they were admitted before. The
// other waiters are served fairly by flow (a person): the least served flow goes first, and inside
// a flow the order is first come, first served. Under overload the newest goes first, in both.
type line struct {
	waiting  int    // the number of all waiters
	aged     int    // the number of waiters in ages
	returned waiter // root of the ring of waiters back from Yield, ordered by before
	// ages is the root of the ring of all other waiters, in order of arrival. The links are older
	// and younger.
	ages waiter

	persons byTag              // the flows that have waiters
	known   map[string]*person // these flows, and the flows in debt
	// Two chains, linked by next: the flows in debt, from debtors to lastDebtor, by when each was
	// last served; and spare, which holds records for reuse.
	debtors, lastDebtor,
	spare *person
	virtual uint64 // the virtual time of the line

	personLimit int           // workers that a flow may hold while others are active; 0: any number
	others      time.Duration // when a flow with one request at a time last got a worker

	held    int           // workers that were granted under the lock
	service time.Duration // moving average of a turn's length, under contention
	spent   float64       // worker time divided by weight: see claim
	codel   codel
}

func (l *line) init(personLimit int) {
	l.personLimit, l.others = personLimit, -othersAbout
	l.returned.next, l.returned.prev = &l.returned, &l.returned
	l.ages.older, l.ages.younger = &l.ages, &l.ages
	l.known = make(map[string]*person)
}

// A person is a flow: the user or the address that requests of a line are counted for.
//
// The order of flows is start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996) with a turn
// as the unit. The tag of a turn is the virtual time at which it may begin. The tag of the flow's
// next turn is one turn higher, and the flow with the lowest tag is served. A flow that is new, or
// returns after a pause, starts at the line's virtual time: it is behind no other flow, and ahead
// only of the flows that have had a turn since. With each turn, virtual time advances by one turn
// divided by the number of waiting flows, as in an ideal server (Demers, Keshav and Shenker,
// SIGCOMM 1989). So an endless stream of new flows can't hold back a flow that has had a turn.
//
// Fair turns are not enough. A flow that has as many requests under way as there are workers slows
// down every turn, those of other flows too. So no flow is given more than personLimit workers
// while another flow that sends one request at a time is active.
type person struct {
	name    string
	tag     uint64 // tag of the next turn
	number  int64  // breaks ties: the lowest goes first
	waiters waiter // root of the ring, in order of arrival
	waiting int
	held    int  // workers that were granted under the lock
	full    bool // held has reached the limit that applies while others are active
	index   int  // index in persons; -1: the flow has no waiters
	owes    bool
	next    *person
}

// oneTurn is the length of a turn in virtual time.
const oneTurn = 1 << 20

// add puts the waiter w into the line.
func (l *line) add(w *waiter) {
	l.waiting++
	if w.resumes {
		next := l.returned.next
		for next != &l.returned && next.before(w) {
			next = next.next
		}
		w.link(next)
		return
	}
	l.aged++
	w.older, w.younger = l.ages.older, &l.ages
	w.older.younger, w.younger.older = w, w
	p := l.person(w.person)
	if p.index < 0 {
		l.enqueue(p, int64(w.number))
	}
	w.who = p
	w.link(&p.waiters)
	p.waiting++
}

// person returns the record of the flow with that name, and makes it if there is none.
func (l *line) person(name string) *person {
	p := l.known[name]
	if p != nil {
		return p
	}
	p = l.spare
	if p == nil {
		p = new(person)
	} else {
		l.spare = p.next
	}
	*p = person{name: name, index: -1}
	p.waiters.next, p.waiters.prev = &p.waiters, &p.waiters
	l.known[name] = p
	return p
}

// forget moves the record of the flow p to the spare ones, if there is nothing left to remember
// about p.
func (l *line) forget(p *person) {
	if p.index < 0 && !p.owes && p.held == 0 {
		delete(l.known, p.name)
		p.name, p.next, l.spare = "", l.spare, p
	}
}

// enqueue adds a flow that begins to wait to persons. Of flows with equal tags, the one that came
// first goes first. Under overload, the newest goes first among all flows that are in no debt.
func (l *line) enqueue(p *person, number int64) {
	behind := l.virtual
	if l.codel.overloaded && len(l.persons) > 0 {
		behind, number = min(behind, l.persons[0].tag), -number
	}
	p.tag, p.number = max(p.tag, behind), number
	heap.Push(&l.persons, p)
}

// remove takes the waiter w out of the line.
func (l *line) remove(w *waiter) {
	l.waiting--
	w.unlink()
	p := w.who
	if p == nil {
		return
	}
	w.who = nil
	l.aged--
	w.older.younger, w.younger.older = w.younger, w.older
	p.waiting--
	if p.waiting == 0 {
		heap.Remove(&l.persons, p.index)
		l.remember(p)
	}
}

// next returns the waiter to serve next. The line must have one that is ready.
func (l *line) next() *waiter {
	if w := l.returned.next; w != &l.returned {
		return w
	}
	if l.codel.overloaded {
		return l.persons[0].waiters.prev
	}
	return l.persons[0].waiters.next
}

// ready reports whether the line has a waiter that may be served.
func (l *line) ready(now time.Duration) bool {
	switch {
	case l.returned.next != &l.returned:
		return true
	case len(l.persons) == 0:
		return false
	}
	return !l.persons[0].full || now-l.others > othersAbout
}

// othersAbout is how long a flow counts as active after it was granted a worker.
const othersAbout = 100 * time.Millisecond

// served counts a turn for the flow of w, which is still in the line, and returns that flow.
func (l *line) served(w *waiter, now time.Duration) *person {
	p := w.who
	if p == nil { // the turn was counted before w yielded
		p = l.person(w.person)
		l.hold(p, 1)
		return p
	}
	l.virtual = max(l.virtual+oneTurn/uint64(len(l.persons)), p.tag)
	p.tag += oneTurn
	if p.waiting == 1 && p.held == 0 {
		l.others = now
	}
	l.hold(p, 1)
	return p
}

// hold adds n to the workers that the flow p holds.
func (l *line) hold(p *person, n int) {
	p.held += n
	p.full = l.personLimit > 0 && p.held >= l.personLimit
	if p.index >= 0 {
		heap.Fix(&l.persons, p.index)
	}
}

// released takes one from the workers that the flow p holds.
func (l *line) released(p *person) {
	l.hold(p, -1)
	l.forget(p)
}

// remember keeps the record of a flow that no longer waits until virtual time has caught up with
// the turns that the flow has had. Once no flow waits, all debts are forgotten.
func (l *line) remember(p *person) {
	if !p.owes {
		p.owes, p.next = true, nil
		if l.debtors == nil {
			l.debtors = p
		} else {
			l.lastDebtor.next = p
		}
		l.lastDebtor = p
	}
	for l.debtors != nil && (len(l.persons) == 0 || l.debtors.tag <= l.virtual || l.debtors.index >= 0) {
		p := l.debtors
		l.debtors, p.owes = p.next, false
		if len(l.persons) == 0 {
			p.tag = 0
		}
		l.forget(p)
	}
}

// victim returns the waiter to evict from a full queue. It is the waiter that would be served last,
// of the flow with the most waiters. When only requests back from Yield wait, it is the newest of
// them.
func (l *line) victim() (w *waiter, why Reason) {
	if len(l.persons) == 0 {
		return l.returned.prev, ErrFull
	}
	most := l.persons[0]
	for _, p := range l.persons {
		if p.waiting > most.waiting || p.waiting == most.waiting && p.waiters.prev.number > most.waiters.prev.number {
			most = p
		}
	}
	if l.codel.overloaded {
		return most.waiters.next, l.shareOr(most, ErrFull)
	}
	return most.waiters.prev, l.shareOr(most, ErrFull)
}

// shareOr returns ErrShare if the flow p has more than twice as many waiters as the other flows
// have on average, and why otherwise.
func (l *line) shareOr(p *person, why Reason) Reason {
	others := len(l.persons) - 1
	if others > 0 && p.waiting*others > 2*(l.aged-p.waiting) {
		return ErrShare
	}
	return why
}

// byTag is a heap of flows: the least served is first, and flows that are full come last.
type byTag []*person

func (h byTag) Len() int { return len(h) }

func (h byTag) Less(i, j int) bool {
	switch {
	case h[i].full != h[j].full:
		return h[j].full
	case h[i].tag != h[j].tag:
		return h[i].tag < h[j].tag
	}
	return h[i].number < h[j].number
}

func (h byTag) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *byTag) Push(x any) {
	p := x.(*person)
	p.index = len(*h)
	*h = append(*h, p)
}

// Pop implements heap.Interface.
func (h *byTag) Pop() any {
	last := len(*h) - 1
	p := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	p.index = -1
	return p
}
