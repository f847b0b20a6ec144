package pool

import (
	"context"
	"runtime"
	"runtime/metrics"
	"time"
)

const (
	// During an overload, more than saturatedPerCore goroutines ready to run for each core mean
	// that the CPU is saturated.
	saturatedPerCore = 16
	// A request has at most goroutinesEach goroutines: its own, one that waits for a hang-up, and
	// those of database/sql and the driver.
	goroutinesEach = 6
	intervalLooks  = 10 // this many looks in a row are an interval: 100 ms, like CoDel's
)

// Sample counts the goroutines that are ready to run and do not run, until ctx ends: every 10 ms
// while requests run, four times a second at rest.
//
// Requests wait in the scheduler's run queues as well as in the pool's queue. Its bounds do not see
// them there, and they are served out of order: Go serves the goroutines of one core before those
// that the network has woken, so that some wait for seconds. On one core, with a database in the
// process, all requests wait there: each runs to its end before the next is let in, and the pool's
// queue stays empty however many there are. So more goroutines than those of a full queue are an
// overload too. From then until the CPU was not saturated for an interval, new requests are refused
// whenever the CPU is saturated.
//
// Every overload ends when all pending requests, waiting or held, would find room in the queue:
// then nothing but the shedding itself keeps the overload up.
func (p *Pool) Sample(ctx context.Context) {
	tick := time.NewTimer(lookIdle)
	defer tick.Stop()
	var d runQueueDetector
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		ready, wait := runnable(), int(p.queue.waiting.Load())+int(p.delayed.Load())
		p.saturated.Store(d.look(ready, p.rejectedSaturated.Swap(false), goroutinesEach*p.cfg.QueueLength))
		p.queue.rollAll(p.now())
		if d.fits(ready/goroutinesEach+wait <= p.cfg.QueueLength) {
			p.saturated.Store(false)
			p.queue.endOverload()
		}
		if p.allFree() && !d.overloaded {
			tick.Reset(lookIdle)
		} else {
			tick.Reset(lookBusy)
		}
	}
}

// A runQueueDetector detects CPU saturation: it decides whether goroutines that are ready to run
// are an overload, as codel decides it of a class. An overload begins when the CPU was saturated
// for an interval and, at some time within it, more goroutines than those of a full queue. It ends
// when the CPU was not saturated for an interval.
type runQueueDetector struct {
	overloaded bool
	streak     int  // looks in a row that contradict overloaded
	excess     bool // in this row, more goroutines were ready than those of a full queue
	room       int  // looks in a row in which all requests would have found room
}

// look records a look and reports whether there is an overload. A request that was shed since the
// last look met a saturated CPU.
func (d *runQueueDetector) look(ready int, shed bool, full int) bool {
	if crowded := shed || ready > saturatedAbove(); crowded == d.overloaded {
		d.streak, d.excess = 0, false
		return d.overloaded
	}
	d.streak++
	d.excess = d.excess || ready > full
	if d.streak >= intervalLooks && (d.overloaded || d.excess) {
		d.set(!d.overloaded)
	}
	return d.overloaded
}

func (d *runQueueDetector) set(overloaded bool) {
	d.overloaded, d.streak, d.excess = overloaded, 0, false
}

// fits records whether all pending requests would find room, and reports whether they would have
// for an interval, which ends the overload.
func (d *runQueueDetector) fits(room bool) bool {
	if !room {
		d.room = 0
		return false
	}
	d.room++
	if d.room < intervalLooks {
		return false
	}
	d.set(false)
	return true
}

// AddDelayed adds n to the rejected requests whose responses are delayed: their clients are still
// there, and will ask again. A negative n takes requests away.
func (p *Pool) AddDelayed(n int64) { p.delayed.Add(n) }

// saturatedAbove returns the number of ready goroutines above which the CPU is saturated.
func saturatedAbove() int { return saturatedPerCore * runtime.GOMAXPROCS(0) }

// runnable returns the number of goroutines that are ready to run.
func runnable() int {
	ready := []metrics.Sample{{Name: "/sched/goroutines/runnable:goroutines"}}
	metrics.Read(ready)
	return int(ready[0].Value.Uint64())
}

// MaybeSaturated reports whether Saturated may return true. It costs nearly nothing.
func (p *Pool) MaybeSaturated() bool {
	return (p.saturated.Load() || p.queue.overloaded.Load() > 0) && !p.queue.lastCalls.Load()
}

// Saturated reports whether a new request of the class is to be refused because the CPU is
// saturated. A class that is worth less is refused at a lower saturation. Acquire asks this itself. A
// caller may ask earlier, and then calls RejectSaturated.
func (p *Pool) Saturated(c Class) bool {
	if !p.MaybeSaturated() || runnable() <= saturatedAbove()*weights[c]/weights[Write] {
		return false
	}
	p.rejectedSaturated.Store(true)
	cq := &p.queue.classes[c]
	p.queue.mu.Lock()
	p.queue.roll(cq, p.now()) // Sample may be late: its goroutine waits for the CPU too
	cq.codel.excess = true
	p.queue.mu.Unlock()
	return true
}

// RejectSaturated counts r as rejected because the CPU is saturated, after it has waited, and
// returns the rejection.
func (p *Pool) RejectSaturated(r Request, waited time.Duration) *RejectedError {
	return p.reject(r, ErrOverload, waited)
}
