package pool_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"notesd/pool"
)

// outside runs a request that yields for some time, and returns a channel
// with what Yield returned.
func yielding(t *testing.T, ctx context.Context, p *pool.Pool, d time.Duration) <-chan error {
	t.Helper()
	result := make(chan error, 1)
	go func() {
		permit := acquire(t, p, read)
		defer permit.Release()
		result <- permit.Yield(ctx, func() error { time.Sleep(d); return nil })
		time.Sleep(100 * time.Millisecond)
	}()
	synctest.Wait()
	return result
}

// Others use the worker of a request that has yielded.
func TestYieldHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool.New(small())
		result := yielding(t, t.Context(), p, time.Second)
		wantState(t, p, state{Yielded: 1})
		hold(t, p, read, time.Second+50*time.Millisecond)
		wantState(t, p, state{Busy: 1, Yielded: 1})
		if err := <-result; err != nil {
			t.Errorf("Yield() = %v, want nil", err)
		}
		time.Sleep(time.Second)
		wantState(t, p, state{})
		s := p.Stats()
		if s.Done != 2 {
			t.Errorf("Done = %d, want 2", s.Done)
		}
		// Three got the worker, one of them after 50 ms.
		if w := s.Shards[0].Wait; w.Count != 3 || w.Sum != 50*time.Millisecond {
			t.Errorf("Wait = %+v, want 3 with a sum of 50ms", w)
		}
	})
}

// Who comes back is served before all who came later, be they queued long.
func TestYieldKeepsItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool.New(small())
		result := yielding(t, t.Context(), p, 500*time.Millisecond)
		hold(t, p, read, 600*time.Millisecond)
		for range 5 {
			hold(t, p, read, 10*time.Millisecond) // wait from now on
		}
		began := time.Now()
		if err := <-result; err != nil || time.Since(began) != 600*time.Millisecond {
			t.Errorf("Yield() = %v after %v, want nil after 600ms", err, time.Since(began))
		}
		wantState(t, p, state{Busy: 1, Queued: 5})
		time.Sleep(time.Second)
	})
}

// Those that come back keep the order they once came in, whoever is back first.
func TestYieldKeepsTheOrder(t *testing.T) {
	for _, away := range [][2]time.Duration{
		{300 * time.Millisecond, 400 * time.Millisecond}, {400 * time.Millisecond, 300 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := pool.New(small())
			began := time.Now()
			first := yielding(t, t.Context(), p, away[0])
			time.Sleep(time.Microsecond)
			second := yielding(t, t.Context(), p, away[1])
			hold(t, p, read, 500*time.Millisecond)
			hold(t, p, read, 100*time.Millisecond) // waits, and is last
			if err := <-first; err != nil || time.Since(began) != 500*time.Millisecond+time.Microsecond {
				t.Errorf("the first is back after %v: %v, want 500ms and a bit", time.Since(began), err)
			}
			if err := <-second; err != nil || time.Since(began) != 600*time.Millisecond+time.Microsecond {
				t.Errorf("the second is back after %v: %v, want 600ms and a bit", time.Since(began), err)
			}
			wantState(t, p, state{Busy: 1, Queued: 1})
			time.Sleep(time.Second)
		})
	}
}

// The way back is bounded by ReturnTimeout, or else QueueTimeout, and ends with ctx.
func TestYieldIsBounded(t *testing.T) {
	gone := errors.New("client is gone")
	for _, c := range []struct {
		name   string
		cancel time.Duration
		limit  time.Duration
		want   error
		after  time.Duration
	}{
		{"timeout", time.Hour, 0, pool.ErrTimeout, 1500 * time.Millisecond},
		{"timeout of its own", time.Hour, 3 * time.Second, pool.ErrTimeout, 3500 * time.Millisecond},
		{"client gone", 700 * time.Millisecond, time.Second, gone, 700 * time.Millisecond},
		{"client gone after Yield", 100 * time.Millisecond, time.Second, gone, 500 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := small()
				cfg.ReturnTimeout = c.limit
				p := pool.New(cfg)
				ctx, cancel := context.WithCancelCause(t.Context())
				defer time.AfterFunc(c.cancel, func() { cancel(gone) }).Stop()
				began := time.Now()
				result := yielding(t, ctx, p, 500*time.Millisecond)
				hold(t, p, read, time.Minute)
				if err := <-result; !errors.Is(err, c.want) || time.Since(began) != c.after {
					t.Errorf("Yield() = %v after %v, want %v after %v", err, time.Since(began), c.want, c.after)
				}
				wantState(t, p, state{Busy: 1})
				time.Sleep(time.Minute)
				s := p.Stats()
				if ended := s.Done + s.Abandoned + s.Rejected[pool.ErrTimeout]; s.Done != 1 || ended != 2 {
					t.Errorf("Stats() = %+v, want 1 done and 2 ended", s)
				}
			})
		})
	}
}

// In a full queue the youngest makes room for who comes back.
func TestYieldIntoFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := small()
		cfg.QueueLength = 2
		p := pool.New(cfg)
		result := yielding(t, t.Context(), p, 500*time.Millisecond)
		hold(t, p, read, 600*time.Millisecond)
		hold(t, p, read, 0) // waits
		young := make(chan error, 1)
		go func() {
			time.Sleep(100 * time.Millisecond)
			_, err := p.Acquire(t.Context(), read)
			young <- err
		}()
		refusal(t, <-young, pool.ErrFull, 400*time.Millisecond)
		wantState(t, p, state{Busy: 1, Queued: 2, Yielded: 1})
		if err := <-result; err != nil {
			t.Errorf("Yield() = %v, want nil", err)
		}
		time.Sleep(time.Second)
		wantState(t, p, state{})
	})
}

// However fn ends, nothing is left behind: an error, a panic and a Goexit leave
// the turn without a worker, and it counts as done.
func TestYieldFnFails(t *testing.T) {
	broken := errors.New("broken pipe")
	for _, c := range []struct {
		name            string
		fn              func() error
		want            error
		panics, goexits uint64
	}{
		{"error", func() error { return broken }, broken, 0, 0},
		{"panic", func() error { panic(broken) }, broken, 1, 0},
		{"Goexit", func() error { runtime.Goexit(); return nil }, nil, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := small()
				cfg.Log = discard
				p := pool.New(cfg)
				var err error
				go func() {
					err = p.Do(t.Context(), read, func(ctx context.Context, permit *pool.Permit) error {
						err := permit.Yield(ctx, c.fn)
						wantState(t, p, state{})
						return err
					})
				}()
				synctest.Wait()
				if !errors.Is(err, c.want) {
					t.Errorf("Do() = %v, want %v", err, c.want)
				}
				wantState(t, p, state{})
				s := p.Stats()
				if s.Done != 1 || s.Panics != c.panics || s.Goexits != c.goexits || s.Restarts != 0 {
					t.Errorf("Stats() = %+v, want 1 done, %d panics, %d goexits, no restart", s, c.panics, c.goexits)
				}
			})
		})
	}
}

// Without a worker to give back Yield is just fn: after Release, and inside
// Yield.
func TestYieldWithoutWorker(t *testing.T) {
	p := pool.New(small())
	permit := acquire(t, p, read)
	calls := 0
	fn := func() error { calls++; return nil }
	err := permit.Yield(t.Context(), func() error {
		wantState(t, p, state{Yielded: 1})
		return permit.Yield(t.Context(), fn)
	})
	if err != nil {
		t.Errorf("Yield() = %v, want nil", err)
	}
	wantState(t, p, state{Busy: 1})
	permit.Release()
	if err := permit.Yield(t.Context(), fn); err != nil || calls != 2 {
		t.Errorf("Yield() after Release = %v, %d calls; want nil, 2", err, calls)
	}
	wantState(t, p, state{})
}

// Who leaves his turn holds no worker while his fn runs, is waited for by a drain,
// and counts as done once, however fn ends.
func TestReleaseAndRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool.New(pool.Config{Shards: 1, WorkersPerShard: 1, QueueLength: 1, QueueTimeout: time.Second, Log: discard})
		failed := errors.New("failed")
		for _, end := range []struct {
			name string
			fn   func() error
			want error
		}{
			{"well", func() error { return nil }, nil},
			{"with an error", func() error { return failed }, failed},
			{"in a panic", func() error { panic(failed) }, failed},
		} {
			before := p.Stats()
			ended := make(chan error, 1)
			go func() {
				ended <- p.Do(t.Context(), pool.Request{Route: "/write"}, func(_ context.Context, permit *pool.Permit) error {
					return permit.ReleaseAndRun(func() error {
						time.Sleep(time.Minute)
						return end.fn()
					})
				})
			}()
			synctest.Wait()
			if st := p.Stats(); st.Busy != 0 || st.Yielded != 1 {
				t.Errorf("%s: %d busy and %d yielded meanwhile, want 0 and 1", end.name, st.Busy, st.Yielded)
			}
			if err := p.Do(t.Context(), pool.Request{}, func(context.Context, *pool.Permit) error { return nil }); err != nil {
				t.Errorf("%s: Do() meanwhile = %v", end.name, err)
			}
			if err := <-ended; !errors.Is(err, end.want) {
				t.Errorf("%s: Do() = %v, want %v", end.name, err, end.want)
			}
			if st := p.Stats(); st.Busy+st.Yielded != 0 || st.Done != before.Done+2 {
				t.Errorf("%s: %d busy, %d yielded, %d done afterwards, want 2 done more and no rest", end.name, st.Busy, st.Yielded, st.Done-before.Done)
			}
		}
		began := time.Now()
		go p.Do(t.Context(), pool.Request{}, func(_ context.Context, permit *pool.Permit) error {
			return permit.ReleaseAndRun(func() error { time.Sleep(time.Minute); return nil })
		})
		synctest.Wait()
		if err := p.Drain(t.Context()); err != nil || time.Since(began) != time.Minute {
			t.Errorf("Drain() = %v after %v, want nil after 1m", err, time.Since(began))
		}
		var none pool.Permit
		if err := none.ReleaseAndRun(func() error { return failed }); err != failed {
			t.Errorf("Leave() of no turn = %v, want what fn returns", err)
		}
	})
}
