package pool_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"notesd/pool"
)

// delayed is a pool of four workers with CoDel's target, and room for many.
func delayed() pool.Config {
	return pool.Config{Shards: 2, WorkersPerShard: 2, QueueLength: 300, QueueTimeout: time.Second, DelayTarget: 5 * ms}
}

// stream is requests that come whatever becomes of the earlier ones.
type stream struct {
	mu      sync.Mutex
	waits   []time.Duration                 // of those that were served
	refused map[pool.Reason][]time.Duration // how long they waited
}

// pour sends one request every gap for so long, each of another person, that
// holds its worker for d, and returns when the last has ended.
func (s *stream) pour(t *testing.T, p *pool.Pool, gap, d, until time.Duration) {
	var all sync.WaitGroup
	for i := range int(until / gap) {
		all.Go(func() {
			began := time.Now()
			permit, err := p.Acquire(t.Context(), by(fmt.Sprint(i)))
			waited := time.Since(began)
			s.mu.Lock()
			if err != nil {
				s.refused[pool.Reason(reason(err))] = append(s.refused[pool.Reason(reason(err))], waited)
			} else {
				s.waits = append(s.waits, waited)
			}
			s.mu.Unlock()
			if err == nil {
				defer permit.Release()
				time.Sleep(d)
			}
		})
		time.Sleep(gap)
	}
	all.Wait()
}

func newStream() *stream { return &stream{refused: map[pool.Reason][]time.Duration{}} }

// take returns what there was since the last call, sorted.
func (s *stream) take() (waits []time.Duration, refused map[pool.Reason][]time.Duration) {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	waits, refused = s.waits, s.refused
	s.waits, s.refused = nil, map[pool.Reason][]time.Duration{}
	slices.Sort(waits)
	for _, times := range refused {
		slices.Sort(times)
	}
	return waits, refused
}

func overloaded(p *pool.Pool) bool { return p.Stats().Classes[pool.Read].Overloaded }

// A queue that stands because its clients wait for their answers before they
// ask again is no overload, however long it stands.
func TestClosedLoopIsNotShed(t *testing.T) {
	for _, turn := range []time.Duration{ms, 5 * ms, 30 * ms} {
		synctest.Test(t, func(t *testing.T) {
			p, c := pool.New(delayed()), newClients()
			for i := range 64 {
				c.loop(t, p, "all", by(fmt.Sprint(i%5)), 1, turn, 10*time.Second)
			}
			time.Sleep(11 * time.Second)
			if s := p.Stats(); len(s.Rejected) > 0 || s.Done < uint64(9*4*time.Second/turn) {
				t.Errorf("turns of %v: %d done, refused %v, want none refused", turn, s.Done, s.Rejected)
			}
		})
	}
}

// Nor is a burst that the pool works off.
func TestBurstIsNotShed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c := pool.New(delayed()), newClients()
		for range 10 {
			for i := range 300 { // 75 ms of work
				go c.request(t, p, "burst", by(fmt.Sprint(i)), ms)
			}
			time.Sleep(200 * ms)
		}
		if s := p.Stats(); s.Done != 3000 || len(s.Rejected) > 0 {
			t.Errorf("%d done, refused %v, want 3000 and none", s.Done, s.Rejected)
		}
	})
}

// At twice what the pool can do the queue stands for an interval and has
// somebody wait for all of it; from then on the newest are served, at once, the
// others are told so early, and no worker idles. When the load ends, so does it.
func TestStandingOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := pool.New(delayed()), newStream()
		go s.pour(t, p, ms/2, 4*ms, 6*time.Second) // 2000 a second for 1000
		time.Sleep(500 * ms)
		if !overloaded(p) {
			t.Error("not overloaded after half a second of twice the load")
		}
		s.take() // how it began
		before := p.Stats().Done
		time.Sleep(5 * time.Second)
		if done := p.Stats().Done - before; done < 4990 {
			t.Errorf("%d done in 5 s, want the 5000 that four workers can do", done)
		}
		waits, refused := s.take()
		if p99 := waits[len(waits)*99/100]; p99 > 4*ms {
			t.Errorf("p99 of the waits that ended with a worker is %v, want no more than a turn of 4ms, as the newest wait", p99)
		}
		shed := refused[pool.ErrOverload]
		if len(refused) != 1 || len(shed) < 4990 {
			t.Errorf("%d shed of 5000 too many; all reasons: %v", len(shed), len(refused))
		}
		if least, most := shed[0], shed[len(shed)-1]; least < 10*ms || most > 12*ms {
			t.Errorf("shed after %v to %v, want two targets of 5ms, and no more than until the next turn", least, most)
		}
		time.Sleep(time.Second)
		if overloaded(p) {
			t.Error("still overloaded after the load has ended")
		}
	})
}

// Without a target nothing is shed by delay.
func TestNoTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := delayed()
		cfg.DelayTarget = 0
		p := pool.New(cfg)
		s := newStream()
		s.pour(t, p, ms/2, 4*ms, 5*time.Second)
		if len(s.refused[pool.ErrOverload]) > 0 || overloaded(p) {
			t.Errorf("%d shed as overload without a target", len(s.refused[pool.ErrOverload]))
		}
	})
}

// Under overload the newest person goes first, and of a person the newest
// request; persons still take turns.
func TestNewestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := delayed()
		cfg.Shards, cfg.WorkersPerShard = 1, 1
		p := pool.New(cfg)
		s := newStream()
		s.pour(t, p, ms, 2*ms, time.Second)
		if !overloaded(p) {
			t.Fatal("not overloaded by twice the load")
		}
		c := newClients()
		c.send(t, p, "running", by("running"), 3*ms)
		for _, name := range []string{"ada 1", "ada 2", "bob 1", "ada 3", "bob 2"} {
			c.send(t, p, name, by(name[:3]), 2*ms)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if want := []string{"running", "bob 2", "ada 3", "bob 1", "ada 2", "ada 1"}; !slices.Equal(c.served, want) {
			t.Errorf("served %v, want %v", c.served, want)
		}
	})
}

// Once the load is about to end, an overload ends, none begins, and requests are rejected only where
// the queue has no room for them. It is so until the load is not about to end.
func TestLastCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := pool.New(delayed()), newStream()
		go s.pour(t, p, ms/2, 4*ms, 2*time.Second) // 2000 a second for 1000
		time.Sleep(time.Second)
		if !overloaded(p) {
			t.Fatal("no overload at twice the capacity")
		}
		p.LastCalls(true)
		s.take()
		time.Sleep(900 * ms)
		if _, refused := s.take(); overloaded(p) || len(refused[pool.ErrOverload]) > 0 || len(refused[pool.ErrFull]) == 0 {
			t.Errorf("overloaded %v, refused %v, want them for a full queue alone", overloaded(p), refused)
		}
		time.Sleep(time.Second)
		p.LastCalls(false)
		go s.pour(t, p, ms/2, 4*ms, 2*time.Second)
		time.Sleep(time.Second)
		if _, refused := s.take(); len(refused[pool.ErrOverload]) == 0 {
			t.Errorf("refused %v, want an overload again", refused)
		}
		time.Sleep(2 * time.Second)
	})
}
