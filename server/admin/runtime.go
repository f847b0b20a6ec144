package admin

import (
	"net/http"
	"runtime"
	"syscall"
	"time"

	"notesd/internal/cache"
	"notesd/internal/histogram"
	"notesd/internal/incident"
	"notesd/internal/redis"
	"notesd/pool"
	"notesd/server/events"
	"notesd/server/router"
	"notesd/store"
)

// poolJSON is the pool as /api/runtime shows it. Times are in milliseconds.
type poolJSON struct {
	Workers int `json:"workers"`
	Busy    int `json:"busy"`
	// Idle is counted separately from busy: at rest it equals workers, unless a worker was lost.
	Idle   int `json:"idle"`
	Queued int `json:"queued"`
	// Outside counts requests without a worker, which wait for their client.
	Outside        int                    `json:"outside"`
	QueueLength    int                    `json:"queueLength"`
	QueueTimeoutMs float64                `json:"queueTimeoutMs"`
	Done           uint64                 `json:"done"`
	Refused        map[pool.Reason]uint64 `json:"refused"`
	Abandoned      uint64                 `json:"abandoned"`
	Panics         uint64                 `json:"panics"`
	Goexits        uint64                 `json:"goexits"`
	Restarts       uint64                 `json:"restarts"`
	Draining       bool                   `json:"draining"`
	Held           int                    `json:"held"` // rejections that are delayed
	// Crowded: more requests are ready to run than may wait, so new requests are rejected.
	Crowded     bool             `json:"crowded"`
	Sheds       rejectedJSON     `json:"sheds"`
	PanicKinds  []panicKindJSON  `json:"panicKinds"`
	Quarantine  []quarantineJSON `json:"quarantine"`
	Quarantined uint64           `json:"quarantined"` // routes quarantined since the start
	Released    uint64           `json:"released"`
	Stuck       stuckJSON        `json:"stuck"`
	Classes     []classJSON      `json:"classes"`
	Shards      []shardJSON      `json:"shards"`
}

// quarantineJSON is a route that panicked and has not recovered since.
type quarantineJSON struct {
	Route       string       `json:"route"`
	Panics      int          `json:"panics"`
	Quarantined bool         `json:"quarantined"`
	Next        *router.Time `json:"nextTrial,omitempty"`
}

// panicKindJSON describes the panics with one fingerprint.
type panicKindJSON struct {
	Fingerprint string      `json:"fingerprint"`
	Route       string      `json:"route"`
	Frame       string      `json:"frame"` // where the panic happened
	Count       uint64      `json:"count"`
	First       router.Time `json:"first"`
	Last        router.Time `json:"last"`
}

// stuckJSON describes the requests that were found stuck.
type stuckJSON struct {
	Found     uint64          `json:"found"`
	Recovered uint64          `json:"recovered"` // have ended after all
	Replaced  int             `json:"replaced"`  // others whose slot was given to a new worker
	Bound     int             `json:"bound"`     // the maximum of replaced
	Turns     []stuckTurnJSON `json:"turns"`
}

type stuckTurnJSON struct {
	Worker      uint64      `json:"worker"`
	Replacement uint64      `json:"replacement,omitempty"`
	Route       string      `json:"route"`
	Class       string      `json:"class"`
	Since       router.Time `json:"since"`
}

type classJSON struct {
	Class  string `json:"class"`
	Limit  int    `json:"limit"` // 0: no limit
	Share  int    `json:"share"` // workers guaranteed to the class
	Busy   int    `json:"busy"`
	Queued int    `json:"queued"`
	// Overloaded: the newest request goes first, and requests that wait for long are rejected.
	Overloaded bool                   `json:"overloaded"`
	Rejected   map[pool.Reason]uint64 `json:"refused"`
}

// rejectedJSON counts the rejected requests since the start and in the last quarter of an hour. It
// includes the pool's rejections, those by rate limits and those because of lost dependencies.
type rejectedJSON struct {
	Total   map[pool.Reason]uint64 `json:"total"`
	Minutes []rejectedMinuteJSON   `json:"minutes"`
	People  []rejectedFlowJSON     `json:"people"`
}

type rejectedMinuteJSON struct {
	Begins router.Time            `json:"begins"`
	Shed   map[pool.Reason]uint64 `json:"shed"`
}

type rejectedFlowJSON struct {
	// Flow is user:ID, or ip:ADDRESS for a client that is not known to be signed in.
	Flow   string      `json:"person"`
	Reason pool.Reason `json:"reason"`
	Count  uint64      `json:"count"`
}

func rejectedOutput(p *pool.Pool) rejectedJSON {
	rejections := p.Rejections()
	out := rejectedJSON{Total: p.RejectedTotals(), Minutes: make([]rejectedMinuteJSON, len(rejections.Minutes)),
		People: make([]rejectedFlowJSON, len(rejections.Flows))}
	for i, m := range rejections.Minutes {
		out.Minutes[i] = rejectedMinuteJSON{router.Time(m.Begins), m.Rejected}
	}
	for i, flow := range rejections.Flows {
		out.People[i] = rejectedFlowJSON(flow)
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
	ID    uint64       `json:"id"`
	State string       `json:"state"`
	Route string       `json:"route,omitempty"`
	Since *router.Time `json:"since,omitempty"`
}

func poolOutput(p pool.Stats) poolJSON {
	out := poolJSON{
		Workers:        p.Workers,
		Busy:           p.Busy,
		Idle:           p.Idle,
		Queued:         p.Queued,
		Outside:        p.Yielded,
		QueueLength:    p.QueueLength,
		QueueTimeoutMs: milliseconds(p.QueueTimeout),
		Done:           p.Done,
		Refused:        p.Rejected,
		Abandoned:      p.Abandoned,
		Panics:         p.Panics,
		Goexits:        p.Goexits,
		Restarts:       p.Restarts,
		Draining:       p.Draining,
		Held:           p.Delayed,
		Crowded:        p.CPUSaturated,
		Quarantined:    p.Quarantined,
		Released:       p.Released,
		Stuck:          stuckOutput(p.Stuck),
	}
	out.PanicKinds = make([]panicKindJSON, len(p.PanicKinds))
	for i, kind := range p.PanicKinds {
		out.PanicKinds[i] = panicKindJSON{Fingerprint: kind.Fingerprint, Route: kind.Route, Frame: kind.Frame,
			Count: kind.Count, First: router.Time(kind.First), Last: router.Time(kind.Last)}
	}
	out.Quarantine = make([]quarantineJSON, len(p.Breakers))
	for i, q := range p.Breakers {
		out.Quarantine[i] = quarantineJSON{Route: q.Route, Panics: q.Panics, Quarantined: q.Quarantined,
			Next: timeOrNil(q.Next)}
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
	out := stuckJSON{Found: s.Found, Recovered: s.Recovered, Replaced: s.Replaced, Bound: s.Bound,
		Turns: make([]stuckTurnJSON, len(s.Permits))}
	for i, t := range s.Permits {
		out.Turns[i] = stuckTurnJSON{Worker: t.Worker, Replacement: t.Replacement, Route: t.Route, Class: t.Class,
			Since: router.Time(t.Since)}
	}
	return out
}

func shardOutput(shard pool.ShardStats) shardJSON {
	out := shardJSON{ID: shard.ID, Busy: shard.Busy, Done: shard.Done, Panics: shard.Panics, Restarts: shard.Restarts,
		BytesInFlight: shard.BytesInFlight, Wait: summaryOutput(shard.Wait), Service: summaryOutput(shard.Service)}
	for _, w := range shard.Workers {
		out.Workers = append(out.Workers,
			workerJSON{ID: w.ID, State: w.State, Route: w.Route, Since: timeOrNil(w.Since)})
	}
	return out
}

// timeOrNil returns nil for the zero time.
func timeOrNil(t time.Time) *router.Time {
	if t.IsZero() {
		return nil
	}
	return new(router.Time(t))
}

func summaryOutput(s histogram.Summary) summaryJSON {
	return summaryJSON{s.Count, milliseconds(mean(s)), milliseconds(s.P50), milliseconds(s.P95), milliseconds(s.P99),
		milliseconds(s.Max)}
}

// connsJSON describes one set of database connections.
type connsJSON struct {
	Most  int `json:"most"`
	Open  int `json:"open"`
	InUse int `json:"inUse"`
	Idle  int `json:"idle"`
	// WaitCount counts queries that found no free connection. The worker pool is there to keep it
	// at 0.
	WaitCount int64   `json:"waitCount"`
	WaitMs    float64 `json:"waitMs"`
}

func connsOutput(db *store.Store) map[string]connsJSON {
	out := map[string]connsJSON{}
	for name, conns := range db.Stats() {
		out[name] = connsJSON{conns.MaxOpenConnections, conns.OpenConnections, conns.InUse, conns.Idle, conns.WaitCount,
			milliseconds(conns.WaitDuration)}
	}
	return out
}

// stagesJSON describes the memory pressure.
type stagesJSON struct {
	// Stage is calm, tight, high or critical. Without a limit it is calm.
	Stage    string `json:"stage"`
	Needed   int64  `json:"needed"`   // bytes that a garbage collection would not free
	Limit    int64  `json:"limit"`    // 0: there is no limit, and there are no stages
	Reserved int64  `json:"reserved"` // bytes reserved for requests that are about to use them
	// Free is how many further bytes could be reserved, without those that are kept for sign-ins.
	Free int64 `json:"free"`
	// Choked: the collector takes half of the CPU time, and lets memory grow rather than take more.
	Choked bool   `json:"collectorAtLimit"`
	Raised uint64 `json:"raised"` // times that a worse stage began
}

func stagesOutput(s pool.PressureStats) stagesJSON {
	return stagesJSON{s.Pressure.String(), s.Needed, s.Limit, s.Reserved, s.Free, s.Choked, s.Raised}
}

// cacheJSON describes the cache of sessions, notes and lists.
type cacheJSON struct {
	Bytes int64 `json:"bytes"`
	// Limit is half of the configured limit when memory is tight, and 0 when memory is shorter.
	Limit   int64  `json:"limit"`
	Entries int    `json:"entries"`
	Evicted uint64 `json:"evicted"` // entries removed to make room
	// Trusted: the process hears of other processes' changes in time.
	Trusted bool                     `json:"trusted"`
	Kinds   map[string]cacheKindJSON `json:"kinds"`
}

// cacheKindJSON counts the lookups of one kind of entry.
type cacheKindJSON struct {
	Hits   uint64 `json:"hits"`
	Misses uint64 `json:"misses"`
	// Shared counts misses that were answered by another request's read.
	Shared uint64 `json:"shared"`
}

func cacheOutput(st cache.Stats) cacheJSON {
	out := cacheJSON{st.Bytes, st.Limit, st.Entries, st.Evicted, st.Trusted, map[string]cacheKindJSON{}}
	for kind, n := range st.Kinds {
		out.Kinds[kind] = cacheKindJSON(n)
	}
	return out
}

// channelJSON describes the channel to the other processes on the database.
type channelJSON struct {
	Listening bool `json:"listening"`
	Trusted   bool `json:"trusted"` // the process hears of their changes in time
	Peers     int  `json:"peers"`   // other processes that listen
	// Announced counts transactions and revocations announced to the other processes.
	Announced uint64 `json:"announced"`
	Heard     uint64 `json:"heard"` // messages from them, without heartbeats
	// Lost counts how often messages may have been missed and the whole cache was dropped.
	Lost uint64 `json:"lost"`
}

// storedJSON describes what all users store. Sweeps count it.
type storedJSON struct {
	Notes        int64 `json:"notes"`
	NoteBytes    int64 `json:"noteBytes"`
	HistoryBytes int64 `json:"historyBytes"`
}

func storedOutput(s *store.Sizes) *storedJSON {
	if s == nil {
		return nil
	}
	return &storedJSON{s.Notes, s.NoteBytes, s.HistoryBytes}
}

// streamsJSON describes the streams of events.
type streamsJSON struct {
	Open    int64  `json:"open"`
	Most    int64  `json:"most"` // that may be open; 0: any number
	Users   int64  `json:"users"`
	Sent    uint64 `json:"sent"`    // events
	Dropped uint64 `json:"dropped"` // events that a slow stream got the newest number in place of
}

// limits are the limits of the process.
type limits struct {
	GOMAXPROCS      int               `json:"gomaxprocs"`
	GOMEMLIMIT      any               `json:"gomemlimit"` // bytes; null: no limit
	Cores           int               `json:"cores"`
	ContainerMemory int64             `json:"containerMemory"` // bytes; 0: no limit
	Settings        map[string]string `json:"settings"`
}

// incidentsJSON describes the incident files: see docs/OPERATIONS.md#incident-files.
type incidentsJSON struct {
	Tracing bool `json:"tracing"` // there are signs of trouble now
	// Suppressed counts triggers that made no file, because another file was too recent.
	Suppressed uint64         `json:"suppressed"`
	Files      []incidentJSON `json:"files"` // in DATA_DIR/incidents, the newest first
}

type incidentJSON struct {
	File   string      `json:"file"`
	Reason string      `json:"reason"`
	Time   router.Time `json:"time"`
	Bytes  int64       `json:"bytes"`
}

func incidentsOutput(i incident.Stats) incidentsJSON {
	out := incidentsJSON{i.Tracing, i.Suppressed, make([]incidentJSON, len(i.Files))}
	for j, f := range i.Files {
		out.Files[j] = incidentJSON{f.Name, f.Reason, router.Time(f.Time), f.Bytes}
	}
	return out
}

// eventJSON is an Event as /api/runtime shows it.
type eventJSON struct {
	Kind    string         `json:"kind"`
	Subject string         `json:"subject"`
	Detail  map[string]any `json:"detail,omitempty"`
	Time    router.Time    `json:"time"`
}

func eventsOutput(events []Event) []eventJSON {
	out := make([]eventJSON, len(events))
	for i, e := range events {
		out[i] = eventJSON{e.Kind, e.Subject, e.Detail, router.Time(e.Time)}
	}
	return out
}

// diskJSON describes the disk that contains DATA_DIR.
type diskJSON struct {
	Free  uint64 `json:"free"` // bytes available to users other than root
	Total uint64 `json:"total"`
}

func streamsOutput(st events.Stats) streamsJSON {
	return streamsJSON{st.Listeners, st.Max, st.Users, st.Sent, st.Dropped}
}

// disk returns nil if there is no DATA_DIR. PostgreSQL needs none.
func (a *Admin) disk() *diskJSON {
	var disk syscall.Statfs_t
	if a.cfg.DataDir == "" || syscall.Statfs(a.cfg.DataDir, &disk) != nil {
		return nil
	}
	return &diskJSON{Free: uint64(disk.Bavail) * uint64(disk.Bsize), Total: uint64(disk.Blocks) * uint64(disk.Bsize)}
}

// State is the process as /api/runtime shows it.
type State struct {
	Version   string               `json:"version"`
	Started   router.Time          `json:"started"`
	Ready     bool                 `json:"ready"`
	Checks    []Dependency         `json:"checks"` // as /readyz shows them
	Pool      poolJSON             `json:"pool"`
	Clients   Clients              `json:"clients"`
	Memory    pool.Memory          `json:"memory"`
	Monitor   *pool.MonitorStats   `json:"memoryMonitor,omitempty"`
	Stages    *stagesJSON          `json:"memoryStages,omitempty"`
	Database  map[string]connsJSON `json:"database"`
	Cache     cacheJSON            `json:"cache"`
	Channel   *channelJSON         `json:"channel,omitempty"`
	Streams   streamsJSON          `json:"streams"`
	Stored    *storedJSON          `json:"stored,omitempty"` // nil: nothing was counted yet
	Redis     *redis.Stats         `json:"redis,omitempty"`
	Disk      *diskJSON            `json:"disk,omitempty"`
	Incidents *incidentsJSON       `json:"incidents,omitempty"`
	// Events are the events that alerts were sent for, the newest first.
	Events    []eventJSON `json:"events"`
	Limits    limits      `json:"limits"`
	Timestamp router.Time `json:"timestamp"`

	// Minute has a sample for each second of the last minute. It is present with ?minute=true if
	// incidents are recorded.
	Minute []incident.Sample `json:"minute,omitempty"`
}

// runtimeState handles GET /api/runtime.
func (a *Admin) runtimeState(c *router.Context) error {
	state := a.State()
	if c.Query("minute") == "true" {
		state.Minute = a.cfg.Incidents.Minute()
	}
	return c.JSON(http.StatusOK, state)
}

// State returns the process's state.
func (a *Admin) State() State {
	state := State{Version: a.cfg.Version, Started: router.Time(a.started), Pool: poolOutput(a.cfg.Pool.Stats()),
		Clients: a.clients(), Memory: pool.ReadMemory(), Database: connsOutput(a.cfg.Store),
		Cache: cacheOutput(a.cfg.Cache.Stats()), Streams: streamsOutput(a.cfg.Streams()),
		Stored: storedOutput(a.cfg.Store.Sizes()),
		Disk:   a.disk(), Events: eventsOutput(a.cfg.Alerts.Recent()),
		Timestamp: router.Time(time.Now()),
		Limits: limits{runtime.GOMAXPROCS(0), memoryLimit(), a.cfg.Machine.Cores, a.cfg.Machine.MemoryLimit,
			a.cfg.Settings}}
	state.Ready, state.Checks = a.checks()
	state.Pool.Sheds = rejectedOutput(a.cfg.Pool)
	if a.cfg.Memory != nil {
		state.Monitor = new(a.cfg.Memory.Stats())
	}
	if a.cfg.Pressure != nil {
		state.Stages = new(stagesOutput(a.cfg.Pressure.Stats()))
	}
	if a.cfg.Store.Engine() == "PostgreSQL" {
		state.Channel = new(channelJSON(a.cfg.Store.Channel()))
	}
	if a.cfg.Redis != nil {
		state.Redis = new(a.cfg.Redis.Stats())
	}
	if a.cfg.Incidents != nil {
		state.Incidents = new(incidentsOutput(a.cfg.Incidents.Stats()))
	}
	return state
}
