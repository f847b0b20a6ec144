package pool

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A quarantined route is tried again after firstBackOff. After each probe that panics
// too, the time doubles, up to maxBackOff.
const (
	firstBackOff = time.Second
	maxBackOff   = time.Minute
)

// A BreakerEvent reports that a route was quarantined, or released.
type BreakerEvent struct {
	Route       string
	Released    bool
	Panics      int           // since the route was last well
	Fingerprint string        // of the last of these panics
	Next        time.Duration // until the next probe
}

// BreakerStats describes a route that has panicked lately.
type BreakerStats struct {
	Route       string
	Panics      int // since the route was last well
	Quarantined bool
	Next        time.Time // when the next probe is due; zero if not quarantined
}

// A breaker is a circuit breaker (Nygard, "Release It!"): it rejects the requests of a route
// that keeps panicking, so that the others have the workers. It works by route, because a broken
// route says nothing about the rest.
type breaker struct {
	pool *Pool
	// anyTroubled says that a route has panicked. Until then, a request costs one load of it.
	anyTroubled atomic.Bool

	mu                    sync.Mutex // guards what follows
	routes                map[string]*routeState
	quarantined, released uint64 // routes, since the start; a probe that fails counts as neither
}

// A routeState describes a route that has panicked and was not well since.
type routeState struct {
	recent  []time.Duration // the times of its panics within the window
	panics  int
	last    string        // the fingerprint of the last panic
	until   time.Duration // when the next probe is due; 0: not quarantined
	backOff time.Duration
	probing bool
}

// allow reports whether a request of the route is its probe. It refuses the request when the route
// is quarantined and no probe is due.
func (b *breaker) allow(r Request) (probe bool, err error) {
	if !b.anyTroubled.Load() {
		return false, nil
	}
	now := b.pool.now()
	b.mu.Lock()
	route := b.routes[r.Route]
	if route == nil || route.until == 0 {
		b.mu.Unlock()
		return false, nil
	}
	if now >= route.until && !route.probing {
		route.probing = true
		b.mu.Unlock()
		return true, nil
	}
	wait := max(route.until-now, firstBackOff)
	b.mu.Unlock()
	refusal := b.pool.reject(r, ErrQuarantined, 0)
	refusal.RetryAfter = wait
	return false, refusal
}

// abort takes back a probe that never began.
func (b *breaker) abort(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if route := b.routes[name]; route != nil {
		route.probing = false
	}
}

// success ends a probe that succeeded. A probe that panicked was ended by failure.
func (b *breaker) success(name string) {
	b.mu.Lock()
	route := b.routes[name]
	if route == nil || !route.probing {
		b.mu.Unlock()
		return
	}
	delete(b.routes, name)
	b.released++
	b.anyTroubled.Store(len(b.routes) > 0)
	b.mu.Unlock()
	b.report(BreakerEvent{Route: name, Released: true, Panics: route.panics, Fingerprint: route.last})
}

// failure counts a panic of the route.
func (b *breaker) failure(name, fingerprint string, now time.Duration) {
	cfg := &b.pool.cfg
	if cfg.RestartThreshold == 0 {
		return
	}
	b.mu.Lock()
	b.anyTroubled.Store(true)
	route := b.routes[name]
	if route == nil {
		route = &routeState{}
		b.routes[name] = route
	}
	route.panics++
	route.last = fingerprint
	first := route.until == 0
	route.recent = slices.DeleteFunc(append(route.recent, now),
		func(at time.Duration) bool { return now-at > cfg.RestartWindow })
	quarantined := route.trip(now, cfg.RestartThreshold)
	if quarantined && first {
		b.quarantined++
	}
	event := BreakerEvent{Route: name, Panics: route.panics, Fingerprint: fingerprint, Next: route.backOff}
	b.mu.Unlock()
	if quarantined {
		b.report(event)
	}
}

// trip quarantines the route when it has panicked too often, or in its probe.
func (route *routeState) trip(now time.Duration, threshold int) bool {
	switch {
	case route.probing:
		route.backOff = min(2*route.backOff, maxBackOff)
	case route.until == 0 && len(route.recent) >= threshold:
		route.backOff = firstBackOff
	default: // there were too few panics, or the request began before the quarantine
		return false
	}
	route.recent, route.probing, route.until = nil, false, now+route.backOff
	return true
}

// report logs the event e and passes it to OnBreaker.
func (b *breaker) report(e BreakerEvent) {
	level, message := slog.LevelError, "route quarantined"
	if e.Released {
		level, message = slog.LevelInfo, "route released"
	}
	b.pool.log.LogAttrs(context.Background(), level, message,
		slog.String("route", e.Route), slog.Int("panics", e.Panics), slog.String("fingerprint", e.Fingerprint),
		slog.String("next_trial", e.Next.String()))
	if b.pool.cfg.OnBreaker != nil {
		b.pool.cfg.OnBreaker(e)
	}
}

// stats fills in the routes in trouble, by name, and how many were quarantined and released.
func (b *breaker) stats(s *Stats) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.Quarantined, s.Released = b.quarantined, b.released
	all := make([]BreakerStats, 0, len(b.routes))
	for _, name := range slices.Sorted(maps.Keys(b.routes)) {
		route := b.routes[name]
		row := BreakerStats{Route: name, Panics: route.panics, Quarantined: route.until > 0}
		if row.Quarantined {
			row.Next = b.pool.epoch.Add(route.until)
		}
		all = append(all, row)
	}
	s.Breakers = all
}
