package pool

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

// scarce is a pool whose requests may set so many bytes aside.
func scarce(room, kept int64) (*Pool, *PressureMonitor) {
	const limit = 1 << 40
	p := New(Config{Shards: 1, WorkersPerShard: 1})
	s := NewPressureMonitor(PressureConfig{Limit: limit, Kept: kept, Pool: p, Log: slog.New(slog.DiscardHandler)})
	s.need = func() need { return need{bytes: limit/100*pressureStarts[PressureHigh] - room} }
	s.look()
	s.since = time.Now().Add(time.Hour) // a collection would make no room
	return p, s
}

// What is reserved fits below a stage together with what is needed, and without a limit anything
// does.
func TestReserve(t *testing.T) {
	p := New(Config{Shards: 1, WorkersPerShard: 1})
	if err := p.Reserve(new(Reservation), Request{}, math.MaxInt64); err != nil {
		t.Errorf("Reserve() = %v without a limit", err)
	}
	s := NewPressureMonitor(PressureConfig{Limit: 100_000, Pool: p, Log: slog.New(slog.DiscardHandler)})
	s.need = func() need { return need{bytes: 25_000} }
	s.look()
	var all []*Reservation
	for _, c := range []struct {
		class Class
		bytes int64
		fits  bool
	}{{Bulk, 60_001, false}, {Bulk, 60_000, true}, {Bulk, 1, false}, {Password, 7001, false}, {Write, 7000, true}, {Read, 1, false}} {
		m := new(Reservation)
		if err := p.Fits(m, Request{Class: c.class}, c.bytes); errors.Is(err, ErrMemory) == c.fits {
			t.Errorf("Fits(%v, %d) = %v, want that it fits: %v", c.class, c.bytes, err, c.fits)
		}
		if err := p.Reserve(m, Request{Class: c.class}, c.bytes); errors.Is(err, ErrMemory) == c.fits {
			t.Errorf("Reserve(%v, %d) = %v, want that it fits: %v", c.class, c.bytes, err, c.fits)
		}
		all = append(all, m)
	}
	for _, m := range all {
		p.Shrink(m, 0)
	}
	if err := p.Reserve(all[0], Request{}, 67_000); err != nil {
		t.Errorf("Reserve() = %v after all was given back", err)
	}
	if n := p.RejectedTotals()[ErrMemory]; n != 8 {
		t.Errorf("%d counted as shed, want 8", n)
	}
}

// A reservation grows, shrinks and is counted for the person and the address
// that it was begun for. Nothing is left of it.
func TestReservationGrows(t *testing.T) {
	p, s := scarce(1<<30, 0)
	m, r := new(Reservation), Request{Flow: "ada", Address: "home"}
	for _, bytes := range []int64{100, 50, 300} { // the second asks for less than it has
		if err := p.Reserve(m, r, bytes); err != nil {
			t.Fatal(err)
		}
	}
	p.Shrink(m, 200)
	p.Shrink(m, 250)
	s.look()
	if got := s.Stats(); m.Bytes() != 200 || got.Reserved != 200 || got.Free < 1<<30-300 || got.Free > 1<<30-200 {
		t.Errorf("%d bytes reserved, Stats() = %+v, want 200 and the rest free", m.Bytes(), got)
	}
	if held := p.reservations.held; held["ada"] != (holding{200, 1}) || held["home"] != (holding{200, 1}) {
		t.Errorf("counted for %v, want 200 each for ada and home", held)
	}
	p.Shrink(m, 0)
	if len(p.reservations.held) > 0 || p.reserved.Load() != 0 {
		t.Errorf("%v, %d are left of a reservation that was given back", p.reservations.held, p.reserved.Load())
	}
}

// Two requests of a person may take all there is, and the next some while the
// others hold no more than the share. So it is for an address.
func TestShares(t *testing.T) {
	const mib = 1 << 20
	ada, bob := Request{Flow: "ada", Address: "home"}, Request{Flow: "bob", Address: "home"}
	eve := Request{Flow: "eve", Address: "away"}
	type step struct {
		r     Request
		bytes int64
		why   Reason
	}
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"all for one", []step{{ada, 400 * mib, ""}}},
		{"two, and a third", []step{{ada, 101 * mib, ""}, {ada, 100 * mib, ""}, {ada, 1, ErrShare}, {bob, mib, ErrShare}, {eve, 100 * mib, ""}}},
		{"others hold a share", []step{{ada, 50 * mib, ""}, {ada, 50 * mib, ""}, {ada, 51 * mib, ""}, {ada, 1, ErrShare}, {bob, 50 * mib, ""}, {bob, 1, ErrShare}, {eve, mib, ""}}},
		{"more than there is", []step{{ada, 401 * mib, ErrMemory}}},
		{"nobody in particular", []step{{Request{}, 200 * mib, ""}, {Request{}, 200 * mib, ""}}},
		{"a person who is an address", []step{{Request{Flow: "ip", Address: "ip"}, 101 * mib, ""}, {Request{Flow: "ip", Address: "ip"}, 1, ""}, {Request{Flow: "ip", Address: "ip"}, 1, ErrShare}}},
		{"passwords have a bound of their own", []step{{ada, 101 * mib, ""}, {ada, 1, ""}, {Request{Class: Password, Flow: "ada", Address: "home"}, mib, ""}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, _ := scarce(400*mib+100, 0)
			for i, s := range tt.steps {
				err := p.Reserve(new(Reservation), s.r, s.bytes)
				if got, _ := errors.AsType[*RejectedError](err); (got == nil) != (s.why == "") || got != nil && got.Reason != s.why {
					t.Errorf("step %d: Reserve(%q, %d MiB) = %v, want %q", i, s.r.Flow, s.bytes/mib, err, s.why)
				}
			}
		})
	}
	p, _ := scarce(10*mib, 0)
	for range 2 { // 8 MiB is a share of little, too
		if err := p.Reserve(new(Reservation), ada, 4*mib); err != nil {
			t.Errorf("Reserve() = %v, want the least share", err)
		}
	}
}

// What is kept for passwords is never left to a client's patience; work may have it until a
// password waits for it. What passwords have is a part of it.
func TestKeptForPasswords(t *testing.T) {
	const mib = 1 << 20
	password := Request{Class: Password}
	synctest.Test(t, func(t *testing.T) {
		p, _ := scarce(100*mib, 20*mib)
		try := func(what string, reserve func(*Reservation, Request, int64) error, r Request, bytes int64, fits bool) *Reservation {
			t.Helper()
			m := new(Reservation)
			if err := reserve(m, r, bytes); errors.Is(err, ErrMemory) == fits {
				t.Errorf("%s of %d MiB = %v, want that it fits: %v", what, bytes/mib, err, fits)
			}
			return m
		}
		try("a body", p.ReserveArriving, Request{}, 81*mib, false)
		body := try("a body", p.ReserveArriving, Request{}, 70*mib, true)
		try("another body", p.ReserveArriving, Request{}, 11*mib, false)
		work := try("work", p.Reserve, Request{}, 30*mib, true) // may leave 4 MiB behind
		try("a body beside work", p.ReserveArriving, Request{}, 7*mib, false)
		try("a password without patience", p.Reserve, password, 20*mib, false)

		time.AfterFunc(time.Second, func() {
			try("work while a password waits", p.Reserve, Request{}, mib, false)
			p.Shrink(work, 3*mib)
		})
		var hash Reservation
		began := time.Now()
		if err := p.ReserveWithin(t.Context(), &hash, password, 20*mib, time.Minute); err != nil || time.Since(began) != time.Second {
			t.Errorf("a password waits %v, %v, want it to have memory as soon as the work has ended", time.Since(began), err)
		}
		try("a body beside a password", p.ReserveArriving, Request{}, 6*mib, true)
		try("a second password", p.Reserve, password, 2*mib, false)
		p.Shrink(&hash, 0)
		p.Shrink(work, 0)
		p.Shrink(body, 0)
		try("two passwords", p.Reserve, password, 40*mib, true)
		if all := &p.reservations; all.waiting != 6*mib || all.waitingPasswords != 0 || all.total != 46*mib {
			t.Errorf("%d of %d bytes wait for clients, %d requests for memory, want 6 of 46 MiB and none", all.waiting, all.total, all.waitingPasswords)
		}
	})
}

// Who waits for memory has it as soon as it is given back, and waits no longer than it may.
func TestReserveWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := scarce(100, 0)
		var first, second Reservation
		if err := p.Reserve(&first, Request{}, 60); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		err := p.ReserveWithin(t.Context(), &second, Request{}, 60, time.Minute)
		if !errors.Is(err, ErrMemory) || time.Since(began) != time.Minute {
			t.Errorf("ReserveWithin() = %v after %v, want ErrMemory after a minute", err, time.Since(began))
		}
		go func() {
			for _, bytes := range []int64{50, 40} {
				time.Sleep(time.Second)
				p.Shrink(&first, bytes)
			}
		}()
		began = time.Now()
		if err := p.ReserveWithin(t.Context(), &second, Request{}, 60, time.Minute); err != nil || time.Since(began) != 2*time.Second {
			t.Errorf("ReserveWithin() = %v after %v, want that it fits after 2 s", err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.ReserveWithin(ctx, &first, Request{}, 60, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ReserveWithin() = %v, want that it ends with its context", err)
		}
		if n := p.RejectedTotals()[ErrMemory]; n != 1 {
			t.Errorf("%d counted as shed, want 1", n)
		}
	})
}

// What is set aside for as long as a second counts for the stage, what is for a moment does not.
func TestPressureMonitorSeesReservations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{Shards: 1, WorkersPerShard: 1})
		s := NewPressureMonitor(PressureConfig{Limit: 100_000, Pool: p, Log: slog.New(slog.DiscardHandler)})
		s.need = func() need { return need{bytes: 20_000} }
		go s.Run(t.Context())
		synctest.Wait()
		stageAfter := func(d time.Duration, what string, want Pressure) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if got := p.Pressure(); got != want {
				t.Errorf("Pressure() = %v %s, want %v", got, what, want)
			}
		}
		var m Reservation
		for range 5 {
			if err := p.Reserve(&m, Request{}, 70_000); err != nil {
				t.Fatal(err)
			}
			stageAfter(500*time.Millisecond, "with much reserved for a moment", PressureNone)
			p.Shrink(&m, 0)
			stageAfter(500*time.Millisecond, "with nothing reserved", PressureNone)
		}
		if err := p.Reserve(&m, Request{}, 70_000); err != nil {
			t.Fatal(err)
		}
		stageAfter(3*time.Second, "with much reserved for long", PressureLow)
		if got := s.Stats(); got.Needed != 90_000 || got.Reserved != 70_000 || got.Free > 2000 {
			t.Errorf("Stats() = %+v, want 90000 needed, 70000 reserved and next to nothing free", got)
		}
		p.AddInFlight(0, 60_000) // the same bytes, in flight: they are in need by then
		stageAfter(time.Second, "with most of it in flight", PressureNone)
		p.AddInFlight(0, -60_000)
		p.Shrink(&m, 0)
		stageAfter(time.Second, "with all given back", PressureNone)
	})
}
