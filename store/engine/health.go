package engine

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	askEvery = time.Second // between the monitor's questions; retry while the database can't be used
	askTime  = time.Second // that an answer may take
)

// A Health says whether the database can be used.
type Health struct {
	Err     error         // why not. ErrSchema: it answers, but its schema does not fit this binary
	Latency time.Duration // of the last answer to the monitor
}

// health is the last Health that the monitor has seen, and what wakes its readers.
type health struct {
	last    atomic.Pointer[Health] // nil: the monitor has asked nothing yet
	changed chan struct{}          // has a token when Err has become nil, or is no longer
}

// Health returns what is known of the database. It asks nothing: Monitor does, and while the
// health monitor knows that the server is gone, that is the answer at once.
func (d *DB) Health() (h Health) {
	if last := d.health.last.Load(); last != nil {
		h = *last
	}
	if err := d.Usable(); err != nil {
		h.Err = err
	}
	return h
}

// HealthChanged has an element when the database has gone or come back, for one reader.
func (d *DB) HealthChanged() <-chan struct{} { return d.health.changed }

// Monitor asks the database once a second whether it can be used, until ctx ends. A server that does
// not answer is the health monitor's to find out: the question is one more that it sees waiting.
func (d *DB) Monitor(ctx context.Context) {
	if d.WaitReady(ctx) != nil {
		return // it never will be ready, which Health says
	}
	d.health.wake()
	for ctx.Err() == nil {
		next := askEvery
		if !d.ask(ctx) {
			next = retry
		}
		_ = Pause(ctx, next)
	}
}

// ask asks once, and reports whether the database can be used.
func (d *DB) ask(ctx context.Context) (well bool) {
	asking, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	began, before := time.Now(), d.health.last.Load()
	err := d.Ready(asking)
	if ctx.Err() != nil {
		return false // which says nothing of the database
	}
	d.health.last.Store(&Health{err, time.Since(began)})
	if wasWell := before == nil || before.Err == nil; wasWell != (err == nil) {
		d.health.wake()
	}
	return err == nil
}

// wake has the reader look.
func (h *health) wake() {
	select {
	case h.changed <- struct{}{}:
	default:
	}
}
