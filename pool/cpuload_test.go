package pool

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// It takes an interval of crowds with too many at some time to begin an
// overload, and an interval without it, or in which all would find room, to
// end it.
func TestRunQueueDetector(t *testing.T) {
	const most = 1000
	few, many, tooMany := saturatedAbove(), saturatedAbove()+1, most+1
	type looks struct {
		n      int
		ready  int
		shed   bool
		room   bool
		wanted bool // overloaded afterwards
	}
	for _, c := range []struct {
		name  string
		looks []looks
	}{
		{"saturation is no overload", []looks{{100, many, false, false, false}}},
		{"too many for a moment", []looks{{9, tooMany, false, false, false}, {1, few, false, false, false}, {9, many, false, false, false}}},
		{"too many at some time of an interval", []looks{{1, tooMany, false, false, false}, {8, many, false, false, false}, {1, many, false, false, true}}},
		{"it ends after an interval without saturation", []looks{{10, tooMany, false, false, true}, {9, few, false, false, true}, {1, few, false, false, false}}},
		{"shedding shows that there is one", []looks{{10, tooMany, false, false, true}, {9, few, false, false, true}, {1, few, true, false, true}, {9, few, false, false, true}}},
		{"nor does it last when all find room", []looks{{10, tooMany, false, false, true}, {9, many, true, true, true}, {1, many, true, true, false}}},
		{"room for a moment", []looks{{10, tooMany, false, false, true}, {9, many, true, true, true}, {1, many, true, false, true}, {9, many, true, true, true}}},
	} {
		var got runQueueDetector
		for i, l := range c.looks {
			for range l.n {
				got.look(l.ready, l.shed, most)
				got.fits(l.room)
			}
			if got.overloaded != l.wanted {
				t.Errorf("%s: overloaded %v after step %d, want %v", c.name, got.overloaded, i, l.wanted)
			}
		}
	}
}

// While the CPU is saturated, new requests are refused and those that reacquire after Yield are not.
func TestCPUSaturated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{Shards: 1, WorkersPerShard: 1, QueueLength: 4, QueueTimeout: time.Second, DelayTarget: time.Millisecond})
		p.saturated.Store(true)
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
		enough := make(chan struct{})
		for range 10 * saturatedAbove() { // ready to run, since the one core is here
			go func() { <-enough }()
		}
		refused := 0
		for range 100 {
			if _, err := p.Acquire(t.Context(), Request{}); errors.Is(err, ErrOverload) {
				refused++
			} else if err != nil {
				t.Fatal(err)
			} else {
				break
			}
		}
		if refused == 0 {
			t.Error("nothing was refused while the CPU was saturated")
		}
		if s := p.Stats(); !s.CPUSaturated || s.Rejected[ErrOverload] != uint64(refused) {
			t.Errorf("Stats() = %+v, want saturation and %d refused", s, refused)
		}
		close(enough)
	})
}

// Once all who ask would find room every overload ends, within 100 ms.
func TestSampleEndsOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{Shards: 1, WorkersPerShard: 1, QueueLength: 4, QueueTimeout: time.Hour, DelayTarget: time.Minute})
		permit, err := p.Acquire(t.Context(), Request{Class: Read})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		go p.Sample(ctx)
		time.Sleep(lookIdle)
		p.saturated.Store(true)
		p.queue.mu.Lock()
		p.queue.classes[Read].codel = codel{overloaded: true, ends: time.Hour}
		p.queue.overloaded.Add(1)
		p.queue.mu.Unlock()
		p.AddDelayed(5) // more than may wait
		time.Sleep(20 * lookBusy)
		if p.queue.overloaded.Load() != 1 {
			t.Error("the overload has ended with five held and room for four")
		}
		p.AddDelayed(-1)
		time.Sleep(intervalLooks*lookBusy + 1)
		if s := p.Stats(); s.CPUSaturated || s.Classes[Read].Overloaded || s.Delayed != 4 {
			t.Errorf("Stats() = %+v, want no overload with four held", s)
		}
		permit.Release()
		stop()
	})
}
