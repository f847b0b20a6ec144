package cli

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/trace"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"notesd/config"
	"notesd/internal/incident"
	"notesd/internal/upgrade"
	"notesd/pool"
	"notesd/server"
	"notesd/server/admin"
	"notesd/store"
)

// sampled is a server that serves until the test ends, with its sampler, pool and address.
func sampled(t testing.TB) (*admin.Sampler, *pool.Pool, string) {
	t.Helper()
	cfg, err := config.Load([]string{"DATA_DIR=" + t.TempDir(), "WORKERS_PER_SHARD=1", "MAX_WORKERS=1",
		"QUEUE_LENGTH=0", "MEMORY_THRESHOLD_MB=400"})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	db, err := store.Open(t.Context(), store.Config{URL: cfg.DatabaseURL.Reveal(), MaxConns: cfg.Runtime.DatabaseMaxConns, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	workers := newPool(cfg, nil, log)
	s, err := server.New(serverConfig(cfg, []string{"secret"}), server.Deps{Store: db, Pool: workers, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := new(upgrade.Inherited).Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		stop()
		if err := errors.Join(<-ended, db.Close()); err != nil {
			t.Error(err)
		}
	})
	return newSampler(cfg, s), workers, "http://" + ln.Addr().String()
}

// A sample counts its second alone: requests that were answered, those that
// were refused with the reason, how long they took and what they waited.
func TestSample(t *testing.T) {
	sampler, workers, url := sampled(t)
	get := func(want int) {
		t.Helper()
		answer, err := http.Get(url + "/api/auth/me")
		if err != nil {
			t.Fatal(err)
		}
		if err := answer.Body.Close(); err != nil || answer.StatusCode != want {
			t.Errorf("GET /api/auth/me = %d, %v, want %d", answer.StatusCode, err, want)
		}
	}
	for range 3 {
		get(http.StatusUnauthorized)
	}
	turn, err := workers.Acquire(t.Context(), pool.Request{Class: pool.Read})
	if err != nil {
		t.Fatal(err)
	}
	get(http.StatusServiceUnavailable)
	workers.AddInFlight(0, 5)
	s := sampler.Sample()
	if s.P50 <= 0 || s.P99 < s.P50 || s.P99 > 1000 || s.RSS == 0 || s.HeapLive == 0 || s.HeapUsed == 0 || s.InUse <= s.HeapLive ||
		s.Goroutines == 0 || s.GCShare < 0 || s.GCShare > 1 || time.Since(s.Time) > time.Minute {
		t.Errorf("sample %+v", s)
	}
	want := incident.Sample{Workers: 1, Busy: 1, Done: 3, Timed: 3, Refused: map[string]uint64{"queue_full": 1}, Shed: 1,
		MemoryAlert: 400 << 20, BytesInFlight: 5}
	if diff := cmp.Diff(want, counted(s)); diff != "" {
		t.Errorf("sample (-want +got):\n%s", diff)
	}
	workers.AddInFlight(0, -5)
	turn.Release()
	s = sampler.Sample()
	want = incident.Sample{Workers: 1, Done: 1, Refused: map[string]uint64{}, MemoryAlert: 400 << 20}
	if diff := cmp.Diff(want, counted(s)); diff != "" {
		t.Errorf("the next sample (-want +got):\n%s", diff)
	}
}

// counted is a sample without what differs from run to run.
func counted(s incident.Sample) incident.Sample {
	s.Time, s.P50, s.P99, s.WaitP50, s.WaitP99 = time.Time{}, 0, 0, 0, 0
	s.RSS, s.HeapLive, s.HeapUsed, s.InUse, s.MemoryLimit, s.GCShare, s.Goroutines = 0, 0, 0, 0, 0, 0, 0
	return s
}

// A sample is taken every second, so it may cost a thousandth of one.
func BenchmarkSample(b *testing.B) {
	sampler, _, _ := sampled(b)
	for b.Loop() {
		sampler.Sample()
	}
}

// What the flight recorder costs a request, client included: why it runs only
// when there is trouble. The collector is out of it but for a memory limit, for
// what the recorder holds would make it run less often.
func BenchmarkTracing(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(400 << 20))
	_, _, url := sampled(b)
	for i := range 8 { // in turns
		b.Run([]string{"off", "on"}[i%2], func(b *testing.B) {
			if i%2 == 1 {
				recorder := trace.NewFlightRecorder(trace.FlightRecorderConfig{MaxBytes: 8 << 20})
				if err := recorder.Start(); err != nil {
					b.Fatal(err)
				}
				defer recorder.Stop()
			}
			before := cpuTime(b)
			for b.Loop() {
				answer, err := http.Get(url + "/api/auth/me")
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, answer.Body); err != nil {
					b.Fatal(err)
				}
				_ = answer.Body.Close()
			}
			b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}

// cpuTime is what the process has used.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Events that mean trouble leave a file, of which the webhook is told; good news leave none.
func TestEventsLeaveEvidence(t *testing.T) {
	cfg, err := config.Load([]string{"DATA_DIR=" + t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	alerts := newAlerts(cfg, log)
	r := newIncidents(cfg, alerts, log)
	for _, kind := range []string{"memory_normal", "route_released", "dependency_up", "incident"} {
		alerts.Send(admin.Event{Kind: kind})
	}
	alerts.Send(admin.Event{Kind: "memory_high", Subject: "process memory"})
	ctx, stop := context.WithCancel(t.Context())
	stop()
	r.Run(ctx, func() incident.Sample { return incident.Sample{} }, func() any { return nil })
	if got := r.Stats(); len(got.Files) != 1 || got.Files[0].Reason != "memory_high" || got.Suppressed != 0 {
		t.Errorf("after the events: %+v, want one file of memory_high", got)
	}
}

// Where DATA_DIR can't be written there is no evidence, and the log says so.
func TestNoPlaceForEvidence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	cfg := config.Config{DataDir: file}
	log := slog.New(slog.NewTextHandler(&said, nil))
	if r := newIncidents(cfg, newAlerts(cfg, log), log); r != nil || !strings.Contains(said.String(), "no evidence of incidents is kept") {
		t.Errorf("newIncidents() = %v, said %q", r, said.String())
	}
}
