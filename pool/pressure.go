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

// A Pressure is a level of memory pressure. Each stage refuses all that the one before refuses, and
// more.
type Pressure int32

// The stages, and the part of the limit at which each begins.
const (
	PressureNone     Pressure = iota
	PressureLow               // 85 %: bulk work is refused
	PressureHigh              // 92 %: the same, and caches are dropped
	PressureCritical          // 95 %: everything but reads is refused
)

var stageNames = [...]string{"calm", "tight", "high", "critical"}

func (s Pressure) String() string { return stageNames[s] }

// begins is the part of the limit at which each stage begins, in percent. A stage ends stageSlack
// below that.
var begins = [...]int64{PressureLow: 85, PressureHigh: 92, PressureCritical: 95}

const (
	stageSlack = 3

	lookBusy = 10 * time.Millisecond // between two looks while a request runs or waits
	lookIdle = 250 * time.Millisecond

	// usable is the part of the limit that Go and the memory beside it may take, in percent;
	// leastGo is the least that is left to Go. The rest is the kernel's: page tables, sockets, the
	// cache of the files in use.
	usable, leastGo = 90, 25

	// GOMEMLIMIT moves by at least limitStep, because to set it stops the world for some
	// microseconds.
	limitStep = 1 << 20
	// One reserved byte in reservedOff may be allocated before a collection, or belong to the
	// database.
	reservedOff = 2
	// While room is wanted, the live heap found by a collection is out of date after staleAfter.
	staleAfter = 100 * time.Millisecond
	// Bytes that stay reserved for standsAfter wait for a client rather than for the work to end.
	standsAfter = time.Second

	restEvery = 5 * time.Second // between two checks for memory that could be given back
	restBytes = 16 << 20        // the memory to give back must be more than this to be worth it
	// The process is at rest if since the last check it has allocated less than one byte in
	// restPart of the memory that it could give back.
	restPart = 8
)

// refuses reports whether requests of the class are refused.
func (s Pressure) refuses(c Class) bool {
	switch s {
	case PressureNone:
		return false
	case PressureLow, PressureHigh:
		return c == Bulk
	}
	return c != Read
}

// Pressure returns the present memory pressure.
func (p *Pool) Pressure() Pressure { return Pressure(p.stage.Load()) }

// spare refuses a request for which memory is too short.
func (p *Pool) spare(r Request) error {
	if s := p.Pressure(); s != PressureNone && s.refuses(r.Class) {
		return p.refused(r, ErrMemory, 0)
	}
	return nil
}

// PressureConfig holds the settings of a PressureMonitor.
type PressureConfig struct {
	Limit int64 // bytes that the process may use; 0: no stages
	// GoLimit is the soft limit of the memory that Go manages, if it may be lowered to make room
	// for memory that is not Go's. 0: the limit stays as it is.
	GoLimit int64
	Kept    int64 // bytes that can be reserved for passwords alone
	Pool    *Pool
	Log     *slog.Logger // nil: slog.Default()

	// OnChange is called at each change. It must not block. It may be nil.
	OnChange func(before, now Pressure, needed int64)
}

// A PressureMonitor watches memory pressure: how near the process is to its limit. It has its pool
// refuse work by stages, and large bodies that would not fit, long before the kernel or the
// collector would end the process.
//
// It counts the memory that no collection would give back. That is the heap found alive by the last
// collection, stacks, anonymous memory that is not Go's, the bytes in flight since then, and what
// is reserved for clients that keep it waiting. The present size of the heap, and so the memory use
// of the container, says little, because Go fills with garbage what GOMEMLIMIT allows. The
// collector has a limit of its own, half of the CPU time. When it has come to that and lets memory
// grow instead (golang/go#58106), that is a high stage too, whatever is counted.
//
// Since garbage fills what Go is allowed, the allowance must leave room for memory that is not
// Go's. The monitor lowers GOMEMLIMIT by as much of such memory as there is, and as is about to be
// allocated. The heap that was alive at the last collection may be long dead when nothing has been
// allocated since. So before a request is refused for it, the monitor runs another collection.
type PressureMonitor struct {
	cfg   PressureConfig
	root  fs.FS
	need  func() need
	state atomic.Pointer[PressureStats]

	beside atomic.Int64 // memory that was not Go's at the last look

	mu      sync.Mutex // guards what follows, and lets one look or collect at a time
	goLimit int64      // in force
	cycle   int64      // number of the last collection,
	since   time.Time  // and when that was first seen

	allocated int64 // bytes ever allocated, at the last rest; used by Run alone

	// standing is the least that was reserved in the last whole period of standsAfter. least is the
	// same for the present period, which began at leastBegins.
	standing    int64
	least       int64
	leastBegins time.Time
}

// need is the result of one look.
type need struct {
	bytes  int64
	choked bool  // the collector is at its limit
	beside int64 // the part of bytes that is not Go's
	cycle  int64 // number of the last collection
}

// StagesStats is the result of the last look.
type PressureStats struct {
	Pressure Pressure
	Needed   int64 // bytes that no collection would give back
	Limit    int64 // 0: no limit, and no stages
	Reserved int64 // bytes set aside for requests
	// Free is the number of bytes that a request that hashes no password could still reserve.
	Free   int64
	Choked bool // the collector has come to its limit of CPU time
	Raised uint64
}

// NewPressureMonitor returns a monitor; call its Run.
func NewPressureMonitor(cfg PressureConfig) *PressureMonitor {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	s := &PressureMonitor{cfg: cfg, root: os.DirFS("/"), goLimit: cfg.GoLimit}
	s.need = s.measure
	if cfg.Limit > 0 {
		cfg.Pool.stages.Store(s)
	}
	s.state.Store(&PressureStats{Limit: cfg.Limit})
	return s
}

// Stats returns the result of the last look.
func (s *PressureMonitor) Stats() PressureStats { return *s.state.Load() }

// Run looks at the memory until ctx ends: often while the pool has work, seldom at rest. It gives
// back memory that a burst of work has left behind.
func (s *PressureMonitor) Run(ctx context.Context) {
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

// rest gives the memory that a burst of work has left behind back to the system, unless the work
// goes on and would need it again. By itself, Go collects the garbage of a process that allocates
// next to nothing only after two minutes.
func (s *PressureMonitor) rest() {
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
		runtime.GC() // FreeOSMemory collects again: what a sync.Pool keeps survives one collection
		debug.FreeOSMemory()
	}
}

// look takes one look and reports a change of the stage.
func (s *PressureMonitor) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lookLocked()
}

func (s *PressureMonitor) lookLocked() {
	n := s.need()
	s.beside.Store(n.beside)
	if n.cycle != s.cycle {
		s.cycle, s.since = n.cycle, time.Now()
	}
	s.makeRoom(n)
	room := s.cfg.Limit/100*begins[PressureHigh] - n.bytes
	s.cfg.Pool.room.Store(room)
	n.bytes += s.unseen()
	before := s.Stats()
	now := before
	now.Pressure, now.Needed, now.Choked = next(before.Pressure, n, s.cfg.Limit), n.bytes, n.choked
	now.Reserved, now.Free = s.cfg.Pool.reserved.Load(), s.cfg.Pool.reservations.free(room, s.cfg.Kept)
	if now.Pressure > before.Pressure {
		now.Raised++
	}
	s.state.Store(&now)
	if now.Pressure == before.Pressure {
		return
	}
	s.cfg.Pool.stage.Store(int32(now.Pressure))
	level := slog.LevelInfo
	if now.Pressure > before.Pressure {
		level = slog.LevelWarn
	}
	s.cfg.Log.LogAttrs(context.Background(), level, "memory stage", slog.String("stage", now.Pressure.String()),
		slog.String("before", before.Pressure.String()), slog.Int64("needed", n.bytes), slog.Int64("limit", s.cfg.Limit),
		slog.Bool("collector_at_limit", n.choked))
	if s.cfg.OnChange != nil {
		s.cfg.OnChange(before.Pressure, now.Pressure, n.bytes)
	}
}

// unseen returns the bytes that have been reserved for long and are not in flight, so that they are
// not counted in need. Bytes that are reserved for a moment are the work of requests and no reason
// to change the stage.
func (s *PressureMonitor) unseen() int64 {
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

// makeRoom adjusts GOMEMLIMIT to the memory that is not Go's.
func (s *PressureMonitor) makeRoom(n need) {
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

// renew runs a collection and then takes a look, unless the last collection is recent.
func (s *PressureMonitor) renew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.since) >= staleAfter {
		runtime.GC()
		s.lookLocked()
	}
}

// clear collects garbage unless all reserved bytes fit beside it.
func (s *PressureMonitor) clear() {
	if s.fits() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.fits() { // another goroutine did not do it meanwhile
		runtime.GC()
	}
}

// fits reports whether the reserved bytes fit into the usable memory, together with the memory that
// Go uses, garbage included, and the memory that is not Go's.
func (s *PressureMonitor) fits() bool {
	var total, released, free int64
	readMetrics(map[string]*int64{
		"/memory/classes/total:bytes":         &total,
		"/memory/classes/heap/released:bytes": &released,
		"/memory/classes/heap/free:bytes":     &free,
	}, nil)
	return total-released-free+s.beside.Load()+s.cfg.Pool.reserved.Load() <= s.cfg.Limit/100*usable
}

// next returns the stage after one look. Upwards it may leap. Downwards it goes step by step, and
// each step is taken when the need is clearly below where the stage began.
func next(stage Pressure, n need, limit int64) Pressure {
	up := PressureNone
	for s := PressureLow; s <= PressureCritical; s++ {
		if n.bytes >= limit/100*begins[s] {
			up = s
		}
	}
	if n.choked {
		up = max(up, PressureHigh)
	}
	if up >= stage {
		return up
	}
	if n.bytes < limit/100*(begins[stage]-stageSlack) && !(n.choked && stage <= PressureHigh) {
		return stage - 1
	}
	return stage
}

// measure reads how much memory the process needs. It takes some tens of microseconds.
func (s *PressureMonitor) measure() need {
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

// readAnonymous returns the resident memory that is not backed by a file.
func readAnonymous(root fs.FS) int64 {
	for line := range strings.Lines(readText(root, "proc/self/status")) {
		if kb, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			return parseBytes(strings.TrimSuffix(strings.TrimSpace(kb), " kB")) << 10
		}
	}
	return 0
}
