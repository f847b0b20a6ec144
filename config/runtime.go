package config

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

// Runtime says how much of the machine the process uses.
type Runtime struct {
	Cores int     // cores in use: those of the affinity mask, or ⌈Quota⌉ if that is fewer
	Quota float64 // cores' worth of CPU time that the control groups grant; 0: no limit

	Shards           int
	WorkersPerShard  int
	DatabaseMaxConns int // at least Shards × WorkersPerShard and the reserve
	PasswordWorkers  int // the number of passwords hashed at once; memory bounds it, too

	GOMAXPROCS   int   // 0: left to Go, which follows its own group's quota while the process runs
	MemoryLimit  int64 // soft limit, in bytes, of the memory that Go manages; 0: none
	CgroupMemory int64 // bytes that the control groups grant the process; 0: no limit

	FollowQuota bool // no setting fixes GOMAXPROCS, so it follows the quotas
}

// Apply applies the choices to this process.
func (r Runtime) Apply() {
	if r.MemoryLimit > 0 {
		debug.SetMemoryLimit(r.MemoryLimit)
	}
	// Only then: after the call Go no longer follows a quota that changes.
	if r.GOMAXPROCS > 0 {
		runtime.GOMAXPROCS(r.GOMAXPROCS)
	}
	if os.Getenv("GOGC") == "" { // Go itself reads GOGC
		paceOnce.Do(func() { paceCollector(r.garbage()) })
	}
}

var paceOnce sync.Once // the garbage collector belongs to the whole process

// garbage returns how much garbage a small heap may gather. In a small container that is next to
// nothing.
func (r Runtime) garbage() int64 {
	if bound := tighter(r.MemoryLimit, r.CgroupMemory); bound > 0 {
		return min(maxGarbage, bound/32)
	}
	return maxGarbage
}

// followEvery is the time between two readings of the control groups.
const followEvery = 10 * time.Second

// Follow reads the control groups again and again until ctx ends. GOMAXPROCS follows the quota of a
// parent group, which Go does not read. A changed memory limit is only logged, because caches and
// workers were sized for the old limit.
func (r Runtime) Follow(ctx context.Context, log *slog.Logger) {
	r.follow(ctx, log, thisMachine())
}

func (r Runtime) follow(ctx context.Context, log *slog.Logger, m machine) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		granted := readLimits(m.root)
		if granted.memory != r.CgroupMemory {
			log.Warn("the container's memory limit has changed: restart notesd to fit it",
				"before", limitText(cmp.Or(r.CgroupMemory, noLimit)), "now", limitText(cmp.Or(granted.memory, noLimit)))
			r.CgroupMemory = granted.memory
		}
		if !r.FollowQuota {
			continue
		}
		switch procs := granted.procs(m.cpus); {
		case procs == r.GOMAXPROCS:
		case procs > 0:
			runtime.GOMAXPROCS(procs)
			r.GOMAXPROCS = procs
		default: // Go's own choice is as low again
			runtime.SetDefaultGOMAXPROCS()
			r.GOMAXPROCS = 0
		}
	}
}

// A machine is what the defaults are chosen for.
type machine struct {
	cpus  int    // the CPUs that the affinity mask allows
	procs int    // the GOMAXPROCS that Go has chosen
	root  fs.FS  // has proc and the control groups
	dir   string // the directory of .env
}

func thisMachine() machine {
	return machine{cpus: runtime.NumCPU(), procs: runtime.GOMAXPROCS(0), root: os.DirFS("/"), dir: "."}
}

const (
	// reserve is how many database connections are kept free of workers: for migrations, readiness
	// and the sweep.
	reserve = 2

	// These are the default numbers of workers of a shard. PostgreSQL's workers wait for the
	// network most of the time. SQLite works in this process, so that more workers than cores only
	// cover its waits for the disk, and each connection has a page cache of its own.
	postgresWorkers, sqliteWorkers = 8, 4

	// maxWorkers bounds the default size of the whole pool: PostgreSQL accepts 100 connections by
	// default.
	maxWorkers = 64

	// maxWorkersPerShard is the bound of the pool itself: a shard keeps its free workers as the
	// bits of one word.
	maxWorkersPerShard = 64

	// waitingPerWorker is the length of the queue for each worker. It is so long that the time
	// limit of the queue is reached first if a request takes more than 30 ms (1 s ÷ 32), and that a
	// hundred clients find room on one core. It is so short that a burst of quick requests does not
	// wait in vain.
	waitingPerWorker = 32

	minMemory  = 16 << 20 // bytes that a memory limit must have
	hashMemory = 19 << 20 // bytes that argon2id takes for one password
)

// chooseCores decides how many cores and shards are used.
func (l *loader) chooseCores() {
	r := &l.Runtime
	granted := readLimits(l.machine.root)
	r.Quota, r.CgroupMemory = granted.cores, granted.memory
	l.MaxWorkers = l.maxWorkers
	r.Cores = max(1, l.machine.cpus)
	source := derived
	if r.Quota > 0 && r.Quota < float64(r.Cores) {
		r.Cores, source = int(math.Ceil(r.Quota)), fromCgroup
	}
	r.Shards, r.GOMAXPROCS = r.Cores, l.procs
	switch {
	case !l.cluster:
		l.warnIgnored("MAX_WORKERS", l.maxWorkers)
		l.warnIgnored("GOMAXPROCS", l.procs)
		r.Shards, r.GOMAXPROCS, source = 1, 1, derived
	case l.maxWorkers > 0:
		if l.maxWorkers > r.Cores {
			l.warn("MAX_WORKERS=%d is above the %s available: using %d", l.maxWorkers, count(r.Cores, "core"), r.Cores)
		}
		r.Shards = min(l.maxWorkers, r.Cores)
		if l.procs == 0 {
			r.GOMAXPROCS = r.Shards
		}
	case l.procs > 0:
		r.Shards = min(l.procs, r.Cores) // more shards would not run at once
	default:
		r.GOMAXPROCS, r.FollowQuota = granted.procs(l.machine.cpus), true
	}
	l.set("MAX_WORKERS", r.Shards, source)
	switch {
	case r.GOMAXPROCS > 0 && r.FollowQuota:
		l.set("GOMAXPROCS", r.GOMAXPROCS, fromCgroup)
	case r.GOMAXPROCS > 0:
		l.set("GOMAXPROCS", r.GOMAXPROCS, derived)
	default:
		l.set("GOMAXPROCS", l.machine.procs, fromDefault)
	}
}

// warnIgnored warns of a number above 1, which CLUSTER_MODE=false overrides.
func (l *loader) warnIgnored(name string, n int) {
	if n > 1 {
		l.warn("%s=%d has no effect: CLUSTER_MODE=false means one shard on one core", name, n)
	}
}

// chooseWorkers fits workers and connections to each other. Every worker can have a connection, so
// that none ever waits for one inside database/sql, which serves its waiters at random.
func (l *loader) chooseWorkers() {
	if !l.valid("MAX_WORKERS", "CLUSTER_MODE", "GOMAXPROCS", "WORKERS_PER_SHARD", "DATABASE_MAX_CONNS") {
		return
	}
	r := &l.Runtime
	r.WorkersPerShard, r.DatabaseMaxConns = l.workers, l.maxConns
	switch {
	case l.workers > 0 && l.maxConns > 0:
		if l.workers*r.Shards > l.maxConns-reserve {
			l.mistake("DATABASE_MAX_CONNS",
				"DATABASE_MAX_CONNS=%d is too few for WORKERS_PER_SHARD=%d: %s and %d in reserve "+
					"make %d", l.maxConns, l.workers, count(r.Shards, "shard"), reserve, l.workers*r.Shards+reserve)
		}
	case l.maxConns > 0:
		r.WorkersPerShard = min((l.maxConns-reserve)/r.Shards, maxWorkersPerShard)
		if r.WorkersPerShard == 0 {
			l.mistake("DATABASE_MAX_CONNS",
				"DATABASE_MAX_CONNS=%d is too few: with a worker for each of %s and %d in reserve "+
					"the least is %d (or set a lower MAX_WORKERS)", l.maxConns, count(r.Shards, "shard"), reserve,
				r.Shards+reserve)
		}
	case l.workers == 0:
		r.WorkersPerShard = sqliteWorkers
		if isPostgres(l.DatabaseURL.Reveal()) {
			r.WorkersPerShard = postgresWorkers
		}
		r.WorkersPerShard = max(1, min(r.WorkersPerShard, maxWorkers/r.Shards))
	}
	if l.maxConns == 0 {
		r.DatabaseMaxConns = r.Shards*r.WorkersPerShard + reserve
	}
	l.set("WORKERS_PER_SHARD", r.WorkersPerShard, derived)
	l.set("DATABASE_MAX_CONNS", r.DatabaseMaxConns, derived)

	l.QueueLength = l.queueLength
	if l.shown["QUEUE_LENGTH"].Source == fromDefault {
		l.QueueLength = r.Shards * r.WorkersPerShard * waitingPerWorker
	}
	l.set("QUEUE_LENGTH", l.QueueLength, derived)
}

// chooseMemory chooses the memory limit, the threshold, and how many passwords are hashed at once.
func (l *loader) chooseMemory() {
	r := &l.Runtime
	r.MemoryLimit = l.memoryLimit()
	bound := tighter(r.MemoryLimit, r.CgroupMemory)

	l.MemoryThreshold = 512 << 20
	if l.thresholdMB > 0 {
		l.MemoryThreshold = int64(l.thresholdMB) << 20
	}
	if most := percent(bound, 85); bound > 0 && l.MemoryThreshold > most {
		if l.thresholdMB > 0 {
			l.warn("MEMORY_THRESHOLD_MB=%d is above 85 %% of the memory limit: using %d", l.thresholdMB, most>>20)
		}
		l.MemoryThreshold = most
	}
	l.set("MEMORY_THRESHOLD_MB", l.MemoryThreshold>>20, derived)

	l.CacheSize = int64(l.cacheMB) << 20
	if l.shown["CACHE_SIZE_MB"].Source == fromDefault {
		l.CacheSize = 12 << 20
		if bound > 0 {
			l.CacheSize = bound / 16
		}
	}
	l.set("CACHE_SIZE_MB", l.CacheSize>>20, derived)

	r.PasswordWorkers = r.Shards
	if bound > 0 { // password hashes may take a quarter of it
		r.PasswordWorkers = max(1, int(min(int64(r.Shards), bound/4/hashMemory)))
	}
}

// memoryLimit returns the soft limit that is set. If none is set, it returns one below the
// container's limit, or 0 without that.
func (l *loader) memoryLimit() (limit int64) {
	old, granted := int64(l.heapMB)<<20, l.Runtime.CgroupMemory
	source := derived
	switch {
	case l.goMemLimit > 0:
		limit = l.goMemLimit
		if old > 0 && old != limit {
			l.warn("MAX_OLD_SPACE_SIZE=%d has no effect: GOMEMLIMIT=%s wins", l.heapMB, limitText(limit))
		}
	case old > 0:
		limit = old
	case granted > 0:
		limit, source = percent(granted, 90), fromCgroup
	default:
		limit, source = noLimit, fromDefault
	}
	l.set("GOMEMLIMIT", limitText(limit), source)
	if limit == noLimit {
		return 0
	}
	if granted > 0 && limit > granted {
		l.warn("the memory limit of %s is above the %s that the container has", limitText(limit), limitText(granted))
	}
	return limit
}

// tighter returns the smaller of two limits. A limit of 0 means none.
func tighter(a, b int64) int64 {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// percent returns p percent of n, rounded down.
func percent(n, p int64) int64 { return n/100*p + n%100*p/100 }

// limitText formats a memory limit in the form of GOMEMLIMIT.
func limitText(n int64) string {
	switch {
	case n == noLimit:
		return "off"
	case n%(1<<20) == 0:
		return fmt.Sprintf("%dMiB", n>>20)
	}
	return fmt.Sprintf("%dB", n)
}

// count formats a number with its noun: "1 core", "2 cores".
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
