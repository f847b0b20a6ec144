package pool

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	maxFingerprints = 100 // remembered at once; the least recently seen is evicted
	// The stack of a fingerprint is logged again once stackAgain has passed since it was last
	// logged.
	stackAgain = time.Minute
	maxFrames  = 40 // frames of a stack that are looked at, from the top
)

// runFrame is the frame that a handler runs on.
const runFrame = "notesd/pool.(*Pool).run"

// PanicStats describes the panics, or Goexits, of one fingerprint. It shows nothing of their
// values, which may hold what a user wrote.
type PanicStats struct {
	Fingerprint string
	Route       string
	Frame       string // the function that panicked, with its file and line
	Count       uint64
	First, Last time.Time
}

// fingerprints counts panics by their fingerprint.
type fingerprints struct {
	mu   sync.Mutex // guards what follows
	seen map[string]*seenPanic
}

type seenPanic struct {
	PanicStats
	logged time.Time // when its stack was last logged
}

// add counts a panic. It returns the statistics of its fingerprint so far, and whether its stack
// is to be logged.
func (f *fingerprints) add(route string, frames []runtime.Frame, now time.Time) (s PanicStats, logStack bool) {
	id := fingerprint(route, frames)
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.seen[id]
	if p == nil {
		f.makeRoom()
		p = &seenPanic{PanicStats: PanicStats{Fingerprint: id, Route: route, Frame: culprit(frames), First: now}}
		f.seen[id] = p
	}
	p.Count++
	p.Last = now
	logStack = p.Count == 1 || now.Sub(p.logged) >= stackAgain
	if logStack {
		p.logged = now
	}
	return p.PanicStats, logStack
}

// makeRoom evicts the panic that was seen least recently, when there are as many as are allowed.
// The caller holds the lock.
func (f *fingerprints) makeRoom() {
	if len(f.seen) < maxFingerprints {
		return
	}
	var oldest *seenPanic
	for _, p := range f.seen {
		if oldest == nil || p.Last.Before(oldest.Last) {
			oldest = p
		}
	}
	delete(f.seen, oldest.Fingerprint)
}

// stats returns all fingerprints, the last seen first.
func (f *fingerprints) stats() []PanicStats {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]PanicStats, 0, len(f.seen))
	for _, p := range f.seen {
		all = append(all, p.PanicStats)
	}
	slices.SortFunc(all, func(a, b PanicStats) int {
		return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.Fingerprint, b.Fingerprint))
	})
	return all
}

// fingerprint returns the same hash for panics of one kind. It hashes the route and the function
// and line of each frame, from the one that panicked down to the pool's own. Addresses, arguments
// and the value are no part of it, so it stays the same from one start of a build to the next, and
// on every machine.
func fingerprint(route string, frames []runtime.Frame) string {
	h := fnv.New64a()
	fmt.Fprintln(h, route)
	for _, frame := range frames {
		fmt.Fprintln(h, frame.Function, frame.Line)
	}
	return fmt.Sprintf("%016x", h.Sum64())
}

// culprit returns the frame that panicked. It skips the runtime's own frames, which are there for
// an index out of range and the like.
func culprit(frames []runtime.Frame) string {
	for _, frame := range frames {
		if !strings.HasPrefix(frame.Function, "runtime.") {
			return fmt.Sprintf("%s (%s:%d)", frame.Function, path.Base(frame.File), frame.Line)
		}
	}
	return "unknown"
}

// panicFrames returns the frames of the panic, or Goexit, that runs the calling deferred function.
func panicFrames() (panicked []runtime.Frame) {
	var callers [maxFrames]uintptr
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers[:])])
	began := false
	for more := true; more; {
		var frame runtime.Frame
		frame, more = frames.Next()
		switch {
		case !began:
			began = frame.Function == "runtime.gopanic" || frame.Function == "runtime.Goexit"
		case frame.Function == runFrame:
			return panicked
		default:
			panicked = append(panicked, frame)
		}
	}
	return panicked
}
