package server

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"notesd/internal/testkit"
	"notesd/pool"
)

// However many ask at once, refusals leave at the pace, and none is held for
// longer than its bound.
func TestPacer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(time.Second)
		pace := int(time.Second / p.interval)
		var mu sync.Mutex
		var held []time.Duration
		for range 3 * pace {
			go func() {
				began := time.Now()
				p.hold(t.Context())
				mu.Lock()
				defer mu.Unlock()
				held = append(held, time.Since(began))
			}()
		}
		left := func() []time.Duration {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(held)
		}
		at, once := len(left()), pace/10
		if at < once-1 || at > once+1 {
			t.Errorf("%d leave at once, want a tenth of the %d a second", at, pace)
		}
		time.Sleep(500 * time.Millisecond)
		if n, want := len(left()), once+pace/2; n < want-2 || n > want+2 {
			t.Errorf("%d have left after half a second, want %d", n, want)
		}
		time.Sleep(500 * time.Millisecond)
		if all := left(); len(all) != 3*pace || slices.Max(all) != time.Second {
			t.Errorf("%d of %d have left after a second, the last after %v", len(all), 3*pace, slices.Max(all))
		}
		time.Sleep(time.Second)
		if d := p.delay(); d != 0 {
			t.Errorf("delay() = %v after a quiet second, want 0", d)
		}
	})
}

// A client that hangs up is held no longer, and QUEUE_TIMEOUT bounds it for all.
func TestPacerLetsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(300 * time.Millisecond)
		crowd := func() {
			for range 10_000 {
				p.delay()
			}
		}
		crowd()
		began := time.Now()
		ctx, hangUp := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, hangUp)
		p.hold(ctx)
		if took := time.Since(began); took != 100*time.Millisecond {
			t.Errorf("held for %v after its client has gone at 100ms", took)
		}
		crowd()
		began = time.Now()
		p.hold(t.Context())
		if took := time.Since(began); took != 300*time.Millisecond {
			t.Errorf("held for %v, want 300ms", took)
		}
	})
}

// Whoever is turned away, by the pool or by a limit, is counted with the reason
// and the name; the log has a line for each second, not for each refusal.
func TestShedsAreShown(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, workers(1, func(c *pool.Config) { c.QueueLength = 0 }),
		func(cfg *Config, _ *Parts) { cfg.RateLimitMax, cfg.RateLimitWindow = 1, time.Hour })
	ada := s.someone()
	ada.get("/api/notes").want(http.StatusOK)
	limited := ada.get("/api/notes").want(http.StatusTooManyRequests)
	wantRefusal(t, limited, "rate_limit")
	release := s.occupy(t, 1)
	defer release()
	for range 20 {
		ada.get("/api/notes").want(http.StatusServiceUnavailable)
	}
	var in struct{ Pool poolJSON }
	s.administrator().get("/api/runtime").want(http.StatusOK).decode(&in)
	sheds := in.Pool.Sheds
	if sheds.Total["queue_full"] != 20 || sheds.Total["rate_limit"] != 1 {
		t.Errorf("sheds.total = %v, want 20 queue_full and a rate_limit", sheds.Total)
	}
	if len(sheds.People) != 2 || sheds.People[0].Count != 20 || !strings.HasPrefix(sheds.People[0].Flow, "user:") {
		t.Errorf("sheds.people = %+v, want the one user with both reasons", sheds.People)
	}
	if n := len(sheds.Minutes); n < 1 || n > 2 {
		t.Errorf("sheds.minutes = %+v, want this minute", sheds.Minutes)
	}
	text := s.administrator().get("/metrics").text
	for _, want := range []string{`notesd_turned_away_total{reason="queue_full"} 20`, `notesd_turned_away_total{reason="rate_limit"} 1`} {
		if !strings.Contains(text, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	counted := map[string]float64{}
	testkit.Eventually(t, "lines about who was turned away", func() bool {
		clear(counted)
		for _, line := range s.log.Entries() {
			for _, why := range []string{"queue_full", "rate_limit"} {
				if n, ok := line[why].(float64); ok && line["msg"] == "turned away" {
					counted[why] += n
				}
			}
			if line["status"] == 503.0 && line["level"] != "DEBUG" {
				t.Errorf("a refusal has a line of its own: %v", line)
			}
		}
		return fmt.Sprint(counted) == "map[queue_full:20 rate_limit:1]"
	})
}
