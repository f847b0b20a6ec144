package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"notesd/internal/testkit"
	"notesd/pool"
	"notesd/server/admin"
)

// Whoever is turned away, by the pool or by a limit, is counted with the reason
// and the name; the log has a line for each second, not for each refusal.
func TestShedsAreShown(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, workers(1, func(c *pool.Config) { c.QueueLength = 0 }),
		func(cfg *Config, _ *Deps) { cfg.RateLimitMax, cfg.RateLimitWindow = 1, time.Hour })
	ada := s.someone()
	ada.get("/api/notes").want(http.StatusOK)
	limited := ada.get("/api/notes").want(http.StatusTooManyRequests)
	wantRefusal(t, limited, "rate_limit")
	release := s.occupy(t, 1)
	defer release()
	for range 20 {
		ada.get("/api/notes").want(http.StatusServiceUnavailable)
	}
	var in admin.State
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
