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

// A quarantined route is tried again after firstBackOff. After each probe (a trial) that panics
// too, the time doubles, up to mostBackOff.
const (
	firstBackOff = time.Second
	mostBackOff  = time.Minute
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

// A quarantine is a circuit breaker (Nygard, "Release It!"): it rejects the requests of a route
// that keeps panicking, so that the others have the workers. It works by route, because a broken
// route says nothing about the rest.
type quarantine struct {
	pool *Pool
	// troubled says that a route has panicked. Until then, a request costs one load of it.
	troubled atomic.Bool

	mu                    sync.Mutex // guards what follows
	routes                map[string]*troubledRoute
	quarantined, released uint64 // routes, since the start; a probe that fails counts as neither
}

// A troubledRoute is a route that has panicked and was not well since.
type troubledRoute struct {
	recent  []time.Duration // the times of its panics within the window
	panics  int
	last    string        // the fingerprint of the last panic
	until   time.Duration // when the next probe is due; 0: not quarantined
	backOff time.Duration
	trying  bool
}

// enter reports whether a request of the route is its probe. It refuses the request when the route
// is quarantined and no probe is due.
func (q *quarantine) enter(r Request) (trial bool, err error) {
	if !q.troubled.Load() {
		return false, nil
	}
	now := q.pool.now()
	q.mu.Lock()
	route := q.routes[r.Route]
	if route == nil || route.until == 0 {
		q.mu.Unlock()
		return false, nil
	}
	if now >= route.until && !route.trying {
		route.trying = true
		q.mu.Unlock()
		return true, nil
	}
	wait := max(route.until-now, firstBackOff)
	q.mu.Unlock()
	refusal := q.pool.refused(r, ErrQuarantined, 0)
	refusal.RetryAfter = wait
	return false, refusal
}

// missed takes back a probe that never began.
func (q *quarantine) missed(name string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if route := q.routes[name]; route != nil {
		route.trying = false
	}
}

// passed ends a probe that succeeded. A probe that panicked was ended by fell.
func (q *quarantine) passed(name string) {
	q.mu.Lock()
	route := q.routes[name]
	if route == nil || !route.trying {
		q.mu.Unlock()
		return
	}
	delete(q.routes, name)
	q.released++
	q.troubled.Store(len(q.routes) > 0)
	q.mu.Unlock()
	q.tell(BreakerEvent{Route: name, Released: true, Panics: route.panics, Fingerprint: route.last})
}

// fell counts a panic of the route.
func (q *quarantine) fell(name, fingerprint string, now time.Duration) {
	cfg := &q.pool.cfg
	if cfg.RestartThreshold == 0 {
		return
	}
	q.mu.Lock()
	q.troubled.Store(true)
	route := q.routes[name]
	if route == nil {
		route = &troubledRoute{}
		q.routes[name] = route
	}
	route.panics++
	route.last = fingerprint
	first := route.until == 0
	route.recent = slices.DeleteFunc(append(route.recent, now), func(at time.Duration) bool { return now-at > cfg.RestartWindow })
	quarantined := route.judge(now, cfg.RestartThreshold)
	if quarantined && first {
		q.quarantined++
	}
	event := BreakerEvent{Route: name, Panics: route.panics, Fingerprint: fingerprint, Next: route.backOff}
	q.mu.Unlock()
	if quarantined {
		q.tell(event)
	}
}

// judge quarantines the route when it has panicked too often, or in its probe.
func (route *troubledRoute) judge(now time.Duration, threshold int) bool {
	switch {
	case route.trying:
		route.backOff = min(2*route.backOff, mostBackOff)
	case route.until == 0 && len(route.recent) >= threshold:
		route.backOff = firstBackOff
	default: // there were too few panics, or the request began before the quarantine
		return false
	}
	route.recent, route.trying, route.until = nil, false, now+route.backOff
	return true
}

// tell logs the event e and passes it to OnBreaker.
func (q *quarantine) tell(e BreakerEvent) {
	level, message := slog.LevelError, "route quarantined"
	if e.Released {
		level, message = slog.LevelInfo, "route released"
	}
	q.pool.log.LogAttrs(context.Background(), level, message,
		slog.String("route", e.Route), slog.Int("panics", e.Panics), slog.String("fingerprint", e.Fingerprint),
		slog.String("next_trial", e.Next.String()))
	if q.pool.cfg.OnBreaker != nil {
		q.pool.cfg.OnBreaker(e)
	}
}

// stats fills in the routes in trouble, by name, and how many were quarantined and released.
func (q *quarantine) stats(s *Stats) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s.Quarantined, s.Released = q.quarantined, q.released
	all := make([]BreakerStats, 0, len(q.routes))
	for _, name := range slices.Sorted(maps.Keys(q.routes)) {
		route := q.routes[name]
		row := BreakerStats{Route: name, Panics: route.panics, Quarantined: route.until > 0}
		if row.Quarantined {
			row.Next = q.pool.epoch.Add(route.until)
		}
		all = append(all, row)
	}
	s.Breakers = all
}
