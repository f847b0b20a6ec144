package pool_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"notesd/internal/histogram"
	"notesd/pool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	read     = pool.Request{Class: pool.Read, Route: "/read"}
	password = pool.Request{Class: pool.Password, Route: "/password"}
)

// small is one shard with one worker and room for ten to wait a second.
func small() pool.Config {
	return pool.Config{Shards: 1, WorkersPerShard: 1, QueueLength: 10, QueueTimeout: time.Second}
}

// acquire fails the test when there is no worker.
func acquire(t *testing.T, p *pool.Pool, r pool.Request) pool.Permit {
	t.Helper()
	permit, err := p.Acquire(t.Context(), r)
	if err != nil {
		t.Fatalf("Acquire() = %v, want a turn", err)
	}
	return permit
}

// hold holds a worker for some time, in the background, and begins before hold
// returns, or waits.
func hold(t *testing.T, p *pool.Pool, r pool.Request, d time.Duration) {
	t.Helper()
	go func() {
		permit, err := p.Acquire(t.Context(), r)
		if err != nil {
			t.Errorf("Acquire() = %v, want a turn", err)
			return
		}
		defer permit.Release()
		time.Sleep(d)
	}()
	synctest.Wait()
}

// refusal checks that err is a refusal for a reason, after exactly so long.
func refusal(t *testing.T, err error, why pool.Reason, after time.Duration) {
	t.Helper()
	r, ok := errors.AsType[*pool.RejectedError](err)
	if !ok || !errors.Is(err, why) || r.Waited != after {
		t.Errorf("got %v, want %v after %v", err, why, after)
	}
}

// state is what a pool is doing now.
type state struct{ Busy, Queued, Yielded int }

func wantState(t *testing.T, p *pool.Pool, want state) {
	t.Helper()
	s := p.Stats()
	if got := (state{s.Busy, s.Queued, s.Yielded}); got != want {
		t.Errorf("Stats() = %+v, want %+v", got, want)
	}
}

// At most Shards × WorkersPerShard run, at most QueueLength wait, and who comes
// then is refused at once.
func TestBounds(t *testing.T) {
	for _, c := range []struct{ shards, workers, queue int }{
		{1, 1, 0}, {1, 1, 1}, {2, 1, 3}, {3, 4, 5}, {1, pool.MaxWorkersPerShard, 2}, {2, pool.MaxWorkersPerShard, 0},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := pool.New(pool.Config{Shards: c.shards, WorkersPerShard: c.workers,
					QueueLength: c.queue, QueueTimeout: time.Minute})
				for range c.shards*c.workers + c.queue {
					hold(t, p, read, time.Second)
				}
				wantState(t, p, state{Busy: c.shards * c.workers, Queued: c.queue})
				_, err := p.Acquire(t.Context(), read)
				refusal(t, err, pool.ErrFull, 0)
				time.Sleep(time.Minute)
				wantState(t, p, state{})
			})
		})
	}
}

// Nothing waits longer than QueueTimeout or a quarter of what its deadline
// leaves it.
func TestWaitIsBounded(t *testing.T) {
	for _, c := range []struct {
		name                    string
		timeout, deadline, want time.Duration
	}{
		{"no deadline", time.Second, 0, time.Second},
		{"far deadline", time.Second, time.Hour, time.Second},
		{"four times the timeout", time.Second, 4 * time.Second, time.Second},
		{"just below", time.Second, 4*time.Second - 4, time.Second - 1},
		{"near deadline", time.Second, 100 * time.Millisecond, 25 * time.Millisecond},
		{"no time to wait", 0, 0, 0},
		{"deadline of a nanosecond", time.Second, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := small()
				cfg.QueueTimeout = c.timeout
				p := pool.New(cfg)
				hold(t, p, read, time.Minute)
				ctx := t.Context()
				if c.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, c.deadline)
					defer cancel()
				}
				_, err := p.Acquire(ctx, read)
				refusal(t, err, pool.ErrTimeout, c.want)
				wantState(t, p, state{Busy: 1})
				time.Sleep(time.Minute)
			})
		})
	}
}

// A worker that comes at the last moment is still taken, and not one moment
// later.
func TestWaitEndsInTime(t *testing.T) {
	for _, c := range []struct {
		held time.Duration
		want error
	}{{time.Second - 1, nil}, {time.Second + 1, pool.ErrTimeout}} {
		synctest.Test(t, func(t *testing.T) {
			p := pool.New(small())
			hold(t, p, read, c.held)
			permit, err := p.Acquire(t.Context(), read)
			if !errors.Is(err, c.want) {
				t.Errorf("Acquire() while held for %v = %v, want %v", c.held, err, c.want)
			}
			if err == nil && permit.Waited() != c.held {
				t.Errorf("Waited() = %v, want %v", permit.Waited(), c.held)
			}
			permit.Release()
			time.Sleep(time.Second)
		})
	}
}

// Whichever shard has a worker free first, it serves the first of the order.
func TestOneOrderForAllShards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := small()
		cfg.Shards = 3
		p := pool.New(cfg)
		var held []pool.Permit // of shards in any order
		for range cfg.Shards {
			held = append(held, acquire(t, p, read))
		}
		var mu sync.Mutex
		var served []string
		for i := range 3 {
			go func() {
				permit := acquire(t, p, read)
				mu.Lock()
				defer mu.Unlock()
				served = append(served, fmt.Sprint(i, " on ", permit.Shard()))
			}()
			synctest.Wait()
		}
		var want []string
		for i, permit := range []pool.Permit{held[1], held[2], held[0]} {
			permit.Release()
			synctest.Wait()
			want = append(want, fmt.Sprint(i, " on ", permit.Shard()))
		}
		if diff := cmp.Diff(want, served); diff != "" {
			t.Errorf("served (-want +got):\n%s", diff)
		}
	})
}

// A class at its limit waits although workers are free, holds up nobody else,
// and gets the first worker that its own class gives back.
func TestClassLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := small()
		cfg.WorkersPerShard = 4
		cfg.Limits[pool.Password] = 2
		p := pool.New(cfg)
		hold(t, p, password, 300*time.Millisecond)
		hold(t, p, password, 500*time.Millisecond)
		hold(t, p, password, time.Minute) // waits
		wantState(t, p, state{Busy: 2, Queued: 1})

		hold(t, p, read, 100*time.Millisecond) // passes by
		hold(t, p, read, 100*time.Millisecond)
		wantState(t, p, state{Busy: 4, Queued: 1})
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		wantState(t, p, state{Busy: 2, Queued: 1})
		time.Sleep(100 * time.Millisecond) // the first password is done
		synctest.Wait()
		wantState(t, p, state{Busy: 2})
		if got := p.Stats().Classes[pool.Password].Busy; got != 2 {
			t.Errorf("%d workers hash passwords, want 2", got)
		}
		time.Sleep(time.Hour)
		wantState(t, p, state{})
	})
}

// Who hangs up leaves the queue at once, to the nanosecond, makes room for
// another, and its fn never starts.
func TestHangUp(t *testing.T) {
	gone := errors.New("client is gone")
	never := func(context.Context, *pool.Permit) error { panic("fn started") }
	t.Run("while it waits", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			cfg := small()
			cfg.QueueLength = 1
			p := pool.New(cfg)
			hold(t, p, read, 500*time.Millisecond)
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(300*time.Millisecond, func() { cancel(gone) })
			began := time.Now()
			err := p.Do(ctx, read, never)
			if took := time.Since(began); !errors.Is(err, gone) || took != 300*time.Millisecond {
				t.Errorf("Do() = %v after %v, want %v after 300ms", err, took, gone)
			}
			hold(t, p, read, 0) // there is room
			time.Sleep(time.Second)
			wantState(t, p, state{})
		})
	})
	t.Run("before it comes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := pool.New(small())
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(gone)
			if err := p.Do(ctx, read, never); err != gone {
				t.Errorf("Do() = %v, want %v", err, gone)
			}
			wantState(t, p, state{})
		})
	})
	t.Run("as its worker comes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := pool.New(small())
			permit := acquire(t, p, read)
			ctx, cancel := context.WithCancelCause(t.Context())
			result, ran := make(chan error), false
			go func() {
				result <- p.Do(ctx, read, func(context.Context, *pool.Permit) error { ran = true; return nil })
			}()
			synctest.Wait()
			permit.Release() // hands the worker over
			cancel(gone)     // as a rule before the one that waited has run, on two cores not always
			err := <-result
			left := err == gone && !ran && p.Stats().Abandoned == 1
			served := err == nil && ran && p.Stats().Abandoned == 0
			if left == served {
				t.Errorf("Do() = %v, ran %v, %d abandoned: neither left nor served", err, ran, p.Stats().Abandoned)
			}
			wantState(t, p, state{})
		})
	})
}

// Do inside Do is one turn, however deep, as long as the worker is held.
func TestNestedDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, other := pool.New(small()), pool.New(small())
		err := p.Do(t.Context(), read, func(ctx context.Context, outer *pool.Permit) error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			err := p.Do(ctx, password, func(_ context.Context, inner *pool.Permit) error {
				if inner != outer {
					t.Error("the inner Do has a turn of its own")
				}
				wantState(t, p, state{Busy: 1})
				return nil
			})
			return errors.Join(err, other.Do(ctx, read, func(_ context.Context, permit *pool.Permit) error {
				if permit == outer {
					t.Error("another pool's turn was taken for ours")
				}
				outer.Release()
				return p.Do(ctx, read, func(_ context.Context, inner *pool.Permit) error {
					if inner == outer {
						t.Error("after Release the inner Do has no worker")
					}
					return nil
				})
			}))
		})
		if err != nil {
			t.Errorf("Do() = %v, want nil", err)
		}
		if s := p.Stats(); s.Done != 2 || s.Busy != 0 {
			t.Errorf("Done = %d, Busy = %d, want 2, 0", s.Done, s.Busy)
		}
	})
}

// Do returns what fn returned.
func TestDoReturns(t *testing.T) {
	p := pool.New(small())
	want := errors.New("fn's own")
	if err := p.Do(t.Context(), read, func(context.Context, *pool.Permit) error { return want }); err != want {
		t.Errorf("Do() = %v, want %v", err, want)
	}
}

// A worker is given back once, however often and through whichever copy.
func TestReleaseIsIdempotent(t *testing.T) {
	cfg := small()
	cfg.WorkersPerShard = 2
	p := pool.New(cfg)
	permit := acquire(t, p, read)
	stale := permit
	permit.Release()
	permit.Release()
	next := acquire(t, p, read) // the same worker
	if next.Worker() != stale.Worker() {
		t.Fatalf("got worker %d, want %d again", next.Worker(), stale.Worker())
	}
	stale.Release()
	wantState(t, p, state{Busy: 1})

	var wg sync.WaitGroup
	for range 8 {
		same := next
		wg.Go(same.Release)
	}
	wg.Wait()
	wantState(t, p, state{})
	if s := p.Stats(); s.Done != 2 {
		t.Errorf("Done = %d, want 2", s.Done)
	}
	var zero pool.Permit
	zero.Release()
}

// Stats tells which worker does what, since when.
func TestStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := small()
		cfg.WorkersPerShard = 2
		cfg.Limits[pool.Password] = 1
		p := pool.New(cfg)
		time.Sleep(time.Minute)
		permit := acquire(t, p, password)
		p.AddInFlight(0, 100)
		p.AddInFlight(0, -30)
		began := time.Now()
		time.Sleep(time.Second)

		s := p.Stats().Shards[0]
		var busy, idle []pool.WorkerStats
		for _, w := range s.Workers {
			if w.State == "busy" {
				busy = append(busy, w)
			} else {
				idle = append(idle, w)
			}
		}
		want := []pool.WorkerStats{{ID: permit.Worker(), State: "busy", Route: "/password", Class: "password", Since: began}}
		if diff := cmp.Diff(want, busy); diff != "" {
			t.Errorf("busy workers (-want +got):\n%s", diff)
		}
		if len(idle) != 1 || idle[0].ID == permit.Worker() || !idle[0].Since.IsZero() {
			t.Errorf("idle workers %+v, want one of another id", idle)
		}
		if s.BytesInFlight != 70 {
			t.Errorf("BytesInFlight = %d, want 70", s.BytesInFlight)
		}

		_, err := p.Acquire(t.Context(), password)
		refusal(t, err, pool.ErrTimeout, time.Second)
		permit.Release()
		all := p.Stats()
		wantClass := pool.ClassStats{Class: "password", Limit: 1, Rejected: map[pool.Reason]uint64{pool.ErrTimeout: 1}}
		if diff := cmp.Diff(wantClass, all.Classes[pool.Password]); diff != "" {
			t.Errorf("class (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(wantClass.Rejected, all.Rejected); diff != "" {
			t.Errorf("refused (-want +got):\n%s", diff)
		}
		if got := all.Shards[0].Service; got.Count != 1 || got.Sum != 2*time.Second {
			t.Errorf("Service = %+v, want one of 2s", got)
		}
	})
}

// Wait counts those that did not wait, too.
func TestStatsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool.New(small())
		for range 98 {
			permit := acquire(t, p, read)
			permit.Release()
		}
		hold(t, p, read, 200*time.Millisecond)
		permit := acquire(t, p, read)
		permit.Release()
		got := p.Stats().Shards[0].Wait
		want := histogram.Summary{Count: 100, Sum: 200 * time.Millisecond, Max: 200 * time.Millisecond}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Wait (-want +got):\n%s", diff)
		}
	})
}

// Worker ids are unique in the process, not only in their pool.
func TestWorkerIDs(t *testing.T) {
	seen := map[uint64]bool{}
	for range 2 {
		for _, shard := range pool.New(pool.Config{Shards: 3, WorkersPerShard: 4}).Stats().Shards {
			for _, w := range shard.Workers {
				if w.ID == 0 || seen[w.ID] {
					t.Errorf("worker id %d is not unique", w.ID)
				}
				seen[w.ID] = true
			}
		}
	}
}

// New names every bound that a configuration breaks.
func TestNewPanics(t *testing.T) {
	defer func() {
		err, _ := recover().(error)
		if err == nil {
			t.Fatal("New() did not panic")
		}
		for _, want := range []string{"0 shards", "65 workers a shard, want 1 to 64", "queue length -1",
			"queue timeout -1ns", "limit -2 of class search"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("New() panics with %q, want %q in it", err, want)
			}
		}
	}()
	cfg := pool.Config{WorkersPerShard: 65, QueueLength: -1, QueueTimeout: -1}
	cfg.Limits[pool.Search] = -2
	pool.New(cfg)
}

// The way in and out allocates nothing, in a limited class neither.
func TestAcquireAllocatesNothing(t *testing.T) {
	cfg := small()
	cfg.Limits[pool.Password] = 1
	p := pool.New(cfg)
	for _, r := range []pool.Request{read, password} {
		allocs := testing.AllocsPerRun(1000, func() {
			permit, err := p.Acquire(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			permit.Release()
		})
		if allocs >= 1 && !(raceEnabled && r.Class == pool.Password) { // sync.Pool drops some on purpose
			t.Errorf("Acquire and Release of class %v: %v allocations, want 0", r.Class, allocs)
		}
	}
}
