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
	person   string
	arrives  time.Duration // after the start
	deadline time.Duration // from then; 0: none
	hangsUp  time.Duration // from then, if it still waits; 0: never
	works    time.Duration // with a worker
	outside  time.Duration // 0: never yields
	finishes time.Duration // with a worker again, after Yield
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
const unit = 1 << 44

func scenes(t *rapid.T) scene {
	upTo := func(label string, least, most int) time.Duration {
		return time.Duration(rapid.IntRange(least, most).Draw(t, label))
	}
	s := scene{cfg: pool.Config{
		Shards:          rapid.IntRange(1, 3).Draw(t, "shards"),
		WorkersPerShard: rapid.SampledFrom([]int{1, 2, 6}).Draw(t, "workers"),
		QueueLength:     rapid.SampledFrom([]int{0, 1, 2, 3, 4, 5, 23}).Draw(t, "queue"),
		QueueTimeout:    upTo("timeout", 1, 6) * unit,
	}}
	s.cfg.Limits[pool.Bulk] = rapid.IntRange(0, 3).Draw(t, "bulk limit")
	s.cfg.Limits[pool.Password] = 1
	for i := range rapid.IntRange(1, 18).Draw(t, "visits") {
		v := visit{
			class:   rapid.SampledFrom([]pool.Class{pool.Write, pool.Read, pool.Bulk, pool.Password}).Draw(t, "class"),
			person:  rapid.SampledFrom([]string{"ada", "bob", "cyd"}).Draw(t, "person"),
			arrives: upTo("arrives", 0, 10)*unit + time.Duration(i),
			works:   upTo("works", 0, 8)*unit + 1<<(5+2*i),
		}
		switch rapid.IntRange(0, 3).Draw(t, "patience") {
		case 0:
			v.deadline = upTo("deadline", 1, 8) * 4 * unit
		case 1:
			v.hangsUp = upTo("hangs up", 0, 4)*unit + 1<<42
		}
		if rapid.Bool().Draw(t, "goes outside") {
			v.outside = upTo("outside", 1, 6) * unit
			v.finishes = upTo("finishes", 0, 4)*unit + 1<<(6+2*i)
		}
		s.visits = append(s.visits, v)
	}
	s.drain = upTo("drain", 0, 20)*unit + 1<<43
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
	permit, err := p.Acquire(wait, pool.Request{Class: v.class, Flow: v.person})
	if err == nil {
		defer permit.Release()
		f.begun = append(f.begun, time.Since(start))
		time.Sleep(v.works)
		if v.outside > 0 {
			err = permit.Yield(ctx, func() error { time.Sleep(v.outside); return nil })
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
	case *pool.RejectedError:
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
	for _, refused := range s.Rejected {
		ended += refused
	}
	if ended != uint64(n) {
		t.Errorf("%d done + %d abandoned + %v refused, want %d in all", s.Done, s.Abandoned, s.Rejected, n)
	}
}

// model is the pool as its promises put it: one list of who waits, and a loop
// over what happens next.
type model struct {
	scene
	now              time.Duration
	events           []event
	free             int
	waiting          []int // visits, in the order of arrival
	outside, joined  int
	draining, isIdle bool
	idleAt           time.Duration
	fates            []fate

	granted map[int]time.Duration // visits with a worker that they waited for, or would have
	classes [pool.NumClasses]modelClass
}

type modelClass struct {
	spent, service float64
	virtual        int
	persons        map[string]modelPerson // who wait, or had a turn since somebody began to
}

type modelPerson struct{ tag, since int }

type event struct {
	at time.Duration
	do func()
}

func predict(s scene) ([]fate, time.Duration) {
	m := &model{scene: s, free: s.cfg.Shards * s.cfg.WorkersPerShard, fates: make([]fate, len(s.visits)),
		granted: map[int]time.Duration{}}
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
	m.unqueue(i)
	m.fates[i].ended, m.fates[i].reason = m.now, fmt.Sprint(reason)
}

func (m *model) unqueue(i int) {
	m.waiting = slices.DeleteFunc(m.waiting, func(w int) bool { return w == i })
	if len(m.waiting) == 0 {
		for c := range m.classes {
			m.classes[c].spent = 0
		}
	}
	if c := m.visits[i].class; len(m.line(c)) == 0 {
		m.classes[c].persons = nil
	}
}

// line is those of a class who wait for the first time, in the order of arrival.
func (m *model) line(c pool.Class) (line []int) {
	for _, i := range m.waiting {
		if m.visits[i].class == c && !m.returns(i) {
			line = append(line, i)
		}
	}
	return line
}

func (m *model) returns(i int) bool { return len(m.fates[i].begun) > 0 }

func (m *model) person(i int) modelPerson {
	return m.classes[m.visits[i].class].persons[m.visits[i].person]
}

// by is those of a line that are one person's.
func (m *model) by(line []int, person string) (by []int) {
	for _, i := range line {
		if m.visits[i].person == person {
			by = append(by, i)
		}
	}
	return by
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
	begun, c := len(m.fates[i].begun), m.visits[i].class
	if m.free > 0 && len(m.waiting) == 0 && m.cfg.Limits[c] == 0 && !m.draining {
		m.free--
		m.begin(i)
		return
	}
	m.at(m.now+bound, func() { m.leave(i, begun, "queue_timeout") })
	if m.queued(c) == 0 {
		m.catchUp(c)
	}
	if line := m.line(c); !m.returns(i) && len(m.by(line, m.visits[i].person)) == 0 {
		class := &m.classes[c]
		if class.persons == nil {
			class.persons = map[string]modelPerson{}
		}
		m.joined++
		class.persons[m.visits[i].person] = modelPerson{max(m.person(i).tag, class.virtual), m.joined}
	}
	m.waiting = append(m.waiting, i)
	slices.SortFunc(m.waiting, func(a, b int) int { return int(m.visits[a].arrives - m.visits[b].arrives) })
	m.serve()
	if len(m.waiting) > m.cfg.QueueLength {
		m.end(m.least())
	}
}

var weights = [pool.NumClasses]int{8, 8, 4, 1, 2}

func share(n int, c pool.Class) int { return n * weights[c] / 23 }

func (m *model) waitingOf(c pool.Class) (all []int) {
	for _, i := range m.waiting {
		if m.visits[i].class == c {
			all = append(all, i)
		}
	}
	return all
}

func (m *model) queued(c pool.Class) int { return len(m.waitingOf(c)) }

func (m *model) held(c pool.Class) (n int) {
	for i := range m.granted {
		if m.visits[i].class == c {
			n++
		}
	}
	return n
}

// catchUp brings a class that begins to wait level with the others.
func (m *model) catchUp(c pool.Class) {
	var others []float64
	for _, i := range m.waiting {
		others = append(others, m.classes[m.visits[i].class].spent)
	}
	if len(others) > 0 {
		m.classes[c].spent = max(m.classes[c].spent, slices.Min(others))
	}
}

// least is who makes room, and why: of the last class above its share the
// youngest of the person with the most waiting.
func (m *model) least() (victim int, why string) {
	c := pool.Class(pool.NumClasses - 1)
	for m.queued(c) <= share(m.cfg.QueueLength, c) {
		c--
	}
	line, persons := m.line(c), map[string]bool{}
	if len(line) == 0 {
		return m.waitingOf(c)[m.queued(c)-1], "queue_full"
	}
	most := 0
	for _, i := range line {
		persons[m.visits[i].person] = true
		if n := len(m.by(line, m.visits[i].person)); n >= most {
			most, victim = n, i
		}
	}
	if others := len(persons) - 1; others > 0 && most*others > 2*(len(line)-most) {
		return victim, "user_share"
	}
	return victim, "queue_full"
}

// serve gives free workers to the first of the class whose turn it is.
func (m *model) serve() {
	for m.free > 0 {
		var open []pool.Class
		for c := range pool.Class(pool.NumClasses) {
			if m.queued(c) > 0 && (m.cfg.Limits[c] == 0 || m.held(c) < m.cfg.Limits[c]) {
				open = append(open, c)
			}
		}
		if len(open) == 0 {
			return
		}
		i := m.first(slices.MinFunc(open, func(a, b pool.Class) int { return slices.Compare(m.urgency(a), m.urgency(b)) }))
		m.unqueue(i)
		m.free--
		m.granted[i] = m.now
		m.begin(i)
	}
}

// first is whose turn it is in a class: those who return, then the person least
// served, for whom that counts as a turn.
func (m *model) first(c pool.Class) int {
	for _, i := range m.waiting {
		if m.visits[i].class == c && m.returns(i) {
			return i
		}
	}
	line, persons := m.line(c), map[string]bool{}
	for _, i := range line {
		persons[m.visits[i].person] = true
	}
	i := slices.MinFunc(line, func(a, b int) int {
		return slices.Compare([]int{m.person(a).tag, m.person(a).since, a}, []int{m.person(b).tag, m.person(b).since, b})
	})
	i = m.by(line, m.visits[i].person)[0]
	class, p := &m.classes[c], m.person(i)
	class.virtual = max(class.virtual+1<<20/len(persons), p.tag)
	class.persons[m.visits[i].person] = modelPerson{p.tag + 1<<20, p.since}
	return i
}

// urgency is what classes are served by, the smallest first.
func (m *model) urgency(c pool.Class) []float64 {
	held, s := float64(m.held(c)), m.classes[c]
	guaranteed := share(m.cfg.Shards*m.cfg.WorkersPerShard, c)
	if limit := m.cfg.Limits[c]; limit > 0 {
		guaranteed = min(guaranteed, limit)
	}
	if int(held) < guaranteed {
		return []float64{0, held / float64(guaranteed), float64(c)}
	}
	return []float64{1, s.spent + held*s.service/float64(weights[c]), float64(c)}
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
	c := &m.classes[m.visits[i].class]
	granted, waited := m.granted[i]
	delete(m.granted, i)
	if took := m.now - granted; waited && len(m.waiting) > 0 {
		c.spent += float64(took) / float64(weights[m.visits[i].class])
		if c.service == 0 {
			c.service = float64(took)
		} else {
			c.service += float64((took - time.Duration(c.service)) / 8)
		}
	}
	m.serve()
}
