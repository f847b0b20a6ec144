package pool

import (
	"context"
	"runtime"
	"runtime/metrics"
	"time"
)

const (
	crowdPerCore   = 16 // goroutines ready to run for each core are a crowd, while there is an overload
	goroutinesEach = 6  // has a request, at most: its own, one that waits for a hang-up, those of database/sql and the driver
	standingLooks  = 10 // in a row are an interval: 100 ms, as CoDel's
)

// Sample looks until ctx ends how many goroutines are ready to run and do not:
// every 10 ms while requests run, four times a second at rest.
//
// Requests that have come wait there as well as in the queue, unseen by its
// bounds, and not in order: Go serves the goroutines of one core before those
// that the network has woken, so that some wait for seconds. On one core, with
// a database in the process, all of them do: each request runs to its end
// before the next is let in, and the queue stays empty however many there are.
// So more of them than may wait in the queue are an overload, too, and until
// there was no crowd for a while newcomers are refused whenever there is one.
//
// Every overload ends when all who ask, waiting or held, would find room: to
// shed them is all that keeps it up.
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

// A crowding tells whether goroutines that are ready to run are an overload, as
// codel does of a line: there was a crowd for an interval, in which at some time
// there were more than of as many requests as may wait; there was none for an interval.
type crowding struct {
	overloaded bool
	row        int  // looks in a row that speak against what overloaded says
	excess     bool // in this row
	room       int  // looks in a row in which all who asked would have found room
}

// look takes a look and reports whether there is an overload. Whoever was shed
// since the last look met a crowd.
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

// fits takes a look at whether all who ask would find room, and reports whether
// they would have for an interval, which ends the overload.
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

// Held counts n more whose refusals are held before they are told: they are
// there still, and will ask again. Below zero: fewer.
func (p *Pool) Held(n int64) { p.held.Add(n) }

// crowd is how many goroutines that are ready to run are a crowd.
func crowd() int { return crowdPerCore * runtime.GOMAXPROCS(0) }

// inCrowd reports whether a newcomer of the class is refused for the crowd: what
// is worth less is by less of one.
func (p *Pool) inCrowd(c Class) bool {
	return (p.crowded.Load() || p.queue.overloaded.Load() > 0) && runnable() > crowd()*weights[c]/weights[Write]
}

// runnable is how many goroutines are ready to run.
func runnable() int {
	ready := []metrics.Sample{{Name: "/sched/goroutines/runnable:goroutines"}}
	metrics.Read(ready)
	return int(ready[0].Value.Uint64())
}

// refusedInCrowd refuses a newcomer for the crowd.
func (p *Pool) refusedInCrowd(at place) error {
	p.crowdShed.Store(true)
	l := &p.queue.lines[at.class]
	p.queue.mu.Lock()
	p.queue.roll(l, p.now()) // Sample may be late: its goroutine waits in the crowd, too
	l.codel.excess = true
	p.queue.mu.Unlock()
	return p.refused(Request{Class: at.class, Person: at.person}, ErrOverload, 0)
}
