package pool_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"notesd/pool"
)

// Thousands of requests that hang up, panic, exit, yield and release
// twice, in classes with limits: no bound is ever broken, no worker has two
// holders, and at the end everything is idle and every request accounted for.
func TestStress(t *testing.T) {
	const requests = 20000
	cfg := pool.Config{Shards: 3, WorkersPerShard: 3, QueueLength: 40, QueueTimeout: 5 * time.Millisecond,
		DelayTarget: 100 * time.Microsecond, FlowLimit: 2, Log: discard}
	cfg.Limits[pool.Bulk], cfg.Limits[pool.Password] = 3, 1
	p := pool.New(cfg)
	w := watch{limits: cfg.Limits}
	w.limits[pool.Read], w.limits[pool.Write], w.limits[pool.Search] = 9, 9, 9

	stop := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if s := p.Stats(); s.Queued > cfg.QueueLength || s.Busy > s.Workers {
				t.Errorf("%d queued, %d busy", s.Queued, s.Busy)
			}
			runtime.Gosched()
		}
	})
	var running sync.WaitGroup
	for range 100 {
		running.Go(func() {
			for range requests / 100 {
				done := make(chan struct{})
				go func() { // of its own, for Goexit
					defer close(done)
					w.request(t, p)
				}()
				<-done
			}
		})
	}
	running.Wait()
	close(stop)
	watching.Wait()
	checkRest(t, p, requests)
	s := p.Stats()
	if s.Done == 0 || s.Abandoned == 0 || s.Panics == 0 || s.Goexits == 0 || s.Rejected[pool.ErrTimeout] == 0 ||
		s.Rejected[pool.ErrFull]+s.Rejected[pool.ErrOverload] == 0 { // on a slow machine the queue is shed before it is full
		t.Errorf("Stats() = %+v, want some of everything", s)
	}
	if err := p.Drain(t.Context()); err != nil {
		t.Errorf("Drain() = %v, want nil", err)
	}
}

// A watch sees to it that a worker has one holder and a class no more workers
// than its limit.
type watch struct {
	limits  [pool.NumClasses]int
	running [pool.NumClasses]atomic.Int64
	holders sync.Map // of worker ids
}

// request makes one request with everything that may happen to it.
func (w *watch) request(t *testing.T, p *pool.Pool) {
	c := pool.Class(rand.IntN(pool.NumClasses))
	ctx := t.Context()
	if rand.IntN(2) == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, rand.N(2*time.Millisecond))
		defer cancel()
	}
	p.Do(ctx, pool.Request{Class: c, Route: "/stress", Flow: fmt.Sprint(rand.IntN(4))}, func(ctx context.Context, permit *pool.Permit) error {
		copied := *permit
		w.work(t, permit, c)
		switch rand.IntN(13) {
		case 0:
			panic("boom")
		case 1:
			runtime.Goexit()
		case 2:
			permit.Release()
			go copied.Release()
			panic("after release")
		case 8:
			go copied.Release()
			panic("while it is released")
		case 3, 4, 5:
			if err := permit.Yield(ctx, func() error { time.Sleep(rand.N(time.Millisecond)); return nil }); err != nil {
				return err
			}
			copied.Release() // of a turn that is over: nothing
			w.work(t, permit, c)
		case 6:
			return permit.Yield(ctx, func() error { return errors.New("broken pipe") })
		case 7:
			return permit.Yield(ctx, func() error { panic("outside") })
		}
		return nil
	})
}

func (w *watch) work(t *testing.T, permit *pool.Permit, c pool.Class) {
	if other, held := w.holders.LoadOrStore(permit.Worker(), c); held {
		t.Errorf("worker %d is held by %v and %v", permit.Worker(), other, c)
	}
	if n := w.running[c].Add(1); int(n) > w.limits[c] {
		t.Errorf("%d of class %v run, limit is %d", n, c, w.limits[c])
	}
	if rand.IntN(2) == 0 {
		time.Sleep(rand.N(200 * time.Microsecond))
	}
	w.running[c].Add(-1)
	w.holders.Delete(permit.Worker())
}

// One gives its worker back just as another comes to wait for it, and nothing
// happens after that: a wake-up that got lost would leave the other waiting.
func TestNoLostWakeUp(t *testing.T) {
	for name, c := range map[string]struct{ workers, limit int }{
		"for a worker":            {1, 0},
		"for the class":           {2, 1},
		"for a worker, and class": {1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := pool.Config{Shards: 1, WorkersPerShard: c.workers, QueueLength: 1, QueueTimeout: 20 * time.Second}
			cfg.Limits[pool.Bulk] = c.limit
			p := pool.New(cfg)
			bulk := pool.Request{Class: pool.Bulk}
			for range 20000 {
				held := acquire(t, p, bulk)
				var pair sync.WaitGroup
				start := make(chan struct{})
				pair.Go(func() {
					<-start
					dawdle(rand.IntN(100))
					held.Release()
				})
				pair.Go(func() {
					<-start
					dawdle(rand.IntN(100))
					permit, err := p.Acquire(t.Context(), bulk)
					if err != nil {
						t.Errorf("Acquire() = %v, want a turn", err)
					}
					permit.Release()
				})
				close(start)
				pair.Wait()
				if t.Failed() {
					return
				}
			}
		})
	}
}

// dawdle takes a nanosecond or so for each step.
//
//go:noinline
func dawdle(steps int) {
	for range steps {
		runtime.KeepAlive(nil)
	}
}

// Drain returns only when nothing runs, however newcomers race with it.
func TestDrainRace(t *testing.T) {
	for range 3000 {
		p := pool.New(pool.Config{Shards: 1, WorkersPerShard: 1})
		var drained atomic.Bool
		var newcomer sync.WaitGroup
		newcomer.Go(func() {
			for {
				permit, err := p.Acquire(t.Context(), read)
				if err != nil {
					return
				}
				if drained.Load() {
					t.Error("a turn outlived Drain")
				}
				permit.Release()
			}
		})
		if err := p.Drain(t.Context()); err != nil {
			t.Errorf("Drain() = %v, want nil", err)
		}
		drained.Store(true)
		newcomer.Wait()
	}
}
