package store

import (
	"errors"
	"runtime/debug"
	"sync"
)

// With these a batch is a matter of milliseconds.
const (
	batchEdits = 128
	batchBytes = 1 << 20 // of texts
)

// A committer puts edits into batches. It promises:
//   - While nothing is being committed an edit begins at once. What comes
//     meanwhile is the next batch: the busier it is, the more travel together.
//   - One batch is under way at a time, and never waits for somebody's lock.
//     Beside it each person may have one transaction of their own: for an edit
//     that is alone, or those that the batch passed over because another process
//     writes for the same person. What that person wants meanwhile waits for it.
//   - Each caller is told after the transaction of their edit, and of nobody else's.
//   - Without edits it has no goroutine.
type committer struct {
	s       *Store
	running sync.WaitGroup

	mu       sync.Mutex // guards what follows
	closed   bool
	batching bool
	waiting  []*edit            // for the next batch
	apart    map[string][]*edit // by owners who have a transaction of their own: what waits for its end
}

// begin makes a committer that is idle.
func (c *committer) begin(s *Store) { c.s, c.apart = s, make(map[string][]*edit) }

// add takes an edit, whose done will be closed.
func (c *committer) add(e *edit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.route(e)
}

// route finds e its place. The caller holds mu.
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

// setApart begins a transaction for one person. The caller holds mu.
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

// commitBatches runs one batch after another until nobody waits. Should a batch
// end the goroutine, another goes on.
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

// take returns who is in the next batch; nobody: there is none.
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

// goOn takes back what a batch left undone. Those of one person go on together,
// now that nobody else waits for them.
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

// commit runs b and tells its callers. It returns what is to be tried anew. A
// panic is its callers' too.
func (c *committer) commit(b *batch) (anew []*edit) {
	over := false
	defer func() {
		if v := recover(); v != nil {
			anew = b.settle(nil, &panicked{v, debug.Stack()})
		} else if !over {
			b.deciding = nil // whoever it is, nobody can be tried anew
			b.settle(nil, &panicked{errGoexit, debug.Stack()})
		}
	}()
	err := b.commit()
	anew = b.settle(err, nil)
	over = true
	return anew
}

var errGoexit = errors.New("the goroutine was ended")

// close ends the committer's work: what waits for a transaction gets none, what
// is in one is waited for.
func (c *committer) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.running.Wait()
}
