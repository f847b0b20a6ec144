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

// Runtime is how much of the machine the process uses.
type Runtime struct {
	Cores int     // in use: those of the affinity mask, or ⌈Quota⌉ if that is fewer
	Quota float64 // cores' worth of time that the control groups grant; 0: no limit

	Shards           int
	WorkersPerShard  int
	DatabaseMaxConns int // Shards × WorkersPerShard and the reserve at least
	PasswordWorkers  int // passwords hashed at once; bounded by memory too

	GOMAXPROCS   int   // 0: left to Go, which follows its own group's quota while the process runs
	MemoryLimit  int64 // soft, in bytes, of what Go manages; 0: none
	CgroupMemory int64 // bytes that the control groups grant the process; 0: no limit

	FollowQuota bool // no setting asks for a GOMAXPROCS: it follows the quotas
}

// Apply sets the process to what was chosen.
func (r Runtime) Apply() {
	if r.MemoryLimit > 0 {
		debug.SetMemoryLimit(r.MemoryLimit)
	}
	if r.GOMAXPROCS > 0 { // only then: after the call Go no longer follows a quota that changes
		runtime.GOMAXPROCS(r.GOMAXPROCS)
	}
	if os.Getenv("GOGC") == "" { // Go itself reads it there
		paceOnce.Do(func() { paceCollector(r.garbage()) })
	}
}

var paceOnce sync.Once // the collector is the process's

// garbage is how much a small heap may gather: next to nothing in a small container.
func (r Runtime) garbage() int64 {
	if bound := tighter(r.MemoryLimit, r.CgroupMemory); bound > 0 {
		return min(maxGarbage, bound/32)
	}
	return maxGarbage
}

// followEvery is the time between two readings of the control groups.
const followEvery = 10 * time.Second

// Follow reads the control groups again until ctx ends. GOMAXPROCS follows a
// parent group's quota, which Go does not read. A memory limit that has
// changed is only told of: caches and workers were fitted to the old one.
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

// A machine is what the settings are fitted to.
type machine struct {
	cpus  int    // that the affinity mask allows
	procs int    // GOMAXPROCS as Go has chosen it
	root  fs.FS  // with proc and the control groups
	dir   string // where .env is looked for
}

func thisMachine() machine {
	return machine{cpus: runtime.NumCPU(), procs: runtime.GOMAXPROCS(0), root: os.DirFS("/"), dir: "."}
}

const (
	// reserve is how many connections stay free of workers: for migrations, readiness and the sweep.
	reserve = 2

	// Workers of a shard, unless set. PostgreSQL's wait for the network most of the time. SQLite works in this process,
	// so more workers than cores only cover its waits for the disk, and each connection has a page cache of its own.
	postgresWorkers, sqliteWorkers = 8, 4

	// mostWorkers is where the whole pool stops growing by itself: PostgreSQL comes with room for 100 connections.
	mostWorkers = 64

	// mostWorkersPerShard is the pool's own bound: a shard's free workers are the bits of one word.
	mostWorkersPerShard = 64

	// waitingPerWorker makes the queue long enough that its bound in time comes first while a request takes more than
	// 30 ms (1 s ÷ 32), and that a hundred clients find room on one core; and short enough that a burst of quick
	// requests is not kept waiting in vain.
	waitingPerWorker = 32

	leastMemory = 16 << 20 // bytes that a memory limit must have
	hashMemory  = 19 << 20 // bytes that argon2id takes for one password
)

// chooseCores decides how many cores and shards there are.
func (d *draft) chooseCores() {
	r := &d.Runtime
	granted := readLimits(d.machine.root)
	r.Quota, r.CgroupMemory = granted.cores, granted.memory
	d.MaxWorkers = d.maxWorkers
	r.Cores = max(1, d.machine.cpus)
	source := derived
	if r.Quota > 0 && r.Quota < float64(r.Cores) {
		r.Cores, source = int(math.Ceil(r.Quota)), fromCgroup
	}
	r.Shards, r.GOMAXPROCS = r.Cores, d.procs
	switch {
	case !d.cluster:
		d.warnIgnored("MAX_WORKERS", d.maxWorkers)
		d.warnIgnored("GOMAXPROCS", d.procs)
		r.Shards, r.GOMAXPROCS, source = 1, 1, derived
	case d.maxWorkers > 0:
		if d.maxWorkers > r.Cores {
			d.warn("MAX_WORKERS=%d is above the %s available: using %d", d.maxWorkers, count(r.Cores, "core"), r.Cores)
		}
		r.Shards = min(d.maxWorkers, r.Cores)
		if d.procs == 0 {
			r.GOMAXPROCS = r.Shards
		}
	case d.procs > 0:
		r.Shards = min(d.procs, r.Cores) // more would not run at once
	default:
		r.GOMAXPROCS, r.FollowQuota = granted.procs(d.machine.cpus), true
	}
	d.settle("MAX_WORKERS", r.Shards, source)
	switch {
	case r.GOMAXPROCS > 0 && r.FollowQuota:
		d.settle("GOMAXPROCS", r.GOMAXPROCS, fromCgroup)
	case r.GOMAXPROCS > 0:
		d.settle("GOMAXPROCS", r.GOMAXPROCS, derived)
	default:
		d.settle("GOMAXPROCS", d.machine.procs, fromDefault)
	}
}

// warnIgnored warns of a number above the one that CLUSTER_MODE=false leaves.
func (d *draft) warnIgnored(name string, n int) {
	if n > 1 {
		d.warn("%s=%d has no effect: CLUSTER_MODE=false means one shard on one core", name, n)
	}
}

// chooseWorkers fits workers and connections to each other: every worker can have a connection, so that nobody ever
// waits for one inside database/sql, which serves its waiters at random.
func (d *draft) chooseWorkers() {
	if !d.sound("MAX_WORKERS", "CLUSTER_MODE", "GOMAXPROCS", "WORKERS_PER_SHARD", "DATABASE_MAX_CONNS") {
		return
	}
	r := &d.Runtime
	r.WorkersPerShard, r.DatabaseMaxConns = d.workers, d.maxConns
	switch {
	case d.workers > 0 && d.maxConns > 0:
		if d.workers*r.Shards > d.maxConns-reserve {
			d.mistake("DATABASE_MAX_CONNS", "DATABASE_MAX_CONNS=%d is too few for WORKERS_PER_SHARD=%d: %s and %d in reserve "+
				"make %d", d.maxConns, d.workers, count(r.Shards, "shard"), reserve, d.workers*r.Shards+reserve)
		}
	case d.maxConns > 0:
		r.WorkersPerShard = min((d.maxConns-reserve)/r.Shards, mostWorkersPerShard)
		if r.WorkersPerShard == 0 {
			d.mistake("DATABASE_MAX_CONNS", "DATABASE_MAX_CONNS=%d is too few: with a worker for each of %s and %d in reserve "+
				"the least is %d (or set a lower MAX_WORKERS)", d.maxConns, count(r.Shards, "shard"), reserve, r.Shards+reserve)
		}
	case d.workers == 0:
		r.WorkersPerShard = sqliteWorkers
		if isPostgres(d.DatabaseURL.Reveal()) {
			r.WorkersPerShard = postgresWorkers
		}
		r.WorkersPerShard = max(1, min(r.WorkersPerShard, mostWorkers/r.Shards))
	}
	if d.maxConns == 0 {
		r.DatabaseMaxConns = r.Shards*r.WorkersPerShard + reserve
	}
	d.settle("WORKERS_PER_SHARD", r.WorkersPerShard, derived)
	d.settle("DATABASE_MAX_CONNS", r.DatabaseMaxConns, derived)

	d.QueueLength = d.queueLength
	if d.shown["QUEUE_LENGTH"].Source == fromDefault {
		d.QueueLength = r.Shards * r.WorkersPerShard * waitingPerWorker
	}
	d.settle("QUEUE_LENGTH", d.QueueLength, derived)
}

// chooseMemory decides the limit, the threshold, and how many passwords are hashed at once.
func (d *draft) chooseMemory() {
	r := &d.Runtime
	r.MemoryLimit = d.memoryLimit()
	bound := tighter(r.MemoryLimit, r.CgroupMemory)

	d.MemoryThreshold = 512 << 20
	if d.thresholdMB > 0 {
		d.MemoryThreshold = int64(d.thresholdMB) << 20
	}
	if most := percent(bound, 85); bound > 0 && d.MemoryThreshold > most {
		if d.thresholdMB > 0 {
			d.warn("MEMORY_THRESHOLD_MB=%d is above 85 %% of the memory limit: using %d", d.thresholdMB, most>>20)
		}
		d.MemoryThreshold = most
	}
	d.settle("MEMORY_THRESHOLD_MB", d.MemoryThreshold>>20, derived)

	d.CacheSize = int64(d.cacheMB) << 20
	if d.shown["CACHE_SIZE_MB"].Source == fromDefault {
		d.CacheSize = 12 << 20
		if bound > 0 {
			d.CacheSize = bound / 16
		}
	}
	d.settle("CACHE_SIZE_MB", d.CacheSize>>20, derived)

	r.PasswordWorkers = r.Shards
	if bound > 0 { // hashes may take a quarter of it
		r.PasswordWorkers = max(1, int(min(int64(r.Shards), bound/4/hashMemory)))
	}
}

// memoryLimit returns the soft limit that is set, else the one that keeps clear of the container's, else 0.
func (d *draft) memoryLimit() (limit int64) {
	old, granted := int64(d.heapMB)<<20, d.Runtime.CgroupMemory
	source := derived
	switch {
	case d.goMemLimit > 0:
		limit = d.goMemLimit
		if old > 0 && old != limit {
			d.warn("MAX_OLD_SPACE_SIZE=%d has no effect: GOMEMLIMIT=%s wins", d.heapMB, limitText(limit))
		}
	case old > 0:
		limit = old
	case granted > 0:
		limit, source = percent(granted, 90), fromCgroup
	default:
		limit, source = noLimit, fromDefault
	}
	d.settle("GOMEMLIMIT", limitText(limit), source)
	if limit == noLimit {
		return 0
	}
	if granted > 0 && limit > granted {
		d.warn("the memory limit of %s is above the %s that the container has", limitText(limit), limitText(granted))
	}
	return limit
}

// tighter returns the smaller of two limits of which 0 is none.
func tighter(a, b int64) int64 {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// percent returns p percent of n, rounded down.
func percent(n, p int64) int64 { return n/100*p + n%100*p/100 }

// limitText writes a memory limit as GOMEMLIMIT has it.
func limitText(n int64) string {
	switch {
	case n == noLimit:
		return "off"
	case n%(1<<20) == 0:
		return fmt.Sprintf("%dMiB", n>>20)
	}
	return fmt.Sprintf("%dB", n)
}

// count writes "1 core", "2 cores".
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
