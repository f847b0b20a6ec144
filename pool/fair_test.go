package pool_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"notesd/pool"
)

func by(person string) pool.Request { return pool.Request{Class: pool.Read, Flow: person} }

// One with a long queue takes turns with the others, who are served in the
// order that they came.
func TestFlowsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := small()
		cfg.QueueLength = 20
		p, c := pool.New(cfg), newClients()
		for range 6 {
			c.send(t, p, "script", by("script"), 10*ms)
		}
		for _, name := range []string{"ada", "bob", "ada"} {
			c.send(t, p, name, by(name), 10*ms)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		want := []string{"script", "script", "ada", "bob", "script", "ada", "script", "script", "script"}
		if diff := cmp.Diff(want, c.served); diff != "" {
			t.Errorf("served (-want +got):\n%s", diff)
		}
	})
}

// Whoever comes back as soon as they are served gets no more than one who
// waits all the time.
func TestComingBackPaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := small()
		cfg.QueueLength = 20
		p, c := pool.New(cfg), newClients()
		c.loop(t, p, "script", by("script"), 10, ms, time.Second)
		c.loop(t, p, "ada", by("ada"), 2, ms, time.Second) // one runs or has just been served, one waits
		time.Sleep(time.Second)
		if got := c.times()["ada"]; got < 450*ms || got > 550*ms {
			t.Errorf("ada had %v of a second, want half", got)
		}
		time.Sleep(time.Second)
	})
}

// One who has just had a turn waits behind a newcomer who came later.
func TestNewcomerBeforeTheServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := pool.Config{Shards: 1, WorkersPerShard: 1, QueueLength: 50, QueueTimeout: time.Minute}
		p, c := pool.New(cfg), newClients()
		for _, name := range []string{"first", "ada", "bob", "cal"} {
			c.send(t, p, name, by(name), 10*ms)
		}
		time.Sleep(21 * ms) // ada has been served, bob is
		c.send(t, p, "ada", by("ada"), 10*ms)
		time.Sleep(2 * ms)
		c.send(t, p, "dora", by("dora"), 10*ms)
		time.Sleep(time.Second)
		synctest.Wait()
		want := []string{"first", "ada", "bob", "cal", "dora", "ada"}
		if diff := cmp.Diff(want, c.served); diff != "" {
			t.Errorf("served (-want +got):\n%s", diff)
		}
	})
}

// Strangers without end, each with one request, don't keep back one who had a
// turn before.
func TestNewcomersDoNotStarve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c := pool.New(pool.Config{Shards: 1, WorkersPerShard: 1, QueueLength: 50, QueueTimeout: time.Minute}), newClients()
		for range 3 {
			c.send(t, p, "ada", by("ada"), 10*ms)
		}
		for i := range 200 {
			for j := range 2 { // twice what can be served
				go c.request(t, p, "stranger", by(fmt.Sprint(i, j)), 10*ms)
			}
			time.Sleep(10 * ms)
		}
		if got := c.times()["ada"]; got != 30*ms {
			t.Errorf("ada had %v in 2s, want her three turns", got)
		}
		time.Sleep(time.Minute)
	})
}

// Twenty people at half of what the pool can do, and one who sends ten times
// as much as each can have: the others hardly notice, and none is refused.
func TestRunawayScript(t *testing.T) {
	worst := func(script bool) (wait time.Duration, refused int) {
		synctest.Test(t, func(t *testing.T) {
			p := pool.New(pool.Config{Shards: 2, WorkersPerShard: 2, QueueLength: 64, QueueTimeout: time.Second, DelayTarget: 5 * ms})
			c := newClients()
			if script {
				c.loop(t, p, "script", by("script"), 100, 5*ms, 10*time.Second)
			}
			for i := range 20 {
				name := fmt.Sprint("person ", i)
				go func() {
					time.Sleep(time.Duration(i) * 2 * ms)
					for range 190 { // one each 50 ms: 20 × 5 ms ÷ 50 ms are half of 4 workers
						go func() {
							began := time.Now()
							c.request(t, p, name, by(name), 5*ms)
							c.mu.Lock()
							defer c.mu.Unlock()
							wait = max(wait, time.Since(began))
						}()
						time.Sleep(50 * ms)
					}
				}()
			}
			time.Sleep(20 * time.Second)
			synctest.Wait()
			for name, reasons := range c.refused {
				if name != "script" {
					refused += len(reasons)
				}
			}
			if n := len(c.refused["script"]); script && n == 0 {
				t.Error("the script was never refused")
			}
		})
		return wait, refused
	}
	alone, _ := worst(false)
	beside, refused := worst(true)
	// The worker they get is another's first, for one turn at most.
	if beside > alone+10*ms || refused > 0 {
		t.Errorf("with the script others took up to %v, %d refused; without it %v", beside, refused, alone)
	}
}

// A full queue is shed from by person: who has more than a fair share of it is
// told so.
func TestUserShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c := pool.New(pool.Config{Shards: 1, WorkersPerShard: 1, QueueLength: 4, QueueTimeout: time.Minute}), newClients()
		for _, name := range []string{"running", "script", "script", "script", "script"} {
			c.send(t, p, name, by(name), time.Second)
		}
		c.send(t, p, "script", by("script"), time.Second) // alone: the queue is full, of nobody else's
		c.send(t, p, "ada", by("ada"), time.Second)       // makes the script's newest go
		c.send(t, p, "bob", by("bob"), time.Second)       // another
		c.send(t, p, "script", by("script"), time.Second) // has 3 with two others
		c.send(t, p, "cyd", by("cyd"), time.Second)       // the script has 2: not more than twice what others have
		c.send(t, p, "dot", by("dot"), time.Second)       // four have one each
		want := map[string][]pool.Reason{
			"script": {pool.ErrFull, pool.ErrShare, pool.ErrShare, pool.ErrShare, pool.ErrFull},
			"dot":    {pool.ErrFull},
		}
		if diff := cmp.Diff(want, c.refused); diff != "" {
			t.Errorf("refused (-want +got):\n%s", diff)
		}
		time.Sleep(time.Minute)
	})
}

// A flow that yielded has had a turn counted already, and is served before those
// who still wait for theirs.
func TestReturnIsNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c := pool.New(small()), newClients()
		result := yielding(t, t.Context(), p, 50*ms)
		c.send(t, p, "ada", by("ada"), 60*ms)
		c.send(t, p, "bob", by("bob"), 10*ms)
		began := time.Now()
		if err := <-result; err != nil || time.Since(began) != 60*ms {
			t.Errorf("Yield() = %v after %v, want nil after 60ms", err, time.Since(began))
		}
		time.Sleep(time.Second)
	})
}

// While people who ask for one thing at a time are about, nobody has more
// workers than FlowLimit, Yield included; from a tenth of a second
// after the last of them, no worker idles.
func TestFlowLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool.New(pool.Config{Shards: 2, WorkersPerShard: 4, QueueLength: 100, QueueTimeout: time.Second, FlowLimit: 2})
		c := newClients()
		began := time.Now()
		c.loop(t, p, "script", by("script"), 50, 5*ms, time.Second)
		wantState(t, p, state{Busy: 8, Queued: 42})
		go func() { // ada comes at 200 ms, and every 10 ms until 600
			time.Sleep(200 * ms)
			for range 40 {
				c.request(t, p, "ada", by("ada"), ms)
				time.Sleep(9 * ms)
			}
		}()
		var most, least int
		sample := func(from, to time.Duration) {
			time.Sleep(time.Until(began.Add(from)))
			most, least = 0, 100
			for time.Since(began) < to {
				time.Sleep(ms / 2)
				synctest.Wait()
				n := p.Stats().Busy
				most, least = max(most, n), min(least, n)
			}
		}
		sample(10*ms, 190*ms)
		if least != 8 {
			t.Errorf("alone the script has from %d to %d workers, want all 8", least, most)
		}
		sample(220*ms, 590*ms)
		if most > 3 || least < 2 {
			t.Errorf("beside ada from %d to %d workers are busy, want the script's 2 and hers", least, most)
		}
		sample(750*ms, 950*ms)
		if least != 8 {
			t.Errorf("after ada has gone from %d to %d workers are busy, want all 8", least, most)
		}
		time.Sleep(time.Minute)
		checkRest(t, p, int(p.Stats().Done))
	})
}

// Two who ask for much have all workers between them.
func TestFlowLimitWastesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool.New(pool.Config{Shards: 2, WorkersPerShard: 4, QueueLength: 100, QueueTimeout: time.Second, FlowLimit: 2})
		c := newClients()
		c.loop(t, p, "ada", by("ada"), 20, 5*ms, time.Second)
		c.loop(t, p, "bob", by("bob"), 20, 5*ms, time.Second)
		time.Sleep(time.Second)
		for name, busy := range c.times() {
			if busy < 3900*ms {
				t.Errorf("%s had %v of 8 workers' second, want half", name, busy)
			}
		}
		time.Sleep(time.Minute)
	})
}
