package cache

// What entries and owners cost.
const (
	Overhead  = overhead
	OwnerCost = ownerCost
)

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

// Audit counts what the queues really hold, in bytes by owner of the shard that has most of it. An entry is in one
// queue of all and in the same of its owner's, and in the map, or nowhere. An owner has entries.
func (c *Cache) Audit() (bytes int64, entries int, most map[string]int64, ok bool) {
	sound, most := true, map[string]int64{}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		all, theirs := map[*entry]bool{}, map[*entry]bool{}
		walk := func(q *queue, v queueKind, found func(e *entry)) {
			size, last := int64(0), (*entry)(nil)
			for e := q.first; e != nil; e = e.places[v].next {
				sound = sound && e.places[v].prev == last
				size, last = size+e.size, e
				found(e)
			}
			sound = sound && q.last == last && q.bytes == size
		}
		for _, q := range []*queue{&s.small, &s.main} {
			walk(q, ofAll, func(e *entry) {
				sound = sound && s.entries[e.key] == e && s.of(e) == q && s.owners[e.owner.name] == e.owner
				all[e], bytes = true, bytes+e.size
			})
		}
		for name, o := range s.owners {
			for _, q := range []*queue{&o.small, &o.main} {
				walk(q, ofOwner, func(e *entry) {
					sound = sound && all[e] && !theirs[e] && e.owner == o && o.of(e) == q
					theirs[e] = true
				})
			}
			sound = sound && o.bytes() > 0
			bytes += o.cost()
			most[name] = max(most[name], o.bytes())
		}
		sound = sound && len(all) == len(s.entries) && len(theirs) == len(all)
		entries += len(all)
		s.mu.Unlock()
	}
	return bytes, entries, most, sound
}

// Lock holds up everything that changes a scope.
func (c *Cache) Lock(scope Scope) (unlock func()) {
	c.stripes[scope].mu.Lock()
	return c.stripes[scope].mu.Unlock
}

// TrustForever is for tests in which nobody else changes anything.
func (c *Cache) TrustForever() { c.trusted.Store(1<<63 - 1) }
