package pool

import (
	"fmt"
	"time"
)

// A Class says what kind of work a request is. Each class can have a limit of its own. Health
// probes have no class: they never enter the pool.
type Class uint8

// The classes. A class further up is worth more: of two with equal claims it is served first, and
// it is shed last.
const (
	Write    Class = iota // interactive: a user waits for the response
	Read                  // interactive too
	Search                // scans a user's notes
	Bulk                  // export, import, long lists
	Password              // hashing, which takes much CPU and memory

	NumClasses = int(iota)
)

var classNames = [NumClasses]string{"write", "read", "search", "bulk", "password"}

func (c Class) String() string {
	if int(c) < NumClasses {
		return classNames[c]
	}
	return fmt.Sprintf("class %d", uint8(c))
}

// weights are the shares of the workers' time that the classes get when together they want more
// than there is. They are powers of two, so that sums of quotients stay exact.
var weights = [NumClasses]int{Write: 8, Read: 8, Search: 4, Bulk: 1, Password: 2}

// sharesOf divides n among the classes by weight, rounded down. No share is above its class's limit
// (0: no limit).
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

// averaged is the number of turns over which the moving average of their length is taken.
const averaged = 8

// charge adds a turn's length to the service of its class.
func (l *line) charge(c Class, service time.Duration) {
	l.spent += float64(service) / float64(weights[c])
	if l.service == 0 {
		l.service = service
		return
	}
	l.service += (service - l.service) / averaged
}

// claim returns the worker time that the class has used, and is about to use in its current turns,
// divided by its weight. The class with the least claim is served next. This is start-time fair
// queueing (Goyal, Vin and Cheng, SIGCOMM 1996) by the length of turns. That length is unknown when
// a turn begins, so the average stands for it until the turn ends, as Kubernetes' API Priority and
// Fairness does for requests.
func (l *line) claim(c Class) float64 {
	return l.spent + float64(l.held)*float64(l.service)/float64(weights[c])
}

// turn returns the class to serve next, among those that have waiters and are below their limit.
// Classes below their guaranteed share of the workers go first, and of these the one that holds the
// smallest part of its share. After them the class with the least claim goes first.
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

// precedes reports whether class c is served before class d, which is worth more.
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

// catchUp adjusts a class that begins to wait: it can't claim the time in which it did not wait. It
// starts level with the waiting class that has used the least, unless it has used more itself.
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

// forget resets the service of all classes when the queue is empty: no class competes, so none is
// behind.
func (q *queue) forget() {
	for c := range q.lines {
		q.lines[c].spent = 0
	}
}

// excess returns the class that a full queue sheds from: the least worthy class that holds more
// than its share of the queue. There always is one, because the sum of the shares is not more than
// the queue's length.
func (q *queue) excess() Class {
	for c := Class(NumClasses - 1); c > 0; c-- {
		if q.lines[c].waiting > q.queueShares[c] {
			return c
		}
	}
	return 0
}
