package engine

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	probeInterval = time.Second // between probes; retry while the database can't be used
	probeTimeout  = time.Second // timeout of a probe
)

// A Health says whether the database can be used.
type Health struct {
	Err     error         // why not. ErrSchema: it answers, but its schema does not fit this binary
	Latency time.Duration // of the last answer to Monitor
}

// health has the last Health that Monitor has seen, and the signal that wakes its reader.
type health struct {
	last    atomic.Pointer[Health] // nil: Monitor has not probed yet
	changed chan struct{}          // has a token when Err has become nil or non-nil
}

// Health returns the last known state of the database. It sends no query, because Monitor does.
// While the health monitor knows that the server is gone, Health returns that at once.
func (d *DB) Health() (h Health) {
	if last := d.health.last.Load(); last != nil {
		h = *last
	}
	if err := d.Usable(); err != nil {
		h.Err = err
	}
	return h
}

// HealthChanged returns a channel that has an element when the database has gone or come back. It
// is for one reader.
func (d *DB) HealthChanged() <-chan struct{} { return d.health.changed }

// Monitor asks the database once a second whether it can be used, until ctx ends. The healthMonitor
// finds out whether a server does not answer: the query of Monitor is one more that it sees wait.
func (d *DB) Monitor(ctx context.Context) {
	if d.WaitReady(ctx) != nil {
		return // it never will be ready, and Health says so
	}
	d.health.wake()
	for ctx.Err() == nil {
		next := probeInterval
		if !d.probe(ctx) {
			next = retry
		}
		_ = Pause(ctx, next)
	}
}

// probe sends one query, and reports whether the database can be used.
func (d *DB) probe(ctx context.Context) (usable bool) {
	asking, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	began, before := time.Now(), d.health.last.Load()
	err := d.Ready(asking)
	if ctx.Err() != nil {
		return false // ctx's end says nothing about the database
	}
	d.health.last.Store(&Health{err, time.Since(began)})
	if wasUsable := before == nil || before.Err == nil; wasUsable != (err == nil) {
		d.health.wake()
	}
	return err == nil
}

// wake signals the reader.
func (h *health) wake() {
	select {
	case h.changed <- struct{}{}:
	default:
	}
}
