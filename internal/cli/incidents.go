package cli

import (
	"log/slog"
	"path/filepath"
	"time"

	"notesd/config"
	"notesd/internal/incident"
	"notesd/server"
	"notesd/server/admin"
)

// triggers lists the events that trigger an incident file at once. The recorder itself finds
// problems that develop slowly (latency, load).
var triggers = map[string]bool{
	"route_quarantined": true,
	"memory_high":       true,
	"memory_stage_up":   true,
	"dependency_down":   true,
	"worker_stuck":      true,
}

// newIncidents returns the recorder of incident files. It returns nil, and logs a warning, if no
// file can be written: with PostgreSQL, DATA_DIR may be read-only.
func newIncidents(cfg config.Config, alerts *admin.Alerts, log *slog.Logger) *incident.Recorder {
	r, err := incident.New(incident.Config{
		Dir:       filepath.Join(cfg.DataDir, "incidents"),
		Slow:      slowAfter(cfg),
		Log:       log,
		OnWritten: alerts.Incident,
	})
	if err != nil {
		log.Warn("no evidence of incidents is kept: DATA_DIR can't be written", "error", err)
		return nil
	}
	alerts.OnEvent = func(e admin.Event) {
		if triggers[e.Kind] {
			r.Trigger(e.Kind, e.Subject)
		}
	}
	return r
}

// slowAfter returns the time after which a request counts as slow. It is the time after which a
// request is logged as slow, or less if REQUEST_TIMEOUT is short.
func slowAfter(cfg config.Config) time.Duration { return min(time.Second, cfg.RequestTimeout/2) }

// newSampler returns the sampler of the server's process.
func newSampler(cfg config.Config, s *server.Server) *admin.Sampler {
	memoryAlert := cfg.MemoryThreshold
	if !cfg.MemoryMonitoring {
		memoryAlert = 0
	}
	return s.Admin().NewSampler(slowAfter(cfg), memoryAlert)
}
