package cache

import (
	"context"
	"sync"
)

// A flight is one read under way that other requests wait for.
type flight struct {
	snapshot Snapshot
	done     chan struct{}
	value    any // nil: the read failed, and each waiting request reads for itself
}

type flights struct {
	mu      sync.Mutex // guards running; held for one map access
	running map[Key]*flight
}

// Share returns the value of the entry under key, if there is one by now. Otherwise it calls read,
// which reads the value, or waits for the result of another request's read. It waits only for a
// read whose snapshot of the scope shows that nothing has changed since the read began, and only
// while other processes are heard. Otherwise the result could be older than the request. A failure
// is not shared, because its cause may concern the other request alone.
func (c *Cache) Share(ctx context.Context, key Key, scope Scope, read func(Snapshot) (any, error)) (any, error) {
	if value, ok := c.Look(key); ok {
		c.counts[key.Kind].shared.Add(1)
		return value, nil
	}
	if int64(c.now()) >= c.trusted.Load() { // changes by other processes may go unheard meanwhile
		return read(c.Snapshot(scope))
	}
	view := c.Snapshot(scope)
	mine, theirs := c.flights.join(key, view)
	if theirs != nil {
		select {
		case <-theirs.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if theirs.value != nil {
			c.counts[key.Kind].shared.Add(1)
			return theirs.value, nil
		}
		return read(c.Snapshot(scope))
	}
	defer c.flights.land(key, mine) // even if read panics
	value, err := read(view)
	if err == nil {
		mine.value = value
	}
	return value, err
}

// join returns the flight of another request that sees what snapshot does. If there is none, it
// returns a new flight of the caller's own, which replaces any older one.
func (f *flights) join(key Key, view Snapshot) (mine, theirs *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if other, ok := f.running[key]; ok && view.sees(key.Kind, other.snapshot) {
		return nil, other
	}
	mine = &flight{snapshot: view, done: make(chan struct{})}
	f.running[key] = mine
	return mine, nil
}

// sees reports whether a read that began under the other snapshot answers a request that began
// under v. While a note is being written, what is read of it may be older than what other requests
// have seen by now. That does not hold for lists: a request that sees a change which is not done
// raises the version (Validate, Observe).
func (v Snapshot) sees(kind Kind, other Snapshot) bool {
	return v.versionMark == other.versionMark && v.epoch == other.epoch && (kind == List || v.clean && other.clean)
}

func (f *flights) land(key Key, mine *flight) {
	close(mine.done)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running[key] == mine {
		delete(f.running, key)
	}
}
