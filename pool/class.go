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

// averaged is the number of permits over which the moving average of their length is taken.
const averaged = 8

// charge adds a permit's length to the service of its class.
func (cq *classQueue) charge(c Class, service time.Duration) {
	cq.spent += float64(service) / float64(weights[c])
	if cq.service == 0 {
		cq.service = service
		return
	}
	cq.service += (service - cq.service) / averaged
}

// claim returns the worker time that the class has used, and is about to use in its current
// permits, divided by its weight. The class with the least claim is served next. This is start-time
// fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996) by the length of permits. That length is
// unknown when a permit begins, so the average stands for it until the permit ends, as Kubernetes'
// API Priority and Fairness does for requests.
func (cq *classQueue) claim(c Class) float64 {
	return cq.spent + float64(cq.held)*float64(cq.service)/float64(weights[c])
}

// nextClass returns the class to serve next, among those that have waiters and are below their
// limit. Classes below their guaranteed share of the workers go first, and of these the one that
// holds the smallest part of its share. After them the class with the least claim goes first.
func (q *queue) nextClass(limits *[NumClasses]int, now time.Duration) (next Class, ok bool) {
	for c := range Class(NumClasses) {
		cq := &q.classes[c]
		if !cq.ready(now) || limits[c] > 0 && cq.held >= limits[c] {
			continue
		}
		if !ok || q.precedes(c, next) {
			next, ok = c, true
		}
	}
	return next, ok
}

// precedes reports whether class c is served before class d, which is worth more.
func (q *queue) precedes(c, d Class) bool {
	a, b := &q.classes[c], &q.classes[d]
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
	for d := range q.classes {
		cq := &q.classes[d]
		if cq.waiting > 0 && (!found || cq.spent < least) {
			least, found = cq.spent, true
		}
	}
	q.classes[c].spent = max(q.classes[c].spent, least)
}

// resetService resets the service of all classes when the queue is empty: no class competes, so
// none is behind.
func (q *queue) resetService() {
	for c := range q.classes {
		q.classes[c].spent = 0
	}
}

// overfullClass returns the class that a full queue sheds from: the least worthy class that holds
// more than its share of the queue. There always is one, because the sum of the shares is not more
// than the queue's length.
func (q *queue) overfullClass() Class {
	for c := Class(NumClasses - 1); c > 0; c-- {
		if q.classes[c].waiting > q.queueShares[c] {
			return c
		}
	}
	return 0
}
