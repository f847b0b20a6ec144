package pool_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"notesd/pool"
)

// A visit is what one request does. All times are exact: see visits.
type visit struct {
	class    pool.Class
	arrives  time.Duration // after the start
	deadline time.Duration // from then; 0: none
	hangsUp  time.Duration // from then, if it still waits; 0: never
	works    time.Duration // with a worker
	outside  time.Duration // 0: never Outside
	finishes time.Duration // with a worker again, after Outside
}

// A fate is what became of it.
type fate struct {
	begun  []time.Duration // when it got a worker
	ended  time.Duration
	reason string // "done", "gone" or why it was refused
}

// A scene is a pool, its visits, and when it begins to drain.
type scene struct {
	cfg    pool.Config
	visits []visit
	drain  time.Duration
}

// unit is the grain of time in a scene. What is below a unit makes the instant
// of each event unique, for two at one instant may come in either order: bit i
// of a nanosecond stands for something that only one visit adds to its times.
const unit = 80 * time.Millisecond

func scenes(t *rapid.T) scene {
	upTo := func(label string, least, most int) time.Duration {
		return time.Duration(rapid.IntRange(least, most).Draw(t, label))
	}
	s := scene{cfg: pool.Config{
		Shards:          rapid.IntRange(1, 3).Draw(t, "shards"),
		WorkersPerShard: rapid.IntRange(1, 2).Draw(t, "workers"),
		QueueLength:     rapid.IntRange(0, 4).Draw(t, "queue"),
		QueueTimeout:    upTo("timeout", 1, 6) * unit,
	}}
	s.cfg.Limits[pool.Bulk] = rapid.IntRange(0, 3).Draw(t, "bulk limit")
	s.cfg.Limits[pool.Password] = 1
	for i := range rapid.IntRange(1, 10).Draw(t, "visits") {
		v := visit{
			class:   rapid.SampledFrom([]pool.Class{pool.Read, pool.Bulk, pool.Password}).Draw(t, "class"),
			arrives: upTo("arrives", 0, 10)*unit + time.Duration(i),
			works:   upTo("works", 0, 8)*unit + 1<<(4+2*i),
		}
		switch rapid.IntRange(0, 3).Draw(t, "patience") {
		case 0:
			v.deadline = upTo("deadline", 1, 8) * 4 * unit
		case 1:
			v.hangsUp = upTo("hangs up", 0, 4)*unit + 1<<24
		}
		if rapid.Bool().Draw(t, "goes outside") {
			v.outside = upTo("outside", 1, 6) * unit
			v.finishes = upTo("finishes", 0, 4)*unit + 1<<(5+2*i)
		}
		s.visits = append(s.visits, v)
	}
	s.drain = upTo("drain", 0, 20)*unit + 1<<25
	return s
}

// The pool does exactly what a simple model of its promises does.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := scenes(rt)
		want, wantDrained := predict(s)
		var got []fate
		var drained time.Duration
		synctest.Test(t, func(t *testing.T) { got, drained = play(t, s) })
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(fate{})); diff != "" {
			rt.Errorf("%+v\nfates (-want +got):\n%s", s, diff)
		}
		if drained != wantDrained {
			rt.Errorf("%+v\ndrained after %v, want %v", s, drained, wantDrained)
		}
	})
}

// play lets the scene happen on a real pool.
func play(t *testing.T, s scene) (fates []fate, drained time.Duration) {
	p, start := pool.New(s.cfg), time.Now()
	fates = make([]fate, len(s.visits))
	var all sync.WaitGroup
	for i, v := range s.visits {
		all.Go(func() {
			time.Sleep(v.arrives)
			fates[i] = v.play(t.Context(), p, start)
		})
	}
	time.Sleep(s.drain)
	if err := p.Drain(t.Context()); err != nil {
		t.Errorf("Drain() = %v", err)
	}
	drained = time.Since(start)
	all.Wait()
	checkRest(t, p, len(s.visits))
	return fates, drained
}

func (v visit) play(ctx context.Context, p *pool.Pool, start time.Time) (f fate) {
	wait := ctx
	var cancel context.CancelFunc
	if v.deadline > 0 {
		wait, cancel = context.WithTimeout(ctx, v.deadline)
		defer cancel()
	}
	if v.hangsUp > 0 {
		wait, cancel = context.WithCancel(ctx)
		defer time.AfterFunc(v.hangsUp, cancel).Stop()
	}
	turn, err := p.Acquire(wait, pool.Request{Class: v.class})
	if err == nil {
		defer turn.Release()
		f.begun = append(f.begun, time.Since(start))
		time.Sleep(v.works)
		if v.outside > 0 {
			err = turn.Outside(ctx, func() error { time.Sleep(v.outside); return nil })
		}
	}
	if err == nil && v.outside > 0 {
		f.begun = append(f.begun, time.Since(start))
		time.Sleep(v.finishes)
	}
	f.ended, f.reason = time.Since(start), reason(err)
	return f
}

func reason(err error) string {
	switch e := err.(type) {
	case nil:
		return "done"
	case *pool.Refusal:
		return string(e.Reason)
	}
	return "gone"
}

// checkRest checks that a pool is at rest, and knows how each of n requests
// ended.
func checkRest(t *testing.T, p *pool.Pool, n int) {
	t.Helper()
	wantState(t, p, state{})
	s := p.Stats()
	ended := s.Done + s.Abandoned
	for _, refused := range s.Refused {
		ended += refused
	}
	if ended != uint64(n) {
		t.Errorf("%d done + %d abandoned + %v refused, want %d in all", s.Done, s.Abandoned, s.Refused, n)
	}
}

// model is the pool as its promises put it: one list of who waits, and a loop
// over what happens next.
type model struct {
	scene
	now              time.Duration
	events           []event
	free             int
	held             [pool.NumClasses]int
	waiting          []int // visits, in the order of arrival
	outside          int
	draining, isIdle bool
	idleAt           time.Duration
	fates            []fate
}

type event struct {
	at time.Duration
	do func()
}

func predict(s scene) ([]fate, time.Duration) {
	m := &model{scene: s, free: s.cfg.Shards * s.cfg.WorkersPerShard, fates: make([]fate, len(s.visits))}
	for i, v := range s.visits {
		m.at(v.arrives, func() { m.arrive(i) })
	}
	m.at(s.drain, func() { m.draining = true })
	for len(m.events) > 0 {
		first := 0
		for i, e := range m.events {
			if e.at < m.events[first].at {
				first = i
			}
		}
		e := m.events[first]
		m.events = slices.Delete(m.events, first, first+1)
		m.now = e.at
		e.do()
		if m.draining && !m.isIdle && len(m.waiting)+m.outside == 0 && m.free == s.cfg.Shards*s.cfg.WorkersPerShard {
			m.isIdle, m.idleAt = true, m.now
		}
	}
	return m.fates, m.idleAt
}

func (m *model) at(when time.Duration, do func()) { m.events = append(m.events, event{when, do}) }

func (m *model) end(i int, reason any) {
	m.waiting = slices.DeleteFunc(m.waiting, func(w int) bool { return w == i })
	m.fates[i].ended, m.fates[i].reason = m.now, fmt.Sprint(reason)
}

func (m *model) arrive(i int) {
	if m.draining {
		m.end(i, "draining")
		return
	}
	v, bound := m.visits[i], m.cfg.QueueTimeout
	if v.deadline > 0 {
		bound = min(bound, v.deadline/4)
	}
	if v.hangsUp > 0 {
		m.at(m.now+v.hangsUp, func() { m.leave(i, 0, "gone") })
	}
	m.join(i, bound)
}

// leave is the end of a wait, unless that has ended otherwise.
func (m *model) leave(i, begun int, reason string) {
	if slices.Contains(m.waiting, i) && len(m.fates[i].begun) == begun {
		m.end(i, reason)
	}
}

func (m *model) join(i int, bound time.Duration) {
	begun := len(m.fates[i].begun)
	m.at(m.now+bound, func() { m.leave(i, begun, "queue_timeout") })
	m.waiting = append(m.waiting, i)
	slices.SortFunc(m.waiting, func(a, b int) int { return int(m.visits[a].arrives - m.visits[b].arrives) })
	m.serve()
	if len(m.waiting) > m.cfg.QueueLength {
		m.end(m.waiting[len(m.waiting)-1], "queue_full")
	}
}

// serve gives free workers to the first that may have one.
func (m *model) serve() {
	for m.free > 0 {
		next := slices.IndexFunc(m.waiting, func(i int) bool {
			c := m.visits[i].class
			return m.cfg.Limits[c] == 0 || m.held[c] < m.cfg.Limits[c]
		})
		if next < 0 {
			return
		}
		i := m.waiting[next]
		m.waiting = slices.Delete(m.waiting, next, next+1)
		m.free--
		m.held[m.visits[i].class]++
		m.begin(i)
	}
}

func (m *model) begin(i int) {
	v, f := m.visits[i], &m.fates[i]
	f.begun = append(f.begun, m.now)
	switch {
	case len(f.begun) == 2:
		m.at(m.now+v.finishes, func() { m.release(i); m.end(i, "done") })
	case v.outside == 0:
		m.at(m.now+v.works, func() { m.release(i); m.end(i, "done") })
	default:
		m.at(m.now+v.works, func() {
			m.outside++
			m.release(i)
			m.at(m.now+v.outside, func() {
				m.outside--
				m.join(i, m.cfg.QueueTimeout)
			})
		})
	}
}

func (m *model) release(i int) {
	m.free++
	m.held[m.visits[i].class]--
	m.serve()
}
