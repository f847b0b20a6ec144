package pool

import "time"

// What CoDel calls target and interval (RFC 8289): the delay that a queue may
// have for good, and how long it must have had more before that is standing.
// The RFC's are 5 ms and 100 ms.
const (
	intervalTargets = 20 // an interval in targets
	staleTargets    = 2  // under overload, who has waited so many targets is shed (folly's Codel)
	mostStale       = 16 // are looked at whenever a worker is handed out, so that the lock is held for nanoseconds
)

// A codel tells whether a line is overloaded, by its delay and not its length:
// a long queue that is soon empty harms nobody, a short one that stands delays
// everybody (Nichols and Jacobson, "Controlling Queue Delay", 2012).
//
// A queue stands when for a whole interval it was never empty and nobody in it
// waited for less than the target. That alone is no overload: clients that each
// wait for their answer before they ask again make a queue that stands and does
// not grow, and to shed them would only make them ask again, however slow the
// disk is. It is one when within that interval somebody was turned away: the
// queue was full, or the wait too long.
//
// As long as it lasts the newest goes first, and who has waited for two
// targets is shed: most would have given up by the time it was their turn
// (Maurer, "Fail at Scale", 2015). The newest is served at once then whatever
// the queue, so only an interval in which it was empty, and nobody was turned
// away, ends the overload.
type codel struct {
	overloaded bool
	calm       bool          // in this interval it was empty, or a wait was short enough
	excess     bool          // in this interval somebody was turned away
	ends       time.Duration // when this interval does
}

// target is the delay that the line may have for good: not less than a turn
// takes, as CoDel's is not less than a packet does.
func (q *queue) target(l *line) time.Duration { return max(q.delayTarget, l.service) }

// roll begins the line's next interval when this one has ended.
func (q *queue) roll(l *line, now time.Duration) {
	c := &l.codel
	if now < c.ends {
		return
	}
	interval := intervalTargets * q.target(l)
	if l.waiting == 0 && now-c.ends >= interval { // the last one has passed, and nothing happened in it
		c.calm, c.excess = true, false
	}
	switch {
	case !c.overloaded && !c.calm && c.excess && q.delayTarget > 0:
		c.overloaded = true
		q.overloaded.Add(1)
	case c.overloaded && c.calm && !c.excess:
		c.overloaded = false
		q.overloaded.Add(-1)
	}
	c.calm, c.excess = l.waiting == 0, false
	c.ends = now + interval
}

// rollAll is for when nothing happens that would roll a line that is overloaded.
func (q *queue) rollAll(now time.Duration) {
	if q.overloaded.Load() == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for c := range q.lines {
		q.roll(&q.lines[c], now)
	}
}

// endOverload ends that of every line.
func (q *queue) endOverload() {
	if q.overloaded.Load() == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for c := range q.lines {
		if l := &q.lines[c]; l.codel.overloaded {
			l.codel.overloaded, l.codel.excess = false, false
			q.overloaded.Add(-1)
		}
	}
}

// sawWait tells that somebody who waited for so long has a worker now.
func (q *queue) sawWait(l *line, waited time.Duration) {
	c := &l.codel
	switch target := q.target(l); {
	case c.overloaded: // the newest tell nothing of the others
	case waited < target:
		c.calm = true
	}
}

// shedStale sheds those of an overloaded line who have waited for too long. Who
// has less than half an even share of the line is not the overload and waits on.
func (q *queue) shedStale(l *line, now time.Duration) {
	oldest := now - staleTargets*q.target(l)
	w := l.ages.younger
	for range mostStale {
		if w == &l.ages || w.joined > oldest {
			return
		}
		next := w.younger
		if 2*w.who.waiting*len(l.persons) >= l.aged {
			l.codel.excess = true
			q.decide(w, verdict{reason: l.shareOr(w.who, ErrOverload)})
		}
		w = next
	}
}
