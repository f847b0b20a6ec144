// Package incident keeps evidence of a bad minute, so that it can be examined the next morning. The
// evidence is a zip archive with a trace of the last seconds, the stack of every goroutine, the
// heap profile, a minute of the pool's history, and the state of the process with its settings.
// docs/OPERATIONS.md#incident-files says how to read it.
//
// A Recorder promises the following:
//
//   - Trigger never waits. Files are written one at a time, in the background. At most one is
//     written in restOfAll, and at most one for the same reason in restOfReason. This holds across
//     restarts of the process, too.
//   - There are at most keepFiles files of at most maxFile bytes, and of maxTotal bytes together.
//     The oldest are deleted to make room. No file is written to a disk that has less free than
//     minFree, because the notes need the space more.
//   - A file appears complete or not at all, and only its owner may read it.
//   - No part contains the users' text or their credentials: stacks come without arguments, and the
//     trace has goroutines and functions, but no values.
//   - When there is no trouble nothing is traced, because tracing costs 5 to 10 % of the CPU of a
//     busy server. A trace begins with the first sign of trouble (or with the trigger, if there was
//     no sign), lasts for maxTraceTime at most, and is then off (see traceInterval). Over time it
//     costs a quarter of a percent at worst.
package incident

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"notesd/internal/owned"
)

const (
	every        = time.Second // between two samples
	restOfAll    = time.Minute
	restOfReason = 10 * time.Minute

	// settle is how long the trace must have run before it is written.
	settle = 2 * time.Second
)

// Config configures a Recorder.
type Config struct {
	Dir  string        // the directory of the files; it is made if it is missing
	Slow time.Duration // a request that takes longer counts as slow
	Log  *slog.Logger

	// OnWritten is called with each file. It must not block. It may be nil.
	OnWritten func(File)
}

// A Recorder watches for trouble and writes the incident files. Make one with New. A nil *Recorder
// records nothing.
type Recorder struct {
	cfg            Config
	flightRecorder flightRecorder
	pending        chan trouble

	mu         sync.Mutex // guards what follows
	history    history
	last       map[string]time.Time // the time of the last file, by reason
	lastOfAll  time.Time
	suppressed uint64
}

// trouble is the reason for which a file is written.
type trouble struct {
	reason, detail string
	at             time.Time
}

// New returns a recorder for Run. It returns an error if nothing can be written to the directory.
func New(cfg Config) (*Recorder, error) {
	dir, err := owned.Follow(cfg.Dir)
	if err == nil {
		err = prepare(dir)
	}
	if err != nil {
		return nil, err
	}
	cfg.Dir = dir
	r := &Recorder{cfg: cfg, pending: make(chan trouble, 1), last: map[string]time.Time{}}
	r.remember(files(cfg.Dir), time.Now())
	return r, nil
}

// remember continues the intervals since the files of earlier processes. A file from the future is
// ignored: the clock was set back since it was written.
func (r *Recorder) remember(earlier []File, now time.Time) {
	for _, f := range earlier {
		if f.Time.After(now) {
			continue
		}
		if f.Time.After(r.last[f.Reason]) {
			r.last[f.Reason] = f.Time
		}
		if f.Time.After(r.lastOfAll) {
			r.lastOfAll = f.Time
		}
	}
}

// Run takes a sample with read every second, examines the last samples and writes files until ctx
// ends. The result of state is written to a file as JSON and describes the process.
func (r *Recorder) Run(ctx context.Context, read func() Sample, state func() any) {
	if r == nil {
		return
	}
	r.look(read()) // there may be trouble in the first second
	defer r.flightRecorder.stop()
	var writing sync.WaitGroup
	writing.Go(func() { r.writeEach(ctx, state) })
	defer writing.Wait()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.look(read())
		case <-ctx.Done():
			return
		}
	}
}

// look records a sample and does what the detection asks for.
func (r *Recorder) look(s Sample) {
	r.mu.Lock()
	r.history.add(s)
	v := detect(r.history.last(window), r.cfg.Slow)
	r.mu.Unlock()
	r.flightRecorder.update(s.Time, v.near, s.roomForTrace())
	if v.reason != "" {
		r.Trigger(v.reason, v.detail)
	}
}

// Trigger asks for a file because of reason, a word such as route_quarantined. The detail says what
// exactly happened. Trigger never blocks. It does nothing if a file was written a short while ago.
func (r *Recorder) Trigger(reason, detail string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if !r.due(reason, now) {
		r.suppressed++
		return
	}
	select {
	case r.pending <- trouble{reason, detail, now}:
		r.last[reason], r.lastOfAll = now, now
	default: // a trouble already waits while a file is written
		r.suppressed++
	}
}

// due reports whether a file may be written for reason now. r.mu is held.
func (r *Recorder) due(reason string, now time.Time) bool {
	rested := func(last time.Time, rest time.Duration) bool { return last.IsZero() || now.Sub(last) >= rest }
	return rested(r.lastOfAll, restOfAll) && rested(r.last[reason], restOfReason)
}

// writeEach writes a file for each trouble until ctx ends. It then writes one for the trouble that
// may still wait.
func (r *Recorder) writeEach(ctx context.Context, state func() any) {
	for ctx.Err() == nil {
		select {
		case t := <-r.pending:
			r.write(ctx, t, state)
		case <-ctx.Done():
		}
	}
	select {
	case t := <-r.pending:
		r.write(ctx, t, state)
	default:
	}
}

// write writes the file once the trace has run for long enough.
func (r *Recorder) write(ctx context.Context, t trouble, state func() any) {
	defer r.flightRecorder.release()
	if r.roomForTrace() {
		r.flightRecorder.retain(time.Now())
		select {
		case <-time.After(settle - r.flightRecorder.length()):
		case <-ctx.Done():
		}
	}
	f, err := r.save(t, state())
	if err != nil {
		r.cfg.Log.Warn("incident file not written", "reason", t.reason, "detail", t.detail, "error", err)
		return
	}
	r.cfg.Log.Warn("incident file written", "reason", t.reason, "detail", t.detail, "file", f.Name, "bytes", f.Bytes)
	if r.cfg.OnWritten != nil {
		r.cfg.OnWritten(f)
	}
}

// roomForTrace returns that of the last sample.
func (r *Recorder) roomForTrace() bool {
	history, _ := r.seen()
	return len(history) > 0 && history[len(history)-1].roomForTrace()
}

// seen returns the samples of the last minute, and how many triggers brought no file.
func (r *Recorder) seen() ([]Sample, uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.history.last(minute), r.suppressed
}

// Minute returns the samples of the last minute, one a second, in the order of time.
func (r *Recorder) Minute() []Sample {
	if r == nil {
		return nil
	}
	history, _ := r.seen()
	return history
}

// Stats describes what a recorder has done.
type Stats struct {
	Tracing    bool   // whether a trace runs at this moment
	Suppressed uint64 // triggers that brought no file, because the previous file was too recent
	Files      []File // the newest first; files of earlier processes are included
}

// Stats returns the current statistics.
func (r *Recorder) Stats() Stats {
	_, suppressed := r.seen()
	return Stats{Tracing: r.flightRecorder.runs(), Suppressed: suppressed, Files: files(r.cfg.Dir)}
}
