package check

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// settings judges all settings that have no row of their own.
func settings(f Facts) opinion {
	var texts []string
	for _, m := range f.Settings.Mistakes {
		if !slices.ContainsFunc(ownRow, func(names []string) bool { return slices.Contains(names, m.Name) }) {
			texts = append(texts, m.Text)
		}
	}
	if len(texts) > 0 {
		return fail("docs/CONFIGURATION.md says what each may be", "%s", strings.Join(texts, "; "))
	}
	return ok("%s in force, each allowed", count(len(f.Settings.Shown), "setting"))
}

// These lists name the settings whose mistakes a row of their own reports.
var (
	workerSettings   = []string{"MAX_WORKERS", "CLUSTER_MODE", "GOMAXPROCS", "WORKERS_PER_SHARD"}
	connSettings     = []string{"DATABASE_MAX_CONNS"}
	secretSettings   = []string{"SESSION_SECRET"}
	tokenSettings    = []string{"ADMIN_TOKEN"}
	databaseSettings = []string{"DATABASE_PASSWORD", "DATABASE_URL", "DATABASE_CHANNEL_URL"}
	redisSettings    = []string{"REDIS_URL"}
	corsSettings     = []string{"CORS_ORIGIN"}
	heapSettings     = []string{"GOMEMLIMIT", "MAX_OLD_SPACE_SIZE"}

	ownRow = [][]string{workerSettings, connSettings, secretSettings, tokenSettings, databaseSettings,
		redisSettings, corsSettings,
		heapSettings}
)

func warnings(f Facts) opinion {
	if w := f.Settings.Warnings; len(w) > 0 {
		return warn("set what each of them names", "%s", strings.Join(w, "; "))
	}
	return ok("nothing is misspelt, capped or without effect")
}

func environment(f Facts) opinion {
	if f.Settings.Production {
		return ok("APP_ENV=production: weak secrets are refused")
	}
	return notApplicable("APP_ENV=development: judged mildly; set APP_ENV=production where people use it")
}

func workers(f Facts) opinion {
	s := f.Settings
	if o, found := f.mistakes("docs/CONFIGURATION.md, Cores, workers, connections", workerSettings...); found {
		return o
	}
	switch unused := s.Cores - s.Shards; {
	case s.MaxWorkers > s.Cores:
		return warn(fmt.Sprintf("MAX_WORKERS=%d, or unset it", s.Cores), "MAX_WORKERS=%d, and there %s %s",
			s.MaxWorkers, areOf(s.Cores), count(s.Cores, "core"))
	case unused > 1 || unused > 0 && s.Shards == 1:
		return warn("unset MAX_WORKERS and CLUSTER_MODE, or give the process fewer cores",
			"%s of %d in use: the others are wasted",
			count(s.Shards, "core"), s.Cores)
	}
	return ok("%s on %s, %s each", count(s.Shards, "shard"), count(s.Cores, "core"), count(s.WorkersPerShard, "worker"))
}

func areOf(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

func threads(f Facts) opinion {
	s := f.Settings
	switch {
	case s.GOMAXPROCS == 0:
		return ok("GOMAXPROCS is left to Go, which follows the CPU quota")
	case s.GOMAXPROCS < s.Shards:
		return warn(fmt.Sprintf("GOMAXPROCS=%d, or unset it", s.Shards), "GOMAXPROCS=%d runs fewer than %s at once",
			s.GOMAXPROCS, count(s.Shards, "shard"))
	case s.GOMAXPROCS > max(2, s.Cores):
		return warn(fmt.Sprintf("GOMAXPROCS=%d, or unset it", s.Cores),
			"GOMAXPROCS=%d on %s: the kernel would stop them all by turns",
			s.GOMAXPROCS, count(s.Cores, "core"))
	}
	return ok("GOMAXPROCS=%d on %s", s.GOMAXPROCS, count(s.Cores, "core"))
}

func openFiles(f Facts) opinion {
	const least, good = 1024, 4096
	switch n := f.Machine.OpenFiles; {
	case n == 0:
		return unknown("ulimit -Hn says it", "the system does not tell the limit of open files")
	case n < least:
		return fail("LimitNOFILE=65536, or ulimits: nofile", "%d files at most: connections would be refused", n)
	case n < good:
		return warn("LimitNOFILE=65536, or ulimits: nofile", "%d files at most, one a connection", n)
	default:
		return ok("%d files at most", n)
	}
}

func queue(f Facts) opinion {
	if f.Settings.QueueLength == 0 && f.sound(workerSettings) && f.sound(connSettings) {
		return warn("unset QUEUE_LENGTH", "QUEUE_LENGTH=0: whoever finds no idle worker is turned away")
	}
	return ok("%s may wait for a worker", count(f.Settings.QueueLength, "request"))
}

// sound reports whether none of the named settings has a mistake.
func (f Facts) sound(names []string) bool {
	_, found := f.mistakes("", names...)
	return !found
}

func drain(f Facts) opinion {
	s := f.Settings
	if s.Production && s.ShutdownDelay < time.Second {
		return warn("SHUTDOWN_DELAY=5s",
			"SHUTDOWN_DELAY=%v: proxies have no time to notice that it leaves", s.ShutdownDelay)
	}
	return ok("unready for %v, then %v for what runs", s.ShutdownDelay, s.ShutdownTimeout)
}

// running says why the running server is not judged. It returns nil if the server has reported its
// state.
func (f Facts) running() *opinion {
	switch {
	case f.Server == nil || f.Server.Err != "":
		return new(notApplicable("no server runs here: -url says where one does"))
	case f.Server.Runtime == nil:
		return new(unknown("ADMIN_TOKEN as the server has it", "%s", f.Server.RuntimeErr))
	}
	return nil
}

func restarts(f Facts) opinion {
	if o := f.running(); o != nil {
		return *o
	}
	p := f.Server.Runtime.Pool
	var closed []string
	for _, q := range p.Quarantine {
		if q.Quarantined {
			closed = append(closed, q.Route)
		}
	}
	switch {
	case len(closed) > 0:
		return fail("a defect: the log has its stack; RESTART_THRESHOLD and RESTART_WINDOW say when a route is closed",
			"closed for panicking: %s", strings.Join(closed, ", "))
	case p.Stuck.Replaced > 0:
		return warn("restart it; the log has their stacks", "%s stuck, of %d that may be replaced",
			count(p.Stuck.Replaced, "worker"), p.Stuck.Bound)
	}
	return ok("%s, each worker replaced; none stuck", count(p.Panics, "panic"))
}

// These constants bound how much load has to be measured before it is judged.
const (
	minUptime   = time.Hour
	minRequests = 10_000
)

// cores returns how many cores are used: the mean since the start, or the recent use if that is
// more.
func (s *Server) cores() float64 {
	used := s.CPU / max(1, s.Runtime.uptime().Seconds())
	if s.Recent != nil && s.Recent.Over > 0 {
		used = max(used, s.Recent.CPU/s.Recent.Over.Seconds())
	}
	return used
}

func loadWorkers(f Facts) opinion {
	if o := f.running(); o != nil {
		return *o
	}
	const slow = 25 * time.Millisecond
	r, used := f.Server.Runtime, f.Server.cores()
	cores := max(1, r.Limits.Cores)
	share := used / float64(cores)
	switch shed, wait := r.shed(), r.wait(); {
	case (shed > 0 || wait > slow) && share >= 0.7:
		return warn(fmt.Sprintf("NOTESD_CPUS=%d, or a second replica", cores+1),
			"%d turned away in 15 minutes, 99 %% waited at most %v, and the cores are busy (%.1f of %d)",
			shed, wait.Round(time.Millisecond), used, cores)
	case shed > 0 || wait > slow:
		return warn(f.moreWorkers(),
			"%d turned away in 15 minutes, 99 %% waited at most %v, with the cores at rest (%.1f of %d)",
			shed, wait.Round(time.Millisecond), used, cores)
	case r.Pool.Done < minRequests || r.uptime() < minUptime:
		return notApplicable("too little load to judge: %s in %v, none turned away", count(r.Pool.Done, "request"),
			r.uptime().Round(time.Second))
	case f.Server.CPU > 0 && cores > 1 && share < 0.1:
		return warn(fmt.Sprintf("NOTESD_CPUS=%d, unless peaks need them", max(1, int(used*4+1))),
			"%.2f of %s used on average: the others are wasted",
			used, count(cores, "core"))
	}
	return ok("%.1f of %s used, 99 %% waited at most %v, none turned away", used, count(cores, "core"), r.wait())
}

// moreWorkers returns the settings for half as many workers again.
func (f Facts) moreWorkers() string {
	each := min(64, f.Settings.WorkersPerShard+max(1, f.Settings.WorkersPerShard/2))
	return fmt.Sprintf("WORKERS_PER_SHARD=%d with DATABASE_MAX_CONNS=%d", each, each*f.Settings.Shards+2)
}

// sameVersion compares the version and the settings of the running server with those of this
// binary.
func sameVersion(f Facts) opinion {
	if o := f.running(); o != nil {
		return *o
	}
	r := f.Server.Runtime
	if r.Version != f.Version {
		return warn("restart the server", "the server is %s, and this binary %s", r.Version, f.Version)
	}
	var differ []string
	for name, shown := range f.Settings.Shown {
		if running, known := r.Limits.Settings[name]; known && running != shown {
			differ = append(differ, name)
		}
	}
	switch {
	case f.Server.Given:
		return ok("the server is this binary, %s", f.Version)
	case len(differ) > 0:
		return warn("restart the server, or run notesd check with its settings", "the server runs with another %s",
			strings.Join(sorted(differ), ", "))
	}
	return ok("the server is this binary, %s, with these settings", f.Version)
}

func ready(f Facts) opinion {
	switch s := f.Server; {
	case s == nil || s.Err != "":
		return notApplicable("no server runs here: -url says where one does")
	case !s.Alive:
		return fail("see its log", "%s/api/health does not answer 200", s.URL)
	case !s.Ready:
		return fail("see its log", "not ready: %s", strings.Join(s.Down, ", "))
	case len(s.Down) > 0:
		return warn("see its log", "ready, but for %s", strings.Join(s.Down, ", "))
	default:
		return ok("alive and ready")
	}
}
