package server

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"notesd/pool"
	"notesd/store"
)

const (
	watchEvery = time.Second
	watchLost  = 250 * time.Millisecond // while something is away: it is back in use as soon
	redisTime  = time.Second            // that Redis may take to answer
)

// health answers GET /api/health: the process is alive. To write the time is a
// third of the work, so all probes of a millisecond get one answer.
func health(s *Server, x *exchange) error {
	millisecond := x.began.Truncate(time.Millisecond)
	last := s.healthy.Load()
	if last == nil || !last.at.Equal(millisecond) {
		body := append(make([]byte, 0, 128), `{"success":true,"message":"API is healthy","timestamp":`...)
		last = &healthAnswer{millisecond, append(stamp(millisecond).append(body), "}\n"...)}
		s.healthy.Store(last)
	}
	x.lend(http.StatusOK, last.body)
	return nil
}

// healthAnswer is what was answered last, at that millisecond.
type healthAnswer struct {
	at   time.Time
	body []byte
}

// dependency is one row of the readiness answer.
type dependency struct {
	Name      string   `json:"name"`
	Status    string   `json:"status"` // up, down, or a note for what only informs
	Decides   bool     `json:"decides"`
	LatencyMs *float64 `json:"latencyMs,omitempty"`
	Detail    string   `json:"detail,omitempty"`
	err       error    // its own trouble, for the log: it may name hosts
}

// readiness is what the last look at the dependencies saw. Probes read it, so
// that any number of them costs the dependencies nothing.
type readiness struct {
	mu   sync.Mutex   // guards what follows
	rows []dependency // nil before the first look
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

// ready answers GET /api/health/ready. Database, sessions, schema and leaving
// decide; writes, pool and memory inform: else all replicas would leave together. But a
// pool that stuck requests have made smaller decides: it will not get well by
// itself.
func ready(s *Server, x *exchange) error {
	well, rows := s.checks()
	status, text := http.StatusOK, "ready"
	if !well {
		status, text = http.StatusServiceUnavailable, "not ready"
	}
	return x.reply(status, struct {
		Success   bool         `json:"success"`
		Status    string       `json:"status"`
		Checks    []dependency `json:"checks"`
		Timestamp stamp        `json:"timestamp"`
	}{status == http.StatusOK, text, rows, stamp(time.Now())})
}

// checks are all rows, and whether those that decide are up.
func (s *Server) checks() (ready bool, rows []dependency) {
	rows = append(s.readinessRows(), s.informing()...)
	bad := slices.ContainsFunc(rows, func(row dependency) bool { return row.Decides && row.Status != "up" })
	return !bad, rows
}

func (s *Server) readinessRows() []dependency {
	process := dependency{Name: "process", Status: "up", Decides: true}
	if s.leaving.Load() && !s.handover.begun() { // after a handover the port is answered: by the heir
		process.Status, process.Detail = "draining", "shutting down"
	}
	rows := []dependency{process}
	if seen := s.readiness.get(); seen != nil {
		return append(rows, seen...)
	}
	return append(rows, dependency{Name: "database", Status: "down", Decides: true, Detail: "not checked yet"})
}

// informing are the rows that decide nothing, or seldom.
func (s *Server) informing() []dependency {
	p := s.pool.Stats()
	row := dependency{Name: "pool", Status: "up"}
	switch {
	case p.Stuck.Above():
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

// memoryRow says when memory is short, and when so much is set aside for requests that large ones are refused.
func (s *Server) memoryRow() dependency {
	row := dependency{Name: "memory", Status: "up"}
	if s.stages != nil {
		switch now := s.stages.Stats(); {
		case now.Limit <= 0:
		case now.Stage != pool.StageCalm:
			row.Status, row.Detail = now.Stage.String(), "memory is short: the least important requests are refused"
		case now.Free < largeBody*bodyCopies:
			row.Status, row.Detail = "full", "all that can be set aside is: large notes are refused"
		}
	}
	if row.Status == "up" && s.memory != nil && s.memory.Stats().Above {
		row.Status, row.Detail = "high", "above MEMORY_THRESHOLD_MB"
	}
	return row
}

// watch looks at the dependencies once a second until ctx ends, at once when the store's
// monitor finds the database gone or back, and tells of each that comes or goes. A database
// that is just being connected to is not away.
func (s *Server) watch(ctx context.Context) {
	starting, cancel := context.WithTimeout(ctx, watchEvery)
	_ = s.store.WaitReady(starting) // the look says why not
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

// look reports whether all is there that decides. It tells once of what is
// lost: not of the schema and the sessions, too, when it is the database.
func (s *Server) look(ctx context.Context) (well bool) {
	before := s.readiness.get()
	health := s.store.Health()
	database := answered("database", health.Err, health.Latency)
	schema := dependency{Name: "schema", Status: database.Status, Decides: true}
	if errors.Is(database.err, store.ErrSchema) { // it answers, but not to this binary
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

// writes informs that the disk is full, say. It decides nothing: reads go on,
// and all replicas would leave together.
func (s *Server) writes() dependency {
	row := dependency{Name: "writes", Status: "up"}
	if err := s.store.Writable(); err != nil {
		row.Status, row.Detail, row.err = "down", "the database has no place for them; the log says why", err
	}
	return row
}

// files decides: what is written while they are not in place ends with the process.
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

// answered is the row of a dependency that was asked.
func answered(name string, err error, latency time.Duration) dependency {
	row := dependency{Name: name, Status: "up", Decides: true, LatencyMs: new(milliseconds(latency))}
	if err != nil {
		row.Status, row.Detail, row.err = "down", "not available; the log says why", err
	}
	return row
}

// tellOf logs that a dependency has come or gone, and sends an alert. The reason
// is left out where the store has logged it: of a database that never was there.
func (s *Server) tellOf(row dependency, reasonKnown bool) {
	if row.err == nil {
		s.log.Info("dependency is back", "name", row.Name)
		s.alerts.Send(Event{Kind: "dependency_up", Subject: row.Name})
		return
	}
	attrs := []any{"name", row.Name}
	if !reasonKnown {
		attrs = append(attrs, "error", row.err)
	}
	s.log.Warn("dependency is down", attrs...)
	s.alerts.Send(Event{Kind: "dependency_down", Subject: row.Name})
}
