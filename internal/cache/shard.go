package cache

import (
	"maps"
	"strings"
	"sync"
	"time"
)

const (
	// An entry costs overhead bytes besides its ID and value: measured by TestOverhead.
	overhead = 344
	// An owner costs ownerCost bytes besides the name and the entries: measured there too.
	ownerCost = 152
	// The small queue, for entries that were requested once, may take one byte in smallShare.
	smallShare = 10
	maxUses    = 3 // uses of an entry are counted up to this
	// The entries of one owner take at most one byte in ownerShare.
	ownerShare = 4
)

// content is what an entry holds.
type content struct {
	value any
	size  int64
	epoch uint64
	put   time.Duration  // when it was put
	marks [2]versionMark // the second may repeat the first
}

// An entry is in one of a shard's two queues, and in the same one of its owner's.
type entry struct {
	content
	key    Key
	hash   uint64
	owner  *owner
	uses   uint8
	main   bool // it is in the main queue, else in the small one
	places [2]place
}

// A place is the position of an entry in a queue: its neighbours.
type place struct{ prev, next *entry }

// A queueKind selects which of an entry's places a queue uses.
type queueKind uint8

const (
	ofAll queueKind = iota
	ofOwner
)

// A shard is an S3-FIFO cache. New entries go to the small queue. At its end, an entry that was hit
// again moves to the main queue, and any other is evicted and leaves only its hash, a ghost. A new
// entry whose ghost is still there goes to the main queue at once. At the end of the main queue, an
// entry that was hit goes round again.
//
// The entries of each owner are an S3-FIFO cache among themselves too, with a quarter of the room:
// what one user reads evicts that user's own entries first.
type shard struct {
	mu      sync.Mutex // guards all of it; held for a few map accesses
	limit   int64
	entries map[Key]*entry
	owners  map[string]*owner // the owners of entries
	queues
	ownerBytes int64 // bytes that the owners cost
	ghosts     ghosts
	evicted    uint64
}

// An owner is the user that some entries of a shard are about.
type owner struct {
	name string
	queues
}

func (o *owner) cost() int64 { return int64(ownerCost + len(o.name)) }

// queues are the two queues of S3-FIFO.
type queues struct{ small, main queue }

func (q *queues) bytes() int64 { return q.small.bytes + q.main.bytes }

func (q *queues) of(e *entry) *queue {
	if e.main {
		return &q.main
	}
	return &q.small
}

func (s *shard) init() {
	s.entries = make(map[Key]*entry)
	s.owners = make(map[string]*owner)
	s.ghosts.known = make(map[uint64]uint64)
}

func (s *shard) get(key Key) (content, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[key]
	if !ok {
		return content{}, false
	}
	e.uses = min(e.uses+1, maxUses)
	return e.content, true
}

// put stores the content c, which is about the owner with the given name, under key. It replaces
// the entry that is there.
func (s *shard) put(key Key, hash uint64, name string, c content) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.size > s.limit/ownerShare {
		s.drop(s.entries[key])
		return
	}
	e, ok := s.entries[key]
	if ok {
		s.of(e).bytes += c.size - e.size
		e.owner.of(e).bytes += c.size - e.size
		e.content = c
	} else {
		e = &entry{content: c, hash: hash, owner: s.ownerOf(name), main: s.ghosts.take(hash)}
		// Without the copy, a part of a long request would keep all of the request in memory.
		e.key = Key{key.Kind, "", strings.Clone(key.ID)}
		if key.Owner != "" {
			e.key.Owner = e.owner.name
		}
		s.entries[e.key] = e
		s.push(e)
	}
	s.shrinkOwner(e.owner)
	s.shrinkAll()
}

func (s *shard) ownerOf(name string) *owner {
	o, ok := s.owners[name]
	if !ok {
		o = &owner{name: strings.Clone(name)}
		s.owners[o.name] = o
		s.ownerBytes += o.cost()
	}
	return o
}

func (s *shard) remove(key Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(s.entries[key])
}

// drop removes the entry e, which may be nil.
func (s *shard) drop(e *entry) {
	if e == nil {
		return
	}
	s.pull(e)
	delete(s.entries, e.key)
	if e.owner.bytes() == 0 {
		delete(s.owners, e.owner.name)
		s.ownerBytes -= e.owner.cost()
	}
}

// push puts e at the end of its queues.
func (s *shard) push(e *entry) {
	s.of(e).push(e, ofAll)
	e.owner.of(e).push(e, ofOwner)
}

// pull takes e out of its queues.
func (s *shard) pull(e *entry) {
	s.of(e).remove(e, ofAll)
	e.owner.of(e).remove(e, ofOwner)
}

func (s *shard) setLimit(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	less := bytes < s.limit
	s.limit = bytes
	if !less {
		return
	}
	for _, o := range s.owners {
		s.shrinkOwner(o)
	}
	s.shrinkAll()
	s.entries, s.owners = fitted(s.entries), fitted(s.owners)
	s.ghosts = ghosts{known: make(map[uint64]uint64)}
}

// fitted returns a copy of m, which may once have had many more entries. It is for when memory is
// short, because a map keeps the size that it has grown to.
func fitted[K comparable, V any](m map[K]V) map[K]V {
	fit := make(map[K]V, len(m))
	maps.Copy(fit, m)
	return fit
}

func (s *shard) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.entries)
	clear(s.owners)
	s.queues, s.ownerBytes = queues{}, 0
}

func (s *shard) addTo(st *Stats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Bytes += s.bytes() + s.ownerBytes
	st.Limit += s.limit
	st.Entries += len(s.entries)
	st.Evicted += s.evicted
}

// shrinkOwner evicts entries of o until they take no more than one owner's share.
func (s *shard) shrinkOwner(o *owner) {
	for limit := s.limit / ownerShare; o.bytes() > limit; {
		s.evict(&o.queues, limit)
	}
}

// shrinkAll evicts entries until all entries and their owners are within the limit. An owner leaves
// with its last entry, so the cost of the owners is looked at each time.
func (s *shard) shrinkAll() {
	for s.bytes()+s.ownerBytes > s.limit {
		s.evict(&s.queues, s.limit)
	}
}

// evict takes one step towards room in q, which holds an entry and may take limit bytes. The next
// entry is evicted, or goes round again if it was hit.
func (s *shard) evict(q *queues, limit int64) {
	e := q.main.first
	small := q.small.bytes > limit/smallShare || e == nil
	if small {
		e = q.small.first
	}
	if e.uses == 0 {
		s.drop(e)
		s.evicted++
		if small {
			s.ghosts.add(e.hash, len(s.entries))
		}
		return
	}
	s.pull(e)
	if small {
		e.main, e.uses = true, 0
	} else {
		e.uses--
	}
	s.push(e)
}

// A queue is a list of entries, first in, first out.
type queue struct {
	first, last *entry
	bytes       int64
}

func (q *queue) push(e *entry, v queueKind) {
	e.places[v] = place{prev: q.last}
	if q.last == nil {
		q.first = e
	} else {
		q.last.places[v].next = e
	}
	q.last = e
	q.bytes += e.size
}

func (q *queue) remove(e *entry, v queueKind) {
	at := e.places[v]
	if at.prev == nil {
		q.first = at.next
	} else {
		at.prev.places[v].next = at.next
	}
	if at.next == nil {
		q.last = at.prev
	} else {
		at.next.places[v].prev = at.prev
	}
	e.places[v] = place{}
	q.bytes -= e.size
}

// ghosts are the hashes of the entries that were evicted from the small queue last, as many as
// there are entries. If two keys share a hash, that costs a place in the main queue, and no more.
type ghosts struct {
	// known maps a hash to the number of its last arrival.
	known map[uint64]uint64
	// order has the hashes in order of arrival. The first one's number is gone.
	order []uint64
	gone  uint64
}

func (g *ghosts) add(hash uint64, limit int) {
	g.known[hash] = g.gone + uint64(len(g.order))
	g.order = append(g.order, hash)
	for len(g.order) > max(limit, 1) {
		if g.known[g.order[0]] == g.gone { // the hash did not arrive again
			delete(g.known, g.order[0])
		}
		g.order = g.order[1:]
		g.gone++
	}
}

// take reports whether hash is known, and forgets it.
func (g *ghosts) take(hash uint64) bool {
	_, ok := g.known[hash]
	delete(g.known, hash)
	return ok
}
