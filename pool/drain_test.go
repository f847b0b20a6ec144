package pool_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"notesd/pool"
)

// Drain returns when the last that was accepted is done, and not before.
func TestDrainWaits(t *testing.T) {
	for _, c := range []struct {
		name  string
		start func(*testing.T, *pool.Pool)
		want  time.Duration
	}{
		{"nothing runs", func(*testing.T, *pool.Pool) {}, 0},
		{"one runs", func(t *testing.T, p *pool.Pool) { hold(t, p, read, 300*ms) }, 300 * ms},
		{"one waits", func(t *testing.T, p *pool.Pool) {
			hold(t, p, read, 300*ms)
			hold(t, p, read, 400*ms)
		}, 700 * ms},
		{"one waits for its class", func(t *testing.T, p *pool.Pool) {
			hold(t, p, password, 300*ms)
			hold(t, p, password, 400*ms)
		}, 700 * ms},
		{"the one that waits hangs up", func(t *testing.T, p *pool.Pool) {
			hold(t, p, read, 300*ms)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(100*ms, cancel)
			go p.Acquire(ctx, read)
			synctest.Wait()
		}, 300 * ms},
		{"one has yielded", func(t *testing.T, p *pool.Pool) {
			go func() {
				permit := acquire(t, p, read)
				defer permit.Release()
				sleep := func() error { time.Sleep(600 * ms); return nil }
				if err := permit.Yield(t.Context(), sleep); err != nil {
					t.Errorf("Yield() = %v while draining, want nil", err)
				}
				time.Sleep(100 * ms)
			}()
			synctest.Wait()
		}, 700 * ms},
		{"one stays away", func(t *testing.T, p *pool.Pool) {
			go func() {
				permit := acquire(t, p, read)
				permit.Yield(t.Context(), func() error { time.Sleep(600 * ms); return context.Canceled })
			}()
			synctest.Wait()
		}, 600 * ms},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := small()
				cfg.Limits[pool.Password] = 1
				p := pool.New(cfg)
				c.start(t, p)
				began := time.Now()
				err := p.Drain(t.Context())
				if took := time.Since(began); err != nil || took != c.want {
					t.Errorf("Drain() = %v after %v, want nil after %v", err, took, c.want)
				}
				wantState(t, p, state{})
				if err := p.Drain(t.Context()); err != nil {
					t.Errorf("second Drain() = %v, want nil", err)
				}
			})
		})
	}
}

// From Refuse on newcomers are turned away, free workers or not; those that
// wait get theirs.
func TestRefuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := small()
		cfg.Limits[pool.Password] = 1
		p := pool.New(cfg)
		hold(t, p, read, 100*time.Millisecond)
		hold(t, p, read, 100*time.Millisecond)
		p.Refuse()
		for _, r := range []pool.Request{read, password} {
			_, err := p.Acquire(t.Context(), r)
			refusal(t, err, pool.ErrDraining, 0)
		}
		wantState(t, p, state{Busy: 1, Queued: 1})
		time.Sleep(time.Second)
		wantState(t, p, state{})
		_, err := p.Acquire(t.Context(), read)
		refusal(t, err, pool.ErrDraining, 0)
		if s := p.Stats(); !s.Draining || s.Done != 2 || s.Rejected[pool.ErrDraining] != 3 {
			t.Errorf("Stats() = %+v, want draining, 2 done, 3 refused", s)
		}
	})
}

// Drain gives up when its context ends; the pool goes on draining.
func TestDrainGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool.New(small())
		hold(t, p, read, time.Minute)
		enough := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Second, enough)
		defer cancel()
		began := time.Now()
		if err := p.Drain(ctx); err != enough || time.Since(began) != 10*time.Second {
			t.Errorf("Drain() = %v after %v, want %v after 10s", err, time.Since(began), enough)
		}
		if err := p.Drain(t.Context()); err != nil || time.Since(began) != time.Minute {
			t.Errorf("Drain() = %v after %v, want nil after 1m", err, time.Since(began))
		}
		if err := p.Drain(ctx); err != nil {
			t.Errorf("Drain() of a drained pool = %v, want nil, whatever ctx", err)
		}
	})
}
