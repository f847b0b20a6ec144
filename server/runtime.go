package server

import (
	"database/sql"
	"net/http"
	"runtime"
	"syscall"
	"time"

	"notesd/internal/cache"
	"notesd/internal/histogram"
	"notesd/internal/incident"
	"notesd/internal/redis"
	"notesd/pool"
)

// poolJSON is the pool as /api/runtime shows it; times are milliseconds.
type poolJSON struct {
	Workers        int                    `json:"workers"`
	Busy           int                    `json:"busy"`
	Idle           int                    `json:"idle"` // counted apart from busy: at rest it is workers, or one was lost
	Queued         int                    `json:"queued"`
	Outside        int                    `json:"outside"` // gave their worker back to wait for their client
	QueueLength    int                    `json:"queueLength"`
	QueueTimeoutMs float64                `json:"queueTimeoutMs"`
	Done           uint64                 `json:"done"`
	Refused        map[pool.Reason]uint64 `json:"refused"`
	Abandoned      uint64                 `json:"abandoned"`
	Panics         uint64                 `json:"panics"`
	Goexits        uint64                 `json:"goexits"`
	Restarts       uint64                 `json:"restarts"`
	Draining       bool                   `json:"draining"`
	Held           int                    `json:"held"`    // refusals that wait to leave
	Crowded        bool                   `json:"crowded"` // more requests are ready to run than may wait: newcomers are refused
	Sheds          shedsJSON              `json:"sheds"`
	PanicKinds     []panicKindJSON        `json:"panicKinds"`
	Quarantine     []quarantineJSON       `json:"quarantine"`
	Quarantined    uint64                 `json:"quarantined"` // routes that were, since the start
	Released       uint64                 `json:"released"`
	Stuck          stuckJSON              `json:"stuck"`
	Classes        []classJSON            `json:"classes"`
	Shards         []shardJSON            `json:"shards"`
}

// quarantineJSON is a route that panicked and was not well since.
type quarantineJSON struct {
	Route       string `json:"route"`
	Panics      int    `json:"panics"`
	Quarantined bool   `json:"quarantined"`
	Next        *stamp `json:"nextTrial,omitempty"`
}

// panicKindJSON is the panics of one fingerprint.
type panicKindJSON struct {
	Fingerprint string `json:"fingerprint"`
	Route       string `json:"route"`
	Frame       string `json:"frame"` // where it happened
	Count       uint64 `json:"count"`
	First       stamp  `json:"first"`
	Last        stamp  `json:"last"`
}

// stuckJSON is the requests that were found stuck.
type stuckJSON struct {
	Found     uint64          `json:"found"`
	Recovered uint64          `json:"recovered"` // have ended after all
	Replaced  int             `json:"replaced"`  // of the others, whose slot another worker has
	Bound     int             `json:"bound"`     // the most that may be
	Turns     []stuckTurnJSON `json:"turns"`
}

type stuckTurnJSON struct {
	Worker      uint64 `json:"worker"`
	Replacement uint64 `json:"replacement,omitempty"`
	Route       string `json:"route"`
	Class       string `json:"class"`
	Since       stamp  `json:"since"`
}

type classJSON struct {
	Class      string                 `json:"class"`
	Limit      int                    `json:"limit"` // 0: none
	Share      int                    `json:"share"` // workers guaranteed to it
	Busy       int                    `json:"busy"`
	Queued     int                    `json:"queued"`
	Overloaded bool                   `json:"overloaded"` // the newest goes first, who waits for long is turned away
	Refused    map[pool.Reason]uint64 `json:"refused"`
}

// shedsJSON is who was turned away since the start, and in the last quarter of
// an hour: with the pool's refusals those by limits and for lost dependencies.
type shedsJSON struct {
	Total   map[pool.Reason]uint64 `json:"total"`
	Minutes []shedMinuteJSON       `json:"minutes"`
	People  []shedPersonJSON       `json:"people"`
}

type shedMinuteJSON struct {
	Begins stamp                  `json:"begins"`
	Shed   map[pool.Reason]uint64 `json:"shed"`
}

type shedPersonJSON struct {
	Person string      `json:"person"` // user:ID, or ip:ADDRESS of one who is not known to be signed in
	Reason pool.Reason `json:"reason"`
	Count  uint64      `json:"count"`
}

func shedsOutput(p *pool.Pool) shedsJSON {
	sheds := p.Sheds()
	out := shedsJSON{Total: p.ShedTotals(), Minutes: make([]shedMinuteJSON, len(sheds.Minutes)),
		People: make([]shedPersonJSON, len(sheds.People))}
	for i, m := range sheds.Minutes {
		out.Minutes[i] = shedMinuteJSON{stamp(m.Begins), m.Shed}
	}
	for i, person := range sheds.People {
		out.People[i] = shedPersonJSON(person)
	}
	return out
}

type shardJSON struct {
	ID            int          `json:"id"`
	Busy          int          `json:"busy"`
	Done          uint64       `json:"done"`
	Panics        uint64       `json:"panics"`
	Restarts      uint64       `json:"restarts"`
	BytesInFlight int64        `json:"bytesInFlight"`
	Wait          summaryJSON  `json:"wait"`
	Service       summaryJSON  `json:"service"`
	Workers       []workerJSON `json:"workers"`
}

type summaryJSON struct {
	Count  uint64  `json:"count"`
	MeanMs float64 `json:"meanMs"`
	P50Ms  float64 `json:"p50Ms"`
	P95Ms  float64 `json:"p95Ms"`
	P99Ms  float64 `json:"p99Ms"`
	MaxMs  float64 `json:"maxMs"`
}

type workerJSON struct {
	ID    uint64 `json:"id"`
	State string `json:"state"`
	Route string `json:"route,omitempty"`
	Since *stamp `json:"since,omitempty"`
}

func poolOutput(p pool.Stats) poolJSON {
	out := poolJSON{Workers: p.Workers, Busy: p.Busy, Idle: p.Idle, Queued: p.Queued, Outside: p.Outside, QueueLength: p.QueueLength,
		QueueTimeoutMs: milliseconds(p.QueueTimeout), Done: p.Done, Refused: p.Refused, Abandoned: p.Abandoned,
		Panics: p.Panics, Goexits: p.Goexits, Restarts: p.Restarts, Draining: p.Draining, Held: p.Held, Crowded: p.Crowded, Quarantined: p.Quarantined, Released: p.Released, Stuck: stuckOutput(p.Stuck)}
	out.PanicKinds = make([]panicKindJSON, len(p.PanicKinds))
	for i, kind := range p.PanicKinds {
		out.PanicKinds[i] = panicKindJSON{Fingerprint: kind.Fingerprint, Route: kind.Route, Frame: kind.Frame, Count: kind.Count,
			First: stamp(kind.First), Last: stamp(kind.Last)}
	}
	out.Quarantine = make([]quarantineJSON, len(p.Quarantine))
	for i, q := range p.Quarantine {
		out.Quarantine[i] = quarantineJSON{Route: q.Route, Panics: q.Panics, Quarantined: q.Quarantined, Next: stampOrNil(q.Next)}
	}
	for _, c := range p.Classes {
		out.Classes = append(out.Classes, classJSON(c))
	}
	for _, shard := range p.Shards {
		out.Shards = append(out.Shards, shardOutput(shard))
	}
	return out
}

func stuckOutput(s pool.StuckStats) stuckJSON {
	out := stuckJSON{Found: s.Found, Recovered: s.Recovered, Replaced: s.Replaced, Bound: s.Bound, Turns: make([]stuckTurnJSON, len(s.Turns))}
	for i, t := range s.Turns {
		out.Turns[i] = stuckTurnJSON{Worker: t.Worker, Replacement: t.Replacement, Route: t.Route, Class: t.Class, Since: stamp(t.Since)}
	}
	return out
}

func shardOutput(shard pool.ShardStats) shardJSON {
	out := shardJSON{ID: shard.ID, Busy: shard.Busy, Done: shard.Done, Panics: shard.Panics, Restarts: shard.Restarts,
		BytesInFlight: shard.BytesInFlight, Wait: summaryOutput(shard.Wait), Service: summaryOutput(shard.Service)}
	for _, w := range shard.Workers {
		out.Workers = append(out.Workers, workerJSON{ID: w.ID, State: w.State, Route: w.Route, Since: stampOrNil(w.Since)})
	}
	return out
}

// stampOrNil is nil for a time that is none.
func stampOrNil(t time.Time) *stamp {
	if t.IsZero() {
		return nil
	}
	return new(stamp(t))
}

func summaryOutput(s histogram.Summary) summaryJSON {
	return summaryJSON{s.Count, milliseconds(mean(s)), milliseconds(s.P50), milliseconds(s.P95), milliseconds(s.P99),
		milliseconds(s.Max)}
}

// connsJSON is one set of connections.
type connsJSON struct {
	Most      int     `json:"most"`
	Open      int     `json:"open"`
	InUse     int     `json:"inUse"`
	Idle      int     `json:"idle"`
	WaitCount int64   `json:"waitCount"` // times that a query found none free: the pool is there to keep it at 0
	WaitMs    float64 `json:"waitMs"`
}

func connsOutput(stats map[string]sql.DBStats) map[string]connsJSON {
	out := make(map[string]connsJSON, len(stats))
	for name, db := range stats {
		out[name] = connsJSON{db.MaxOpenConnections, db.OpenConnections, db.InUse, db.Idle, db.WaitCount,
			milliseconds(db.WaitDuration)}
	}
	return out
}

// stagesJSON is how short memory is.
type stagesJSON struct {
	Stage    string `json:"stage"`            // calm, tight, high or critical; calm too when there is no limit
	Needed   int64  `json:"needed"`           // bytes that no collection would give back
	Limit    int64  `json:"limit"`            // 0: none, and no stages
	Reserved int64  `json:"reserved"`         // bytes set aside for requests that are about to take them
	Free     int64  `json:"free"`             // bytes that could be set aside besides; what is kept for sign-ins is not among them
	Choked   bool   `json:"collectorAtLimit"` // it takes half of the CPU time and lets memory grow rather than more
	Raised   uint64 `json:"raised"`           // times that a worse stage began
}

func stagesOutput(s pool.StagesStats) stagesJSON {
	return stagesJSON{s.Stage.String(), s.Needed, s.Limit, s.Reserved, s.Free, s.Choked, s.Raised}
}

// cacheJSON is what is kept in memory of sessions, notes and lists.
type cacheJSON struct {
	Bytes   int64                    `json:"bytes"`
	Limit   int64                    `json:"limit"` // half when memory is tight, 0 when it is short, too
	Entries int                      `json:"entries"`
	Evicted uint64                   `json:"evicted"` // to make room
	Trusted bool                     `json:"trusted"` // what other processes change is heard of in time
	Kinds   map[string]cacheKindJSON `json:"kinds"`
}

// cacheKindJSON counts the questions for one kind.
type cacheKindJSON struct {
	Hits   uint64 `json:"hits"`
	Misses uint64 `json:"misses"`
	Shared uint64 `json:"shared"` // of the misses, were answered by what another was reading
}

func cacheOutput(st cache.Stats) cacheJSON {
	out := cacheJSON{st.Bytes, st.Limit, st.Entries, st.Evicted, st.Trusted, map[string]cacheKindJSON{}}
	for kind, n := range st.Kinds {
		out.Kinds[kind] = cacheKindJSON(n)
	}
	return out
}

// channelJSON is the channel to the other processes on the database.
type channelJSON struct {
	Listening bool   `json:"listening"`
	Trusted   bool   `json:"trusted"`   // what they change is heard of in time
	Peers     int    `json:"peers"`     // others that listen
	Announced uint64 `json:"announced"` // transactions and revocations that they were told of
	Heard     uint64 `json:"heard"`     // messages of theirs, besides heartbeats
	Lost      uint64 `json:"lost"`      // times that messages may have been missed, and all copies were dropped
}

// limits is what bounds the process.
type limits struct {
	GOMAXPROCS      int               `json:"gomaxprocs"`
	GOMEMLIMIT      any               `json:"gomemlimit"` // bytes; null: none
	Cores           int               `json:"cores"`
	ContainerMemory int64             `json:"containerMemory"` // bytes; 0: no limit
	Settings        map[string]string `json:"settings"`
}

// incidentsJSON is what was written when there was trouble: see docs/OPERATIONS.md#incident-files.
type incidentsJSON struct {
	Tracing    bool           `json:"tracing"`    // there are signs of trouble now
	Suppressed uint64         `json:"suppressed"` // triggers that brought no file: another was too recent
	Files      []incidentJSON `json:"files"`      // in DATA_DIR/incidents, the newest first
}

type incidentJSON struct {
	File   string `json:"file"`
	Reason string `json:"reason"`
	Time   stamp  `json:"time"`
	Bytes  int64  `json:"bytes"`
}

func incidentsOutput(i incident.Stats) incidentsJSON {
	out := incidentsJSON{i.Tracing, i.Suppressed, make([]incidentJSON, len(i.Files))}
	for j, f := range i.Files {
		out.Files[j] = incidentJSON{f.Name, f.Reason, stamp(f.Time), f.Bytes}
	}
	return out
}

// eventJSON is an Event as /api/runtime shows it.
type eventJSON struct {
	Kind    string         `json:"kind"`
	Subject string         `json:"subject"`
	Detail  map[string]any `json:"detail,omitempty"`
	Time    stamp          `json:"time"`
}

func eventsOutput(events []Event) []eventJSON {
	out := make([]eventJSON, len(events))
	for i, e := range events {
		out[i] = eventJSON{e.Kind, e.Subject, e.Detail, stamp(e.Time)}
	}
	return out
}

// diskJSON is the disk that DATA_DIR is on.
type diskJSON struct {
	Free  uint64 `json:"free"` // bytes, for users that are not root
	Total uint64 `json:"total"`
}

// disk is nil where there is no DATA_DIR: on PostgreSQL there need not be one.
func (s *Server) disk() *diskJSON {
	var disk syscall.Statfs_t
	if s.cfg.DataDir == "" || syscall.Statfs(s.cfg.DataDir, &disk) != nil {
		return nil
	}
	return &diskJSON{Free: uint64(disk.Bavail) * uint64(disk.Bsize), Total: uint64(disk.Blocks) * uint64(disk.Bsize)}
}

// stateJSON is the process as /api/runtime shows it.
type stateJSON struct {
	Version   string             `json:"version"`
	Started   stamp              `json:"started"`
	Ready     bool               `json:"ready"`
	Checks    []dependency       `json:"checks"` // as /readyz has them
	Pool      poolJSON           `json:"pool"`
	Clients   clientsJSON        `json:"clients"`
	Memory    pool.Memory        `json:"memory"`
	Monitor   *pool.MonitorStats `json:"memoryMonitor,omitempty"`
	Stages    *stagesJSON        `json:"memoryStages,omitempty"`
	Database  any                `json:"database"`
	Cache     cacheJSON          `json:"cache"`
	Channel   *channelJSON       `json:"channel,omitempty"`
	Redis     *redis.Stats       `json:"redis,omitempty"`
	Disk      *diskJSON          `json:"disk,omitempty"`
	Incidents *incidentsJSON     `json:"incidents,omitempty"`
	Events    []eventJSON        `json:"events"` // what alerts were sent for, the newest first
	Limits    limits             `json:"limits"`
	Timestamp stamp              `json:"timestamp"`

	// Minute is the last minute, second by second: with ?minute=true, where
	// incidents are recorded.
	Minute []incident.Sample `json:"minute,omitempty"`
}

// runtimeState answers GET /api/runtime.
func runtimeState(s *Server, x *exchange) error {
	state := s.state()
	if x.QueryParam("minute") == "true" {
		state.Minute = s.incidents.Minute()
	}
	return x.reply(http.StatusOK, state)
}

// State is the process as /api/runtime shows it, for encoding as JSON.
func (s *Server) State() any { return s.state() }

func (s *Server) state() stateJSON {
	state := stateJSON{Version: s.cfg.Version, Started: stamp(s.started), Pool: poolOutput(s.pool.Stats()),
		Clients: s.clients.output(), Memory: pool.ReadMemory(), Database: connsOutput(s.store.Stats()),
		Cache: cacheOutput(s.copies.cache.Stats()), Disk: s.disk(), Events: eventsOutput(s.alerts.Recent()),
		Timestamp: stamp(time.Now()),
		Limits:    limits{runtime.GOMAXPROCS(0), memoryLimit(), s.cfg.Machine.Cores, s.cfg.Machine.MemoryLimit, s.cfg.Settings}}
	state.Ready, state.Checks = s.checks()
	state.Pool.Sheds = shedsOutput(s.pool)
	if s.memory != nil {
		state.Monitor = new(s.memory.Stats())
	}
	if s.stages != nil {
		state.Stages = new(stagesOutput(s.stages.Stats()))
	}
	if s.store.Engine() == "PostgreSQL" {
		state.Channel = new(channelJSON(s.store.Channel()))
	}
	if s.redis != nil {
		state.Redis = new(s.redis.Stats())
	}
	if s.incidents != nil {
		state.Incidents = new(incidentsOutput(s.incidents.Stats()))
	}
	return state
}
