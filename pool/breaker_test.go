package pool_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"notesd/pool"
)

// breaker is a pool that quarantines after three panics in a minute, and what it told.
func breaker() (p *pool.Pool, told func() []pool.BreakerEvent) {
	var mu sync.Mutex
	var events []pool.BreakerEvent
	cfg := small()
	cfg.Log = discard
	cfg.RestartThreshold, cfg.RestartWindow = 3, time.Minute
	cfg.OnBreaker = func(e pool.BreakerEvent) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, e)
	}
	return pool.New(cfg), func() []pool.BreakerEvent {
		mu.Lock()
		defer mu.Unlock()
		return events
	}
}

var broken = pool.Request{Class: pool.Read, Route: "/broken"}

func fine(context.Context, *pool.Permit) error { return nil }

// refusedFor fails the test unless the pool refuses the broken route for so long.
func refusedFor(t *testing.T, p *pool.Pool, want time.Duration) {
	t.Helper()
	err := p.Do(t.Context(), broken, func(context.Context, *pool.Permit) error {
		t.Error("a request of a quarantined route began")
		return nil
	})
	refusal, ok := errors.AsType[*pool.RejectedError](err)
	if !ok || !errors.Is(err, pool.ErrQuarantined) || refusal.RetryAfter != want {
		t.Errorf("Do() = %#v, want route_quarantined for %v", err, want)
	}
}

// Three panics inside the window quarantine the route, and that route alone;
// the first trial that ends well releases it.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, told := breaker()
		for range 3 {
			_ = p.Do(t.Context(), broken, explode)
			time.Sleep(time.Second)
		}
		// the third was a second ago: its back-off has just run out
		_ = p.Do(t.Context(), broken, explode) // the trial fails
		refusedFor(t, p, 2*time.Second)
		if err := p.Do(t.Context(), read, fine); err != nil {
			t.Errorf("Do() of another route = %v, want nil", err)
		}
		time.Sleep(2 * time.Second)
		if err := p.Do(t.Context(), broken, fine); err != nil {
			t.Errorf("Do() of the trial = %v, want nil", err)
		}
		for range 10 {
			if err := p.Do(t.Context(), broken, fine); err != nil {
				t.Errorf("Do() after the release = %v, want nil", err)
			}
		}
		s := p.Stats()
		kind := s.PanicKinds[0].Fingerprint
		want := []pool.BreakerEvent{
			{Route: "/broken", Panics: 3, Fingerprint: kind, Next: time.Second},
			{Route: "/broken", Panics: 4, Fingerprint: kind, Next: 2 * time.Second},
			{Route: "/broken", Panics: 4, Fingerprint: kind, Released: true},
		}
		if got := told(); len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
			t.Errorf("told %+v, want %+v", got, want)
		}
		if len(s.Breakers) != 0 || s.Quarantined != 1 || s.Released != 1 || s.Rejected[pool.ErrQuarantined] != 1 || s.Busy != 0 {
			t.Errorf("Stats() = %+v, want one refusal, one route quarantined and released, and nothing left", s)
		}
	})
}

// Panics that are further apart than the window never add up.
func TestBreakerWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, told := breaker()
		for range 20 {
			_ = p.Do(t.Context(), broken, explode)
			time.Sleep(31 * time.Second) // two in any minute
		}
		if got := told(); len(got) != 0 {
			t.Errorf("told %+v, want nothing", got)
		}
	})
}

// Each failed trial doubles the wait, up to a minute.
func TestBreakerBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := breaker()
		for range 3 {
			_ = p.Do(t.Context(), broken, explode)
		}
		for _, wait := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
			refusedFor(t, p, wait*time.Second)
			time.Sleep(wait*time.Second - 1)
			refusedFor(t, p, time.Second) // the least that a client is told
			time.Sleep(time.Nanosecond)
			_ = p.Do(t.Context(), broken, explode)
		}
	})
}

// There is one trial at a time, and one that never began is given again.
func TestBreakerProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := breaker()
		for range 3 {
			_ = p.Do(t.Context(), broken, explode)
		}
		time.Sleep(time.Second)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.Do(gone, broken, fine); !errors.Is(err, context.Canceled) {
			t.Errorf("Do() of a client that left = %v, want canceled", err)
		}
		var trial sync.WaitGroup
		trial.Go(func() {
			_ = p.Do(t.Context(), broken, func(context.Context, *pool.Permit) error { time.Sleep(time.Second); return nil })
		})
		synctest.Wait()
		refusedFor(t, p, time.Second)
		if q := p.Stats().Breakers; len(q) != 1 || !q[0].Quarantined || q[0].Panics != 3 {
			t.Errorf("Stats().Quarantine = %+v, want the route with 3 panics", q)
		}
		trial.Wait()
		if err := p.Do(t.Context(), broken, fine); err != nil {
			t.Errorf("Do() after the trial = %v, want nil", err)
		}
	})
}
