package cache

// Overhead is overhead.
const Overhead = overhead

// NewNarrow is New with so few stripes that scopes share them all the time.
func NewNarrow(cfg Config, stripes int) *Cache { return newCache(cfg, stripes) }

// Ghosts returns how many hashes are remembered, and the room that their order takes.
func (c *Cache) Ghosts() (known, room int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		known, room = known+len(s.ghosts.known), room+cap(s.ghosts.order)
		s.mu.Unlock()
	}
	return known, room
}

// Audit counts what the queues really hold. An entry is in one queue and in the map, or in none.
func (c *Cache) Audit() (bytes int64, entries int, ok bool) {
	sound, all := true, 0
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for _, q := range []*queue{&s.small, &s.main} {
			for e := q.oldest(); e != &q.root; e = e.next {
				bytes, entries = bytes+e.size, entries+1
				sound = sound && s.entries[e.key] == e && s.queueOf(e) == q && e.next.prev == e
			}
		}
		all += len(s.entries)
		s.mu.Unlock()
	}
	return bytes, entries, sound && entries == all
}

// Lock holds up everything that changes a scope.
func (c *Cache) Lock(scope Scope) (unlock func()) {
	c.stripes[scope].mu.Lock()
	return c.stripes[scope].mu.Unlock
}

// TrustForever is for tests in which nobody else changes anything.
func (c *Cache) TrustForever() { c.trusted.Store(1<<63 - 1) }
