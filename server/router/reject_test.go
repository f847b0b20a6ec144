package router

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// However many ask at once, refusals leave at the pace, and none is held for
// longer than its bound.
func TestPacer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRejectionPacer(time.Second)
		pace := int(time.Second / p.interval)
		var mu sync.Mutex
		var held []time.Duration
		for range 3 * pace {
			go func() {
				began := time.Now()
				p.hold(t.Context().Done(), nil)
				mu.Lock()
				defer mu.Unlock()
				held = append(held, time.Since(began))
			}()
		}
		left := func() []time.Duration {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(held)
		}
		at, once := len(left()), pace/10
		if at < once-1 || at > once+1 {
			t.Errorf("%d leave at once, want a tenth of the %d a second", at, pace)
		}
		time.Sleep(500 * time.Millisecond)
		if n, want := len(left()), once+pace/2; n < want-2 || n > want+2 {
			t.Errorf("%d have left after half a second, want %d", n, want)
		}
		time.Sleep(500 * time.Millisecond)
		if all := left(); len(all) != 3*pace || slices.Max(all) != time.Second {
			t.Errorf("%d of %d have left after a second, the last after %v", len(all), 3*pace, slices.Max(all))
		}
		time.Sleep(time.Second)
		if d := p.delay(); d != 0 {
			t.Errorf("delay() = %v after a quiet second, want 0", d)
		}
	})
}

// A client that hangs up is held no longer, and QUEUE_TIMEOUT bounds it for all.
func TestPacerLetsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRejectionPacer(300 * time.Millisecond)
		crowd := func() {
			for range 10_000 {
				p.delay()
			}
		}
		crowd()
		began := time.Now()
		ctx, hangUp := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, hangUp)
		p.hold(ctx.Done(), nil)
		if took := time.Since(began); took != 100*time.Millisecond {
			t.Errorf("held for %v after its client has gone at 100ms", took)
		}
		crowd()
		began = time.Now()
		p.hold(t.Context().Done(), nil)
		if took := time.Since(began); took != 300*time.Millisecond {
			t.Errorf("held for %v, want 300ms", took)
		}
	})
}
