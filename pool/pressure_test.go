package pool

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Up at once and by leaps, down step by step and clearly below where each began.
func TestNextPressure(t *testing.T) {
	const limit = 100_000
	for _, c := range []struct {
		from   Pressure
		bytes  int64
		choked bool
		want   Pressure
	}{
		{PressureNone, 84_999, false, PressureNone},
		{PressureNone, 85_000, false, PressureLow},
		{PressureNone, 91_999, false, PressureLow},
		{PressureNone, 92_000, false, PressureHigh},
		{PressureNone, 95_000, false, PressureCritical},
		{PressureNone, 0, true, PressureHigh},
		{PressureLow, 85_000, true, PressureHigh},
		{PressureHigh, 1000, true, PressureHigh},
		{PressureCritical, 1000, true, PressureHigh},
		{PressureCritical, 92_000, false, PressureCritical},
		{PressureCritical, 91_999, false, PressureHigh},
		{PressureCritical, 0, false, PressureHigh},
		{PressureHigh, 89_000, false, PressureHigh},
		{PressureHigh, 88_999, false, PressureLow},
		{PressureLow, 82_000, false, PressureLow},
		{PressureLow, 81_999, false, PressureNone},
	} {
		if got := nextPressure(c.from, need{bytes: c.bytes, choked: c.choked}, limit); got != c.want {
			t.Errorf("next(%v, %d of %d, choked %v) = %v, want %v", c.from, c.bytes, limit, c.choked, got, c.want)
		}
	}
}

// What each stage turns away, with the reason; reads are served in all.
func TestPressureRefuses(t *testing.T) {
	p := New(Config{Shards: 1, WorkersPerShard: 1})
	want := map[Pressure][]Class{
		PressureNone:     nil,
		PressureLow:      {Bulk},
		PressureHigh:     {Bulk},
		PressureCritical: {Write, Search, Bulk, Password},
	}
	for stage := PressureNone; stage <= PressureCritical; stage++ {
		p.pressure.Store(int32(stage))
		var refused []Class
		for c := range Class(NumClasses) {
			err := p.Do(t.Context(), Request{Class: c}, func(context.Context, *Permit) error { return nil })
			if errors.Is(err, ErrMemory) {
				refused = append(refused, c)
			} else if err != nil {
				t.Errorf("Do() = %v", err)
			}
		}
		if diff := cmp.Diff(want[stage], refused); diff != "" {
			t.Errorf("refused when memory is %v (-want +got):\n%s", stage, diff)
		}
	}
}

// The pool follows within a look, each change is told once, and at rest looks
// are rare.
func TestPressureMonitorRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{Shards: 1, WorkersPerShard: 1})
		var told []Pressure
		s := NewPressureMonitor(PressureConfig{Limit: 100_000, Pool: p, Log: slog.New(slog.DiscardHandler),
			OnChange: func(_, now Pressure, _ int64) { told = append(told, now) }})
		var looks, bytes atomic.Int64
		s.need = func() need { looks.Add(1); return need{bytes: bytes.Load()} }
		ctx, stop := context.WithCancel(t.Context())
		go s.Run(ctx)
		time.Sleep(time.Second + 1)
		if n := looks.Load(); n != 5 {
			t.Errorf("%d looks in a second at rest, want 5", n)
		}
		permit, err := p.Acquire(t.Context(), Request{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(250 * time.Millisecond)
		bytes.Store(96_000)
		time.Sleep(10 * time.Millisecond)
		if p.Pressure() != PressureCritical {
			t.Errorf("Pressure() = %v a look after memory ran short, want critical", p.Pressure())
		}
		bytes.Store(0)
		time.Sleep(40 * time.Millisecond)
		if p.Pressure() != PressureNone {
			t.Errorf("Pressure() = %v after four looks, want calm", p.Pressure())
		}
		permit.Release()
		stop()
		synctest.Wait()
		if diff := cmp.Diff([]Pressure{PressureCritical, PressureHigh, PressureLow, PressureNone}, told); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
		if got := s.Stats(); got.Raised != 1 {
			t.Errorf("Stats() = %+v, want raised once", got)
		}
	})
}

// A process that allocates next to nothing any more gives back what its last work has left behind.
// One that goes on keeps it.
func TestPressureMonitorRest(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // the garbage stays
	synctest.Test(t, func(t *testing.T) {
		s := NewPressureMonitor(PressureConfig{Limit: 1 << 40, Pool: New(Config{Shards: 1, WorkersPerShard: 1}), Log: slog.New(slog.DiscardHandler)})
		s.need = func() need { return need{} }
		go s.Run(t.Context())
		released := func() (n int64) {
			readMetrics(map[string]*int64{"/memory/classes/heap/released:bytes": &n}, nil)
			return n
		}
		work := func() {
			garbage = make([]byte, 4*restBytes)
			for i := range garbage {
				garbage[i] = 1
			}
			garbage = nil
		}
		for range 6 {
			work()
			before := released()
			time.Sleep(restEvery / 2)
			if now := released(); now > before+restBytes {
				t.Errorf("%d bytes were given back while the work goes on", now-before)
			}
		}
		before := released()
		time.Sleep(2*restEvery + lookIdle)
		if now := released(); now < before+8*restBytes {
			t.Errorf("%d bytes were given back at rest, want some %d", now-before, 24*restBytes)
		}
	})
}

var garbage []byte

// Garbage does not count, what is alive and what is in flight does.
func TestPressureMonitorMeasure(t *testing.T) {
	p := New(Config{Shards: 1, WorkersPerShard: 1})
	s := NewPressureMonitor(PressureConfig{Limit: 1 << 40, Pool: p})
	if readAnonymous(s.root) < 1<<20 {
		t.Error("the kernel's count of anonymous memory is not read")
	}
	s.root = fstest.MapFS{} // the race detector's own memory is anonymous, too
	debug.FreeOSMemory()
	before := s.measure().bytes
	const much = 64 << 20
	alive := make([]byte, much)
	for i := 0; i < much; i += 4096 {
		alive[i] = 1
	}
	runtime.GC()
	if got := s.measure().bytes - before; got < much*9/10 || got > much*3/2 {
		t.Errorf("%d more with %d alive", got, much)
	}
	p.AddInFlight(0, 1<<20)
	if got := s.measure().bytes - before; got < much+1<<20-much/10 {
		t.Errorf("%d more with %d alive and a MiB in flight", got, much)
	}
	p.AddInFlight(0, -1<<20)
	runtime.KeepAlive(alive)
	alive = nil
	debug.FreeOSMemory()
	if got := s.measure().bytes - before; got > much/4 {
		t.Errorf("%d more when it is garbage", got)
	}
}

// Garbage in the place of what is reserved is collected first, and what was
// alive at an old collection is looked at again before anything is refused.
func TestReserveCollects(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // but for those that it asks for
	p := New(Config{Shards: 1, WorkersPerShard: 1})
	const much = 64 << 20
	s := NewPressureMonitor(PressureConfig{Limit: 1 << 40, Pool: p, Log: slog.New(slog.DiscardHandler)})
	s.root = fstest.MapFS{}
	cycles := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return uint64(m.NumGC)
	}
	var m Reservation
	s.look()
	before := cycles()
	if err := p.Reserve(&m, Request{}, much); err != nil || cycles() != before {
		t.Errorf("Reserve() = %v after %d collections, want none where all fits", err, cycles()-before)
	}
	p.Shrink(&m, 0)

	alive := make([]byte, much)
	runtime.GC()
	s.cfg.Limit = 4 * much
	s.look()
	runtime.KeepAlive(alive)
	alive = nil
	time.Sleep(staleAfter)
	if err := p.Reserve(&m, Request{}, 3*much); err != nil {
		t.Errorf("Reserve() = %v where only what is dead is in the way", err)
	}
	p.Shrink(&m, 0)

	garbage := make([]byte, 2*much)
	runtime.KeepAlive(garbage)
	garbage = nil
	s.look()
	before = cycles()
	if err := p.Reserve(&m, Request{}, 2*much); err != nil || cycles() == before {
		t.Errorf("Reserve() = %v after %d collections, want one that makes place for it", err, cycles()-before)
	}
	p.Shrink(&m, 0)
}

// GOMEMLIMIT is lowered by what is beside Go and half of what is reserved,
// never below a quarter, by steps of a MiB; with GoLimit 0 it is left alone.
func TestGoLimitMakesRoom(t *testing.T) {
	was := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(was)
	const mib, limit = 1 << 20, 1000 << 20
	p := New(Config{Shards: 1, WorkersPerShard: 1})
	var now need
	s := NewPressureMonitor(PressureConfig{Limit: limit, GoLimit: 900 * mib, Pool: p, Log: slog.New(slog.DiscardHandler)})
	s.need = func() need { return now }
	debug.SetMemoryLimit(900 * mib)
	for _, c := range []struct{ beside, reserved, want int64 }{
		{0, 0, 900}, {100, 0, 800}, {100, 100, 750}, {100, 101, 750}, {800, 0, 250}, {0, 0, 900},
	} {
		now.nonGo = c.beside * mib
		p.reserved.Store(c.reserved * mib)
		s.look()
		if got := debug.SetMemoryLimit(-1) / mib; got < c.want-1 || got > c.want {
			t.Errorf("GOMEMLIMIT %d MiB with %d beside and %d reserved, want %d", got, c.beside, c.reserved, c.want)
		}
	}
	p.reserved.Store(0)
	s.cfg.GoLimit, now.nonGo = 0, 800*mib
	s.look()
	if got := debug.SetMemoryLimit(-1); got != 900*mib {
		t.Errorf("GOMEMLIMIT %d, want that it is left alone", got)
	}
}
