package cli

import (
	"log/slog"
	"path/filepath"
	"time"

	"notesd/config"
	"notesd/internal/histogram"
	"notesd/internal/incident"
	"notesd/pool"
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

// A sampler takes a sample every second. For a counter, the sample has the increase since the last
// sample.
type sampler struct {
	server      *server.Server
	pool        *pool.Pool
	slow        time.Duration
	memoryAlert int64 // bytes

	stats       pool.Stats // this and the fields below hold the values of a second ago
	refused     map[pool.Reason]uint64
	took, waits *histogram.Histogram
	memory      pool.Memory
}

func newSampler(cfg config.Config, s *server.Server, p *pool.Pool) *sampler {
	memoryAlert := cfg.MemoryThreshold
	if !cfg.MemoryMonitoring {
		memoryAlert = 0
	}
	return &sampler{server: s, pool: p, slow: slowAfter(cfg), memoryAlert: memoryAlert,
		stats: p.Stats(), refused: p.RejectedTotals(), took: s.Took(), waits: p.Waits(), memory: pool.ReadMemory()}
}

// noRoom lists the reasons of rejections that mean that there are too many requests.
var noRoom = []pool.Reason{pool.ErrFull, pool.ErrTimeout, pool.ErrOverload}

func (s *sampler) sample() incident.Sample {
	stats, refused, memory := s.pool.Stats(), s.pool.RejectedTotals(), pool.ReadMemory()
	took, waits := s.server.Took(), s.pool.Waits()
	timed, waited := took.Since(s.took), waits.Since(s.waits)
	now := incident.Sample{
		Time: time.Now(),

		Workers: stats.Workers,
		Busy:    stats.Busy,
		Queued:  stats.Queued,
		Outside: stats.Yielded,

		Done:      stats.Done - s.stats.Done,
		Timed:     timed.Count(),
		Slow:      timed.Over(s.slow),
		P50:       milliseconds(timed.Quantile(0.50)),
		P99:       milliseconds(timed.Quantile(0.99)),
		WaitP50:   milliseconds(waited.Quantile(0.50)),
		WaitP99:   milliseconds(waited.Quantile(0.99)),
		Refused:   map[string]uint64{},
		Abandoned: stats.Abandoned - s.stats.Abandoned,
		Panics:    stats.Panics - s.stats.Panics,

		RSS:         memory.RSS,
		HeapLive:    memory.HeapLive,
		HeapUsed:    memory.HeapUsed,
		MemoryLimit: memory.Limit,
		MemoryAlert: s.memoryAlert,
		GCShare:     memory.GCShareSince(s.memory),
		Goroutines:  memory.Goroutines,
	}
	for why, n := range refused {
		if n -= s.refused[why]; n > 0 {
			now.Refused[string(why)] = n
		}
	}
	for _, why := range noRoom {
		now.Shed += now.Refused[string(why)]
	}
	for _, shard := range stats.Shards {
		now.BytesInFlight += shard.BytesInFlight
	}
	now.InUse = memory.HeapLive + memory.Stacks + memory.OffHeap + now.BytesInFlight
	s.stats, s.refused, s.took, s.waits, s.memory = stats, refused, took, waits, memory
	return now
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
