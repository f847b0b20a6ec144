package pool

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Stage is how short memory is. Each refuses what the one before does, and more.
type Stage int32

// The stages, and the part of the limit at which each begins.
const (
	StageCalm     Stage = iota
	StageTight          // 85 %: bulk work is refused
	StageHigh           // 92 %: the same; caches go
	StageCritical       // 95 %: everything but reads
)

var stageNames = [...]string{"calm", "tight", "high", "critical"}

func (s Stage) String() string { return stageNames[s] }

// begins is the part of the limit at which a stage begins, in percent. It ends
// stageSlack below that.
var begins = [...]int64{StageTight: 85, StageHigh: 92, StageCritical: 95}

const (
	stageSlack = 3

	lookBusy = 10 * time.Millisecond // between two looks while a request runs or waits
	lookIdle = 250 * time.Millisecond

	// All of the limit that Go and what is beside it may take, in percent, and
	// the least that is left to Go. The rest is the kernel's: page tables,
	// sockets, the cache of the files in use.
	usable, leastGo = 90, 25

	limitStep   = 1 << 20                // GOMEMLIMIT moves by no less: it stops the world for some microseconds
	reservedOff = 2                      // one byte in so many of what is reserved may come before a collection, or be the database's
	staleAfter  = 100 * time.Millisecond // what was alive at a collection, while room is wanted
	standsAfter = time.Second            // reserved for as long, bytes wait for a client rather than for the work to end

	restEvery = 5 * time.Second // between two looks at what could be given back
	restBytes = 16 << 20        // that are worth it
	restPart  = 8               // the process is at rest if it has allocated less than one byte in so many of that meanwhile
)

// refuses reports whether requests of the class are turned away.
func (s Stage) refuses(c Class) bool {
	switch s {
	case StageCalm:
		return false
	case StageTight, StageHigh:
		return c == Bulk
	}
	return c != Read
}

// Stage is how short memory is now.
func (p *Pool) Stage() Stage { return Stage(p.stage.Load()) }

// spare refuses a request for which memory is too short.
func (p *Pool) spare(r Request) error {
	if s := p.Stage(); s != StageCalm && s.refuses(r.Class) {
		return p.refused(r, ErrMemory, 0)
	}
	return nil
}

// StagesConfig is what Stages need to know.
type StagesConfig struct {
	Limit int64 // bytes that the process may use; 0: no stages
	// GoLimit is the soft limit of what Go manages, when that may be lowered to
	// make room for memory that is not Go's; 0: it stays as it is.
	GoLimit int64
	Kept    int64 // bytes that can be reserved for passwords alone
	Pool    *Pool
	Log     *slog.Logger // nil: slog.Default()

	// OnStage is told of each change. It must not block; nil is allowed.
	OnStage func(before, now Stage, needed int64)
}

// Stages watches how near to its limit the process is and has its pool refuse
// work by stages, and large bodies that would not fit, long before the kernel or the collector would end it.
//
// What counts is what no collection would give back: the heap found alive by
// the last one, stacks, anonymous memory that is not Go's, the bytes in
// flight since, and what is reserved for clients that keep it waiting. The heap as it stands, and so the container's use, says little:
// Go fills up with garbage what GOMEMLIMIT allows. When the collector has come
// to its own limit, half of the CPU time, and lets memory grow instead
// (golang/go#58106), that is a high stage too, whatever is counted.
//
// Since garbage fills what Go is allowed, that must leave room for what is not
// Go's: Stages lowers GOMEMLIMIT by as much as there is of it, and as much as
// is about to be. And what was alive at the last collection may be long dead
// when nothing has been allocated since: before anything is refused for it,
// Stages has another.
type Stages struct {
	cfg   StagesConfig
	root  fs.FS
	need  func() need
	state atomic.Pointer[StagesStats]

	beside atomic.Int64 // what was not Go's at the last look

	mu      sync.Mutex // guards what follows, and has one look or collect at a time
	goLimit int64      // in force
	cycle   int64      // the last collection,
	since   time.Time  // and when it was first seen

	allocated int64 // ever, at the last rest; Run's own

	standing    int64     // the least that was reserved in the last whole period of standsAfter
	least       int64     // the same of the present period,
	leastBegins time.Time // which began then
}

// need is one look.
type need struct {
	bytes  int64
	choked bool  // the collector is at its limit
	beside int64 // of bytes, what is not Go's
	cycle  int64 // the last collection
}

// StagesStats is what the last look saw.
type StagesStats struct {
	Stage    Stage
	Needed   int64 // bytes that no collection would give back
	Limit    int64 // 0: none, and no stages
	Reserved int64 // bytes set aside for requests
	Free     int64 // bytes that could be set aside besides, by a request that hashes no password
	Choked   bool  // the collector has come to its limit of CPU time
	Raised   uint64
}

// NewStages returns stages for Run.
func NewStages(cfg StagesConfig) *Stages {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	s := &Stages{cfg: cfg, root: os.DirFS("/"), goLimit: cfg.GoLimit}
	s.need = s.measure
	if cfg.Limit > 0 {
		cfg.Pool.stages.Store(s)
	}
	s.state.Store(&StagesStats{Limit: cfg.Limit})
	return s
}

// Stats returns what the last look saw.
func (s *Stages) Stats() StagesStats { return *s.state.Load() }

// Run looks until ctx ends: often while the pool has work, seldom at rest. Memory that a burst of
// work has left behind is given back.
func (s *Stages) Run(ctx context.Context) {
	if s.cfg.Limit <= 0 {
		return
	}
	s.look()
	rested := time.Now()
	tick := time.NewTimer(lookIdle)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.look()
		case <-ctx.Done():
			return
		}
		if now := time.Now(); now.Sub(rested) >= restEvery {
			rested = now
			s.rest()
		}
		if s.cfg.Pool.allFree() {
			tick.Reset(lookIdle)
		} else {
			tick.Reset(lookBusy)
		}
	}
}

// rest gives the system the memory that a burst of work has left behind, unless the work goes on and would need it again.
// By itself Go collects the garbage of a process that allocates next to nothing only after two minutes.
func (s *Stages) rest() {
	var live, used, free, allocated int64
	readMetrics(map[string]*int64{
		"/gc/heap/live:bytes":                &live,
		"/memory/classes/heap/objects:bytes": &used,
		"/memory/classes/heap/free:bytes":    &free,
		"/gc/heap/allocs:bytes":              &allocated,
	}, nil)
	before := s.allocated
	s.allocated = allocated
	if spare := used - live + free; spare > restBytes && (allocated-before) < spare/restPart {
		runtime.GC() // what a sync.Pool keeps survives one collection
		debug.FreeOSMemory()
	}
}

// look takes one look and tells of a change.
func (s *Stages) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lookLocked()
}

func (s *Stages) lookLocked() {
	n := s.need()
	s.beside.Store(n.beside)
	if n.cycle != s.cycle {
		s.cycle, s.since = n.cycle, time.Now()
	}
	s.makeRoom(n)
	room := s.cfg.Limit/100*begins[StageHigh] - n.bytes
	s.cfg.Pool.room.Store(room)
	n.bytes += s.unseen()
	before := s.Stats()
	now := before
	now.Stage, now.Needed, now.Choked = next(before.Stage, n, s.cfg.Limit), n.bytes, n.choked
	now.Reserved, now.Free = s.cfg.Pool.reserved.Load(), s.cfg.Pool.reservations.free(room, s.cfg.Kept)
	if now.Stage > before.Stage {
		now.Raised++
	}
	s.state.Store(&now)
	if now.Stage == before.Stage {
		return
	}
	s.cfg.Pool.stage.Store(int32(now.Stage))
	level := slog.LevelInfo
	if now.Stage > before.Stage {
		level = slog.LevelWarn
	}
	s.cfg.Log.LogAttrs(context.Background(), level, "memory stage", slog.String("stage", now.Stage.String()),
		slog.String("before", before.Stage.String()), slog.Int64("needed", n.bytes), slog.Int64("limit", s.cfg.Limit),
		slog.Bool("collector_at_limit", n.choked))
	if s.cfg.OnStage != nil {
		s.cfg.OnStage(before.Stage, now.Stage, n.bytes)
	}
}

// unseen is what has been reserved for long and is not in flight, and so not in
// need. What is reserved for a moment is the work of requests and no reason to
// change the stage.
func (s *Stages) unseen() int64 {
	reserved := s.cfg.Pool.reserved.Load()
	s.least = min(s.least, reserved)
	if now := time.Now(); now.Sub(s.leastBegins) >= standsAfter {
		s.standing, s.least, s.leastBegins = s.least, reserved, now
	}
	inFlight := int64(0)
	for _, b := range s.cfg.Pool.bytesInFlight() {
		inFlight += b
	}
	return max(0, min(s.standing, reserved)-max(0, inFlight))
}

// makeRoom fits GOMEMLIMIT to what is beside Go.
func (s *Stages) makeRoom(n need) {
	if s.cfg.GoLimit == 0 {
		return
	}
	beside := n.beside + s.cfg.Pool.reserved.Load()/reservedOff
	limit := min(s.cfg.GoLimit, max(s.cfg.Limit/100*leastGo, s.cfg.Limit/100*usable-beside))
	if limit <= s.goLimit-limitStep || limit >= s.goLimit+limitStep || limit == s.cfg.GoLimit && limit != s.goLimit {
		s.goLimit = limit
		debug.SetMemoryLimit(limit)
	}
}

// renew takes a look after a collection, unless the last one is recent.
func (s *Stages) renew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.since) >= staleAfter {
		runtime.GC()
		s.lookLocked()
	}
}

// clear collects garbage unless all that is reserved fits beside it.
func (s *Stages) clear() {
	if s.fits() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.fits() { // another did not do it meanwhile
		runtime.GC()
	}
}

// fits tells whether what is reserved fits into what may be used, together
// with what Go uses, garbage too, and what is beside it.
func (s *Stages) fits() bool {
	var total, released, free int64
	readMetrics(map[string]*int64{
		"/memory/classes/total:bytes":         &total,
		"/memory/classes/heap/released:bytes": &released,
		"/memory/classes/heap/free:bytes":     &free,
	}, nil)
	return total-released-free+s.beside.Load()+s.cfg.Pool.reserved.Load() <= s.cfg.Limit/100*usable
}

// next is the stage after one look. Upwards it may leap; downwards it goes step
// by step, each when need is clearly below where the stage began.
func next(stage Stage, n need, limit int64) Stage {
	up := StageCalm
	for s := StageTight; s <= StageCritical; s++ {
		if n.bytes >= limit/100*begins[s] {
			up = s
		}
	}
	if n.choked {
		up = max(up, StageHigh)
	}
	if up >= stage {
		return up
	}
	if n.bytes < limit/100*(begins[stage]-stageSlack) && !(n.choked && stage <= StageHigh) {
		return stage - 1
	}
	return stage
}

// measure reads what the process needs. It takes some tens of microseconds.
func (s *Stages) measure() need {
	var live, heapStacks, osStacks, total, released, cycle, limited int64
	readMetrics(map[string]*int64{
		"/gc/heap/live:bytes":                 &live,
		"/memory/classes/heap/stacks:bytes":   &heapStacks,
		"/memory/classes/os-stacks:bytes":     &osStacks,
		"/memory/classes/total:bytes":         &total,
		"/memory/classes/heap/released:bytes": &released,
		"/gc/cycles/total:gc-cycles":          &cycle,
		"/gc/limiter/last-enabled:gc-cycle":   &limited,
	}, nil)
	n := need{bytes: live + heapStacks + osStacks, choked: limited > 0 && limited >= cycle}
	n.beside, n.cycle = max(0, readAnonymous(s.root)-(total-released)), cycle
	n.bytes += n.beside
	for _, b := range s.cfg.Pool.bytesInFlight() {
		n.bytes += b
	}
	return n
}

// readAnonymous is the resident memory that is no file's.
func readAnonymous(root fs.FS) int64 {
	for line := range strings.Lines(readText(root, "proc/self/status")) {
		if kb, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			return parseBytes(strings.TrimSuffix(strings.TrimSpace(kb), " kB")) << 10
		}
	}
	return 0
}
