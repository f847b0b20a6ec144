package server

import (
	"context"
	"errors"
	"log/slog"
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
func (s *Server) health(c *router.Context) error {
	c.WriteEntry(s.healthEntry(router.Lookup{Began: c.Began()}))
	return nil
}

// healthEntry returns the response of health. Formatting the time is a third of the work, so all
// probes within a millisecond get the same response.
func (s *Server) healthEntry(l router.Lookup) *router.Entry {
	millisecond := l.Began.Truncate(time.Millisecond)
	last := s.healthy.Load()
	if last == nil || !last.at.Equal(millisecond) {
		body := append(make([]byte, 0, 128), `{"success":true,"message":"API is healthy","timestamp":`...)
		body = append(router.Time(millisecond).Append(body), "}\n"...)
		last = &healthAnswer{at: millisecond, entry: router.Entry{Body: body}}
		s.healthy.Store(last)
	}
	return &last.entry
}

// healthAnswer is the last response of health, and its millisecond.
type healthAnswer struct {
	at    time.Time
	entry router.Entry
}

// dependency is one row of the readiness response.
type dependency struct {
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
	rows []dependency // nil before the first check
}

func (r *readiness) set(rows []dependency) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows = rows
}

func (r *readiness) get() []dependency {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rows
}

// ready handles GET /api/health/ready. The rows of database, sessions, schema and shutdown decide
// the result. The rows of writes, pool and memory only inform: otherwise all replicas would become
// unready together. But a pool that stuck requests have made smaller decides, because it will not
// recover by itself.
func (s *Server) ready(c *router.Context) error {
	well, rows := s.checks()
	status, text := http.StatusOK, "ready"
	if !well {
		status, text = http.StatusServiceUnavailable, "not ready"
	}
	return c.JSON(status, struct {
		Success   bool         `json:"success"`
		Status    string       `json:"status"`
		Checks    []dependency `json:"checks"`
		Timestamp router.Time  `json:"timestamp"`
	}{status == http.StatusOK, text, rows, router.Time(time.Now())})
}

// checks returns all rows, and whether all rows that decide are up.
func (s *Server) checks() (ready bool, rows []dependency) {
	rows = append(s.readinessRows(), s.informing()...)
	bad := slices.ContainsFunc(rows, func(row dependency) bool { return row.Decides && row.Status != "up" })
	return !bad, rows
}

func (s *Server) readinessRows() []dependency {
	process := dependency{Name: "process", Status: "up", Decides: true}
	// After a handoff the new process answers on the port.
	if s.router.ClosesConnections() && !s.handoff.begun() {
		process.Status, process.Detail = "draining", "shutting down"
	}
	rows := []dependency{process}
	if seen := s.readiness.get(); seen != nil {
		return append(rows, seen...)
	}
	return append(rows, dependency{Name: "database", Status: "down", Decides: true, Detail: "not checked yet"})
}

// informing returns the rows that do not decide, or seldom do.
func (s *Server) informing() []dependency {
	p := s.pool.Stats()
	row := dependency{Name: "pool", Status: "up"}
	switch {
	case p.Stuck.Exceeded():
		row.Status, row.Detail, row.Decides = "stuck", "more workers are stuck than may be replaced", true
	case p.Busy == p.Workers:
		row.Status, row.Detail = "full", "every worker is busy"
	}
	rows := []dependency{row}
	if s.memory != nil || s.stages != nil {
		rows = append(rows, s.memoryRow())
	}
	return rows
}

// memoryRow reports that memory is short, or that so much is reserved for requests that large ones
// are rejected.
func (s *Server) memoryRow() dependency {
	row := dependency{Name: "memory", Status: "up"}
	if s.stages != nil {
		switch now := s.stages.Stats(); {
		case now.Limit <= 0:
		case now.Pressure != pool.PressureNone:
			row.Status, row.Detail = now.Pressure.String(), "memory is short: the least important requests are refused"
		case now.Free < router.LargeBodyMemory:
			row.Status, row.Detail = "full", "all that can be set aside is: large notes are refused"
		}
	}
	if row.Status == "up" && s.memory != nil && s.memory.Stats().Above {
		row.Status, row.Detail = "high", "above MEMORY_THRESHOLD_MB"
	}
	return row
}

// watch checks the dependencies once a second until ctx ends. It also checks them at once when the
// store's monitor finds the database lost or back. It logs each dependency that is lost or comes
// back. A database to which the first connection is still being made does not count as lost.
func (s *Server) watch(ctx context.Context) {
	starting, cancel := context.WithTimeout(ctx, watchEvery)
	_ = s.store.WaitReady(starting) // the check reports why not
	cancel()
	for {
		next := watchEvery
		if !s.look(ctx) {
			next = watchLost
		}
		select {
		case <-time.After(next):
		case <-s.store.HealthChanged():
		case <-ctx.Done():
			return
		}
	}
}

// look checks the dependencies, and reports whether all that decide are up. It logs each loss once.
// If the database is lost, it does not also log the schema and the sessions.
func (s *Server) look(ctx context.Context) (well bool) {
	before := s.readiness.get()
	health := s.store.Health()
	database := answered("database", health.Err, health.Latency)
	schema := dependency{Name: "schema", Status: database.Status, Decides: true}
	// The database answers, but its schema does not fit this binary.
	if errors.Is(database.err, store.ErrSchema) {
		schema.Detail, schema.err = "does not fit this binary", database.err
		database.Status, database.Detail, database.err = "up", "", nil
	}
	sessions := dependency{Name: "sessions", Status: database.Status, Decides: true, Detail: "kept in the database"}
	if s.redis != nil {
		sessions = s.askRedis(ctx)
	}
	rows := []dependency{database, schema, sessions, s.writes()}
	if s.store.Engine() == store.SQLite {
		rows = append(rows, s.files())
	}
	s.readiness.set(rows)
	well = true
	for i, row := range rows {
		well = well && (row.Status == "up" || !row.Decides)
		if was := before == nil || before[i].err == nil; was != (row.err == nil) {
			s.tellOf(row, before == nil && row.Name == database.Name)
		}
	}
	return well
}

// writes returns the row that tells whether the database can be written, which fails, for example,
// if the disk is full. The row does not decide: reads still work, and all replicas would become
// unready together.
func (s *Server) writes() dependency {
	row := dependency{Name: "writes", Status: "up"}
	if err := s.store.Writable(); err != nil {
		row.Status, row.Detail, row.err = "down", "the database has no place for them; the log says why", err
	}
	return row
}

// files returns the row that tells whether the database files are in place. The row decides: what
// is written while they are not in place is lost when the process ends.
func (s *Server) files() dependency {
	row := dependency{Name: "files", Status: "up", Decides: true}
	if err := s.store.FilesInPlace(); err != nil {
		row.Status, row.Detail, row.err = "down", "removed or replaced while they are open; the log says which", err
	}
	return row
}

func (s *Server) askRedis(ctx context.Context) dependency {
	ctx, cancel := context.WithTimeout(ctx, redisTime)
	defer cancel()
	began := time.Now()
	err := s.redis.Writable(ctx)
	return answered("sessions", err, time.Since(began))
}

// answered returns the row of a dependency that was probed.
func answered(name string, err error, latency time.Duration) dependency {
	row := dependency{Name: name, Status: "up", Decides: true, LatencyMs: new(milliseconds(latency))}
	if err != nil {
		row.Status, row.Detail, row.err = "down", "not available; the log says why", err
	}
	return row
}

// tellOf logs that a dependency was lost or is back, and sends an alert. The log line does not
// contain the reason if the store has logged it, which it does for a database that was never there.
func (s *Server) tellOf(row dependency, reasonKnown bool) {
	if row.err == nil {
		s.log.Info("dependency is back", "name", row.Name)
		s.alerts.Dependency(row.Name, nil)
		return
	}
	attrs := []any{"name", row.Name}
	if !reasonKnown {
		attrs = append(attrs, "error", row.err)
	}
	s.log.Warn("dependency is down", attrs...)
	s.alerts.Dependency(row.Name, row.err)
}

// tellOfGuesses logs that a network guesses at the administrator token, and sends an event.
func (s *Server) tellOfGuesses(network string, guesses uint64) {
	s.log.LogAttrs(context.Background(), slog.LevelWarn, "somebody guesses at the administrators' token",
		slog.String("network", network), slog.Uint64("wrong_since_start", guesses))
	s.alerts.TokenGuessed(network, guesses)
}
