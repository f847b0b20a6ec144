package cache

import (
	"context"
	"sync"
)

// A flight is one read that others wait for.
type flight struct {
	view  View
	done  chan struct{}
	value any // nil: it failed, and everybody is to read for himself
}

type flights struct {
	mu      sync.Mutex // guards running; held for a map access
	running map[Key]*flight
}

// Share returns what is kept under key by now, or calls read, which reads it, or waits for what
// another's read of it finds. It waits only for a read of which its view of the scope
// shows that nothing has been changed since it began, and while others are heard; else the answer could be older
// than the question. What fails is not shared: the reason may be the other's own.
func (c *Cache) Share(ctx context.Context, key Key, scope Scope, read func(View) (any, error)) (any, error) {
	if value, ok := c.Look(key); ok {
		c.counts[key.Kind].shared.Add(1)
		return value, nil
	}
	if int64(c.now()) >= c.trusted.Load() { // of what others change meanwhile nothing may be heard
		return read(c.View(scope))
	}
	view := c.View(scope)
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
		return read(c.View(scope))
	}
	defer c.flights.land(key, mine) // even if read panics
	value, err := read(view)
	if err == nil {
		mine.value = value
	}
	return value, err
}

// join returns the flight of another that sees what view does, or else one of
// one's own, in the place of any that is older.
func (f *flights) join(key Key, view View) (mine, theirs *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if other, ok := f.running[key]; ok && view.sees(key.Kind, other.view) {
		return nil, other
	}
	mine = &flight{view: view, done: make(chan struct{})}
	f.running[key] = mine
	return mine, nil
}

// sees reports whether a read that began under the other view answers a question that is asked under v.
// What is read of a note while that is written may be older than what others have seen by now; of lists it
// may not: who sees a change that is not done moves the version on (Settle, Saw).
func (v View) sees(kind Kind, other View) bool {
	return v.mark == other.mark && v.epoch == other.epoch && (kind == List || v.clean && other.clean)
}

func (f *flights) land(key Key, mine *flight) {
	close(mine.done)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running[key] == mine {
		delete(f.running, key)
	}
}
