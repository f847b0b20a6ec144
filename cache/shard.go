package cache

import (
	"maps"
	"strings"
	"sync"
	"time"
)

const (
	overhead   = 344 // bytes that an entry costs besides its key and value: measured by TestOverhead
	smallShare = 10  // one byte in so many is for what was asked for once
	mostUses   = 3   // counted of an entry
	mostOfAll  = 4   // an entry takes at most one byte in so many
)

// content is what an entry holds.
type content struct {
	value any
	size  int64
	epoch uint64
	put   time.Duration // when
	marks [2]mark       // the second may repeat the first
}

// An entry stands in one of a shard's two queues.
type entry struct {
	content
	key        Key
	hash       uint64
	uses       uint8
	main       bool // in which queue
	prev, next *entry
}

// A shard is S3-FIFO: who comes waits in the small queue; who was asked for
// again by its end goes on to the main one, who was not leaves a ghost. Whose
// ghost is still there when it comes again goes to the main queue at once. At the end of
// the main queue, who was asked for goes round again.
type shard struct {
	mu          sync.Mutex // guards all of it; held for some map accesses
	limit       int64
	entries     map[Key]*entry
	small, main queue
	ghosts      ghosts
	evicted     uint64
}

func (s *shard) init() {
	s.entries = make(map[Key]*entry)
	s.small.init()
	s.main.init()
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

// put stores c under key, in the place of what is there.
func (s *shard) put(key Key, hash uint64, c content) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.size > s.limit/mostOfAll {
		s.drop(s.entries[key])
		return
	}
	e, ok := s.entries[key]
	if ok {
		s.queueOf(e).bytes += c.size - e.size
		e.content = c
	} else {
		key = Key{key.Kind, strings.Clone(key.Owner), strings.Clone(key.ID)} // or a part of a long request would keep all of it
		e = &entry{content: c, key: key, hash: hash, main: s.ghosts.take(hash)}
		s.entries[key] = e
		s.queueOf(e).push(e)
	}
	s.shrink()
}

func (s *shard) remove(key Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(s.entries[key])
}

// drop removes e, which may be nil.
func (s *shard) drop(e *entry) {
	if e != nil {
		s.queueOf(e).remove(e)
		delete(s.entries, e.key)
	}
}

func (s *shard) queueOf(e *entry) *queue {
	if e.main {
		return &s.main
	}
	return &s.small
}

func (s *shard) setLimit(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	less := bytes < s.limit
	s.limit = bytes
	s.shrink()
	if less { // for memory is short, and maps keep what they have grown to
		entries := make(map[Key]*entry, len(s.entries))
		maps.Copy(entries, s.entries)
		s.entries = entries
		s.ghosts = ghosts{known: make(map[uint64]uint64)}
	}
}

func (s *shard) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.entries)
	s.small.init()
	s.main.init()
}

func (s *shard) addTo(st *Stats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Bytes += s.small.bytes + s.main.bytes
	st.Limit += s.limit
	st.Entries += len(s.entries)
	st.Evicted += s.evicted
}

// shrink makes room until what is kept is within the limit.
func (s *shard) shrink() {
	for s.small.bytes+s.main.bytes > s.limit {
		if s.small.bytes > s.limit/smallShare || s.main.bytes == 0 {
			s.leaveSmall()
		} else {
			s.leaveMain()
		}
	}
}

func (s *shard) leaveSmall() {
	e := s.small.oldest()
	if e.uses == 0 {
		s.drop(e)
		s.ghosts.add(e.hash, len(s.entries))
		s.evicted++
		return
	}
	s.small.remove(e)
	e.main, e.uses = true, 0
	s.main.push(e)
}

func (s *shard) leaveMain() {
	e := s.main.oldest()
	if e.uses == 0 {
		s.drop(e)
		s.evicted++
		return
	}
	s.main.remove(e)
	e.uses--
	s.main.push(e)
}

// A queue is a ring of entries, first in, first out.
type queue struct {
	root  entry
	bytes int64
}

func (q *queue) init() { q.root.prev, q.root.next, q.bytes = &q.root, &q.root, 0 }

func (q *queue) oldest() *entry { return q.root.next }

func (q *queue) push(e *entry) {
	e.prev, e.next = q.root.prev, &q.root
	e.prev.next, q.root.prev = e, e
	q.bytes += e.size
}

func (q *queue) remove(e *entry) {
	e.prev.next, e.next.prev = e.next, e.prev
	e.prev, e.next = nil, nil
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
