package pool

import "time"

// What CoDel calls target and interval (RFC 8289): the target is the delay that a queue may have
// permanently, and the interval is how long its delay must have been above the target before the
// queue counts as standing. The RFC's values are 5 ms and 100 ms.
const (
	intervalTargets = 20 // length of an interval, in targets
	// Under overload, a waiter that has waited staleTargets targets is shed (folly's Codel).
	staleTargets = 2
	// At most maxStale waiters are looked at whenever a worker is granted, so that the lock is
	// held for nanoseconds.
	maxStale = 16
)

// A codel decides whether a class is overloaded, by its delay and not by its length. A long queue
// that is soon empty does no harm; a short one that stands delays every request (Nichols and
// Jacobson, "Controlling Queue Delay", 2012).
//
// A queue stands when for a whole interval it was never empty and no waiter in it waited for less
// than the target. That alone is no overload. Clients that each wait for their response before they
// send the next request make a queue that stands and does not grow. To shed their requests would
// only make them ask again, however slow the disk is. A standing queue is an overload when within
// that interval a request was rejected: the queue was full, or the wait too long.
//
// While the overload lasts, the newest request goes first, and a request that has waited for two
// targets is shed: most of their clients would have given up by the time they were served (Maurer,
// "Fail at Scale", 2015). The newest is then served at once whatever the queue. So the overload
// ends only after an interval in which the queue was empty and no request was rejected.
type codel struct {
	overloaded bool
	calm       bool          // in this interval the queue was empty, or a wait was short enough
	excess     bool          // in this interval a request was rejected
	ends       time.Duration // when this interval ends
}

// target returns the delay that the queue of a class may have permanently. It is not less than the
// length of a permit, as CoDel's is not less than the time of a packet.
func (q *queue) target(cq *classQueue) time.Duration { return max(q.delayTarget, cq.service) }

// roll begins the next interval of a class when this one has ended.
func (q *queue) roll(cq *classQueue, now time.Duration) {
	c := &cq.codel
	if now < c.ends {
		return
	}
	interval := intervalTargets * q.target(cq)
	// Another whole interval has passed, and nothing happened in it.
	if cq.waiting == 0 && now-c.ends >= interval {
		c.calm, c.excess = true, false
	}
	switch {
	case !c.overloaded && !c.calm && c.excess && q.delayTarget > 0 && !q.lastCalls.Load():
		c.overloaded = true
		q.overloaded.Add(1)
	case c.overloaded && c.calm && !c.excess:
		c.overloaded = false
		q.overloaded.Add(-1)
	}
	c.calm, c.excess = cq.waiting == 0, false
	c.ends = now + interval
}

// rollAll rolls all classes. It is needed when no event rolls a class that is overloaded.
func (q *queue) rollAll(now time.Duration) {
	q.duringOverload(func(cq *classQueue) { q.roll(cq, now) })
}

// endOverload ends the overload of every class.
func (q *queue) endOverload() {
	q.duringOverload(func(cq *classQueue) {
		if cq.codel.overloaded {
			cq.codel.overloaded, cq.codel.excess = false, false
			q.overloaded.Add(-1)
		}
	})
}

// duringOverload calls fn for every class, under the lock, if any class is overloaded.
func (q *queue) duringOverload(fn func(*classQueue)) {
	if q.overloaded.Load() == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for c := range q.classes {
		fn(&q.classes[c])
	}
}

// recordWait records that a request got a worker after a wait of the given length.
func (q *queue) recordWait(cq *classQueue, waited time.Duration) {
	c := &cq.codel
	switch target := q.target(cq); {
	case c.overloaded: // the newest goes first, so its wait says nothing about the others
	case waited < target:
		c.calm = true
	}
}

// shedStale sheds the waiters of an overloaded class that have waited for too long. A flow with
// less than half an even share of the queue does not cause the overload, so its waiters stay.
func (q *queue) shedStale(cq *classQueue, now time.Duration) {
	oldest := now - staleTargets*q.target(cq)
	w := cq.ages.younger
	for range maxStale {
		if w == &cq.ages || w.joined > oldest {
			return
		}
		next := w.younger
		if 2*w.flow.waiting*len(cq.flows) >= cq.aged {
			cq.codel.excess = true
			q.resolve(w, outcome{reason: cq.shareOr(w.flow, ErrOverload)})
		}
		w = next
	}
}
