package incident

import (
	"runtime"
	"time"
)

const (
	minute = 60 // samples that are kept
	window = 10 // samples that are judged
)

// A Sample is one second of the server: how it stands at the end of it, and
// what was counted during it. Times are milliseconds, sizes bytes.
type Sample struct {
	Time time.Time `json:"time"`

	Workers int `json:"workers"`
	Busy    int `json:"busy"`
	Queued  int `json:"queued"`
	Outside int `json:"outside"` // gave their worker back to wait for their client

	Done      uint64            `json:"done"` // had a worker and ended
	Slow      uint64            `json:"slow"` // of the measured ones, those that took longer than Config.Slow
	Timed     uint64            `json:"timed"`
	P50       float64           `json:"p50Ms"` // of what requests took, waiting included, their clients' slowness not
	P99       float64           `json:"p99Ms"`
	WaitP50   float64           `json:"waitP50Ms"` // for a worker
	WaitP99   float64           `json:"waitP99Ms"`
	Refused   map[string]uint64 `json:"refused,omitempty"` // by reason
	Shed      uint64            `json:"shed"`              // of the refused, those for whom there was no room
	Abandoned uint64            `json:"abandoned"`         // the client hung up while it waited
	Panics    uint64            `json:"panics"`

	RSS           int64   `json:"rss"`
	HeapLive      int64   `json:"heapLive"`
	HeapUsed      int64   `json:"heapUsed"`
	InUse         int64   `json:"inUse"`       // what no collection would give back
	MemoryLimit   int64   `json:"memoryLimit"` // 0: none
	MemoryAlert   int64   `json:"memoryAlert"` // of RSS, what raises an alert; 0: nothing
	BytesInFlight int64   `json:"bytesInFlight"`
	GCShare       float64 `json:"gcShare"` // of the CPU time of this second
	Goroutines    int     `json:"goroutines"`
}

// traceMemory is what tracing a busy server takes for each core: the trace of
// two seconds, that of the second which is being written, and the buffers.
const traceMemory = 16 << 20

// roomForTrace reports whether a trace fits into memory so that at least a
// tenth of the limit is left: evidence must not be the last straw.
func (s Sample) roomForTrace() bool {
	need := int64(traceMemory * runtime.GOMAXPROCS(0))
	return s.MemoryLimit == 0 || s.InUse+need <= s.MemoryLimit/10*9
}

// history is the last minute, a ring of samples.
type history struct {
	samples [minute]Sample
	n       int // added until now
}

func (h *history) add(s Sample) {
	h.samples[h.n%minute] = s
	h.n++
}

// last is a copy of the last n samples, or of all if there are fewer, in the
// order of time.
func (h *history) last(n int) []Sample {
	last := make([]Sample, 0, n)
	for i := max(0, h.n-n); i < h.n; i++ {
		last = append(last, h.samples[i%minute])
	}
	return last
}
