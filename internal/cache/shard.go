package cache

import (
	"maps"
	"strings"
	"sync"
	"time"
)

const (
	overhead   = 344 // bytes that an entry costs besides its ID and value: measured by TestOverhead
	ownerCost  = 152 // bytes that an owner costs besides the name and the entries: measured there, too
	smallShare = 10  // one byte in so many is for what was asked for once
	mostUses   = 3   // counted of an entry
	mostOfAll  = 4   // an owner's entries take at most one byte in so many
)

// content is what an entry holds.
type content struct {
	value any
	size  int64
	epoch uint64
	put   time.Duration // when
	marks [2]mark       // the second may repeat the first
}

// An entry stands in one of a shard's two queues, and in the same one of its owner's.
type entry struct {
	content
	key    Key
	hash   uint64
	owner  *owner
	uses   uint8
	main   bool // in which queue
	places [2]place
}

// A place is where an entry stands in a queue.
type place struct{ prev, next *entry }

// view says which of an entry's places a queue is about.
type view uint8

const (
	ofAll view = iota
	ofOwner
)

// A shard is S3-FIFO: who comes waits in the small queue; who was asked for
// again by its end goes on to the main one, who was not leaves a ghost. Whose
// ghost is still there when it comes again goes to the main queue at once. At the end of
// the main queue, who was asked for goes round again.
//
// Each owner's entries are S3-FIFO among themselves, too, with a quarter of the room: what
// one person reads pushes out their own entries first.
type shard struct {
	mu      sync.Mutex // guards all of it; held for some map accesses
	limit   int64
	entries map[Key]*entry
	owners  map[string]*owner // of entries
	queues
	ownerBytes int64 // that the owners cost
	ghosts     ghosts
	evicted    uint64
}

// An owner is whom some entries of a shard are about.
type owner struct {
	name string
	queues
}

func (o *owner) cost() int64 { return int64(ownerCost + len(o.name)) }

// queues are the two of S3-FIFO.
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
	e.uses = min(e.uses+1, mostUses)
	return e.content, true
}

// put stores c, which is about the owner with a name, under key, in the place of what is there.
func (s *shard) put(key Key, hash uint64, name string, c content) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.size > s.limit/mostOfAll {
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
		e.key = Key{key.Kind, "", strings.Clone(key.ID)} // or a part of a long request would keep all of it
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

// drop removes e, which may be nil.
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

// fitted returns a copy of m, which may have had many more entries: memory is short, and maps keep what they have
// grown to.
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

// shrinkOwner evicts entries until those of o take no more than an owner's may.
func (s *shard) shrinkOwner(o *owner) {
	for limit := s.limit / mostOfAll; o.bytes() > limit; {
		s.evict(&o.queues, limit)
	}
}

// shrinkAll evicts entries until all of them and their owners are within the limit. An
// owner leaves with its last entry, so what owners cost is looked at each time.
func (s *shard) shrinkAll() {
	for s.bytes()+s.ownerBytes > s.limit {
		s.evict(&s.queues, s.limit)
	}
}

// evict takes one step towards room in q, which holds an entry and may take limit bytes: the
// entry that is next leaves, or goes round again if it was asked for.
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

func (q *queue) push(e *entry, v view) {
	e.places[v] = place{prev: q.last}
	if q.last == nil {
		q.first = e
	} else {
		q.last.places[v].next = e
	}
	q.last = e
	q.bytes += e.size
}

func (q *queue) remove(e *entry, v view) {
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

// ghosts are the hashes of those that left the small queue last, as many as there are
// entries. A hash that two share costs a place in the main queue, no more.
type ghosts struct {
	known map[uint64]uint64 // hash to the number of its coming
	order []uint64          // hashes in the order of their coming; the first is number gone
	gone  uint64
}

func (g *ghosts) add(hash uint64, most int) {
	g.known[hash] = g.gone + uint64(len(g.order))
	g.order = append(g.order, hash)
	for len(g.order) > max(most, 1) {
		if g.known[g.order[0]] == g.gone { // it did not come again
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
