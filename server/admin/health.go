package admin

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"notesd/pool"
	"notesd/server/router"
	"notesd/store"
)

const (
	watchEvery = time.Second
	// watchLost is the interval while a dependency is down, so that the server uses it again that
	// soon.
	watchLost = 250 * time.Millisecond
	redisTime = time.Second // the time that Redis may take to respond
)

// health handles GET /api/health: the process is alive.
func (a *Admin) health(c *router.Context) error {
	c.WriteEntry(a.healthEntry(router.Lookup{Began: c.Began()}))
	return nil
}

// healthEntry returns the response of health. Formatting the time is a third of the work, so all
// probes within a millisecond get the same response.
func (a *Admin) healthEntry(l router.Lookup) *router.Entry {
	millisecond := l.Began.Truncate(time.Millisecond)
	last := a.healthy.Load()
	if last == nil || !last.at.Equal(millisecond) {
		body := append(make([]byte, 0, 128), `{"success":true,"message":"API is healthy","timestamp":`...)
		body = append(router.Time(millisecond).Append(body), "}\n"...)
		last = &healthResponse{at: millisecond, entry: router.Entry{Body: body}}
		a.healthy.Store(last)
	}
	return &last.entry
}

// healthResponse is the last response of health, and its millisecond.
type healthResponse struct {
	at    time.Time
	entry router.Entry
}

// Dependency is one row of the readiness response.
type Dependency struct {
	Name string `json:"name"`
	// Status is up, down, or a note in a row that only informs.
	Status    string   `json:"status"`
	Decides   bool     `json:"decides"`
	LatencyMs *float64 `json:"latencyMs,omitempty"`
	Detail    string   `json:"detail,omitempty"`
	err       error    // the dependency's error, for the log only: it may name hosts
}

// readiness is the result of the last check of the dependencies. Probes read this result, so any
// number of probes costs the dependencies nothing.
type readiness struct {
	mu   sync.Mutex   // guards the fields below
	rows []Dependency // nil before the first check
}

func (r *readiness) set(rows []Dependency) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows = rows
}

func (r *readiness) get() []Dependency {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rows
}

// ready handles GET /api/health/ready. The rows of database, sessions, schema and shutdown decide
// the result. The rows of writes, pool and memory only inform: otherwise all replicas would become
// unready together. But a pool that stuck requests have made smaller decides, because it will not
// recover by itself.
func (a *Admin) ready(c *router.Context) error {
	healthy, rows := a.checks()
	status, text := http.StatusOK, "ready"
	if !healthy {
		status, text = http.StatusServiceUnavailable, "not ready"
	}
	return c.JSON(status, struct {
		Success   bool         `json:"success"`
		Status    string       `json:"status"`
		Checks    []Dependency `json:"checks"`
		Timestamp router.Time  `json:"timestamp"`
	}{status == http.StatusOK, text, rows, router.Time(time.Now())})
}

// checks returns all rows, and whether all rows that decide are up.
func (a *Admin) checks() (ready bool, rows []Dependency) {
	rows = append(a.readinessRows(), a.nonBlockingChecks()...)
	bad := slices.ContainsFunc(rows, func(row Dependency) bool { return row.Decides && row.Status != "up" })
	return !bad, rows
}

func (a *Admin) readinessRows() []Dependency {
	process := Dependency{Name: "process", Status: "up", Decides: true}
	// After a handoff the new process answers on the port.
	if a.router.ClosesConnections() && !a.cfg.HandingOver() {
		process.Status, process.Detail = "draining", "shutting down"
	}
	rows := []Dependency{process}
	if seen := a.readiness.get(); seen != nil {
		return append(rows, seen...)
	}
	return append(rows, Dependency{Name: "database", Status: "down", Decides: true, Detail: "not checked yet"})
}

// nonBlockingChecks returns the rows that do not decide, or seldom do.
func (a *Admin) nonBlockingChecks() []Dependency {
	p := a.cfg.Pool.Stats()
	row := Dependency{Name: "pool", Status: "up"}
	switch {
	case p.Stuck.Exceeded():
		row.Status, row.Detail, row.Decides = "stuck", "more workers are stuck than may be replaced", true
	case p.Busy == p.Workers:
		row.Status, row.Detail = "full", "every worker is busy"
	}
	rows := []Dependency{row}
	if a.cfg.Memory != nil || a.cfg.Pressure != nil {
		rows = append(rows, a.memoryRow())
	}
	return rows
}

// memoryRow reports that memory is short, or that so much is reserved for requests that large ones
// are rejected.
func (a *Admin) memoryRow() Dependency {
	row := Dependency{Name: "memory", Status: "up"}
	if a.cfg.Pressure != nil {
		switch now := a.cfg.Pressure.Stats(); {
		case now.Limit <= 0:
		case now.Pressure != pool.PressureNone:
			row.Status, row.Detail = now.Pressure.String(), "memory is short: the least important requests are refused"
		case now.Free < router.LargeBodyMemory:
			row.Status, row.Detail = "full", "all that can be set aside is: large notes are refused"
		}
	}
	if row.Status == "up" && a.cfg.Memory != nil && a.cfg.Memory.Stats().Above {
		row.Status, row.Detail = "high", "above MEMORY_THRESHOLD_MB"
	}
	return row
}

// WatchDependencies checks the dependencies once a second until ctx ends. It also checks them at
// once when the store's monitor finds the database lost or back. It logs each dependency that is
// lost or comes back. A database that is still connected to for the first time, or migrated, does not
// count as lost.
func (a *Admin) WatchDependencies(ctx context.Context) {
	starting, cancel := context.WithTimeout(ctx, watchEvery)
	_ = a.cfg.Store.WaitReady(starting) // the check reports why not
	cancel()
	for {
		next := watchEvery
		if !a.probe(ctx) {
			next = watchLost
		}
		select {
		case <-time.After(next):
		case <-a.cfg.Store.HealthChanged():
		case <-ctx.Done():
			return
		}
	}
}

// notConnected is the detail of a database whose first use is still under way.
const notConnected = "not connected yet"

// probe checks the dependencies, and reports whether all that decide are up. It logs each loss once.
// If the database is lost, it does not also log the schema and the sessions.
func (a *Admin) probe(ctx context.Context) (healthy bool) {
	before := a.readiness.get()
	health := a.cfg.Store.Health()
	database := answered("database", health.Err, health.Latency)
	if errors.Is(health.Err, store.ErrStarting) { // it is not lost: a first migration takes a while
		database.Detail, database.err = notConnected, nil
	}
	schema := Dependency{Name: "schema", Status: database.Status, Decides: true}
	// The database answers, but its schema does not fit this binary.
	if errors.Is(database.err, store.ErrSchema) {
		schema.Detail, schema.err = "does not fit this binary", database.err
		database.Status, database.Detail, database.err = "up", "", nil
	}
	sessions := Dependency{Name: "sessions", Status: database.Status, Decides: true, Detail: "kept in the database"}
	if a.cfg.Redis != nil {
		sessions = a.askRedis(ctx)
	}
	rows := []Dependency{database, schema, sessions, a.writes()}
	if a.cfg.Store.Engine() == store.SQLite {
		rows = append(rows, a.files())
	}
	a.readiness.set(rows)
	healthy = true
	for i, row := range rows {
		healthy = healthy && (row.Status == "up" || !row.Decides)
		if was := before == nil || before[i].err == nil; was != (row.err == nil) {
			starts := before == nil || before[i].Detail == notConnected
			a.logChange(row, starts && row.Name == database.Name)
		}
	}
	return healthy
}

// writes returns the row that tells whether the database can be written, which fails, for example,
// if the disk is full. The row does not decide: reads still work, and all replicas would become
// unready together.
func (a *Admin) writes() Dependency {
	row := Dependency{Name: "writes", Status: "up"}
	if err := a.cfg.Store.Writable(); err != nil {
		row.Status, row.Detail, row.err = "down", "the database has no place for them; the log says why", err
	}
	return row
}

// files returns the row that tells whether the database files are in place. The row decides: what
// is written while they are not in place is lost when the process ends.
func (a *Admin) files() Dependency {
	row := Dependency{Name: "files", Status: "up", Decides: true}
	if err := a.cfg.Store.FilesInPlace(); err != nil {
		row.Status, row.Detail, row.err = "down", "removed or replaced while they are open; the log says which", err
	}
	return row
}

func (a *Admin) askRedis(ctx context.Context) Dependency {
	ctx, cancel := context.WithTimeout(ctx, redisTime)
	defer cancel()
	began := time.Now()
	err := a.cfg.Redis.Writable(ctx)
	return answered("sessions", err, time.Since(began))
}

// answered returns the row of a dependency that was probed.
func answered(name string, err error, latency time.Duration) Dependency {
	row := Dependency{Name: name, Status: "up", Decides: true, LatencyMs: new(milliseconds(latency))}
	if err != nil {
		row.Status, row.Detail, row.err = "down", "not available; the log says why", err
	}
	return row
}

// logChange logs that a dependency was lost or is back, and sends an alert. The log line does not
// contain the reason if the store has logged it, which it does for a database that was never there.
func (a *Admin) logChange(row Dependency, reasonKnown bool) {
	if row.err == nil {
		a.cfg.Log.Info("dependency is back", "name", row.Name)
		a.cfg.Alerts.Dependency(row.Name, nil)
		return
	}
	attrs := []any{"name", row.Name}
	if !reasonKnown {
		attrs = append(attrs, "error", row.err)
	}
	a.cfg.Log.Warn("dependency is down", attrs...)
	a.cfg.Alerts.Dependency(row.Name, row.err)
}
