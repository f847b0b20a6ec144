package server

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"notesd/internal/testkit"
	"notesd/pool"
	"notesd/server/admin"
	"notesd/server/listener"
)

// The status page is there for everybody, says nothing, and uses nothing but its own files.
func TestStatusPage(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	tests := []struct {
		path, kind, holds string
	}{
		{"/status", "text/html; charset=utf-8", `id="token"`},
		{"/STATUS/", "text/html; charset=utf-8", `id="token"`},
		{"/status/status.css", "text/css; charset=utf-8", "prefers-color-scheme"},
		{"/status/status.js", "text/javascript; charset=utf-8", "/api/runtime"},
		{"/status/icon.svg", "image/svg+xml", "<svg"},
	}
	for _, tt := range tests {
		r := s.visitor().get(tt.path).want(http.StatusOK)
		if got := r.header.Get("Content-Type"); got != tt.kind || !strings.Contains(r.text, tt.holds) {
			t.Errorf("%s is %s, %.100s; want %s with %s", r.call, got, r.text, tt.kind, tt.holds)
		}
		if policy := r.header.Get("Content-Security-Policy"); policy != listener.ContentSecurityPolicy {
			t.Errorf("%s has the policy %q", r.call, policy)
		}
		for _, bad := range []string{adminToken, "http://", "https://", " style=", " onclick="} {
			if tt.holds != "<svg" && strings.Contains(strings.ReplaceAll(r.text, "http://www.w3.org/2000/svg", ""), bad) {
				t.Errorf("%s holds %q", r.call, bad)
			}
		}
	}
	s.visitor().get("/api/runtime?minute=true").want(http.StatusUnauthorized)
}

// The page and what it shows are there while every worker is busy, and are not limited.
func TestStatusWhileFull(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, workers(1, func(c *pool.Config) { c.QueueLength = 0 }), func(cfg *Config, _ *Deps) { cfg.RateLimitMax = 1 })
	s.occupy(t, 1)
	for range 3 {
		for _, path := range []string{"/status", "/status/status.js", "/status/status.css", "/api/runtime?minute=true", "/api/metrics"} {
			s.administrator().get(path).want(http.StatusOK)
		}
	}
}

// The last events are on /api/runtime, the newest first and no more than are
// kept, and counted on /metrics; so are dependencies and the disk.
func TestRuntimeEvents(t *testing.T) {
	t.Parallel()
	alerts := admin.NewAlerts("", "", testkit.Log(t))
	s := onSQLite(t, func(cfg *Config, deps *Deps) { deps.Alerts, cfg.DataDir = alerts, t.TempDir() })
	for i := range 50 + 1 {
		alerts.Send(admin.Event{Kind: "incident", Subject: "slow", Detail: map[string]any{"bytes": i}})
	}
	var in admin.State
	s.administrator().get("/api/runtime").want(http.StatusOK).decode(&in)
	if n := len(in.Events); n != 50 {
		t.Fatalf("%d events, want the last %d", n, 50)
	}
	first, last := in.Events[0], in.Events[50-1]
	if first.Detail["bytes"] != float64(50) || last.Detail["bytes"] != 1.0 || first.Kind != "incident" || first.Subject != "slow" ||
		time.Since(time.Time(first.Time)).Abs() > time.Minute {
		t.Errorf("events from %+v to %+v, want the newest first", first, last)
	}
	if !in.Ready || len(in.Checks) < 5 || in.Disk == nil || in.Disk.Free == 0 || in.Disk.Free > in.Disk.Total || in.Minute != nil {
		t.Errorf("/api/runtime has ready %v, checks %v, disk %+v, minute %v", in.Ready, in.Checks, in.Disk, in.Minute)
	}
	text := s.administrator().get("/metrics").text
	for _, want := range []string{`notesd_events_total{event="incident"} 51`, `notesd_events_total{event="worker_stuck"} 0`,
		`notesd_data_dir_bytes{kind="free"}`} {
		if !strings.Contains(text, want) {
			t.Errorf("/metrics has no %s", want)
		}
	}
}

// A request that waited for its worker counts as one that did, and those that did not as well.
func TestWaitBuckets(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, workers(1))
	const longest = 250 * time.Millisecond // twice that is less than QueueTimeout
	release := s.occupy(t, 1)
	time.AfterFunc(2*longest, release)
	s.visitor().get("/api/auth/me")
	s.visitor().get("/api/auth/me")
	text := s.administrator().get("/metrics").text
	for _, want := range []string{`_bucket{le="0.25"} 2`, `_bucket{le="+Inf"} 3`, "_count 3"} { // with the one that was in the way
		if !strings.Contains(text, "notesd_pool_wait_seconds"+want+"\n") {
			t.Errorf("/metrics has no notesd_pool_wait_seconds%s in\n%s", want, text)
		}
	}
}

// The histogram's buckets count what took no longer than they say.
func TestTookBuckets(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	for _, took := range []time.Duration{500 * time.Microsecond, 20 * time.Millisecond, 900 * time.Millisecond, time.Minute} {
		s.server.admin.Observer().Handled(0, took)
	}
	text := s.administrator().get("/metrics").text
	for _, want := range []string{`_bucket{le="0.001"} 1`, `_bucket{le="0.01"} 1`, `_bucket{le="0.025"} 2`, `_bucket{le="1"} 3`,
		`_bucket{le="30"} 3`, `_bucket{le="+Inf"} 4`, "_count 4"} {
		if !strings.Contains(text, "notesd_worker_request_duration_seconds"+want+"\n") {
			t.Errorf("/metrics has no notesd_worker_request_duration_seconds%s", want)
		}
	}
}
