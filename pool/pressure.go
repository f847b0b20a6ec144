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

// A Pressure is a level of memory pressure. Each level refuses all that the one below refuses, and
// more.
type Pressure int32

// The levels, and the part of the limit at which each begins.
const (
	PressureNone     Pressure = iota
	PressureLow               // 85 %: bulk work is refused
	PressureHigh              // 92 %: the same, and caches are dropped
	PressureCritical          // 95 %: everything but reads is refused
)

var pressureNames = [...]string{"calm", "tight", "high", "critical"}

func (s Pressure) String() string { return pressureNames[s] }

// pressureStarts is the part of the limit at which each level begins, in percent. A level ends
// pressureSlack below that.
var pressureStarts = [...]int64{PressureLow: 85, PressureHigh: 92, PressureCritical: 95}

const (
	pressureSlack = 3

	lookBusy = 10 * time.Millisecond // between two looks while a request runs or waits
	lookIdle = 250 * time.Millisecond

	// usable is the part of the limit that Go and the memory beside it may take, in percent;
	// minGo is the least that is left to Go. The rest is the kernel's: page tables, sockets, the
	// cache of the files in use.
	usable, minGo = 90, 25

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
func (p *Pool) Pressure() Pressure { return Pressure(p.pressure.Load()) }

// checkPressure refuses a request for which memory is too short.
func (p *Pool) checkPressure(r Request) error {
	if s := p.Pressure(); s != PressureNone && s.refuses(r.Class) {
		return p.reject(r, ErrMemory, 0)
	}
	return nil
}

// PressureConfig holds the settings of a PressureMonitor.
type PressureConfig struct {
	Limit int64 // bytes that the process may use; 0: no limit
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
// refuse work level by level, and large bodies that would not fit, long before the kernel or the
// collector would end the process.
//
// It counts the memory that no collection would give back. That is the heap found alive by the last
// collection, stacks, anonymous memory that is not Go's, the bytes in flight since then, and what
// is reserved for clients that keep it waiting. The present size of the heap, and so the memory use
// of the container, says little, because Go fills with garbage what GOMEMLIMIT allows. The
// collector has a limit of its own, half of the CPU time. When it has come to that and lets memory
// grow instead (golang/go#58106), that is high pressure too, whatever is counted.
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

	nonGo atomic.Int64 // memory that was not Go's at the last look

	mu      sync.Mutex // guards what follows, and lets one look or collect at a time
	goLimit int64      // in force
	cycle   int64      // number of the last collection,
	since   time.Time  // and when that was first seen

	allocated int64 // bytes ever allocated, at the last release; used by Run alone

	// standing is the minimum that was reserved in the last whole period of standsAfter.
	// minReserved is the same for the present period, which began at minSince.
	standing    int64
	minReserved int64
	minSince    time.Time
}

// need is the result of one look.
type need struct {
	bytes  int64
	choked bool  // the collector is at its limit
	nonGo  int64 // the part of bytes that is not Go's
	cycle  int64 // number of the last collection
}

// StagesStats is the result of the last look.
type PressureStats struct {
	Pressure Pressure
	Needed   int64 // bytes that no collection would give back
	Limit    int64 // 0: no limit
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
	m := &PressureMonitor{cfg: cfg, root: os.DirFS("/"), goLimit: cfg.GoLimit}
	m.need = m.measure
	if cfg.Limit > 0 {
		cfg.Pool.monitor.Store(m)
	}
	m.state.Store(&PressureStats{Limit: cfg.Limit})
	return m
}

// Stats returns the result of the last look.
func (m *PressureMonitor) Stats() PressureStats { return *m.state.Load() }

// Run looks at the memory until ctx ends: often while the pool has work, seldom at rest. It gives
// back memory that a burst of work has left behind.
func (m *PressureMonitor) Run(ctx context.Context) {
	if m.cfg.Limit <= 0 {
		return
	}
	m.look()
	rested := time.Now()
	tick := time.NewTimer(lookIdle)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			m.look()
		case <-ctx.Done():
			return
		}
		if now := time.Now(); now.Sub(rested) >= restEvery {
			rested = now
			m.releaseMemory()
		}
		if m.cfg.Pool.allFree() {
			tick.Reset(lookIdle)
		} else {
			tick.Reset(lookBusy)
		}
	}
}

// releaseMemory gives the memory that a burst of work has left behind back to the system, unless
// the work goes on and would need it again. By itself, Go collects the garbage of a process that
// allocates next to nothing only after two minutes.
func (m *PressureMonitor) releaseMemory() {
	var live, used, free, allocated int64
	readMetrics(map[string]*int64{
		"/gc/heap/live:bytes":                &live,
		"/memory/classes/heap/objects:bytes": &used,
		"/memory/classes/heap/free:bytes":    &free,
		"/gc/heap/allocs:bytes":              &allocated,
	}, nil)
	before := m.allocated
	m.allocated = allocated
	if spare := used - live + free; spare > restBytes && (allocated-before) < spare/restPart {
		runtime.GC() // FreeOSMemory collects again: what a sync.Pool keeps survives one collection
		debug.FreeOSMemory()
	}
}

// look takes one look and reports a change of the level.
func (m *PressureMonitor) look() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lookLocked()
}

func (m *PressureMonitor) lookLocked() {
	n := m.need()
	m.nonGo.Store(n.nonGo)
	if n.cycle != m.cycle {
		m.cycle, m.since = n.cycle, time.Now()
	}
	m.adjustGoLimit(n)
	room := m.cfg.Limit/100*pressureStarts[PressureHigh] - n.bytes
	m.cfg.Pool.room.Store(room)
	n.bytes += m.longReserved()
	before := m.Stats()
	now := before
	now.Pressure, now.Needed, now.Choked = nextPressure(before.Pressure, n, m.cfg.Limit), n.bytes, n.choked
	now.Reserved, now.Free = m.cfg.Pool.reserved.Load(), m.cfg.Pool.reservations.free(room, m.cfg.Kept)
	if now.Pressure > before.Pressure {
		now.Raised++
	}
	m.state.Store(&now)
	if now.Pressure == before.Pressure {
		return
	}
	m.cfg.Pool.pressure.Store(int32(now.Pressure))
	level := slog.LevelInfo
	if now.Pressure > before.Pressure {
		level = slog.LevelWarn
	}
	m.cfg.Log.LogAttrs(context.Background(), level, "memory stage", slog.String("stage", now.Pressure.String()),
		slog.String("before", before.Pressure.String()), slog.Int64("needed", n.bytes),
		slog.Int64("limit", m.cfg.Limit),
		slog.Bool("collector_at_limit", n.choked))
	if m.cfg.OnChange != nil {
		m.cfg.OnChange(before.Pressure, now.Pressure, n.bytes)
	}
}

// longReserved returns the bytes that have been reserved for long and are not in flight, so that
// they are not counted in need. Bytes that are reserved for a moment are the work of requests and
// no reason to change the level.
func (m *PressureMonitor) longReserved() int64 {
	reserved := m.cfg.Pool.reserved.Load()
	m.minReserved = min(m.minReserved, reserved)
	if now := time.Now(); now.Sub(m.minSince) >= standsAfter {
		m.standing, m.minReserved, m.minSince = m.minReserved, reserved, now
	}
	inFlight := int64(0)
	for _, b := range m.cfg.Pool.bytesInFlight() {
		inFlight += b
	}
	return max(0, min(m.standing, reserved)-max(0, inFlight))
}

// adjustGoLimit adjusts GOMEMLIMIT to the memory that is not Go's.
func (m *PressureMonitor) adjustGoLimit(n need) {
	if m.cfg.GoLimit == 0 {
		return
	}
	beside := n.nonGo + m.cfg.Pool.reserved.Load()/reservedOff
	limit := min(m.cfg.GoLimit, max(m.cfg.Limit/100*minGo, m.cfg.Limit/100*usable-beside))
	if limit <= m.goLimit-limitStep || limit >= m.goLimit+limitStep || limit == m.cfg.GoLimit && limit != m.goLimit {
		m.goLimit = limit
		debug.SetMemoryLimit(limit)
	}
}

// refresh runs a collection and then takes a look, unless the last collection is recent.
func (m *PressureMonitor) refresh() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.since) >= staleAfter {
		runtime.GC()
		m.lookLocked()
	}
}

// collectIfTight collects garbage unless all reserved bytes fit beside it.
func (m *PressureMonitor) collectIfTight() {
	if m.fits() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.fits() { // another goroutine did not do it meanwhile
		runtime.GC()
	}
}

// fits reports whether the reserved bytes fit into the usable memory, together with the memory that
// Go uses, garbage included, and the memory that is not Go's.
func (m *PressureMonitor) fits() bool {
	var total, released, free int64
	readMetrics(map[string]*int64{
		"/memory/classes/total:bytes":         &total,
		"/memory/classes/heap/released:bytes": &released,
		"/memory/classes/heap/free:bytes":     &free,
	}, nil)
	return total-released-free+m.nonGo.Load()+m.cfg.Pool.reserved.Load() <= m.cfg.Limit/100*usable
}

// nextPressure returns the level after one look. Upwards it may leap. Downwards it goes step by
// step, and each step is taken when the need is clearly below where the level began.
func nextPressure(now Pressure, n need, limit int64) Pressure {
	up := PressureNone
	for s := PressureLow; s <= PressureCritical; s++ {
		if n.bytes >= limit/100*pressureStarts[s] {
			up = s
		}
	}
	if n.choked {
		up = max(up, PressureHigh)
	}
	if up >= now {
		return up
	}
	if n.bytes < limit/100*(pressureStarts[now]-pressureSlack) && !(n.choked && now <= PressureHigh) {
		return now - 1
	}
	return now
}

// measure reads how much memory the process needs. It takes some tens of microseconds.
func (m *PressureMonitor) measure() need {
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
	n.nonGo, n.cycle = max(0, readAnonymous(m.root)-(total-released)), cycle
	n.bytes += n.nonGo
	for _, b := range m.cfg.Pool.bytesInFlight() {
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
