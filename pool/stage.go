package pool

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// A Stage is how short memory is. Each refuses what the one before does, and more.
type Stage int32

// The stages, and the part of the limit at which each begins.
const (
	StageCalm     Stage = iota
	StageTight          // 85 %: bulk work is refused
	StageHigh           // 92 %: the same; caches go
	StageCritical       // 95 %: everything but reads
)

var stageNames = [...]string{"calm", "tight", "high", "critical"}

func (s Stage) String() string { return stageNames[s] }

// begins is the part of the limit at which a stage begins, in percent. It ends
// stageSlack below that.
var begins = [...]int64{StageTight: 85, StageHigh: 92, StageCritical: 95}

const (
	stageSlack = 3

	lookBusy = 10 * time.Millisecond // between two looks while a request runs or waits
	lookIdle = 250 * time.Millisecond
)

// refuses reports whether requests of the class are turned away.
func (s Stage) refuses(c Class) bool {
	switch s {
	case StageCalm:
		return false
	case StageTight, StageHigh:
		return c == Bulk
	}
	return c != Read
}

// Stage is how short memory is now.
func (p *Pool) Stage() Stage { return Stage(p.stage.Load()) }

// spare refuses a request for which memory is too short.
func (p *Pool) spare(r Request) error {
	if s := p.Stage(); s != StageCalm && s.refuses(r.Class) {
		return p.refused(r, ErrMemory, 0)
	}
	return nil
}

// Reserve sets bytes aside that r is about to take, until Unreserve, or refuses
// r when with them the process would need more than the first stage begins at.
func (p *Pool) Reserve(r Request, bytes int64) error {
	if p.reserved.Add(bytes) <= p.room.Load() {
		return nil
	}
	p.reserved.Add(-bytes)
	p.Shed(r, ErrMemory)
	return &Refusal{Reason: ErrMemory, RetryAfter: leastRetry}
}

// Unreserve gives back what Reserve has set aside.
func (p *Pool) Unreserve(bytes int64) { p.reserved.Add(-bytes) }

// StagesConfig is what Stages need to know.
type StagesConfig struct {
	Limit int64 // bytes that the process may use; 0: no stages
	Pool  *Pool
	Log   *slog.Logger // nil: slog.Default()

	// OnStage is told of each change. It must not block; nil is allowed.
	OnStage func(before, now Stage, needed int64)
}

// Stages watches how near to its limit the process is and has its pool refuse
// work by stages, and large bodies that would not fit, long before the kernel or the collector would end it.
//
// What counts is what no collection would give back: the heap found alive by
// the last one, stacks, anonymous memory that is not Go's, and the bytes in
// flight since. The heap as it stands, and so the container's use, says little:
// Go fills up with garbage what GOMEMLIMIT allows. When the collector has come
// to its own limit, half of the CPU time, and lets memory grow instead
// (golang/go#58106), that is a high stage too, whatever is counted.
type Stages struct {
	cfg   StagesConfig
	root  fs.FS
	need  func() need
	state atomic.Pointer[StagesStats]
}

// need is one look.
type need struct {
	bytes  int64
	choked bool // the collector is at its limit
}

// StagesStats is what the last look saw.
type StagesStats struct {
	Stage  Stage
	Needed int64 // bytes that no collection would give back
	Limit  int64 // 0: none, and no stages
	Choked bool  // the collector has come to its limit of CPU time
	Raised uint64
}

// NewStages returns stages for Run.
func NewStages(cfg StagesConfig) *Stages {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	s := &Stages{cfg: cfg, root: os.DirFS("/")}
	s.need = s.measure
	s.state.Store(&StagesStats{Limit: cfg.Limit})
	return s
}

// Stats returns what the last look saw.
func (s *Stages) Stats() StagesStats { return *s.state.Load() }

// Run looks until ctx ends: often while the pool has work, seldom at rest.
func (s *Stages) Run(ctx context.Context) {
	if s.cfg.Limit <= 0 {
		return
	}
	s.look()
	tick := time.NewTimer(lookIdle)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.look()
		case <-ctx.Done():
			return
		}
		if s.cfg.Pool.allFree() {
			tick.Reset(lookIdle)
		} else {
			tick.Reset(lookBusy)
		}
	}
}

// look takes one look and tells of a change.
func (s *Stages) look() {
	n := s.need()
	s.cfg.Pool.room.Store(s.cfg.Limit/100*begins[StageTight] - n.bytes)
	before := s.Stats()
	now := before
	now.Stage, now.Needed, now.Choked = next(before.Stage, n, s.cfg.Limit), n.bytes, n.choked
	if now.Stage > before.Stage {
		now.Raised++
	}
	s.state.Store(&now)
	if now.Stage == before.Stage {
		return
	}
	s.cfg.Pool.stage.Store(int32(now.Stage))
	level := slog.LevelInfo
	if now.Stage > before.Stage {
		level = slog.LevelWarn
	}
	s.cfg.Log.LogAttrs(context.Background(), level, "memory stage", slog.String("stage", now.Stage.String()),
		slog.String("before", before.Stage.String()), slog.Int64("needed", n.bytes), slog.Int64("limit", s.cfg.Limit),
		slog.Bool("collector_at_limit", n.choked))
	if s.cfg.OnStage != nil {
		s.cfg.OnStage(before.Stage, now.Stage, n.bytes)
	}
}

// next is the stage after one look. Upwards it may leap; downwards it goes step
// by step, each when need is clearly below where the stage began.
func next(stage Stage, n need, limit int64) Stage {
	up := StageCalm
	for s := StageTight; s <= StageCritical; s++ {
		if n.bytes >= limit/100*begins[s] {
			up = s
		}
	}
	if n.choked {
		up = max(up, StageHigh)
	}
	if up >= stage {
		return up
	}
	if n.bytes < limit/100*(begins[stage]-stageSlack) && !(n.choked && stage <= StageHigh) {
		return stage - 1
	}
	return stage
}

// measure reads what the process needs. It takes some tens of microseconds.
func (s *Stages) measure() need {
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
	n.bytes += max(0, readAnonymous(s.root)-(total-released))
	for _, b := range s.cfg.Pool.bytesInFlight() {
		n.bytes += b
	}
	return n
}

// readAnonymous is the resident memory that is no file's.
func readAnonymous(root fs.FS) int64 {
	for line := range strings.Lines(readText(root, "proc/self/status")) {
		if kb, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			return parseBytes(strings.TrimSuffix(strings.TrimSpace(kb), " kB")) << 10
		}
	}
	return 0
}
