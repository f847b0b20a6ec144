package server

import (
	"context"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"notesd/internal/incident"
	"notesd/internal/testkit"
	"notesd/internal/testserver"
	"notesd/pool"
	"notesd/server/admin"
	"notesd/server/router"
)

type metrics struct {
	TotalRequests                         uint64
	AvgDuration, MaxDuration, MinDuration float64
	Percentiles                           struct{ P50, P95, P99 float64 }
	StatusCodes, Paths                    map[string]int
	Timestamp                             stamp
}

func (c *client) metrics() (m metrics) {
	c.t.Helper()
	r := c.asAdmin().get("/api/metrics").want(http.StatusOK)
	const keys = "avgDuration,maxDuration,minDuration,paths,percentiles,statusCodes,timestamp,totalRequests"
	if r.keys() != keys {
		c.t.Errorf("%s has members %s, want %s", r.call, r.keys(), keys)
	}
	r.decode(&m)
	return m
}

// since is what was counted after before.
func (m metrics) since(before metrics) (codes, paths map[string]int) {
	codes, paths = map[string]int{}, map[string]int{}
	for code, n := range m.StatusCodes {
		if d := n - before.StatusCodes[code]; d > 0 {
			codes[code] = d
		}
	}
	for path, n := range m.Paths {
		if d := n - before.Paths[path]; d > 0 {
			paths[path] = d
		}
	}
	return codes, paths
}

// Every answer is counted, by its status and the pattern of its route. One
// client asks on one connection: an answer is counted before the next request is read.
func TestRequestMetrics(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	c := s.someone()
	if r := c.asAdmin().post("/api/metrics/reset", nil).want(http.StatusOK); strings.TrimSpace(r.text) != `{"message":"Metrics reset successfully"}` {
		t.Errorf("%s = %s", r.call, r.text)
	}
	before := c.metrics()
	if before.TotalRequests > 5 {
		t.Errorf("%d requests right after the reset", before.TotalRequests)
	}
	id := c.create(map[string]any{"title": "a", "content": ""}).ID
	for range 3 {
		c.get("/api/notes?search=secret").want(http.StatusOK)
	}
	c.request(http.MethodHead, "/API/notes/", nil).want(http.StatusOK)
	c.patch("/api/notes/"+id+"/pin", nil).want(http.StatusOK)
	c.get("/api/notes/"+id, "If-None-Match", "*").want(http.StatusNotModified)
	c.get("/api/notes/none").want(http.StatusNotFound)
	c.get("/api/secret/path").want(http.StatusNotFound)
	c.post("/api/notes", "{").want(http.StatusBadRequest)
	c.get("/healthz").want(http.StatusOK)
	after := c.metrics()
	codes, paths := after.since(before)
	if diff := cmp.Diff(map[string]int{"200": 7, "201": 1, "304": 1, "400": 1, "404": 2}, codes); diff != "" {
		t.Errorf("status codes (-want +got):\n%s", diff)
	}
	want := map[string]int{"/api/notes": 6, "/api/notes/:id": 2, "/api/notes/:id/pin": 1, "/healthz": 1, "/api/metrics": 1, "unknown": 1}
	if diff := cmp.Diff(want, paths); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
	if n := after.TotalRequests - before.TotalRequests; n != 12 {
		t.Errorf("%d requests counted, want 12", n)
	}
	p := after.Percentiles
	if !(0 < after.MinDuration && after.MinDuration <= p.P50*1.01 && p.P50 <= p.P95 && p.P95 <= p.P99 && p.P99 <= after.MaxDuration*1.01 &&
		after.MinDuration <= after.AvgDuration && after.AvgDuration <= after.MaxDuration) {
		t.Errorf("durations out of order: %+v", after)
	}
	if r := c.asAdmin().get("/api/metrics"); strings.Contains(r.text, id) || strings.Contains(r.text, "secret") {
		t.Errorf("%s = %s, want route patterns only", r.call, r.text)
	}
}

func TestMetricsOff(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, func(cfg *Config, _ *Deps) { cfg.MetricsCollection = false })
	if m := s.visitor().metrics(); m.TotalRequests != 0 {
		t.Errorf("%d requests counted without ENABLE_METRICS_COLLECTION", m.TotalRequests)
	}
}

// The system's numbers are integers of MB, as seen from inside the container.
func TestSystemMetrics(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20 // MB: more than what is used here
	machine := onSQLite(t)
	container := onSQLite(t, func(cfg *Config, _ *Deps) { cfg.Machine = admin.Machine{Cores: 3, MemoryLimit: limit << 20} })
	tight := onSQLite(t, func(cfg *Config, _ *Deps) { cfg.Machine = admin.Machine{Cores: 1, MemoryLimit: 8 << 20} }) // less than is used
	for _, s := range []*site{machine, container, tight} {
		r := s.administrator().get("/api/metrics/system").want(http.StatusOK)
		var in struct {
			Memory struct{ Total, Used, Free, Percentage int64 }
			CPU    struct {
				Count       int
				Model       string
				LoadAverage map[string]float64
			}
			Process struct {
				PID         int
				Uptime      float64
				MemoryUsage struct{ RSS, HeapUsed, HeapTotal, External int64 }
			}
			Goroutines, Gomaxprocs int
			GC                     map[string]any
			Timestamp              int64
		}
		r.decode(&in) // fails for a fraction where an integer is asked for
		m, p := in.Memory, in.Process
		if m.Total <= 0 || m.Used < 0 || m.Free < 0 || m.Used+m.Free > m.Total+1 || m.Percentage < 0 || m.Percentage > 100 {
			t.Errorf("memory %+v", m)
		}
		if s == container && (m.Total != limit || in.CPU.Count != 3) {
			t.Errorf("%d MB and %d cores, want the container's %d and 3", m.Total, in.CPU.Count, limit)
		}
		if p.PID != os.Getpid() || p.Uptime < 0 || p.Uptime > 600 || p.MemoryUsage.RSS <= 0 || p.MemoryUsage.HeapUsed <= 0 ||
			p.MemoryUsage.HeapTotal < p.MemoryUsage.HeapUsed || p.MemoryUsage.External < 0 {
			t.Errorf("process %+v", p)
		}
		for _, name := range []string{"1min", "5min", "15min"} {
			load, ok := in.CPU.LoadAverage[name]
			if !ok || math.Abs(load*100-math.Round(load*100)) > 1e-6 {
				t.Errorf("load %s %v, want two decimals", name, load)
			}
		}
		if in.CPU.Model == "" || in.Goroutines < 1 || in.Gomaxprocs < 1 || in.GC == nil {
			t.Errorf("%s = %s", r.call, r.text)
		}
		if at := time.UnixMilli(in.Timestamp); time.Since(at).Abs() > time.Minute {
			t.Errorf("timestamp %d, want now in ms", in.Timestamp)
		}
		if want := "cpu,gc,gomaxprocs,gomemlimit,goroutines,memory,process,timestamp"; r.keys() != want {
			t.Errorf("%s has members %s, want %s", r.call, r.keys(), want)
		}
	}
}

// What Prometheus reads parses, and agrees with what was counted.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	monitor := func(_ *Config, deps *Deps) {
		deps.Memory = pool.NewMonitor(pool.MonitorConfig{Interval: time.Hour, Threshold: 1 << 40, Log: testkit.Log(t)})
	}
	s := onSQLite(t, workers(3), monitor, onRedis(t, testserver.Redis(t)))
	c := s.someone()
	for range 3 {
		c.get("/api/notes/none").want(http.StatusNotFound)
	}
	c.post("/api/metrics/vitals", `{"name":"LCP","value":2000,"rating":"good"}`).want(http.StatusCreated)
	s.occupy(t, 2)
	r := c.asAdmin().get("/metrics").want(http.StatusOK)
	if kind := r.header.Get("Content-Type"); !strings.HasPrefix(kind, "text/plain") {
		t.Errorf("%s has Content-Type %s", r.call, kind)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(r.text))
	if err != nil {
		t.Fatalf("%v in %s", err, r.text)
	}
	value := func(name string, labels map[string]string) float64 {
		t.Helper()
		sum, found := 0.0, false
		for _, m := range families[name].GetMetric() {
			matches := true
			for _, l := range m.GetLabel() {
				if want, ok := labels[l.GetName()]; ok && want != l.GetValue() {
					matches = false
				}
			}
			if matches {
				found = true
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetSummary().GetSampleCount())
			}
		}
		if !found {
			t.Errorf("no %s with %v", name, labels)
		}
		return sum
	}
	for s.server.router.Counts().Running.Load() > 0 { // the last request is recorded after its answer has been read
		time.Sleep(time.Millisecond)
	}
	tests := []struct {
		name   string
		labels map[string]string
		want   float64
	}{
		{"notesd_http_requests_total", map[string]string{"route": "/api/notes/:id", "method": "GET", "status": "404"}, 3},
		{"notesd_http_request_duration_seconds", nil, float64(c.metrics().TotalRequests - 1)}, // but for its own
		{"notesd_pool_workers", map[string]string{"shard": "0"}, 3},
		{"notesd_pool_busy_workers", map[string]string{"shard": "0"}, 2},
		{"notesd_pool_idle_workers", nil, 1},
		{"notesd_pool_stuck_workers", map[string]string{"replaced": "true"}, 0},
		{"notesd_pool_stuck_workers", map[string]string{"replaced": "false"}, 0},
		{"notesd_pool_stuck_workers_total", nil, 0},
		{"notesd_pool_stuck_workers_recovered_total", nil, 0},
		{"notesd_route_quarantines_total", nil, 0},
		{"notesd_route_releases_total", nil, 0},
		{"notesd_clients_given_up_total", nil, 0},
		{"notesd_pool_queued", nil, 0},
		{"notesd_pool_panics_total", nil, 0},
		{"notesd_pool_worker_restarts_total", nil, 0},
		{"notesd_dependency_up", map[string]string{"name": "database"}, 1},
		{"notesd_dependency_up", map[string]string{"name": "sessions"}, 1},
		{"notesd_web_vitals_total", map[string]string{"name": "LCP", "rating": "good"}, 1},
		{"notesd_memory_threshold_crossings_total", nil, 0},
		{"notesd_database_connection_waits_total", nil, 0},
		{"notesd_draining", nil, 0},
	}
	for _, tt := range tests {
		if got := value(tt.name, tt.labels); got != tt.want {
			t.Errorf("%s%v = %v, want %v", tt.name, tt.labels, got, tt.want)
		}
	}
	for _, name := range []string{"go_goroutines", "process_resident_memory_bytes", "notesd_memory_bytes", "notesd_database_connections"} {
		if value(name, nil) <= 0 {
			t.Errorf("%s is nothing", name)
		}
	}
}

// The state of the pool, down to who holds each worker, and the limits in force.
func TestRuntimeState(t *testing.T) {
	t.Parallel()
	began, finish := make(chan bool), make(chan bool)
	hold := get("/hold", func(c *router.Context) error {
		began <- true
		<-finish
		return c.Message("done")
	})
	monitor := func(cfg *Config, deps *Deps) {
		cfg.Settings = map[string]string{"RATE_LIMIT_MAX_REQUESTS": "7"}
		deps.Memory = pool.NewMonitor(pool.MonitorConfig{Interval: time.Hour, Threshold: 1 << 40, Log: testkit.Log(t)})
	}
	s := withRoutes(t, []router.Route{hold}, workers(3, func(c *pool.Config) { c.Limits[pool.Password] = 1 }), monitor)
	done := make(chan reply)
	go func() { done <- s.visitor().get("/hold") }()
	<-began
	r := s.administrator().get("/api/runtime").want(http.StatusOK)
	close(finish)
	(<-done).want(http.StatusOK)

	var in admin.State
	var times struct{ Started, Timestamp string }
	r.decode(&in)
	r.decode(&times)
	p := in.Pool
	if in.Version != "test" || !apiTime.MatchString(times.Started) || !apiTime.MatchString(times.Timestamp) || in.Monitor == nil {
		t.Errorf("%s = %s", r.call, r.text)
	}
	if p.Workers != 3 || p.Busy != 1 || p.Idle != 2 || p.QueueLength != 64 || p.QueueTimeoutMs != 1000 || p.Draining || len(p.Shards) != 1 ||
		len(p.Shards[0].Workers) != 3 || len(p.Classes) != pool.NumClasses {
		t.Errorf("pool %+v", p)
	}
	states := map[string]int{}
	for _, w := range p.Shards[0].Workers {
		states[w.State+w.Route]++
		if busy := w.State == "busy"; busy != (w.Since != nil) || w.ID == 0 {
			t.Errorf("worker %+v", w)
		}
	}
	if diff := cmp.Diff(map[string]int{"idle": 2, "busy/hold": 1}, states); diff != "" {
		t.Errorf("workers (-want +got):\n%s", diff)
	}
	for _, class := range p.Classes {
		if want := map[string]int{"password": 1}[class.Class]; class.Limit != want {
			t.Errorf("class %+v, want limit %d", class, want)
		}
	}
	if in.Memory.RSS <= 0 || len(in.Database) == 0 || in.Limits.Cores != 2 || in.Limits.Settings["RATE_LIMIT_MAX_REQUESTS"] != "7" {
		t.Errorf("%s = %s", r.call, r.text)
	}
}

// The incident files are on /api/runtime, where there is a place for them.
func TestRuntimeIncidents(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r, err := incident.New(incident.Config{Dir: dir, Log: testkit.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	s := onSQLite(t, func(_ *Config, deps *Deps) { deps.Incidents = r })
	var in admin.State
	s.administrator().get("/api/runtime").want(http.StatusOK).decode(&in)
	if got := in.Incidents; got == nil || got.Files == nil || len(got.Files) > 0 || got.Suppressed > 0 || got.Tracing {
		t.Errorf("incidents before the first: %+v, want an empty list", got)
	}
	r.Trigger("slow", "")
	r.Trigger("slow", "")
	ended, stop := context.WithCancel(t.Context())
	stop()
	r.Run(ended, func() incident.Sample { return incident.Sample{} }, func() any { return s.server.Admin().State() })
	s.administrator().get("/api/runtime?minute=true").want(http.StatusOK).decode(&in)
	if len(in.Minute) != 1 {
		t.Errorf("the last minute has %d samples, want the one that was taken", len(in.Minute))
	}
	if got := in.Incidents; len(got.Files) != 1 || got.Files[0].Reason != "slow" || got.Files[0].Bytes == 0 ||
		time.Since(time.Time(got.Files[0].Time)).Abs() > time.Minute || got.Suppressed != 1 || got.Tracing {
		t.Fatalf("incidents %+v, want one", got)
	}
	if _, err := os.Stat(filepath.Join(dir, in.Incidents.Files[0].File)); err != nil {
		t.Error(err)
	}

	var without admin.State
	onSQLite(t).administrator().get("/api/runtime").want(http.StatusOK).decode(&without)
	if without.Incidents != nil {
		t.Errorf("incidents %+v, want none where none are kept", without.Incidents)
	}
}

// Refusals are counted by their reason.
func TestRefusalsCounted(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, workers(1, func(c *pool.Config) { c.QueueLength = 0 }))
	s.occupy(t, 1)
	for range 3 {
		s.visitor().get("/api/notes").want(http.StatusServiceUnavailable)
	}
	var in admin.State
	s.administrator().get("/api/runtime").want(http.StatusOK).decode(&in)
	if n := in.Pool.Refused[pool.ErrFull]; n != 3 {
		t.Errorf("%d refused for a full queue, want 3: %+v", n, in.Pool.Refused)
	}
	if text := s.administrator().get("/metrics").text; !strings.Contains(text, `notesd_pool_refused_total{reason="queue_full"} 3`) {
		t.Error("/metrics does not count them")
	}
}
