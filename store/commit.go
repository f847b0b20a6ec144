package store

import (
	"errors"
	"hash/maphash"
	"runtime/debug"
	"sync"
)

// These bounds keep the time of a batch to milliseconds.
const (
	maxBatchMutations = 128
	maxBatchBytes     = 1 << 20 // bytes of texts
)

// A groupCommitter groups mutations into batches (group commit). It promises:
//   - While no commit is in progress, a mutation begins at once. Mutations that arrive during a
//     commit form the next batch. So batches grow with the load.
//   - One batch of it is in progress at a time, and never waits for a lock of another transaction.
//   - Beside the batch, each owner may have one exclusive transaction. It is for a mutation that is
//     alone, or for mutations that the batch skipped because another process writes for the same
//     owner. Later mutations of that owner wait for its end.
//   - Each caller gets its result after the transaction of its own mutation, and waits for no
//     other.
//   - A groupCommitter without mutations has no goroutine.
type groupCommitter struct {
	s       *Store
	running sync.WaitGroup

	mu        sync.Mutex // guards what follows
	closed    bool
	batching  bool
	waiting   []*mutation            // mutations for the next batch
	exclusive map[string][]*mutation // by owner: mutations that wait for its exclusive transaction
}

// postgresCommitters is how many batches of different owners PostgreSQL may commit at once. While
// one is read and written there, another is decided here. SQLite has one writer.
const postgresCommitters = 2

// beginCommitters makes the committers, which are idle then.
func (s *Store) beginCommitters() {
	n := 1
	if s.postgres {
		n = postgresCommitters
	}
	for range n {
		s.committers = append(s.committers, &groupCommitter{s: s, exclusive: make(map[string][]*mutation)})
	}
}

var committerSeed = maphash.MakeSeed()

// committerOf returns the committer of an owner's mutations. It is always the same one, which keeps
// their order.
func (s *Store) committerOf(owner string) *groupCommitter {
	return s.committers[maphash.String(committerSeed, owner)%uint64(len(s.committers))]
}

// closeCommitters stops the committers. It waits for the transactions that have begun.
func (s *Store) closeCommitters() {
	for _, c := range s.committers {
		c.close()
	}
}

// add accepts mutations, whose done channels will be closed. They are in as few batches as they can.
func (c *groupCommitter) add(mutations ...*mutation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range mutations {
		c.route(m)
	}
}

// route queues m for the next batch, or for its owner's exclusive transaction. The caller holds mu.
func (c *groupCommitter) route(m *mutation) {
	waiting, exclusive := c.exclusive[m.owner]
	switch {
	case c.closed:
		m.err = c.s.db.Usable()
		close(m.done)
	case exclusive:
		c.exclusive[m.owner] = append(waiting, m)
	case m.alone:
		c.beginExclusive(m.owner, []*mutation{m})
	default:
		c.waiting = append(c.waiting, m)
		if !c.batching {
			c.batching = true
			c.running.Go(c.commitBatches)
		}
	}
}

// beginExclusive begins an exclusive transaction of one owner. The caller holds mu.
func (c *groupCommitter) beginExclusive(owner string, mutations []*mutation) {
	c.exclusive[owner] = nil
	c.running.Go(func() {
		var retry []*mutation
		defer func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			waiting := c.exclusive[owner]
			delete(c.exclusive, owner)
			for _, m := range append(retry, waiting...) {
				c.route(m)
			}
		}()
		retry = c.commit(newBatch(c.s, mutations, true))
	})
}

// commitBatches runs one batch after another until no mutation waits. If a batch ends the
// goroutine, another goroutine continues.
func (c *groupCommitter) commitBatches() {
	over := false
	defer func() {
		if !over {
			c.running.Go(c.commitBatches)
		}
	}()
	for mutations := c.take(); len(mutations) > 0; mutations = c.take() {
		c.requeue(c.commit(newBatch(c.s, mutations, !c.s.postgres)))
	}
	over = true
}

// take returns the mutations of the next batch. If there are none, no mutation waits.
func (c *groupCommitter) take() []*mutation {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, bytes := 0, int64(0)
	for n < min(len(c.waiting), maxBatchMutations) && bytes < maxBatchBytes {
		bytes += c.waiting[n].bytes
		n++
	}
	mutations := c.waiting[:n:n]
	if c.waiting = c.waiting[n:]; len(c.waiting) == 0 {
		c.waiting = nil
	}
	c.batching = n > 0
	return mutations
}

// requeue queues again the mutations that a batch left undone. The mutations of one owner share an
// exclusive transaction, where waiting for the owner's lock delays no other owner.
func (c *groupCommitter) requeue(retry []*mutation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	byOwner := make(map[string][]*mutation)
	for _, m := range retry {
		if _, exclusive := c.exclusive[m.owner]; exclusive || m.alone || c.closed {
			c.route(m)
		} else {
			byOwner[m.owner] = append(byOwner[m.owner], m)
		}
	}
	for owner, mutations := range byOwner {
		if _, exclusive := c.exclusive[owner]; exclusive {
			c.exclusive[owner] = append(c.exclusive[owner], mutations...)
		} else {
			c.beginExclusive(owner, mutations)
		}
	}
}

// commit runs b and reports the result to its callers. It returns the mutations that are to be
// retried. A panic is passed on to the callers too.
func (c *groupCommitter) commit(b *batch) (retry []*mutation) {
	over := false
	defer func() {
		if v := recover(); v != nil {
			retry = b.complete(nil, &panicked{v, debug.Stack()})
		} else if !over {
			b.deciding = nil // no mutation can be retried, whichever ended the goroutine
			b.complete(nil, &panicked{errGoexit, debug.Stack()})
		}
	}()
	err := b.commit()
	retry = b.complete(err, nil)
	over = true
	return retry
}

var errGoexit = errors.New("the goroutine was ended")

// close stops the committer. Mutations that still wait for a transaction fail. close waits for the
// transactions that have begun.
func (c *groupCommitter) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.running.Wait()
}
