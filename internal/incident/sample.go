package incident

import (
	"runtime"
	"time"
)

const (
	minute = 60 // the number of samples that are kept
	window = 10 // the number of samples that are examined
)

// A Sample is one second of the server: its state at the end of the second, and what was counted
// during it. Times are milliseconds, sizes bytes.
type Sample struct {
	Time time.Time `json:"time"`

	Workers int `json:"workers"`
	Busy    int `json:"busy"`
	Queued  int `json:"queued"`
	Outside int `json:"outside"` // requests that gave their worker back to wait for their client

	Done      uint64            `json:"done"` // requests that had a worker and ended
	Slow      uint64            `json:"slow"` // of Timed, longer than Config.Slow
	Timed     uint64            `json:"timed"`
	P50       float64           `json:"p50Ms"` // of the time of requests with waiting, without slow clients
	P99       float64           `json:"p99Ms"`
	WaitP50   float64           `json:"waitP50Ms"` // of the time that requests waited for a worker
	WaitP99   float64           `json:"waitP99Ms"`
	Refused   map[string]uint64 `json:"refused,omitempty"` // by reason
	Shed      uint64            `json:"shed"`              // refused because there was no room
	Abandoned uint64            `json:"abandoned"`         // the client hung up during the wait
	Panics    uint64            `json:"panics"`

	RSS           int64   `json:"rss"`
	HeapLive      int64   `json:"heapLive"`
	HeapUsed      int64   `json:"heapUsed"`
	InUse         int64   `json:"inUse"`       // memory that no collection would give back
	MemoryLimit   int64   `json:"memoryLimit"` // 0: none
	MemoryAlert   int64   `json:"memoryAlert"` // the RSS that raises an alert; 0: none
	BytesInFlight int64   `json:"bytesInFlight"`
	GCShare       float64 `json:"gcShare"` // part of the CPU time of this second
	Goroutines    int     `json:"goroutines"`
}

// traceMemory is the memory that tracing a busy server takes for each core, in bytes: the trace of
// two seconds, the trace of the second that is being written, and the buffers.
const traceMemory = 16 << 20

// roomForTrace reports whether a trace fits into memory and leaves at least a tenth of the limit
// free: the evidence must not exhaust the memory.
func (s Sample) roomForTrace() bool {
	need := int64(traceMemory * runtime.GOMAXPROCS(0))
	return s.MemoryLimit == 0 || s.InUse+need <= s.MemoryLimit/10*9
}

// history is a ring of the samples of the last minute.
type history struct {
	samples [minute]Sample
	n       int // the number of samples added so far
}

func (h *history) add(s Sample) {
	h.samples[h.n%minute] = s
	h.n++
}

// last returns a copy of the last n samples, in the order of time. It returns all samples if there
// are fewer.
func (h *history) last(n int) []Sample {
	last := make([]Sample, 0, n)
	for i := max(0, h.n-n); i < h.n; i++ {
		last = append(last, h.samples[i%minute])
	}
	return last
}
