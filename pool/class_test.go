package pool_test

import (
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"notesd/pool"
)

const ms = time.Millisecond

// clients records what many requests at once came to.
type clients struct {
	mu      sync.Mutex
	served  []string                 // their names, in the order of service
	busy    map[string]time.Duration // time with a worker, by name
	refused map[string][]pool.Reason
}

func newClients() *clients {
	return &clients{busy: map[string]time.Duration{}, refused: map[string][]pool.Reason{}}
}

// send makes a request in the background that holds its worker for d, and
// returns when it runs or waits or has been refused.
func (c *clients) send(t *testing.T, p *pool.Pool, name string, r pool.Request, d time.Duration) {
	go c.request(t, p, name, r, d)
	synctest.Wait()
}

func (c *clients) request(t *testing.T, p *pool.Pool, name string, r pool.Request, d time.Duration) bool {
	permit, err := p.Acquire(t.Context(), r)
	c.mu.Lock()
	if err != nil {
		c.refused[name] = append(c.refused[name], pool.Reason(reason(err)))
		c.mu.Unlock()
		return false
	}
	c.served = append(c.served, name)
	c.busy[name] += d
	c.mu.Unlock()
	defer permit.Release()
	time.Sleep(d)
	return true
}

// loop keeps n requests under way until the time is up.
func (c *clients) loop(t *testing.T, p *pool.Pool, name string, r pool.Request, n int, d, until time.Duration) {
	end := time.Now().Add(until)
	for range n {
		go func() {
			for time.Now().Before(end) {
				if !c.request(t, p, name, r, d) {
					time.Sleep(d)
				}
			}
		}()
	}
	synctest.Wait()
}

// times is how long each name had a worker until now.
func (c *clients) times() map[string]time.Duration {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.busy)
}

func of(c pool.Class) pool.Request { return pool.Request{Class: c, Route: "/" + c.String()} }

// A limited class that is asked for without end does not fill the queue: what
// is above its share makes room for the others.
func TestLimitedClassDoesNotFillTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := pool.Config{Shards: 1, WorkersPerShard: 2, QueueLength: 23, QueueTimeout: time.Minute}
		cfg.Limits[pool.Password] = 1
		p, c := pool.New(cfg), newClients()
		for range 100 {
			c.send(t, p, "password", password, time.Second)
		}
		wantState(t, p, state{Busy: 1, Queued: 23})
		for range 1 + 21 {
			c.send(t, p, "read", read, time.Second)
		}
		if n := len(c.refused["read"]); n != 0 {
			t.Errorf("%d reads were refused, want none", n)
		}
		if got := p.Stats().Classes[pool.Password].Queued; got != 2 { // 23 × 2 ÷ 23
			t.Errorf("%d passwords wait, want their share of 2", got)
		}
		c.send(t, p, "read", read, time.Second)
		if diff := cmp.Diff([]pool.Reason{pool.ErrFull}, c.refused["read"]); diff != "" {
			t.Errorf("refused in a queue full of reads (-want +got):\n%s", diff)
		}
		time.Sleep(time.Hour)
	})
}

// A full queue sheds the newest of the least worthy class above its share.
func TestLeastWorthIsShedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c := pool.New(pool.Config{Shards: 1, WorkersPerShard: 1, QueueLength: 5, QueueTimeout: time.Minute}), newClients()
		c.send(t, p, "running", read, time.Second)
		for _, next := range []pool.Class{pool.Read, pool.Bulk, pool.Search, pool.Read, pool.Write} {
			c.send(t, p, next.String(), of(next), time.Second)
		}
		var shed []string
		for range 5 {
			c.send(t, p, "write", of(pool.Write), time.Second)
			for name, reasons := range c.refused {
				if len(reasons) == 1 && !slices.Contains(shed, name) {
					shed = append(shed, name)
				}
			}
		}
		// 5 places are 1 each for write and read, and none for the others.
		if diff := cmp.Diff([]string{"bulk", "search", "read", "write"}, shed); diff != "" {
			t.Errorf("shed (-want +got):\n%s", diff)
		}
		time.Sleep(time.Minute)
	})
}

// Bulk work that has every worker gives way, one by one, until the class that
// came has its guaranteed share.
func TestGuaranteedShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c := pool.New(pool.Config{Shards: 2, WorkersPerShard: 6, QueueLength: 230, QueueTimeout: time.Hour}), newClients()
		for i := range 12 + 9 { // 9 wait; one turn ends each second
			c.send(t, p, "bulk", of(pool.Bulk), time.Minute+time.Duration(i)*time.Second)
		}
		for range 10 {
			c.send(t, p, "search", of(pool.Search), time.Hour)
		}
		time.Sleep(time.Minute - time.Second/2)
		for i, want := range []int{1, 2, 2} { // 12 × 4 ÷ 23
			time.Sleep(time.Second)
			synctest.Wait()
			if got := p.Stats().Classes[pool.Search]; got.Busy < want || got.Share != 2 {
				t.Errorf("after turn %d: search has %d workers, share %d, want at least %d of 2", i, got.Busy, got.Share, want)
			}
		}
		time.Sleep(20 * time.Hour)
	})
}

// When all want more than there is, the classes get the workers' time by their
// weights, however long their turns are, and with one worker too.
func TestWeights(t *testing.T) {
	for _, workers := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			p := pool.New(pool.Config{Shards: 1, WorkersPerShard: workers, QueueLength: 230, QueueTimeout: time.Hour})
			c := newClients()
			lengths := map[pool.Class]time.Duration{pool.Write: 3 * ms, pool.Read: ms, pool.Search: 20 * ms, pool.Bulk: 170 * ms}
			for class, d := range lengths {
				c.loop(t, p, class.String(), of(class), 10, d, time.Minute)
			}
			time.Sleep(time.Minute)
			busy := c.times()
			for class, weight := range map[pool.Class]int{pool.Write: 8, pool.Read: 8, pool.Search: 4, pool.Bulk: 1} {
				want := time.Duration(workers*weight) * time.Minute / 21
				if got := busy[class.String()]; got < want*9/10 || got > want*11/10 {
					t.Errorf("of %d workers %v got %v, want %v within a tenth", workers, class, got, want)
				}
			}
			time.Sleep(time.Minute)
			if s := p.Stats(); len(s.Rejected) > 0 {
				t.Errorf("refused %v, want none", s.Rejected)
			}
		})
	}
}

// A class that did not ask has no claim to the time that passed: it takes its
// turns with the others from then on.
func TestNoClaimToThePast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c := pool.New(pool.Config{Shards: 1, WorkersPerShard: 1, QueueLength: 100, QueueTimeout: time.Hour}), newClients()
		c.loop(t, p, "write", of(pool.Write), 5, ms, 3*time.Second)
		time.Sleep(time.Second)
		before := c.times()["write"]
		c.loop(t, p, "read", of(pool.Read), 5, ms, time.Second)
		time.Sleep(time.Second)
		if got := c.times()["write"] - before; got < 450*ms || got > 550*ms {
			t.Errorf("write got %v of the first second with read, want half", got)
		}
		time.Sleep(time.Minute)
	})
}
