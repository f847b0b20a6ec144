package pool

import (
	"fmt"
	"time"
)

// A Class says what kind of work a request is. Classes may be limited apart
// from each other. Health probes have none: they never enter the pool.
type Class uint8

// The classes. What is higher up is worth more: of two with equal claims it is
// served first, and shed last.
const (
	Write    Class = iota // interactive: a person waits for it
	Read                  // interactive, too
	Search                // walks through a person's notes
	Bulk                  // export, import, long lists
	Password              // hashing: much CPU and memory

	NumClasses = int(iota)
)

var classNames = [NumClasses]string{"write", "read", "search", "bulk", "password"}

func (c Class) String() string {
	if int(c) < NumClasses {
		return classNames[c]
	}
	return fmt.Sprintf("class %d", uint8(c))
}

// weights are what the classes get of the workers' time when all of them want
// more than there is. Powers of two, so that sums of quotients stay exact.
var weights = [NumClasses]int{Write: 8, Read: 8, Search: 4, Bulk: 1, Password: 2}

// sharesOf divides n by weight, rounded down, with no share above its limit
// (0: none).
func sharesOf(n int, limits [NumClasses]int) (shares [NumClasses]int) {
	total := 0
	for _, weight := range weights {
		total += weight
	}
	for c, weight := range weights {
		shares[c] = n * weight / total
		if limits[c] > 0 {
			shares[c] = min(shares[c], limits[c])
		}
	}
	return shares
}

// averaged is how many turns the moving average of their length looks back.
const averaged = 8

// charge counts a turn's length against its class.
func (l *line) charge(c Class, service time.Duration) {
	l.spent += float64(service) / float64(weights[c])
	if l.service == 0 {
		l.service = service
		return
	}
	l.service += (service - l.service) / averaged
}

// claim is what the class has had of the workers' time, and is about to have
// by the turns that last, over its weight: the least is served next. This is
// start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996) with a turn's
// length, unknown when it begins, taken for the average until it ends, as
// Kubernetes' API Priority and Fairness does for requests.
func (l *line) claim(c Class) float64 {
	return l.spent + float64(l.held)*float64(l.service)/float64(weights[c])
}

// turn is the class whose turn it is, of those that wait and are below their
// limit. One below its guaranteed share of the workers goes first, and of
// these whoever has least of it; then whoever has the least claim.
func (q *queue) turn(limits *[NumClasses]int, now time.Duration) (turn Class, ok bool) {
	for c := range Class(NumClasses) {
		l := &q.lines[c]
		if !l.ready(now) || limits[c] > 0 && l.held >= limits[c] {
			continue
		}
		if !ok || q.precedes(c, turn) {
			turn, ok = c, true
		}
	}
	return turn, ok
}

// precedes reports whether c is served before d, which is worth more.
func (q *queue) precedes(c, d Class) bool {
	a, b := &q.lines[c], &q.lines[d]
	below, theirs := a.held < q.workerShares[c], b.held < q.workerShares[d]
	switch {
	case below && theirs:
		return a.held*q.workerShares[d] < b.held*q.workerShares[c]
	case below != theirs:
		return below
	}
	return a.claim(c) < b.claim(d)
}

// catchUp is for a class that begins to wait: it can't claim the time in which
// it did not. It starts level with the one of those that wait which has had
// the least, unless it has had more.
func (q *queue) catchUp(c Class) {
	least, found := 0.0, false
	for d := range q.lines {
		l := &q.lines[d]
		if l.waiting > 0 && (!found || l.spent < least) {
			least, found = l.spent, true
		}
	}
	q.lines[c].spent = max(q.lines[c].spent, least)
}

// forget is for when nobody waits: nothing is fought over, so no class is behind.
func (q *queue) forget() {
	for c := range q.lines {
		q.lines[c].spent = 0
	}
}

// excess is the class that a full queue sheds from: the least worthy of those
// that hold more than their share of it. There is one, for the shares' sum is
// not more than the queue's length.
func (q *queue) excess() Class {
	for c := Class(NumClasses - 1); c > 0; c-- {
		if q.lines[c].waiting > q.queueShares[c] {
			return c
		}
	}
	return 0
}
