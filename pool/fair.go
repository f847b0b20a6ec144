package pool

import (
	"container/heap"
	"time"
)

// A line is those of one class that wait, and what the class has had. Those
// that come back from Outside are served first, by arrival, for they were
// chosen before. The others are served by person: the one least served goes
// first, and inside a person first come first served; under overload the newest
// goes first, in both.
type line struct {
	waiting  int    // all
	aged     int    // of them those in ages
	returned waiter // root of the ring of those back from Outside, in the order of before
	ages     waiter // root of the ring of all others, by when they came, linked by older and younger

	persons byTag              // those who wait
	known   map[string]*person // those, and those who are in debt
	debtors, lastDebtor,
	spare *person // chained by next: in debt, by when they were served last; and records to use again
	virtual uint64 // the line's virtual time

	personLimit int           // workers that a person may hold while others are about; 0: any
	others      time.Duration // when one who asks for one thing at a time had a worker last

	held    int           // workers that were handed out under the lock
	service time.Duration // a moving average of a turn's length, under contention
	spent   float64       // workers' time by weight: see claim
	codel   codel
}

func (l *line) init(personLimit int) {
	l.personLimit, l.others = personLimit, -othersAbout
	l.returned.next, l.returned.prev = &l.returned, &l.returned
	l.ages.older, l.ages.younger = &l.ages, &l.ages
	l.known = make(map[string]*person)
}

// A person is whoever requests of a line are counted for.
//
// The order of persons is start-time fair queueing (Goyal, Vin and Cheng,
// SIGCOMM 1996) with a turn for the unit: a turn's tag is the virtual time at
// which it may begin, the person's next has a tag one higher, and the lowest
// tag is served. Who comes new, or after a pause, starts at the line's virtual
// time: behind nobody, and ahead only of those who had a turn since. That time
// goes on by one turn over those who wait, as an ideal server's would
// (Demers, Keshav and Shenker, SIGCOMM 1989), so that newcomers without end
// can't keep back who had a turn already.
//
// Fair turns are not all: whoever has as many requests under way as there are
// workers slows down every turn, others' too. So nobody is given more than
// personLimit workers while somebody is about who asks for one thing at a time.
type person struct {
	name    string
	tag     uint64 // of the next turn
	number  int64  // ties: the lowest first
	waiters waiter // root of the ring, in the order they came
	waiting int
	held    int  // workers that were handed out under the lock
	full    bool // these are as many as are allowed while others are about
	index   int  // in persons; -1: doesn't wait
	owes    bool
	next    *person
}

// oneTurn is a turn in virtual time.
const oneTurn = 1 << 20

// add puts w into the line.
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

// person is the record of whoever has that name.
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

// forget puts p's record by, for another to use, if nothing is to be known of p.
func (l *line) forget(p *person) {
	if p.index < 0 && !p.owes && p.held == 0 {
		delete(l.known, p.name)
		p.name, p.next, l.spare = "", l.spare, p
	}
}

// enqueue puts one who begins to wait among the persons: of equals who came
// first goes first, but under overload the newest of all who are in no debt.
func (l *line) enqueue(p *person, number int64) {
	behind := l.virtual
	if l.codel.overloaded && len(l.persons) > 0 {
		behind, number = min(behind, l.persons[0].tag), -number
	}
	p.tag, p.number = max(p.tag, behind), number
	heap.Push(&l.persons, p)
}

// remove takes w out of the line.
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

// next is the waiter whose turn it is. There is one.
func (l *line) next() *waiter {
	if w := l.returned.next; w != &l.returned {
		return w
	}
	if l.codel.overloaded {
		return l.persons[0].waiters.prev
	}
	return l.persons[0].waiters.next
}

// ready reports whether somebody may be served.
func (l *line) ready(now time.Duration) bool {
	switch {
	case l.returned.next != &l.returned:
		return true
	case len(l.persons) == 0:
		return false
	}
	return !l.persons[0].full || now-l.others > othersAbout
}

// othersAbout is how long one who has had a worker is taken to be about.
const othersAbout = 100 * time.Millisecond

// served counts a turn for w's person, who is still in the line, and returns
// that person.
func (l *line) served(w *waiter, now time.Duration) *person {
	p := w.who
	if p == nil { // the turn was counted before w went Outside
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

// hold counts n workers more for p.
func (l *line) hold(p *person, n int) {
	p.held += n
	p.full = l.personLimit > 0 && p.held >= l.personLimit
	if p.index >= 0 {
		heap.Fix(&l.persons, p.index)
	}
}

// released counts a worker less for p.
func (l *line) released(p *person) {
	l.hold(p, -1)
	l.forget(p)
}

// remember keeps the record of one who no longer waits until virtual time has
// caught up with the turns that person had. Once nobody waits all is forgotten.
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

// victim is who makes room in a full queue: of the person with the most
// waiters the one who would be served last, or, when nobody else waits, the
// newest of those back from Outside.
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

// shareOr is ErrShare for a person with more than twice as many waiters as the
// others have on average, else why.
func (l *line) shareOr(p *person, why Reason) Reason {
	others := len(l.persons) - 1
	if others > 0 && p.waiting*others > 2*(l.aged-p.waiting) {
		return ErrShare
	}
	return why
}

// byTag is a heap of persons: the least served first, those who are full last.
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
