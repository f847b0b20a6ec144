// Package incident keeps evidence of a bad minute, so that it can be looked
// into the morning after: a zip archive with a trace of the last seconds, every
// goroutine's stack, the heap's profile, a minute of the pool's history and the
// state of the process with its settings. docs/OPERATIONS.md#incident-files says how to read it.
//
// What a Recorder promises:
//
//   - Trigger never waits. One file is written at a time, in the background, at
//     most one in restOfAll, and for the same reason one in restOfReason, over
//     restarts of the process too.
//   - There are at most keepFiles files of at most maxFile bytes, maxTotal
//     together; the oldest make room. None is written on a disk that has less
//     than leastFree: the notes need it more.
//   - A file appears whole or not at all, and only its owner may read it.
//   - No part holds what people wrote or what they sign in with: stacks come
//     without arguments, and the trace knows goroutines and functions, no values.
//   - When there is no trouble nothing is traced, for tracing costs 5 to 10 % of
//     the CPU of a busy server. It begins with the first sign of trouble (or with
//     the trigger, if there was none), lasts for tapeTime at most and then rests:
//     a quarter of a percent at the worst.
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

	// settle is how long the trace must have run when it is written.
	settle = 2 * time.Second
)

// Config is what a Recorder needs to know.
type Config struct {
	Dir  string        // where the files go; made when it is missing
	Slow time.Duration // requests that take longer count as slow
	Log  *slog.Logger

	// OnWritten is told of each file. It must not block; nil is allowed.
	OnWritten func(File)
}

// A Recorder watches for trouble and writes the files. Make one with New. A nil
// *Recorder records nothing.
type Recorder struct {
	cfg     Config
	tape    tape
	pending chan trouble

	mu         sync.Mutex // guards what follows
	history    history
	last       map[string]time.Time // the last file by its reason
	lastOfAll  time.Time
	suppressed uint64
}

// trouble is why a file is written.
type trouble struct {
	reason, detail string
	at             time.Time
}

// New returns a recorder for Run. It fails when nothing can be written in the directory.
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

// remember goes on with the rests after the files of earlier processes. A file
// from the future is left out: the clock was set back since it was written.
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

// Run takes a sample with read every second, judges the last of them and writes
// files until ctx ends; state is what a file shows of the process, as JSON.
func (r *Recorder) Run(ctx context.Context, read func() Sample, state func() any) {
	if r == nil {
		return
	}
	r.look(read()) // trouble may come in the first second
	defer r.tape.stop()
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

// look remembers a sample and does what it asks for.
func (r *Recorder) look(s Sample) {
	r.mu.Lock()
	r.history.add(s)
	v := judge(r.history.last(window), r.cfg.Slow)
	r.mu.Unlock()
	r.tape.tend(s.Time, v.near, s.roomForTrace())
	if v.reason != "" {
		r.Trigger(v.reason, v.detail)
	}
}

// Trigger asks for a file because of reason, a word such as route_quarantined;
// detail says what exactly happened. It never blocks, and does nothing when a
// file was written a short while ago.
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
	default: // one waits already while another is written
		r.suppressed++
	}
}

// due reports whether a file may be written for reason now. r.mu is held.
func (r *Recorder) due(reason string, now time.Time) bool {
	rested := func(last time.Time, rest time.Duration) bool { return last.IsZero() || now.Sub(last) >= rest }
	return rested(r.lastOfAll, restOfAll) && rested(r.last[reason], restOfReason)
}

// writeEach writes a file for each trouble until ctx ends, and then for the one
// that may still wait.
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

// write writes the file, when the trace has run for long enough.
func (r *Recorder) write(ctx context.Context, t trouble, state func() any) {
	defer r.tape.letGo()
	if r.roomForTrace() {
		r.tape.hold(time.Now())
		select {
		case <-time.After(settle - r.tape.length()):
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

// roomForTrace is that of the last sample.
func (r *Recorder) roomForTrace() bool {
	history, _ := r.seen()
	return len(history) > 0 && history[len(history)-1].roomForTrace()
}

// seen is the minute until now, and how many triggers brought no file.
func (r *Recorder) seen() ([]Sample, uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.history.last(minute), r.suppressed
}

// Minute is the last minute, a sample a second, in the order of time.
func (r *Recorder) Minute() []Sample {
	if r == nil {
		return nil
	}
	history, _ := r.seen()
	return history
}

// Stats is what a recorder has done.
type Stats struct {
	Tracing    bool   // at this moment
	Suppressed uint64 // triggers that brought no file: another was too recent
	Files      []File // the newest first; also those of processes before this one
}

// Stats returns what there is now.
func (r *Recorder) Stats() Stats {
	_, suppressed := r.seen()
	return Stats{Tracing: r.tape.runs(), Suppressed: suppressed, Files: files(r.cfg.Dir)}
}
