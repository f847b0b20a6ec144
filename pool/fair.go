package pool

import (
	"container/heap"
	"time"
)

// A classQueue is the queue of one class: its waiters, and the service that the class has had.
// Waiters that reacquire after Yield are served first, by arrival, because they were admitted
// before. The other waiters are served fairly by flow: the least served flow goes first, and inside
// a flow the order is first come, first served. Under overload the newest goes first, in both.
type classQueue struct {
	waiting  int    // the number of all waiters
	aged     int    // the number of waiters in ages
	returned waiter // root of the ring of waiters back from Yield, ordered by before
	// ages is the root of the ring of all other waiters, in order of arrival. The links are older
	// and younger.
	ages waiter

	flows flowsByTag       // the flows that have waiters
	known map[string]*flow // these flows, and the flows in debt
	// Two chains, linked by next: the flows in debt, from debtHead to debtTail, by when each was
	// last served; and spare, which holds records for reuse.
	debtHead, debtTail,
	spare *flow
	virtual uint64 // the virtual time of the class

	flowLimit int           // workers that a flow may hold while others are active; 0: any number
	lastLone  time.Duration // when a flow with one request at a time last got a worker

	held    int           // workers that were granted under the lock
	service time.Duration // moving average of a permit's length, under contention
	spent   float64       // worker time divided by weight: see claim
	codel   codel
}

func (cq *classQueue) init(flowLimit int) {
	cq.flowLimit, cq.lastLone = flowLimit, -activeFor
	cq.returned.next, cq.returned.prev = &cq.returned, &cq.returned
	cq.ages.older, cq.ages.younger = &cq.ages, &cq.ages
	cq.known = make(map[string]*flow)
}

// A flow is the user or the address that requests of a class are counted for.
//
// The order of flows is start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996) with a permit
// as the unit. The tag of a permit is the virtual time at which it may begin. The tag of the flow's
// next permit is one permit higher, and the flow with the lowest tag is served. A flow that is new,
// or returns after a pause, starts at the class's virtual time: it is behind no other flow, and
// ahead only of the flows that have had a permit since. With each permit, virtual time advances by
// one permit divided by the number of waiting flows, as in an ideal server (Demers, Keshav and
// Shenker, SIGCOMM 1989). So an endless stream of new flows can't hold back a flow that has had a
// permit.
//
// Fair permits are not enough. A flow that has as many requests under way as there are workers
// slows down every permit, those of other flows too. So no flow is given more than flowLimit
// workers while another flow that sends one request at a time is active.
type flow struct {
	name    string
	tag     uint64 // tag of the next permit
	number  int64  // breaks ties: the lowest goes first
	waiters waiter // root of the ring, in order of arrival
	waiting int
	held    int  // workers that were granted under the lock
	full    bool // held has reached the limit that applies while others are active
	index   int  // index in flows; -1: the flow has no waiters
	inDebt  bool
	next    *flow
}

// permitCost is by how much one permit advances virtual time.
const permitCost = 1 << 20

// add puts the waiter w into the queue.
func (cq *classQueue) add(w *waiter) {
	cq.waiting++
	if w.reacquires {
		next := cq.returned.next
		for next != &cq.returned && next.before(w) {
			next = next.next
		}
		w.link(next)
		return
	}
	cq.aged++
	w.older, w.younger = cq.ages.older, &cq.ages
	w.older.younger, w.younger.older = w, w
	f := cq.flow(w.flowName)
	if f.index < 0 {
		cq.enqueue(f, int64(w.number))
	}
	w.flow = f
	w.link(&f.waiters)
	f.waiting++
}

// flow returns the record of the flow with that name, and makes it if there is none.
func (cq *classQueue) flow(name string) *flow {
	f := cq.known[name]
	if f != nil {
		return f
	}
	f = cq.spare
	if f == nil {
		f = new(flow)
	} else {
		cq.spare = f.next
	}
	*f = flow{name: name, index: -1}
	f.waiters.next, f.waiters.prev = &f.waiters, &f.waiters
	cq.known[name] = f
	return f
}

// forget moves the record of the flow f to the spare ones, if there is nothing left to remember
// about f.
func (cq *classQueue) forget(f *flow) {
	if f.index < 0 && !f.inDebt && f.held == 0 {
		delete(cq.known, f.name)
		f.name, f.next, cq.spare = "", cq.spare, f
	}
}

// enqueue adds a flow that begins to wait to flows. Of flows with equal tags, the one that came
// first goes first. Under overload, the newest goes first among all flows that are in no debt.
func (cq *classQueue) enqueue(f *flow, number int64) {
	behind := cq.virtual
	if cq.codel.overloaded && len(cq.flows) > 0 {
		behind, number = min(behind, cq.flows[0].tag), -number
	}
	f.tag, f.number = max(f.tag, behind), number
	heap.Push(&cq.flows, f)
}

// remove takes the waiter w out of the queue.
func (cq *classQueue) remove(w *waiter) {
	cq.waiting--
	w.unlink()
	f := w.flow
	if f == nil {
		return
	}
	w.flow = nil
	cq.aged--
	w.older.younger, w.younger.older = w.younger, w.older
	f.waiting--
	if f.waiting == 0 {
		heap.Remove(&cq.flows, f.index)
		cq.addDebt(f)
	}
}

// next returns the waiter to serve next. The queue must have one that is ready.
func (cq *classQueue) next() *waiter {
	if w := cq.returned.next; w != &cq.returned {
		return w
	}
	if cq.codel.overloaded {
		return cq.flows[0].waiters.prev
	}
	return cq.flows[0].waiters.next
}

// ready reports whether the queue has a waiter that may be served.
func (cq *classQueue) ready(now time.Duration) bool {
	switch {
	case cq.returned.next != &cq.returned:
		return true
	case len(cq.flows) == 0:
		return false
	}
	return !cq.flows[0].full || now-cq.lastLone > activeFor
}

// activeFor is how long a flow counts as active after it was granted a worker.
const activeFor = 100 * time.Millisecond

// grantTo counts a permit for the flow of w, which is still in the queue, and returns that flow.
func (cq *classQueue) grantTo(w *waiter, now time.Duration) *flow {
	f := w.flow
	if f == nil { // the permit was counted before w yielded
		f = cq.flow(w.flowName)
		cq.hold(f, 1)
		return f
	}
	cq.virtual = max(cq.virtual+permitCost/uint64(len(cq.flows)), f.tag)
	f.tag += permitCost
	if f.waiting == 1 && f.held == 0 {
		cq.lastLone = now
	}
	cq.hold(f, 1)
	return f
}

// hold adds n to the workers that the flow f holds.
func (cq *classQueue) hold(f *flow, n int) {
	f.held += n
	f.full = cq.flowLimit > 0 && f.held >= cq.flowLimit
	if f.index >= 0 {
		heap.Fix(&cq.flows, f.index)
	}
}

// releasedBy takes one from the workers that the flow f holds.
func (cq *classQueue) releasedBy(f *flow) {
	cq.hold(f, -1)
	cq.forget(f)
}

// addDebt keeps the record of a flow that no longer waits until virtual time has caught up with
// the permits that the flow has had. Once no flow waits, all debts are forgotten.
func (cq *classQueue) addDebt(f *flow) {
	if !f.inDebt {
		f.inDebt, f.next = true, nil
		if cq.debtHead == nil {
			cq.debtHead = f
		} else {
			cq.debtTail.next = f
		}
		cq.debtTail = f
	}
	for cq.debtHead != nil && (len(cq.flows) == 0 || cq.debtHead.tag <= cq.virtual || cq.debtHead.index >= 0) {
		f := cq.debtHead
		cq.debtHead, f.inDebt = f.next, false
		if len(cq.flows) == 0 {
			f.tag = 0
		}
		cq.forget(f)
	}
}

// victim returns the waiter to evict from a full queue. It is the waiter that would be served last,
// of the flow with the most waiters. When only requests back from Yield wait, it is the newest of
// them.
func (cq *classQueue) victim() (w *waiter, why Reason) {
	if len(cq.flows) == 0 {
		return cq.returned.prev, ErrFull
	}
	most := cq.flows[0]
	for _, f := range cq.flows {
		if f.waiting > most.waiting || f.waiting == most.waiting && f.waiters.prev.number > most.waiters.prev.number {
			most = f
		}
	}
	if cq.codel.overloaded {
		return most.waiters.next, cq.shareOr(most, ErrFull)
	}
	return most.waiters.prev, cq.shareOr(most, ErrFull)
}

// shareOr returns ErrShare if the flow f has more than twice as many waiters as the other flows
// have on average, and why otherwise.
func (cq *classQueue) shareOr(f *flow, why Reason) Reason {
	others := len(cq.flows) - 1
	if others > 0 && f.waiting*others > 2*(cq.aged-f.waiting) {
		return ErrShare
	}
	return why
}

// flowsByTag is a heap of flows: the least served is first, and flows that are full come last.
type flowsByTag []*flow

func (h flowsByTag) Len() int { return len(h) }

func (h flowsByTag) Less(i, j int) bool {
	switch {
	case h[i].full != h[j].full:
		return h[j].full
	case h[i].tag != h[j].tag:
		return h[i].tag < h[j].tag
	}
	return h[i].number < h[j].number
}

func (h flowsByTag) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *flowsByTag) Push(x any) {
	f := x.(*flow)
	f.index = len(*h)
	*h = append(*h, f)
}

// Pop implements heap.Interface.
func (h *flowsByTag) Pop() any {
	last := len(*h) - 1
	f := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	f.index = -1
	return f
}
