package pool

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A turn that becomes another class waits its time as one of that, is counted
// as such, and is refused as such with its worker still held.
func TestReclassify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{Shards: 1, WorkersPerShard: 2, QueueLength: 8, QueueTimeout: time.Minute})
		held, err := p.Acquire(t.Context(), Request{Class: Write})
		if err != nil {
			t.Fatal(err)
		}
		permit, err := p.Acquire(t.Context(), Request{Class: Read})
		if err != nil {
			t.Fatal(err)
		}
		waits := func() {
			if err := p.Do(t.Context(), Request{Class: Read}, func(context.Context, *Permit) error { time.Sleep(time.Second); return nil }); err != nil {
				t.Errorf("Do() = %v", err)
			}
		}
		go waits()
		synctest.Wait()
		began := time.Now()
		if err := permit.Reclassify(t.Context(), Bulk); err != nil || time.Since(began) != time.Second {
			t.Errorf("Reclassify() = %v after %v, want nil when the read that waited has ended, after 1s", err, time.Since(began))
		}
		if permit.request.Class != Bulk {
			t.Errorf("the turn is of class %v, want bulk", permit.request.Class)
		}
		p.pressure.Store(int32(PressureLow))
		if err := permit.Reclassify(t.Context(), Bulk); err != nil {
			t.Errorf("Reclassify() = %v of what it is", err)
		}
		if err := held.Reclassify(t.Context(), Bulk); !errors.Is(err, ErrMemory) || !held.holds() {
			t.Errorf("Reclassify() = %v when memory is tight, want ErrMemory with the worker held", err)
		}
		permit.Release()
		held.Release()
		if s := p.Stats(); s.Idle != 2 || s.Yielded != 0 || s.Classes[Bulk].Rejected[ErrMemory] != 1 {
			t.Errorf("at the end %+v", s)
		}
	})
}
