package admin

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"notesd/internal/histogram"
	"notesd/pool"
	"notesd/server/router"
)

// prometheusMetrics handles GET /metrics.
func (a *Admin) prometheusMetrics(c *router.Context) error {
	a.prometheus.ServeHTTP(c.Writer(), c.Request())
	return nil
}

// newPrometheus returns the handler that exposes the process, Go's runtime and the values of
// collector.
func (a *Admin) newPrometheus() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &collector{a})
	// The outer handler compresses all responses.
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{DisableCompression: true})
}

// collector reads the server's own counters when Prometheus scrapes them. So a request counts
// nothing twice.
type collector struct{ a *Admin }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("notesd_"+name, help, labels, nil)
}

var (
	descRequests = desc("http_requests_total", "Answers sent.", "method", "route", "status")
	descDuration = desc("http_request_duration_seconds", "From the header read to the answer sent.")
	descTook     = desc("worker_request_duration_seconds",
		"Of requests that had a worker: from the header read to the answer ready, without the time that "+
			"clients took.")
	descWorkers  = desc("pool_workers", "Workers of a shard.", "shard")
	descBusy     = desc("pool_busy_workers", "Workers that hold a request.", "shard")
	descInFlight = desc("pool_bytes_in_flight", "Bodies and answers held in memory.", "shard")
	descQueued   = desc("pool_queued", "Requests waiting for a worker.")
	descWait     = desc("pool_wait_seconds",
		"What requests that had a worker waited for it, those that waited for nothing included.")
	descRefused = desc("pool_refused_total", "Requests turned away by the pool.", "reason")
	descShed    = desc("turned_away_total",
		"Requests turned away, by the pool, a limit or for want of a dependency.", "reason")
	descHeld       = desc("refusals_held", "Refusals that wait to leave.")
	descOverloaded = desc("pool_class_overloaded", "1 while the class's queue stands and sheds.", "class")
	descPanics     = desc("pool_panics_total", "Requests that panicked.", "shard")
	descRestarts   = desc("pool_worker_restarts_total", "Workers retired and replaced.", "shard")
	descQuarantine = desc("route_quarantined",
		"1 while the route's requests are refused because it keeps panicking.", "route")
	descOpened    = desc("route_quarantines_total", "Times that a route was quarantined.")
	descReleased  = desc("route_releases_total", "Times that a route was well again.")
	descIdle      = desc("pool_idle_workers", "Workers that are free.")
	descStuck     = desc("pool_stuck_workers", "Requests that were found stuck and have not ended.", "replaced")
	descFound     = desc("pool_stuck_workers_total", "Requests that were found stuck.")
	descRecovered = desc("pool_stuck_workers_recovered_total", "Of those, have ended after all.")
	descClients   = desc("clients_given_up_total",
		"Connections, bodies and answers that were given up on, by what the client did.", "what")
	descGuesses = desc("admin_token_guesses_total",
		"Requests with a wrong administrators' token, or with any while there were too many wrong ones.")
	descMemory = desc("memory_bytes",
		"Memory of the process; needed is what no collection would give back, bound the limit that "+
			"stages are of.", "kind")
	descStage     = desc("memory_stage", "0 calm, 1 bulk work is refused, 2 caches go, 3 all but reads is refused.")
	descCrossings = desc("memory_threshold_crossings_total", "Times that memory rose above MEMORY_THRESHOLD_MB.")
	descAbove     = desc("memory_above_threshold", "1 while memory is above MEMORY_THRESHOLD_MB.")
	descDisk      = desc("data_dir_bytes", "The disk that DATA_DIR is on.", "kind")
	descEvents    = desc("events_total", "Events that alerts were sent for.", "event")
	descCache     = desc("cache_bytes", "What copies of sessions, notes and lists take.")
	descEntries   = desc("cache_entries", "Copies of sessions, notes and lists.")
	descTrusted   = desc("cache_trusted",
		"1 while copies may be used: what other processes change is heard of in time.")
	descEvicted = desc("cache_evicted_total", "Copies that made room for others.")
	descLookups = desc("cache_lookups_total",
		"Questions for copies. Shared are those misses which another's read of the database "+
			"answered.", "kind", "result")
	descConns     = desc("database_connections", "Connections to the database.", "pool", "state")
	descConnWaits = desc("database_connection_waits_total",
		"Waits for a connection; the pool is there to keep it at 0.", "pool")
	descDependency = desc("dependency_up", "1 if the last look found it up.", "name")
	descFallbacks  = desc("rate_limit_fallbacks_total", "Decisions taken in memory because Redis was away.")
	descVitals     = desc("web_vitals_total", "Web vitals that browsers reported.", "name", "rating")
	descStreams    = desc("event_streams", "Open streams of events.")
	descSent       = desc("stream_events_total",
		"Events that streams sent, or that a slow stream got the newest number in place of.", "result")
	descStored = desc("stored_bytes", "What all users store, as the last sweep has counted it.", "kind")

	descDraining = desc("draining", "1 from SIGTERM on.")
)

// Describe implements prometheus.Collector. It describes nothing, so that Prometheus checks the
// collected metrics instead.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	e := emitter{out}
	c.requests(e)
	c.pool(e)
	c.memory(e)
	c.dependencies(e)
	// Kinds without an event are exposed as well, because an increase has to begin somewhere.
	for _, kind := range eventKinds {
		e.counter(descEvents, float64(c.a.cfg.Alerts.count(kind)), kind)
	}
}

type emitter struct{ out chan<- prometheus.Metric }

func (e emitter) counter(d *prometheus.Desc, v float64, labels ...string) {
	e.out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

func (e emitter) gauge(d *prometheus.Desc, v float64, labels ...string) {
	e.out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

// quantiles are the quantiles of a summary.
var quantiles = []float64{0.5, 0.95, 0.99}

func (e emitter) summary(d *prometheus.Desc, h *histogram.Histogram, labels ...string) {
	values := map[float64]float64{}
	for _, q := range quantiles {
		values[q] = h.Quantile(q).Seconds()
	}
	e.out <- prometheus.MustNewConstSummary(d, h.Count(), h.Sum().Seconds(), values, labels...)
}

// bounds are the bounds of a histogram's buckets. Prometheus can add buckets of several processes,
// and can use those of a single minute.
var bounds = []time.Duration{time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond,
	25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
	500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second}

func (e emitter) histogram(d *prometheus.Desc, h *histogram.Histogram) {
	buckets, count := map[float64]uint64{}, h.Count()
	for _, bound := range bounds {
		buckets[bound.Seconds()] = count - h.Over(bound)
	}
	e.out <- prometheus.MustNewConstHistogram(d, count, h.Sum().Seconds(), buckets)
}

func (c *collector) requests(e emitter) {
	e.histogram(descTook, c.a.tally.handled())
	e.counter(descGuesses, float64(c.a.guard.Guesses()))
	c.a.clients().each(func(what string, n uint64) { e.counter(descClients, float64(n), what) })
	c.a.tally.each(func(method, pattern string, status int, n uint64) {
		e.counter(descRequests, float64(n), method, pattern, strconv.Itoa(status))
	})
	e.summary(descDuration, c.a.tally.times())
	if stored := c.a.cfg.Store.Sizes(); stored != nil {
		e.gauge(descStored, float64(stored.NoteBytes), "notes")
		e.gauge(descStored, float64(stored.HistoryBytes), "history")
	}
	streams := c.a.cfg.Streams()
	e.gauge(descStreams, float64(streams.Listeners))
	e.counter(descSent, float64(streams.Sent), "sent")
	e.counter(descSent, float64(streams.Dropped), "dropped")
	c.a.cfg.Vitals(func(name, rating string, n uint64) { e.counter(descVitals, float64(n), name, rating) })
}

func (c *collector) pool(e emitter) {
	p := c.a.cfg.Pool.Stats()
	e.gauge(descQueued, float64(p.Queued))
	e.histogram(descWait, c.a.cfg.Pool.Waits())
	for reason, n := range p.Rejected {
		e.counter(descRefused, float64(n), string(reason))
	}
	for reason, n := range c.a.cfg.Pool.RejectedTotals() {
		e.counter(descShed, float64(n), string(reason))
	}
	e.gauge(descHeld, float64(p.Delayed))
	for _, class := range p.Classes {
		e.gauge(descOverloaded, oneIf(class.Overloaded), class.Class)
	}
	for _, q := range p.Breakers {
		if q.Quarantined {
			e.gauge(descQuarantine, 1, q.Route)
		}
	}
	e.counter(descOpened, float64(p.Quarantined))
	e.counter(descReleased, float64(p.Released))
	e.gauge(descIdle, float64(p.Idle))
	e.gauge(descStuck, float64(p.Stuck.Replaced), "true")
	e.gauge(descStuck, float64(len(p.Stuck.Permits)-p.Stuck.Replaced), "false")
	e.counter(descFound, float64(p.Stuck.Found))
	e.counter(descRecovered, float64(p.Stuck.Recovered))
	for _, shard := range p.Shards {
		id := strconv.Itoa(shard.ID)
		e.gauge(descWorkers, float64(len(shard.Workers)), id)
		e.gauge(descBusy, float64(shard.Busy), id)
		e.gauge(descInFlight, float64(shard.BytesInFlight), id)
		e.counter(descPanics, float64(shard.Panics), id)
		e.counter(descRestarts, float64(shard.Restarts), id)
	}
}

func (c *collector) memory(e emitter) {
	m := pool.ReadMemory()
	for kind, n := range map[string]int64{"rss": m.RSS, "heap": m.HeapUsed, "limit": m.Limit,
		"container": m.CgroupUsed} {
		e.gauge(descMemory, float64(n), kind)
	}
	c.cache(e)
	if c.a.cfg.Pressure != nil {
		st := c.a.cfg.Pressure.Stats()
		e.gauge(descStage, float64(st.Pressure))
		if st.Limit > 0 {
			e.gauge(descMemory, float64(st.Needed), "needed")
			e.gauge(descMemory, float64(st.Limit), "bound")
		}
	}
	if c.a.cfg.Memory != nil {
		st := c.a.cfg.Memory.Stats()
		e.counter(descCrossings, float64(st.Crossings))
		e.gauge(descAbove, oneIf(st.Above))
	}
	if disk := c.a.disk(); disk != nil {
		e.gauge(descDisk, float64(disk.Free), "free")
		e.gauge(descDisk, float64(disk.Total), "total")
	}
}

func (c *collector) cache(e emitter) {
	st := c.a.cfg.Cache.Stats()
	e.gauge(descCache, float64(st.Bytes))
	e.gauge(descEntries, float64(st.Entries))
	e.gauge(descTrusted, oneIf(st.Trusted))
	e.counter(descEvicted, float64(st.Evicted))
	for kind, n := range st.Kinds {
		e.counter(descLookups, float64(n.Hits), kind, "hit")
		e.counter(descLookups, float64(n.Misses), kind, "miss")
		e.counter(descLookups, float64(n.Shared), kind, "shared")
	}
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

func (c *collector) dependencies(e emitter) {
	for name, db := range c.a.cfg.Store.Stats() {
		e.gauge(descConns, float64(db.InUse), name, "in_use")
		e.gauge(descConns, float64(db.Idle), name, "idle")
		e.counter(descConnWaits, float64(db.WaitCount), name)
	}
	e.counter(descFallbacks, float64(c.a.cfg.Limiter.Fallbacks()))
	for _, row := range c.a.readiness.get() {
		e.gauge(descDependency, oneIf(row.Status == "up"), row.Name)
	}
	e.gauge(descDraining, oneIf(c.a.router.ClosesConnections()))
}
