package pool

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"regexp"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ErrStuck is the error that Request.Cancel is called with when a request has held its worker for
// StuckAfter. The request's Yield returns it from then on.
var ErrStuck = errors.New("pool: stuck")

// A StuckEvent reports that a request was found stuck, or has ended after all.
type StuckEvent struct {
	Worker      uint64 // the worker that the request was found with
	Replacement uint64 // 0: none, because as many as allowed are replaced
	Route       string
	Held        time.Duration // since the request got the worker
	Recovered   bool
}

// StuckStats describes the requests that were found stuck.
type StuckStats struct {
	Found     uint64        // since the start
	Recovered uint64        // of these, the requests that have ended
	Replaced  int           // of the others, the requests whose slot has another worker
	Bound     int           // the most requests that may be replaced at once
	Permits   []StuckPermit // the requests that have not ended, the oldest first
}

// StuckPermit describes a request that was found stuck and has not ended.
type StuckPermit struct {
	Worker      uint64 // the worker that the request was found with
	Replacement uint64 // the worker that has the slot now; 0: none
	Route       string
	Class       string
	Since       time.Time // when the request got the worker
}

// Exceeded reports whether more requests are stuck than are replaced. If so, the pool has become
// smaller.
func (s StuckStats) Exceeded() bool { return len(s.Permits) > s.Replaced }

// Watch looks for stuck requests until ctx ends: those that have held a worker for StuckAfter
// without a break. It finds each at that very moment: between two looks it sleeps until the first
// running request could be stuck.
//
// Watch cancels the context of a stuck request and logs its stack. The request's permit ends there:
// the slot gets a worker with a fresh id, and what the request goes on doing no longer concerns the
// pool. That is bounded: at most a quarter of the workers, and at least one, may be replaced at
// once. Any further stuck request keeps its slot until it ends, or until one of the replaced
// requests has ended.
//
// A stuck request that ends after all is counted and reported. Drain does not wait for the requests
// that were replaced, because nothing says that they ever end.
func (p *Pool) Watch(ctx context.Context) {
	if p.cfg.StuckAfter <= 0 {
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			timer.Reset(p.stuck.look())
		case <-ctx.Done():
			return
		}
	}
}

// The stuck holds the permits that were reclaimed from requests because they lasted too long. The
// compare-and-swap that ends a permit decides: either the request still ends it itself, or the
// permit was reclaimed and the request's Release ends in released.
type stuck struct {
	pool *Pool
	// out is the number of reclaimed permits. It is raised before a permit is reclaimed, so that
	// the permit's Release looks here.
	out atomic.Int64

	mu               sync.Mutex // guards what follows; never held while waiting
	permits          map[permitID]*stuckPermit
	replaced         int // number of permits whose slot has another worker
	found, recovered uint64
}

// A permitID identifies one permit of one worker.
type permitID struct {
	worker *worker
	number uint64
}

// A stuckPermit is a permit that has lasted for StuckAfter.
type stuckPermit struct {
	Permit
	since       time.Duration
	replacement uint64 // the worker that has the slot now; 0: the permit still has it
}

func (s *stuck) init(p *Pool) {
	s.pool, s.permits = p, map[permitID]*stuckPermit{}
}

// maxReplaced returns how many permits may be replaced at once.
func (s *stuck) maxReplaced() int {
	return max(1, len(s.pool.shards)*s.pool.cfg.WorkersPerShard/4)
}

// look reclaims the permits that are stuck and returns the time until another could be.
func (s *stuck) look() time.Duration {
	late, next := s.overdue()
	if len(late) == 0 {
		return next
	}
	stacks := workerStacks() // taken before anything changes for these permits
	for _, t := range late {
		if e, ok := s.reclaim(t); ok {
			s.report(e, stacks[t.id])
		}
	}
	return next
}

// overdue returns the permits that have lasted for StuckAfter, and the time until the next could
// have.
func (s *stuck) overdue() (late []*stuckPermit, next time.Duration) {
	now, next := s.pool.now(), s.pool.cfg.StuckAfter
	for i := range s.pool.shards {
		workers := s.pool.shards[i].workers
		for j := range workers {
			t := workers[j].permit()
			if t == nil {
				continue
			}
			if left := t.since + s.pool.cfg.StuckAfter - now; left > 0 {
				next = min(next, left)
			} else {
				late = append(late, t)
			}
		}
	}
	return late, next
}

// reclaim ends the permit t, which has lasted too long, unless its request has ended it meanwhile.
func (s *stuck) reclaim(t *stuckPermit) (e StuckEvent, ok bool) {
	s.out.Add(1)
	s.mu.Lock()
	if !t.worker.permits.CompareAndSwap(t.number, t.number+1) {
		s.mu.Unlock()
		s.out.Add(-1)
		return StuckEvent{}, false
	}
	s.found++
	s.permits[permitID{t.worker, t.number}] = t
	replaced := s.replaced < s.maxReplaced()
	if replaced {
		s.replace(t)
	} else {
		t.worker.setStuck(true)
	}
	e = s.event(t)
	s.mu.Unlock()

	if t.request.Cancel != nil {
		t.request.Cancel(ErrStuck)
	}
	if replaced {
		t.finish()
	}
	return e, true
}

// replace puts a fresh worker into t's slot. The caller holds the lock, and gives the slot back
// after releasing it.
func (s *stuck) replace(t *stuckPermit) {
	s.replaced++
	t.replacement = t.worker.renew()
	t.worker.setStuck(false)
}

// released is called by the Release of a reclaimed permit. It gives back what the permit still has,
// which may be nothing.
func (s *stuck) released(t *Permit) {
	if s.out.Load() == 0 {
		return
	}
	s.mu.Lock()
	key := permitID{t.worker, t.number}
	was := s.permits[key]
	if was == nil {
		s.mu.Unlock()
		return
	}
	delete(s.permits, key)
	s.out.Add(-1)
	s.recovered++
	free := was // the permit whose slot is free now
	if was.replacement > 0 {
		s.replaced--
		if free = s.oldest(); free != nil {
			s.replace(free)
		}
	}
	e := s.event(was)
	was.worker.setStuck(false)
	s.mu.Unlock()

	if free != nil {
		free.finish()
	}
	e.Recovered = true
	s.report(e, "")
}

// oldest returns the permit that has waited longest for its slot to be replaced, or nil. The caller
// holds the lock.
func (s *stuck) oldest() (oldest *stuckPermit) {
	for _, t := range s.permits {
		if t.replacement == 0 && (oldest == nil || t.since < oldest.since) {
			oldest = t
		}
	}
	return oldest
}

// reclaimed reports whether the permit was taken from its request.
func (s *stuck) reclaimed(t *Permit) bool {
	if s.out.Load() == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.permits[permitID{t.worker, t.number}] != nil
}

// event describes the permit t. The caller holds the lock.
func (s *stuck) event(t *stuckPermit) StuckEvent {
	return StuckEvent{Worker: t.id, Replacement: t.replacement, Route: t.request.Route, Held: s.pool.now() - t.since}
}

// report logs the event e and passes it to OnStuck.
func (s *stuck) report(e StuckEvent, stack string) {
	level, message := slog.LevelError, "worker stuck"
	if e.Recovered {
		level, message = slog.LevelInfo, "stuck worker recovered"
	}
	attrs := []slog.Attr{
		slog.Uint64("worker", e.Worker),
		slog.Uint64("replacement", e.Replacement),
		slog.String("route", e.Route),
		slog.Int64("held_ms", e.Held.Milliseconds()),
	}
	if stack != "" {
		attrs = append(attrs, slog.String("stack", stack))
	}
	s.pool.log.LogAttrs(context.Background(), level, message, attrs...)
	if s.pool.cfg.OnStuck != nil {
		s.pool.cfg.OnStuck(e)
	}
}

// stats returns the statistics of stuck requests.
func (s *stuck) stats() StuckStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := StuckStats{Found: s.found, Recovered: s.recovered, Replaced: s.replaced, Bound: s.maxReplaced()}
	for _, t := range s.permits {
		out.Permits = append(out.Permits, StuckPermit{
			Worker:      t.id,
			Replacement: t.replacement,
			Route:       t.request.Route,
			Class:       t.request.Class.String(),
			Since:       s.pool.epoch.Add(t.since),
		})
	}
	slices.SortFunc(out.Permits, func(a, b StuckPermit) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Worker, b.Worker))
	})
	return out
}

// permit returns the permit that holds the worker, or nil.
func (w *worker) permit() *stuckPermit {
	w.mu.Lock()
	defer w.mu.Unlock()
	number := w.permits.Load()
	if number%2 == 0 {
		return nil
	}
	return &stuckPermit{Permit: Permit{worker: w, number: number, id: w.id.Load(), request: w.request}, since: w.since}
}

// setStuck records whether the slot is held by a permit that was reclaimed.
func (w *worker) setStuck(stuck bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stuck = stuck
}

// workerLabel is the profiler label with the worker's id. A goroutine has it while Do has the
// goroutine hold that worker, so that its stack can be told from all others. The labels of a worker
// are made once: to set them takes nanoseconds, while making them anew for each request, as
// pprof.Do would, takes four allocations.
const workerLabel = "worker"

// workerLabels returns a context with the label of a worker.
func workerLabels(id uint64) *context.Context {
	return new(pprof.WithLabels(context.Background(), pprof.Labels(workerLabel, strconv.FormatUint(id, 10))))
}

// label labels the goroutine for the worker that the permit holds.
func (t *Permit) label() {
	if t.unlabelled != nil {
		pprof.SetGoroutineLabels(*t.worker.labels.Load())
	}
}

// unlabel restores the labels that the goroutine came with.
func (t *Permit) unlabel() {
	if t.unlabelled != nil {
		pprof.SetGoroutineLabels(t.unlabelled)
	}
}

// labelled matches a goroutine of a profile that has a worker's label.
var labelled = regexp.MustCompile(`(?m)^# labels: \{.*"` + workerLabel + `":"(\d+)"`)

// maxStack bounds the logged part of a stack, in bytes.
const maxStack = 16 << 10

// workerStacks returns the stacks of the goroutines that hold workers, by the workers' ids. The
// profile that it reads does not stop the world while it is taken. runtime.Stack would: with
// thousands of goroutines it would stop all requests for long. A goroutine that a handler has
// started has the handler's label too; only the handler's own stack has the pool's frame.
func workerStacks() map[uint64]string {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return nil // never: it writes to memory
	}
	stacks := map[uint64]string{}
	for record := range strings.SplitSeq(profile.String(), "\n\n") {
		label := labelled.FindStringSubmatch(record)
		if label == nil || !strings.Contains(record, runFrame+"+") {
			continue
		}
		id, _ := strconv.ParseUint(label[1], 10, 64)
		stack := readable(record)
		stacks[id] = stack[:min(len(stack), maxStack)]
	}
	return stacks
}

// readable returns a record's frames as a panic shows them, without addresses.
func readable(record string) string {
	var b strings.Builder
	for line := range strings.Lines(record) {
		frame := strings.FieldsFunc(line, func(r rune) bool { return r == '\t' || r == '\n' })
		if len(frame) != 4 || frame[0] != "#" { // "#", address, function+offset, file:line
			continue
		}
		function, _, _ := strings.Cut(frame[2], "+0x")
		b.WriteString(function + "\n\t" + frame[3] + "\n")
	}
	return b.String()
}
