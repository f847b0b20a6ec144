package incident

import (
	"errors"
	"io"
	"runtime/trace"
	"sync"
	"time"
)

const (
	traceAge      = 10 * time.Second // minimum age of the trace's beginning, unless the trace is
	traceBytes    = 8 << 20          // larger: at full load two seconds on two cores
	maxTraceTime  = 15 * time.Second // maximum duration without a file
	traceInterval = 10 * time.Minute // minimum time from one start to the next
)

var errNoTrace = errors.New("nothing was traced: it takes more memory than there was to spare")

// flightRecorder is the execution trace of the last seconds. It runs while there is trouble.
type flightRecorder struct {
	mu       sync.Mutex            // guards what follows
	recorder *trace.FlightRecorder // nil: not running
	failure  error                 // why the trace could not be started
	began    time.Time
	armed    time.Time // when a sign of trouble last started it
	retained bool      // a file is being written
}

// update starts and stops the trace as the signs of trouble come and go.
func (t *flightRecorder) update(now time.Time, near, room bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch running := t.recorder != nil; {
	case t.retained:
	case running && (!near || !room || now.Sub(t.began) >= maxTraceTime):
		t.end()
	case !running && near && room && (t.armed.IsZero() || now.Sub(t.armed) >= traceInterval):
		t.begin(now)
		t.armed = now
	}
}

// retain makes sure that the trace runs until release.
func (t *flightRecorder) retain(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.retained = true
	if t.recorder == nil {
		t.begin(now)
	}
}

// release lets update control the trace again.
func (t *flightRecorder) release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.retained = false
}

func (t *flightRecorder) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end()
}

// begin starts the trace. It fails if something else in the process traces. t.mu is held.
func (t *flightRecorder) begin(now time.Time) {
	recorder := trace.NewFlightRecorder(trace.FlightRecorderConfig{MinAge: traceAge, MaxBytes: traceBytes})
	if t.failure = recorder.Start(); t.failure == nil {
		t.recorder, t.began = recorder, now
	}
}

// end stops the trace and discards it. t.mu is held.
func (t *flightRecorder) end() {
	if t.recorder != nil {
		t.recorder.Stop()
		t.recorder = nil
	}
}

func (t *flightRecorder) runs() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.recorder != nil
}

// length returns for how long the trace has run.
func (t *flightRecorder) length() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.recorder == nil {
		return 0
	}
	return time.Since(t.began)
}

// writeTo writes the trace in the format of `go tool trace`.
func (t *flightRecorder) writeTo(w io.Writer) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.recorder != nil:
		_, err := t.recorder.WriteTo(w)
		return err
	case t.failure != nil:
		return t.failure
	}
	return errNoTrace
}
