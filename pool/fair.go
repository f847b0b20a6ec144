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

	held    int           // workers that were handed out under the lock
	service time.Duration // a moving average of a turn's length, under contention
	spent   float64       // workers' time by weight: see claim
	codel   codel
}

func (l *line) init() {
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
type person struct {
	name    string
	tag     uint64 // of the next turn
	number  int64  // ties: the lowest first
	waiters waiter // root of the ring, in the order they came
	waiting int
	index   int // in persons; -1: doesn't wait
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
	p := l.person(w)
	w.who = p
	w.link(&p.waiters)
	p.waiting++
}

// person is the record of w's person, who waits from now on.
func (l *line) person(w *waiter) *person {
	p := l.known[w.person]
	if p == nil {
		p = l.spare
		if p == nil {
			p = new(person)
		} else {
			l.spare = p.next
		}
		*p = person{name: w.person, index: -1}
		p.waiters.next, p.waiters.prev = &p.waiters, &p.waiters
		l.known[p.name] = p
	}
	if p.index < 0 {
		l.enqueue(p, int64(w.number))
	}
	return p
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

// served counts a turn for w's person, who is still in the line.
func (l *line) served(w *waiter) {
	p := w.who
	if p == nil {
		return // it was counted before w went Outside
	}
	l.virtual = max(l.virtual+oneTurn/uint64(len(l.persons)), p.tag)
	p.tag += oneTurn
	heap.Fix(&l.persons, p.index)
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
		if p.index < 0 {
			delete(l.known, p.name)
			p.name, p.next, l.spare = "", l.spare, p
		}
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

// byTag is a heap of persons, the least served first.
type byTag []*person

func (h byTag) Len() int { return len(h) }

func (h byTag) Less(i, j int) bool {
	if h[i].tag != h[j].tag {
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
