package pool

import (
	"context"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Memory is the memory that the process uses, in bytes. A value that this system does not provide
// is zero.
type Memory struct {
	RSS       int64 `json:"rss"`       // resident memory, as the kernel counts it
	HeapLive  int64 `json:"heapLive"`  // live bytes found by the last collection
	HeapUsed  int64 `json:"heapUsed"`  // live bytes, and garbage not collected yet
	HeapTotal int64 `json:"heapTotal"` // held for the heap, used or not
	Stacks    int64 `json:"stacks"`    // stacks of goroutines and threads
	OffHeap   int64 `json:"offHeap"`   // resident, but not Go's: SQLite's pages, the program
	Limit     int64 `json:"limit"`     // GOMEMLIMIT; 0: none
	// CgroupUsed is the memory of the container, without page cache that can be dropped.
	CgroupUsed int64 `json:"cgroupUsed"`
	// GCShare is the share of the available CPU time that garbage collection took, since the start
	// or the last log line.
	GCShare    float64 `json:"gcShare"`
	GCCycles   uint64  `json:"gcCycles"`
	Goroutines int     `json:"goroutines"`

	gcSeconds, cpuSeconds float64 // since the start
}

// ReadMemory reads the memory figures of the process. It does not stop the world and takes a tenth
// of a millisecond, most of it for files of the kernel.
func ReadMemory() Memory { return readMemory(os.DirFS("/")) }

func readMemory(root fs.FS) Memory {
	m := Memory{RSS: readRSS(root), CgroupUsed: readCgroup(root)}
	m.readRuntime()
	m.GCShare = gcShare(m, Memory{})
	return m
}

// readRuntime fills in what the Go runtime knows. m.RSS must be set already.
func (m *Memory) readRuntime() {
	var heapFree, heapUnused, heapReleased, goStacks, osStacks, total, cycles, goroutines int64
	var gc, idleGC float64
	readMetrics(map[string]*int64{
		"/gc/heap/live:bytes":                 &m.HeapLive,
		"/memory/classes/heap/objects:bytes":  &m.HeapUsed,
		"/memory/classes/heap/free:bytes":     &heapFree,
		"/memory/classes/heap/unused:bytes":   &heapUnused,
		"/memory/classes/heap/released:bytes": &heapReleased,
		"/memory/classes/heap/stacks:bytes":   &goStacks,
		"/memory/classes/os-stacks:bytes":     &osStacks,
		"/memory/classes/total:bytes":         &total,
		"/gc/gomemlimit:bytes":                &m.Limit,
		"/gc/cycles/total:gc-cycles":          &cycles,
		"/sched/goroutines:goroutines":        &goroutines,
	}, map[string]*float64{
		"/cpu/classes/gc/total:cpu-seconds":     &gc,
		"/cpu/classes/gc/mark/idle:cpu-seconds": &idleGC,
		"/cpu/classes/total:cpu-seconds":        &m.cpuSeconds,
	})
	m.HeapTotal = m.HeapUsed + heapUnused + heapFree
	m.Stacks = goStacks + osStacks
	m.OffHeap = max(0, m.RSS-(total-heapReleased))
	if m.Limit == math.MaxInt64 {
		m.Limit = 0
	}
	m.GCCycles, m.Goroutines = uint64(cycles), int(goroutines)
	m.gcSeconds = gc - idleGC // on idle cores, the collector takes no time from other work
}

// readMetrics reads the runtime's metrics of these names.
func readMetrics(integers map[string]*int64, floats map[string]*float64) {
	samples := make([]metrics.Sample, 0, len(integers)+len(floats))
	for name := range integers {
		samples = append(samples, metrics.Sample{Name: name})
	}
	for name := range floats {
		samples = append(samples, metrics.Sample{Name: name})
	}
	metrics.Read(samples)
	for _, s := range samples {
		switch s.Value.Kind() {
		case metrics.KindUint64:
			*integers[s.Name] = int64(s.Value.Uint64())
		case metrics.KindFloat64:
			*floats[s.Name] = s.Value.Float64()
		}
	}
}

// GCShareSince returns the share of CPU time that garbage collection took since before.
func (m Memory) GCShareSince(before Memory) float64 { return gcShare(m, before) }

// gcShare returns the share of CPU time that garbage collection took between two readings.
func gcShare(now, before Memory) float64 {
	if cpu := now.cpuSeconds - before.cpuSeconds; cpu > 0 {
		return (now.gcSeconds - before.gcSeconds) / cpu
	}
	return 0
}

// readRSS reads the second number of statm: resident pages.
func readRSS(root fs.FS) int64 {
	fields := strings.Fields(readText(root, "proc/self/statm"))
	if len(fields) < 2 {
		return 0
	}
	return parseBytes(fields[1]) * int64(os.Getpagesize())
}

// readCgroup reads the memory that the process's control group uses, less the page cache that the
// kernel would drop first.
func readCgroup(root fs.FS) int64 {
	group, v1 := memoryGroup(root)
	top, usage, cache := "sys/fs/cgroup", "memory.current", "inactive_file "
	if v1 {
		top, usage, cache = "sys/fs/cgroup/memory", "memory.usage_in_bytes", "total_inactive_file "
	}
	// A container may see its own group as the top, whatever the group's name is.
	for _, dir := range []string{path.Join(top, group), top} {
		used := parseBytes(readText(root, path.Join(dir, usage)))
		if used == 0 {
			continue
		}
		for line := range strings.Lines(readText(root, path.Join(dir, "memory.stat"))) {
			if n, ok := strings.CutPrefix(line, cache); ok {
				return max(0, used-parseBytes(n))
			}
		}
		return used
	}
	return 0
}

// memoryGroup returns the path of the process's memory control group, and whether it is of version
// 1. A controller is in one hierarchy at a time.
func memoryGroup(root fs.FS) (group string, v1 bool) {
	for line := range strings.Lines(readText(root, "proc/self/cgroup")) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3) // hierarchy:controllers:path
		switch {
		case len(f) != 3:
		case f[1] == "":
			group = f[2]
		case slices.Contains(strings.Split(f[1], ","), "memory"):
			return f[2], true
		}
	}
	return group, false
}

// readText returns the text of a small file. It is empty when the file can't be read.
func readText(root fs.FS, name string) string {
	b, _ := fs.ReadFile(root, name)
	return string(b)
}

func parseBytes(s string) int64 {
	n, _ := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	return n
}

// MonitorConfig holds the settings of a Monitor.
type MonitorConfig struct {
	Interval  time.Duration // between two readings; above 0
	Threshold int64         // of RSS, in bytes; 0: no threshold
	Pool      *Pool         // its bytes in flight are logged
	Log       *slog.Logger  // nil: slog.Default()

	// OnEvent is called at each crossing of the threshold. It must not block. It may be nil.
	OnEvent func(MemoryEvent)
}

// A MemoryEvent reports a crossing of the threshold: up, or back below 90 % of it.
type MemoryEvent struct {
	Above     bool
	Threshold int64
	Memory    Memory
}

// A Monitor watches the memory of the process. It logs one line every Interval, and one warning
// when RSS rises above Threshold. There is one warning for each crossing, which is over when RSS is
// below 90 % of Threshold.
type Monitor struct {
	cfg  MonitorConfig
	read func() Memory

	mu    sync.Mutex // guards stats
	stats MonitorStats
}

// MonitorStats is what a Monitor has seen.
type MonitorStats struct {
	Threshold int64  `json:"threshold"` // bytes; 0: none
	Above     bool   `json:"above"`
	Crossings uint64 `json:"crossings"` // upwards
	Last      Memory `json:"last"`      // the last reading
}

// NewMonitor returns a monitor; call its Run.
func NewMonitor(cfg MonitorConfig) *Monitor {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Monitor{cfg: cfg, read: ReadMemory, stats: MonitorStats{Threshold: cfg.Threshold}}
}

// Run takes a reading every Interval until ctx ends.
func (m *Monitor) Run(ctx context.Context) {
	tick := time.NewTicker(m.cfg.Interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			m.look()
		case <-ctx.Done():
			return
		}
	}
}

// Stats returns what the monitor has seen until now.
func (m *Monitor) Stats() MonitorStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stats
}

// look takes one reading, logs it and reports a crossing.
func (m *Monitor) look() {
	now := m.read()
	now.GCShare = gcShare(now, m.Stats().Last)
	crossed, above := m.note(now)
	m.cfg.Log.Info("memory", append(now.attrs(), slog.Any("bytes_in_flight", m.cfg.Pool.bytesInFlight()))...)
	if !crossed {
		return
	}
	size := []any{slog.Int64("rss", now.RSS), slog.Int64("threshold", m.cfg.Threshold)}
	if above {
		m.cfg.Log.Warn("memory above threshold", size...)
	} else {
		m.cfg.Log.Info("memory below threshold", size...)
	}
	if m.cfg.OnEvent != nil {
		m.cfg.OnEvent(MemoryEvent{Above: above, Threshold: m.cfg.Threshold, Memory: now})
	}
}

// note records a reading and reports whether it crosses the threshold.
func (m *Monitor) note(now Memory) (crossed, above bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.stats.Above
	switch threshold := m.cfg.Threshold; {
	case threshold > 0 && now.RSS > threshold:
		above = true
	case now.RSS < threshold/10*9:
		above = false
	default:
		above = before
	}
	if above && !before {
		m.stats.Crossings++
	}
	m.stats.Above, m.stats.Last = above, now
	return above != before, above
}

// attrs returns the reading as the attributes of one log line.
func (m Memory) attrs() []any {
	return []any{
		slog.Int64("rss", m.RSS),
		slog.Int64("heap_live", m.HeapLive),
		slog.Int64("heap_used", m.HeapUsed),
		slog.Int64("heap_total", m.HeapTotal),
		slog.Int64("stacks", m.Stacks),
		slog.Int64("limit", m.Limit),
		slog.Int64("cgroup_used", m.CgroupUsed),
		slog.Float64("gc_share", m.GCShare),
		slog.Int("goroutines", m.Goroutines),
	}
}
