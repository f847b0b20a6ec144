package admin

import (
	"math"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"notesd/internal/histogram"
	"notesd/pool"
	"notesd/server/router"
)

// statuses are the statuses with a count of their own. Any other status is counted as the last, 0.
var statuses = []int{200, 201, 204, 304, 400, 401, 403, 404, 408, 409, 410, 412, 413, 422, 423, 429, 499, 500, 503,
	507, 0}

var statusIndex = func() map[int]int {
	index := make(map[int]int, len(statuses))
	for i, status := range statuses {
		index[status] = i
	}
	return index
}()

// tally counts the responses of the whole process. Each shard has counts of its own, so that cores
// do not write to the same memory. It is the router's Observer.
type tally struct {
	routes []*router.Route // all of the router, in its order
	shards []shardTally
	off    bool // responses are not counted
}

type shardTally struct {
	handled histogram.Histogram // see tally.handled
	took    histogram.Histogram
	counts  [][]atomic.Uint64 // by route, of which the last is the unknown one, and by status
}

// newTally returns a tally without routes: see count.
func newTally(shards int, off bool) *tally {
	return &tally{shards: make([]shardTally, shards), off: off}
}

// count makes room for the counts of the routes.
func (t *tally) count(routes []*router.Route) {
	t.routes = routes
	for i := range t.shards {
		counts := make([][]atomic.Uint64, len(routes)+1)
		for j := range counts {
			counts[j] = make([]atomic.Uint64, len(statuses))
		}
		t.shards[i].counts = counts
	}
}

// Handled implements router.Observer.
func (t *tally) Handled(shard int, took time.Duration) { t.shards[shard].handled.Record(took) }

// Sent implements router.Observer.
func (t *tally) Sent(shard, route, status int, took time.Duration) {
	if t.off {
		return
	}
	at, ok := statusIndex[status]
	if !ok {
		at = len(statuses) - 1
	}
	t.shards[shard].counts[route][at].Add(1)
	t.shards[shard].took.Record(took)
}

// handled returns how long requests with a permit took: from the header read to the response ready,
// without the time that they waited for the client without their permit.
func (t *tally) handled() *histogram.Histogram {
	all := new(histogram.Histogram)
	for i := range t.shards {
		all.Merge(&t.shards[i].handled)
	}
	return all
}

// each calls f for every route and status with a count.
func (t *tally) each(f func(method, pattern string, status int, n uint64)) {
	for row := range len(t.routes) + 1 {
		method, pattern := "", "unknown"
		if row < len(t.routes) {
			method, pattern = t.routes[row].Method, t.routes[row].Path
		}
		for at, status := range statuses {
			var n uint64
			for i := range t.shards {
				n += t.shards[i].counts[row][at].Load()
			}
			if n > 0 {
				f(method, pattern, status, n)
			}
		}
	}
}

func (t *tally) times() *histogram.Histogram {
	var all histogram.Histogram
	for i := range t.shards {
		all.Merge(&t.shards[i].took)
	}
	return &all
}

func (t *tally) reset() {
	for i := range t.shards {
		t.shards[i].took.Reset()
		for _, row := range t.shards[i].counts {
			for at := range row {
				row[at].Store(0)
			}
		}
	}
}

// requestMetrics handles GET /api/metrics.
func (a *Admin) requestMetrics(c *router.Context) error {
	return c.JSON(http.StatusOK, metricsOutput(a.tally))
}

// metricsJSON is a tally as the API shows it. Durations are in milliseconds.
type metricsJSON struct {
	TotalRequests uint64            `json:"totalRequests"`
	AvgDuration   float64           `json:"avgDuration"`
	MaxDuration   float64           `json:"maxDuration"`
	MinDuration   float64           `json:"minDuration"`
	Percentiles   percentilesJSON   `json:"percentiles"`
	StatusCodes   map[string]uint64 `json:"statusCodes"`
	Paths         map[string]uint64 `json:"paths"`
	Timestamp     router.Time       `json:"timestamp"`
}

type percentilesJSON struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
}

func metricsOutput(t *tally) metricsJSON {
	codes, paths := map[string]uint64{}, map[string]uint64{}
	t.each(func(_, pattern string, status int, n uint64) {
		codes[strconv.Itoa(status)] += n
		paths[pattern] += n
	})
	times := t.times().Summary()
	return metricsJSON{times.Count, milliseconds(mean(times)), milliseconds(times.Max), milliseconds(times.Min),
		percentilesJSON{milliseconds(times.P50), milliseconds(times.P95), milliseconds(times.P99)},
		codes, paths, router.Time(time.Now())}
}

func mean(s histogram.Summary) time.Duration {
	return s.Sum / time.Duration(max(s.Count, 1))
}

// resetMetrics handles POST /api/metrics/reset.
func (a *Admin) resetMetrics(c *router.Context) error {
	a.tally.reset()
	return c.JSON(http.StatusOK, map[string]string{"message": "Metrics reset successfully"})
}

// Machine describes what the process may use: the container's share, and not the host's.
type Machine struct {
	Cores       int
	MemoryLimit int64 // bytes; 0: no limit but the machine's memory
}

const megabyte = 1 << 20

// systemMetrics handles GET /api/metrics/system. The units are MB and seconds, as in the old
// server, but the values are those seen from inside the container.
func (a *Admin) systemMetrics(c *router.Context) error {
	m := pool.ReadMemory()
	type object = map[string]any
	total, used := a.machineMemory(m)
	load := loadAverage()
	return c.JSON(http.StatusOK, object{
		"memory": object{"total": total / megabyte, "used": used / megabyte, "free": (total - used) / megabyte,
			"percentage": percentage(used, total)},
		"cpu": object{"count": a.cfg.Machine.Cores, "model": cpuModel(),
			"loadAverage": object{"1min": load[0], "5min": load[1], "15min": load[2]}},
		"process": object{"pid": os.Getpid(), "uptime": math.Round(time.Since(a.started).Seconds()*100) / 100,
			"memoryUsage": object{"rss": m.RSS / megabyte, "heapUsed": m.HeapUsed / megabyte,
				"heapTotal": m.HeapTotal / megabyte, "external": m.OffHeap / megabyte}},
		"goroutines": runtime.NumGoroutine(),
		"gc":         object{"cpuShare": m.GCShare, "cycles": m.GCCycles},
		"gomaxprocs": runtime.GOMAXPROCS(0),
		"gomemlimit": memoryLimit(),
		"timestamp":  time.Now().UnixMilli(),
	})
}

// machineMemory returns the total and the used bytes: the container's if it has a limit, or else
// the machine's.
func (a *Admin) machineMemory(m pool.Memory) (total, used int64) {
	if a.cfg.Machine.MemoryLimit > 0 {
		return a.cfg.Machine.MemoryLimit, min(m.CgroupUsed, a.cfg.Machine.MemoryLimit)
	}
	info := procFields("/proc/meminfo")
	total = info["MemTotal"]
	return total, total - info["MemAvailable"]
}

func percentage(part, whole int64) int64 {
	if whole == 0 {
		return 0
	}
	return part * 100 / whole
}

// memoryLimit returns GOMEMLIMIT in bytes; nil: there is none.
func memoryLimit() any {
	if limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64 {
		return limit
	}
	return nil
}

// procFields reads the values of a file of "Name:  123 kB" lines, in bytes. Without the file the
// result is empty.
func procFields(path string) map[string]int64 {
	fields := map[string]int64{}
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		value, _ = strings.CutSuffix(strings.TrimSpace(value), " kB")
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			fields[name] = n << 10
		}
	}
	return fields
}

func loadAverage() (load [3]float64) {
	text, _ := os.ReadFile("/proc/loadavg")
	for i, field := range strings.Fields(string(text)) {
		if i < len(load) {
			load[i], _ = strconv.ParseFloat(field, 64)
		}
	}
	return load
}

// cpuModel returns the CPU's model. It is read once, because it cannot change.
var cpuModel = sync.OnceValue(func() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
})

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
