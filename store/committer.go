package store

import (
	"errors"
	"runtime/debug"
	"sync"
)

// These bounds keep the time of a batch to milliseconds.
const (
	batchEdits = 128
	batchBytes = 1 << 20 // bytes of texts
)

// A committer groups edits into batches (group commit). It promises:
//   - While no commit is in progress, an edit begins at once. Edits that arrive during a commit
//     form the next batch. So batches grow with the load.
//   - One batch is in progress at a time, and it never waits for a lock of another transaction.
//   - Beside the batch, each owner may have one exclusive transaction. It is for an edit that is
//     alone, or for edits that the batch skipped because another process writes for the same owner.
//     Later edits of that owner wait for its end.
//   - Each caller gets its result after the transaction of its own edit, and waits for no other.
//   - A committer without edits has no goroutine.
type committer struct {
	s       *Store
	running sync.WaitGroup

	mu       sync.Mutex // guards what follows
	closed   bool
	batching bool
	waiting  []*edit            // edits for the next batch
	apart    map[string][]*edit // by owner: edits that wait for its exclusive transaction
}

// begin initializes a committer, which is idle then.
func (c *committer) begin(s *Store) { c.s, c.apart = s, make(map[string][]*edit) }

// add accepts an edit. The committer will close its done channel.
func (c *committer) add(e *edit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.route(e)
}

// route queues e for the next batch, or for its owner's exclusive transaction. The caller holds mu.
func (c *committer) route(e *edit) {
	waiting, apart := c.apart[e.owner]
	switch {
	case c.closed:
		e.err = c.s.db.Usable()
		close(e.done)
	case apart:
		c.apart[e.owner] = append(waiting, e)
	case e.alone:
		c.setApart(e.owner, []*edit{e})
	default:
		c.waiting = append(c.waiting, e)
		if !c.batching {
			c.batching = true
			c.running.Go(c.commitBatches)
		}
	}
}

// setApart begins an exclusive transaction of one owner. The caller holds mu.
func (c *committer) setApart(owner string, edits []*edit) {
	c.apart[owner] = nil
	c.running.Go(func() {
		var anew []*edit
		defer func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			waiting := c.apart[owner]
			delete(c.apart, owner)
			for _, e := range append(anew, waiting...) {
				c.route(e)
			}
		}()
		anew = c.commit(newBatch(c.s, edits, true))
	})
}

// commitBatches runs one batch after another until no edit waits. If a batch ends the goroutine,
// another goroutine continues.
func (c *committer) commitBatches() {
	over := false
	defer func() {
		if !over {
			c.running.Go(c.commitBatches)
		}
	}()
	for edits := c.take(); len(edits) > 0; edits = c.take() {
		c.goOn(c.commit(newBatch(c.s, edits, !c.s.postgres)))
	}
	over = true
}

// take returns the edits of the next batch. If there are none, no edit waits.
func (c *committer) take() []*edit {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, bytes := 0, int64(0)
	for n < min(len(c.waiting), batchEdits) && bytes < batchBytes {
		bytes += c.waiting[n].bytes
		n++
	}
	edits := c.waiting[:n:n]
	if c.waiting = c.waiting[n:]; len(c.waiting) == 0 {
		c.waiting = nil
	}
	c.batching = n > 0
	return edits
}

// goOn requeues the edits that a batch left undone. The edits of one owner share an exclusive
// transaction, where waiting for the owner's lock delays no other owner.
func (c *committer) goOn(anew []*edit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	byOwner := make(map[string][]*edit)
	for _, e := range anew {
		if _, apart := c.apart[e.owner]; apart || e.alone || c.closed {
			c.route(e)
		} else {
			byOwner[e.owner] = append(byOwner[e.owner], e)
		}
	}
	for owner, edits := range byOwner {
		if _, apart := c.apart[owner]; apart {
			c.apart[owner] = append(c.apart[owner], edits...)
		} else {
			c.setApart(owner, edits)
		}
	}
}

// commit runs b and reports the result to its callers. It returns the edits that are to be retried.
// A panic is passed on to the callers too.
func (c *committer) commit(b *batch) (anew []*edit) {
	over := false
	defer func() {
		if v := recover(); v != nil {
			anew = b.settle(nil, &panicked{v, debug.Stack()})
		} else if !over {
			b.deciding = nil // no edit can be retried, whichever ended the goroutine
			b.settle(nil, &panicked{errGoexit, debug.Stack()})
		}
	}()
	err := b.commit()
	anew = b.settle(err, nil)
	over = true
	return anew
}

var errGoexit = errors.New("the goroutine was ended")

// close stops the committer. Edits that still wait for a transaction fail. close waits for the
// transactions that have begun.
func (c *committer) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.running.Wait()
}
