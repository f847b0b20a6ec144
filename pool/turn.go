package pool

import (
	"context"
	"time"
)

// A Turn is a request's hold on a worker, from Acquire or Do. Its methods are
// for one goroutine at a time; only Release may be called from several. The
// zero Turn holds nothing.
type Turn struct {
	worker  *worker
	number  uint64 // of the worker's turns, this one; stale when the worker is at another
	id      uint64 // the worker's id when it began
	request Request
	arrived time.Duration // when the request came: its place in the order
	waited  time.Duration

	unlabelled context.Context // has the labels that the goroutine came with; nil: it was not labelled
}

// Release gives the worker back. Only the first call does, be it on this Turn
// or on a copy.
func (t *Turn) Release() {
	if t.end() {
		t.finish()
		return
	}
	if t.worker != nil {
		t.worker.shard.pool.stuck.ended(t)
	}
}

// finish gives the worker of a turn that was ended back for good.
func (t *Turn) finish() {
	t.worker.shard.done.Add(1)
	t.worker.shard.pool.giveBack(t.worker, t.request.Class)
}

// timedTurns is how many turns of a worker there are to one whose length is
// measured. Reading the clock costs as much as the rest of Release.
const timedTurns = 8

// end ends the turn and reports whether this call did it. The compare-and-swap
// decides among calls and copies; the worker stays the caller's until it is
// given back.
func (t *Turn) end() bool {
	w := t.worker
	if w == nil || !w.turns.CompareAndSwap(t.number, t.number+1) {
		return false
	}
	if t.number/2%timedTurns == 0 {
		w.shard.service.Record(w.shard.pool.now() - w.since)
	}
	return true
}

// holds reports whether the turn has its worker still.
func (t *Turn) holds() bool {
	return t.worker != nil && t.worker.turns.Load() == t.number
}

// Outside gives the worker back, runs fn, and takes a worker again at the
// request's old place in the order. It is for reading a body and sending an
// answer: a slow client holds no worker. When it returns nil the turn holds a
// worker, perhaps of another shard.
//
// Otherwise it holds none: an error of fn is returned without taking a worker,
// since all that is left is to answer; and the way back is bounded like the
// way in, by ReturnTimeout, with the same errors, except that a draining pool
// lets it in and that in a full queue the youngest makes room, which is seldom this one.
//
// Without a worker to give back, Outside is just fn; but from a request that
// was found stuck it was taken, and Outside is ErrStuck and does nothing.
func (t *Turn) Outside(ctx context.Context, fn func() error) error {
	if !t.end() {
		if t.worker != nil && t.worker.shard.pool.stuck.seized(t) {
			return ErrStuck
		}
		return fn()
	}
	p := t.worker.shard.pool
	t.unlabel()
	p.addOutside(1) // before the worker is free, so that Drain misses neither
	defer p.addOutside(-1)
	p.giveBack(t.worker, t.request.Class)

	done := true // unless the turn goes on, or the way back was refused and counted as that
	defer func() {
		if done {
			t.worker.shard.done.Add(1)
		}
	}()
	if err := fn(); err != nil {
		return err
	}
	done = false
	return t.resume(ctx, p)
}

// Leave gives the worker back for good and runs fn, for whose end a drain waits
// still. It is for waiting, at the end of a turn, for what is done elsewhere for
// many at once: how many may wait so, the caller bounds.
//
// Like Outside it is just fn without a worker to give back, and ErrStuck where that was taken.
func (t *Turn) Leave(fn func() error) error {
	if !t.end() {
		if t.worker != nil && t.worker.shard.pool.stuck.seized(t) {
			return ErrStuck
		}
		return fn()
	}
	shard := t.worker.shard
	t.unlabel()
	shard.pool.addOutside(1) // before the worker is free, so that Drain misses neither
	defer shard.pool.addOutside(-1)
	defer shard.done.Add(1)
	shard.pool.giveBack(t.worker, t.request.Class)
	return fn()
}

// Become makes the request one of class c from now on: it gives its worker back
// and takes one as that, at its old place, with the errors of the way in. It is
// for what turns out to be more work than it looked like. A turn that holds no
// worker only changes its name. Refused, it may hold its worker still.
func (t *Turn) Become(ctx context.Context, c Class) error {
	as := t.request
	if as.Class = c; as.Class == t.request.Class {
		return nil
	}
	if t.worker != nil {
		if err := t.worker.shard.pool.spare(as); err != nil {
			return err
		}
	}
	return t.Outside(ctx, func() error { t.request = as; return nil })
}

// resume takes a worker again, at the old place.
func (t *Turn) resume(ctx context.Context, p *Pool) error {
	now := p.now()
	w, began, err := p.find(ctx, place{class: t.request.Class, person: t.request.Person, arrived: t.arrived, resumes: true}, now)
	if err != nil {
		return err
	}
	t.worker, t.number, t.id = w, w.begin(t.request, began), w.id.Load()
	t.waited += began - now
	t.label()
	return nil
}

// Shard is the number of the worker's shard, from 0.
func (t *Turn) Shard() int { return t.worker.shard.id }

// Worker is the worker's id. It stays the same after Release.
func (t *Turn) Worker() uint64 { return t.id }

// Waited is the time spent waiting for workers.
func (t *Turn) Waited() time.Duration { return t.waited }
