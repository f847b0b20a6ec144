package pool

import (
	"context"
	"runtime"
	"runtime/metrics"
	"time"
)

const (
	// During an overload, more than crowdPerCore goroutines ready to run for each core are a crowd.
	crowdPerCore = 16
	// A request has at most goroutinesEach goroutines: its own, one that waits for a hang-up, and
	// those of database/sql and the driver.
	goroutinesEach = 6
	standingLooks  = 10 // this many looks in a row are an interval: 100 ms, like CoDel's
)

// Sample counts the goroutines that are ready to run and do not run, until ctx ends: every 10 ms
// while requests run, four times a second at rest.
//
// Requests wait in the scheduler's run queues as well as in the pool's queue. Its bounds do not see
// them there, and they are served out of order: Go serves the goroutines of one core before those
// that the network has woken, so that some wait for seconds. On one core, with a database in the
// process, all requests wait there: each runs to its end before the next is let in, and the pool's
// queue stays empty however many there are. So more goroutines than those of a full queue are an
// overload too. From then until there was no crowd for an interval, new requests are refused
// whenever there is a crowd.
//
// Every overload ends when all pending requests, waiting or held, would find room in the queue:
// then nothing but the shedding itself keeps the overload up.
func (p *Pool) Sample(ctx context.Context) {
	tick := time.NewTimer(lookIdle)
	defer tick.Stop()
	var c crowding
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		ready, wait := runnable(), int(p.queue.waiting.Load())+int(p.held.Load())
		p.crowded.Store(c.look(ready, p.crowdShed.Swap(false), goroutinesEach*p.cfg.QueueLength))
		p.queue.rollAll(p.now())
		if c.fits(ready/goroutinesEach+wait <= p.cfg.QueueLength) {
			p.crowded.Store(false)
			p.queue.endOverload()
		}
		if p.allFree() && !c.overloaded {
			tick.Reset(lookIdle)
		} else {
			tick.Reset(lookBusy)
		}
	}
}

// A crowding is a detector of CPU saturation: it decides whether goroutines that are ready to run
// are an overload, as codel decides it of a line. An overload begins when there was a crowd for an
// interval and, at some time within it, more goroutines than those of a full queue. It ends when
// there was no crowd for an interval.
type crowding struct {
	overloaded bool
	row        int  // looks in a row that contradict overloaded
	excess     bool // in this row, more goroutines were ready than those of a full queue
	room       int  // looks in a row in which all requests would have found room
}

// look records a look and reports whether there is an overload. A request that was shed since the
// last look met a crowd.
func (c *crowding) look(ready int, shed bool, most int) bool {
	if crowded := shed || ready > crowd(); crowded == c.overloaded {
		c.row, c.excess = 0, false
		return c.overloaded
	}
	c.row++
	c.excess = c.excess || ready > most
	if c.row >= standingLooks && (c.overloaded || c.excess) {
		c.turn(!c.overloaded)
	}
	return c.overloaded
}

func (c *crowding) turn(overloaded bool) {
	c.overloaded, c.row, c.excess = overloaded, 0, false
}

// fits records whether all pending requests would find room, and reports whether they would have
// for an interval, which ends the overload.
func (c *crowding) fits(room bool) bool {
	if !room {
		c.room = 0
		return false
	}
	c.room++
	if c.room < standingLooks {
		return false
	}
	c.turn(false)
	return true
}

// AddDelayed adds n to the rejected requests whose responses are delayed: their clients are still
// there, and will ask again. A negative n takes requests away.
func (p *Pool) AddDelayed(n int64) { p.held.Add(n) }

// crowd returns the number of ready goroutines above which there is a crowd.
func crowd() int { return crowdPerCore * runtime.GOMAXPROCS(0) }

// inCrowd reports whether a new request of the class is refused because of the crowd. A class that
// is worth less is refused at a smaller crowd.
func (p *Pool) inCrowd(c Class) bool {
	return (p.crowded.Load() || p.queue.overloaded.Load() > 0) && runnable() > crowd()*weights[c]/weights[Write]
}

// runnable returns the number of goroutines that are ready to run.
func runnable() int {
	ready := []metrics.Sample{{Name: "/sched/goroutines/runnable:goroutines"}}
	metrics.Read(ready)
	return int(ready[0].Value.Uint64())
}

// refusedInCrowd refuses a new request because of the crowd.
func (p *Pool) refusedInCrowd(at place) error {
	p.crowdShed.Store(true)
	l := &p.queue.lines[at.class]
	p.queue.mu.Lock()
	p.queue.roll(l, p.now()) // Sample may be late: its goroutine waits in the crowd too
	l.codel.excess = true
	p.queue.mu.Unlock()
	return p.refused(Request{Class: at.class, Flow: at.person}, ErrOverload, 0)
}
