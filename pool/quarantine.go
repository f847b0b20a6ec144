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

// A quarantined route is tried again after firstBackOff, and after each trial
// that panics as well, twice as long, up to mostBackOff.
const (
	firstBackOff = time.Second
	mostBackOff  = time.Minute
)

// A QuarantineEvent tells that a route was quarantined, or released.
type QuarantineEvent struct {
	Route       string
	Released    bool
	Panics      int           // since it last was well
	Fingerprint string        // of the last of them
	Next        time.Duration // until it is tried again
}

// QuarantineStats is a route that has panicked lately.
type QuarantineStats struct {
	Route       string
	Panics      int // since it last was well
	Quarantined bool
	Next        time.Time // when it is tried again; zero unless it is quarantined
}

// The quarantine turns away the requests of a route that keeps panicking, so
// that the others have the workers (the circuit breaker of Nygard, "Release
// It!"). It is by route: one that is broken says nothing of the rest.
type quarantine struct {
	pool     *Pool
	troubled atomic.Bool // a route has panicked: until then all is one load of this

	mu                    sync.Mutex // guards what follows
	routes                map[string]*troubledRoute
	quarantined, released uint64 // routes, since the start; a trial that fails counts as neither
}

// A troubledRoute has panicked and not been well since.
type troubledRoute struct {
	recent  []time.Duration // when it panicked, within the window
	panics  int
	last    string        // the fingerprint of the last
	until   time.Duration // when it is tried again; 0: not quarantined
	backOff time.Duration
	trying  bool
}

// enter reports whether a request of the route is its trial, and refuses it
// when the route is quarantined and has none to give.
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

// missed takes back a trial that never began.
func (q *quarantine) missed(name string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if route := q.routes[name]; route != nil {
		route.trying = false
	}
}

// passed ends a trial. One that panicked was ended by fell.
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
	q.tell(QuarantineEvent{Route: name, Released: true, Panics: route.panics, Fingerprint: route.last})
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
	event := QuarantineEvent{Route: name, Panics: route.panics, Fingerprint: fingerprint, Next: route.backOff}
	q.mu.Unlock()
	if quarantined {
		q.tell(event)
	}
}

// judge quarantines the route when it has panicked too often, or in its trial.
func (route *troubledRoute) judge(now time.Duration, threshold int) bool {
	switch {
	case route.trying:
		route.backOff = min(2*route.backOff, mostBackOff)
	case route.until == 0 && len(route.recent) >= threshold:
		route.backOff = firstBackOff
	default: // not yet, or one that had begun before
		return false
	}
	route.recent, route.trying, route.until = nil, false, now+route.backOff
	return true
}

// tell logs e and hands it on.
func (q *quarantine) tell(e QuarantineEvent) {
	level, message := slog.LevelError, "route quarantined"
	if e.Released {
		level, message = slog.LevelInfo, "route released"
	}
	q.pool.log.LogAttrs(context.Background(), level, message,
		slog.String("route", e.Route), slog.Int("panics", e.Panics), slog.String("fingerprint", e.Fingerprint),
		slog.String("next_trial", e.Next.String()))
	if q.pool.cfg.OnQuarantine != nil {
		q.pool.cfg.OnQuarantine(e)
	}
}

// stats fills in the routes in trouble, by name, and how many ever were.
func (q *quarantine) stats(s *Stats) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s.Quarantined, s.Released = q.quarantined, q.released
	all := make([]QuarantineStats, 0, len(q.routes))
	for _, name := range slices.Sorted(maps.Keys(q.routes)) {
		route := q.routes[name]
		row := QuarantineStats{Route: name, Panics: route.panics, Quarantined: route.until > 0}
		if row.Quarantined {
			row.Next = q.pool.epoch.Add(route.until)
		}
		all = append(all, row)
	}
	s.Quarantine = all
}
