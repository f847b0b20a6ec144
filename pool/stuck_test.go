package pool_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"notesd/pool"
)

// patience is StuckAfter in these tests.
const patience = time.Minute

// A watched pool looks for stuck requests until the test ends, and keeps what
// it tells.
type watched struct {
	*pool.Pool
	lines func() []logged // since the last call

	mu     sync.Mutex
	events []pool.StuckEvent
}

func watching(t *testing.T, cfg pool.Config) *watched {
	t.Helper()
	w := &watched{}
	cfg.Log, w.lines = logTo(t)
	cfg.StuckAfter = patience
	cfg.OnStuck = func(e pool.StuckEvent) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.events = append(w.events, e)
	}
	w.Pool = pool.New(cfg)
	go w.Watch(t.Context())
	return w
}

func (w *watched) told() []pool.StuckEvent {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.events
}

// ofWorkers is so many workers in one shard.
func ofWorkers(workers int) pool.Config {
	cfg := small()
	cfg.WorkersPerShard = workers
	return cfg
}

// sleeper is a handler that minds nothing for so long.
func sleeper(d time.Duration) func(context.Context, *pool.Permit) error {
	return func(context.Context, *pool.Permit) error { time.Sleep(d); return nil }
}

// begin has a request run fn, in the background.
func (w *watched) begin(t *testing.T, fn func(context.Context, *pool.Permit) error) {
	t.Helper()
	go func() { _ = w.Do(t.Context(), read, fn) }()
	synctest.Wait()
}

// wantStuck compares what the pool says: how many are stuck, replaced, found, recovered.
func (w *watched) wantStuck(t *testing.T, stuck, replaced int, found, recovered uint64) {
	t.Helper()
	synctest.Wait()
	s := w.Stats().Stuck
	if len(s.Permits) != stuck || s.Replaced != replaced || s.Found != found || s.Recovered != recovered || s.Exceeded() != (stuck > replaced) {
		t.Errorf("Stuck = %+v, above %v, want %d stuck, %d replaced, %d found, %d recovered", s, s.Exceeded(), stuck, replaced, found, recovered)
	}
}

func (w *watched) ids() (ids []uint64) {
	for _, worker := range w.Stats().Shards[0].Workers {
		ids = append(ids, worker.ID)
	}
	return ids
}

// A request that holds its worker for a minute is found then, not before: its
// context is cancelled, its stack logged, and its slot serves others. When it
// ends after all that is told, and nothing is given back twice.
func TestStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watching(t, small())
		old := w.ids()[0]
		ctx, cancel := context.WithCancelCause(t.Context())
		request := read
		request.Cancel = cancel
		var cancelled time.Duration
		began := time.Now()
		go w.Do(ctx, request, func(ctx context.Context, _ *pool.Permit) error {
			<-ctx.Done()
			cancelled = time.Since(began)
			hesitate()
			return nil
		})
		time.Sleep(patience - 1)
		w.wantStuck(t, 0, 0, 0, 0)
		wantState(t, w.Pool, state{Busy: 1})

		time.Sleep(time.Nanosecond)
		w.wantStuck(t, 1, 1, 1, 0)
		wantState(t, w.Pool, state{})
		if cause := context.Cause(ctx); cause != pool.ErrStuck || cancelled != patience {
			t.Errorf("cancelled after %v, cause %v, want %v and %v", cancelled, cause, patience, pool.ErrStuck)
		}
		fresh := w.ids()[0]
		if fresh == old {
			t.Errorf("the slot has worker %d still, want a fresh one", old)
		}
		s := w.Stats()
		want := pool.StuckPermit{Worker: old, Replacement: fresh, Route: "/read", Class: "read", Since: began}
		if got := s.Stuck.Permits[0]; got != want || s.Stuck.Bound != 1 || s.Done != 1 || s.Restarts != 0 {
			t.Errorf("Stats() = %+v, want %+v, bound 1, 1 done, no restart", s, want)
		}
		if err := w.Do(t.Context(), read, fine); err != nil {
			t.Errorf("Do() beside it = %v, want nil", err)
		}
		lines := w.lines()
		if len(lines) != 1 || lines[0].Msg != "worker stuck" || lines[0].Worker != old || lines[0].Replacement != fresh {
			t.Fatalf("logged %+v, want one line about worker %d and %d", lines, old, fresh)
		}
		if stack := lines[0].Stack; !strings.Contains(stack, "TestStuck.func1") || !strings.Contains(stack, "stuck_test.go") ||
			strings.Contains(stack, "0x") {
			t.Errorf("the stack is\n%s\nwant the handler's, without addresses", stack)
		}

		time.Sleep(hesitation)
		w.wantStuck(t, 0, 0, 1, 1)
		wantState(t, w.Pool, state{})
		if s := w.Stats(); s.Done != 2 || w.ids()[0] != fresh {
			t.Errorf("Stats() = %+v at the end, want 2 done and worker %d", s, fresh)
		}
		events := []pool.StuckEvent{
			{Worker: old, Replacement: fresh, Route: "/read", Held: patience},
			{Worker: old, Replacement: fresh, Route: "/read", Held: patience + hesitation, Recovered: true},
		}
		if !slices.Equal(w.told(), events) {
			t.Errorf("told %+v, want %+v", w.told(), events)
		}
		if lines := w.lines(); len(lines) != 1 || lines[0].Msg != "stuck worker recovered" || lines[0].Stack != "" {
			t.Errorf("logged %+v, want one line", lines)
		}
	})
}

const hesitation = 10 * time.Second

func hesitate() { time.Sleep(hesitation) }

// A quarter of the workers may be replaced, one at least; of those above that
// the oldest is, as soon as another has ended.
func TestStuckBound(t *testing.T) {
	for _, c := range []struct{ workers, bound int }{{1, 1}, {3, 1}, {4, 1}, {7, 1}, {8, 2}, {64, 16}} {
		synctest.Test(t, func(t *testing.T) {
			w := watching(t, ofWorkers(c.workers))
			for range c.workers {
				go w.Do(t.Context(), read, sleeper(2*patience))
			}
			time.Sleep(patience)
			synctest.Wait()
			s := w.Stats()
			if s.Stuck.Bound != c.bound || s.Stuck.Replaced != c.bound || len(s.Stuck.Permits) != c.workers {
				t.Errorf("of %d workers %d of %d are replaced, bound %d, want %d", c.workers, s.Stuck.Replaced, len(s.Stuck.Permits),
					s.Stuck.Bound, c.bound)
			}
			time.Sleep(4 * patience)
			wantState(t, w.Pool, state{})
			if s := w.Stats(); s.Idle != c.workers || s.Stuck.Found != s.Stuck.Recovered {
				t.Errorf("at the end %d idle, %+v, want %d and as many recovered as found", s.Idle, s.Stuck, c.workers)
			}
		})
	}
}

// Three of four workers are stuck, one is replaced. Who ends makes room: one
// that was replaced for the oldest that was not, one that was not by its slot.
func TestStuckEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := ofWorkers(4)
		cfg.QueueTimeout = 0
		w := watching(t, cfg)
		w.begin(t, sleeper(patience+30*time.Second)) // replaced after 60 s, ends after 90
		time.Sleep(time.Second)
		w.begin(t, sleeper(patience+49*time.Second)) // replaced after 90 s, ends after 110
		time.Sleep(time.Second)
		w.begin(t, sleeper(patience+38*time.Second)) // never replaced, ends after 100
		time.Sleep(patience)                         // 62 s have gone
		w.wantStuck(t, 3, 1, 3, 0)
		wantState(t, w.Pool, state{Busy: 2})

		time.Sleep(28 * time.Second)
		w.wantStuck(t, 2, 1, 3, 1)
		wantState(t, w.Pool, state{Busy: 1})
		if got := w.Stats().Stuck.Permits; got[0].Replacement == 0 {
			t.Errorf("stuck are %+v, want the first replaced", got)
		}
		time.Sleep(10 * time.Second)
		w.wantStuck(t, 1, 1, 3, 2)
		wantState(t, w.Pool, state{})
		time.Sleep(10 * time.Second)
		w.wantStuck(t, 0, 0, 3, 3)
		wantState(t, w.Pool, state{})
		if s := w.Stats(); s.Done != 3 || s.Idle != 4 {
			t.Errorf("Stats() = %+v, want 3 done, 4 idle", s)
		}
	})
}

// The time counts while a worker is held, from when it was taken last.
func TestStuckAfterYield(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watching(t, small())
		outside := func(d time.Duration) func() error { return func() error { time.Sleep(d); return nil } }
		var late error
		w.begin(t, func(ctx context.Context, permit *pool.Permit) error {
			time.Sleep(patience - 1)
			if err := permit.Yield(ctx, outside(10*patience)); err != nil {
				t.Errorf("Yield() = %v, want nil", err)
			}
			time.Sleep(patience + time.Second)
			late = permit.Yield(ctx, func() error { t.Error("Yield() of a stuck request does something"); return nil })
			return late
		})
		time.Sleep(12*patience - 2)
		w.wantStuck(t, 0, 0, 0, 0)
		time.Sleep(time.Nanosecond)
		w.wantStuck(t, 1, 1, 1, 0)
		if lines := w.lines(); len(lines) != 1 || !strings.Contains(lines[0].Stack, "TestStuckAfterYield") {
			t.Errorf("logged %+v, want one line with the stack", lines)
		}
		time.Sleep(time.Second)
		w.wantStuck(t, 0, 0, 1, 1)
		if late != pool.ErrStuck {
			t.Errorf("Yield() of a stuck request = %v, want %v", late, pool.ErrStuck)
		}
	})
}

// Drain waits for those that have their slot still, and for no other.
func TestStuckDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watching(t, ofWorkers(4))
		w.begin(t, sleeper(10*patience))
		time.Sleep(time.Second)
		w.begin(t, sleeper(5*patience))
		time.Sleep(patience)
		w.wantStuck(t, 2, 1, 2, 0)
		began := time.Now()
		if err := w.Drain(t.Context()); err != nil || time.Since(began) != 4*patience {
			t.Errorf("Drain() = %v after %v, want nil after %v", err, time.Since(began), 4*patience)
		}
		w.wantStuck(t, 1, 1, 2, 1)
		time.Sleep(10 * patience)
		w.wantStuck(t, 0, 0, 2, 2)
	})
}

// However a stuck request ends, once is enough, and no worker is retired for it.
func TestStuckFails(t *testing.T) {
	for _, c := range []struct {
		name            string
		end             func(*pool.Permit)
		panics, goexits uint64
	}{
		{"panic", func(*pool.Permit) { panic("boom") }, 1, 0},
		{"Goexit", func(*pool.Permit) { runtime.Goexit() }, 0, 1},
		{"two releases", func(permit *pool.Permit) { twin := *permit; permit.Release(); twin.Release() }, 0, 0},
	} {
		for workers, replaced := range map[int]int{1: 1, 2: 0} { // of two, another is replaced
			t.Run(c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := watching(t, ofWorkers(workers))
					if replaced == 0 {
						w.begin(t, sleeper(10*patience))
						time.Sleep(time.Second)
					}
					w.begin(t, func(_ context.Context, permit *pool.Permit) error {
						time.Sleep(patience + time.Second)
						c.end(permit)
						return nil
					})
					time.Sleep(patience)
					synctest.Wait()
					if got := w.Stats().Stuck.Permits; got[workers-1].Replacement > 0 != (replaced == 1) {
						t.Errorf("stuck are %+v, want the last replaced: %v", got, replaced == 1)
					}
					time.Sleep(time.Second)
					w.wantStuck(t, workers-1, workers-1, uint64(workers), 1)
					s := w.Stats()
					if s.Busy != 0 || s.Idle != workers || s.Panics != c.panics || s.Goexits != c.goexits || s.Restarts != 0 || s.Done != uint64(workers) {
						t.Errorf("Stats() = %+v, want all idle, %d panics, %d goexits, no restart, %d done", s, c.panics, c.goexits, workers)
					}
					time.Sleep(10 * patience)
				})
			})
		}
	}
}

// A turn of Acquire is found like any other; nothing says whose stack is its.
func TestStuckAcquire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watching(t, small())
		hold(t, w.Pool, read, patience+1)
		time.Sleep(patience)
		w.wantStuck(t, 1, 1, 1, 0)
		if lines := w.lines(); len(lines) != 1 || lines[0].Msg != "worker stuck" || lines[0].Stack != "" {
			t.Errorf("logged %+v, want one line without a stack", lines)
		}
		time.Sleep(time.Nanosecond)
		w.wantStuck(t, 0, 0, 1, 1)
	})
}

// The stack is that of the goroutine that holds the worker: not of one that it
// has started, nor of one that held the worker before.
func TestStuckStack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watching(t, small())
		before := make(chan bool)
		go func() {
			_ = w.Do(t.Context(), read, fine)
			earlier(before)
		}()
		synctest.Wait()
		w.begin(t, func(context.Context, *pool.Permit) error {
			end := make(chan bool)
			// Of several kinds, so that the profile has one before the handler and one after it.
			go descendant(func() { <-end })
			go descendant(func() { time.Sleep(patience + 1) })
			go descendant(func() {
				select {
				case <-end:
				case <-t.Context().Done():
				}
			})
			time.Sleep(patience + 1)
			close(end)
			return nil
		})
		time.Sleep(patience)
		synctest.Wait()
		before <- true
		lines := w.lines()
		if len(lines) != 1 {
			t.Fatalf("logged %+v, want one line", lines)
		}
		if s := lines[0].Stack; !strings.Contains(s, "TestStuckStack") || strings.Contains(s, "descendant") || strings.Contains(s, "earlier") {
			t.Errorf("the stack is\n%s\nwant the handler's", s)
		}
		time.Sleep(time.Nanosecond)
	})
}

func descendant(wait func()) { wait() }
func earlier(end chan bool)  { <-end }

// What Do labels it gives back as it was.
func TestLabels(t *testing.T) {
	p := pool.New(small())
	own := pprof.WithLabels(t.Context(), pprof.Labels("own", "label"))
	pprof.SetGoroutineLabels(own)
	defer pprof.SetGoroutineLabels(t.Context())
	profile := func() string {
		var b bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	const label = `"worker":"`
	err := p.Do(own, read, func(ctx context.Context, permit *pool.Permit) error {
		if !strings.Contains(profile(), label) {
			t.Error("a goroutine with a worker has no label")
		}
		return permit.Yield(ctx, func() error {
			if strings.Contains(profile(), label) {
				t.Error("a goroutine without a worker has its label")
			}
			return nil
		})
	})
	if after := profile(); err != nil || strings.Contains(after, label) || !strings.Contains(after, `"own":"label"`) {
		t.Errorf("Do() = %v and leaves other labels than the goroutine had", err)
	}
}

// Requests that last about as long as they may are either seized or end by
// themselves; in the end every slot is there, once.
func TestStuckRace(t *testing.T) {
	cfg := pool.Config{Shards: 2, WorkersPerShard: 4, QueueLength: 100, QueueTimeout: time.Minute, Log: discard,
		StuckAfter: time.Millisecond / 2}
	p := pool.New(cfg)
	ctx, stop := context.WithCancel(t.Context())
	var watcher, requests sync.WaitGroup
	watcher.Go(func() { p.Watch(ctx) })
	const each = 100
	for range 16 {
		requests.Go(func() {
			for range each {
				_ = p.Do(t.Context(), read, func(ctx context.Context, permit *pool.Permit) error {
					time.Sleep(rand.N(cfg.StuckAfter << rand.N(6))) // to look takes a while, too
					return permit.Yield(ctx, func() error { return nil })
				})
			}
		})
	}
	requests.Wait()
	stop()
	watcher.Wait()
	s := p.Stats()
	if s.Idle != s.Workers || s.Busy != 0 || s.Done != 16*each || s.Stuck.Found == 0 || s.Stuck.Found != s.Stuck.Recovered || len(s.Stuck.Permits) != 0 {
		t.Errorf("at the end %d of %d idle, %d busy, %d done, %+v", s.Idle, s.Workers, s.Busy, s.Done, s.Stuck)
	}
	if err := p.Drain(t.Context()); err != nil {
		t.Error(err)
	}
}

// Without a bound there is nothing to watch.
func TestWatchNothing(t *testing.T) {
	pool.New(small()).Watch(t.Context())
}
