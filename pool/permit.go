package pool

import (
	"context"
	"time"
)

// A Permit is a request's hold on a worker, from Acquire or Do. Its methods are for one
// goroutine at a time; only Release may be called from several. The zero Permit holds nothing.
type Permit struct {
	worker *worker
	// number identifies this permit among the worker's permits. It is stale when the worker is at
	// another.
	number  uint64
	id      uint64 // the worker's id when the permit began
	request Request
	arrived time.Duration // when the request came: its place in the order
	waited  time.Duration

	// unlabelled has the profiler labels that the goroutine came with; nil: the goroutine was not
	// labelled.
	unlabelled context.Context
}

// Release gives the worker back. Only the first call has an effect, be it on this Permit or on a
// copy.
func (t *Permit) Release() {
	if t.end() {
		t.finish()
		return
	}
	if t.worker != nil {
		t.worker.shard.pool.stuck.released(t)
	}
}

// finish gives back, for good, the worker of a permit that has ended.
func (t *Permit) finish() {
	t.worker.shard.done.Add(1)
	t.worker.shard.pool.release(t.worker, t.request.Class)
}

// timedPermits is the number of a worker's permits of which the length of one is measured. Reading
// the clock costs as much as the rest of Release.
const timedPermits = 8

// end ends the permit and reports whether this call did it. The compare-and-swap decides among
// concurrent calls and copies. The worker stays the caller's until it is given back.
func (t *Permit) end() bool {
	w := t.worker
	if w == nil || !w.permits.CompareAndSwap(t.number, t.number+1) {
		return false
	}
	if t.number/2%timedPermits == 0 {
		w.shard.service.Record(w.shard.pool.now() - w.since)
	}
	return true
}

// holds reports whether the permit still has its worker.
func (t *Permit) holds() bool {
	return t.worker != nil && t.worker.permits.Load() == t.number
}

// Yield gives the worker back, runs fn, and takes a worker again at the request's old place in
// the order. It is for reading a body and sending a response, so that a slow client holds no
// worker. When Yield returns nil the permit holds a worker, perhaps of another shard.
//
// Otherwise the permit holds no worker. An error of fn is returned without taking a worker, since
// all that is left is to respond. The wait for a worker is bounded as on the way in, by
// ReturnTimeout, with the same errors, with two exceptions. A draining pool lets the request in. In
// a full queue the youngest request is evicted, which is seldom this one.
//
// If the permit has no worker to give back, Yield only runs fn. But if the worker was taken from
// the request because it was stuck, Yield returns ErrStuck and does nothing.
func (t *Permit) Yield(ctx context.Context, fn func() error) error {
	if !t.end() {
		if t.worker != nil && t.worker.shard.pool.stuck.reclaimed(t) {
			return ErrStuck
		}
		return fn()
	}
	p := t.worker.shard.pool
	t.unlabel()
	p.addYielded(1) // before the worker is free, so that Drain misses neither
	defer p.addYielded(-1)
	p.release(t.worker, t.request.Class)

	done := true // unless the permit goes on, or the return was rejected and counted as a rejection
	defer func() {
		if done {
			t.worker.shard.done.Add(1)
		}
	}()
	if err := fn(); err != nil {
		return err
	}
	done = false
	return t.reacquire(ctx, p)
}

// ReleaseAndRun gives the worker back for good and runs fn; a drain still waits for the end of fn.
// It is for the end of a permit, to wait for work that is done elsewhere for many requests at once.
// The caller bounds how many requests may wait so.
//
// Like Yield, it only runs fn if the permit has no worker to give back, and returns ErrStuck if the
// worker was taken.
func (t *Permit) ReleaseAndRun(fn func() error) error {
	if !t.end() {
		if t.worker != nil && t.worker.shard.pool.stuck.reclaimed(t) {
			return ErrStuck
		}
		return fn()
	}
	shard := t.worker.shard
	t.unlabel()
	shard.pool.addYielded(1) // before the worker is free, so that Drain misses neither
	defer shard.pool.addYielded(-1)
	defer shard.done.Add(1)
	shard.pool.release(t.worker, t.request.Class)
	return fn()
}

// Reclassify makes the request one of class c from now on. It gives the worker back and takes one
// as a request of class c, at the old place in the order, with the errors of the way in. It is for
// a request that turns out to be more work than it looked like. If the permit holds no worker, only
// the class changes. A permit that is refused may still hold its worker.
func (t *Permit) Reclassify(ctx context.Context, c Class) error {
	as := t.request
	if as.Class = c; as.Class == t.request.Class {
		return nil
	}
	if t.worker != nil {
		if err := t.worker.shard.pool.checkPressure(as); err != nil {
			return err
		}
	}
	return t.Yield(ctx, func() error { t.request = as; return nil })
}

// reacquire takes a worker again, at the request's old place in the order.
func (t *Permit) reacquire(ctx context.Context, p *Pool) error {
	now := p.now()
	w, began, err := p.acquire(ctx,
		place{class: t.request.Class, flowName: t.request.Flow, arrived: t.arrived, reacquires: true}, now)
	if err != nil {
		return err
	}
	t.worker, t.number, t.id = w, w.begin(t.request, began), w.id.Load()
	t.waited += began - now
	t.label()
	return nil
}

// Shard returns the number of the worker's shard, from 0.
func (t *Permit) Shard() int { return t.worker.shard.id }

// Worker returns the worker's id. It stays the same after Release.
func (t *Permit) Worker() uint64 { return t.id }

// Waited returns the time that the request has spent waiting for workers.
func (t *Permit) Waited() time.Duration { return t.waited }
