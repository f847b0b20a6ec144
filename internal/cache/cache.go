// Package cache keeps entries that were read from a database until the data changes there.
//
// What it promises:
//
//   - No stale entry in this process. The code that changes something announces it before the
//     change can be seen (BeginWrite), and again once its outcome is known. A Get that begins after
//     that finds nothing older. More: all reads that a process has answered, from memory or from
//     the database, could have happened at single moments one after another, each between its
//     request and its response (linearizability), provided that everything that changes the data
//     announces it.
//   - Bounded staleness for changes by other processes. Their changes are received as invalidations
//     (Drop). When nothing was heard from the other processes for longer than the lease
//     (LeaseUntil), Get finds nothing. When an invalidation may have been missed (InvalidateAll),
//     all entries are dropped. No entry is kept for longer than MaxAge.
//   - Bounded memory, in bytes, with all that an entry costs. Entries that are requested once, as
//     by a scan of everything, are evicted first: this is the S3-FIFO algorithm (Yang et al., "FIFO
//     queues are all you need for cache eviction", SOSP 2023). The entries of one user take at most
//     a quarter.
//   - No thundering herd. Of concurrent requests for a missing entry, one reads it, and the others
//     take the result, unless the result may be older than their request.
//
// A change is announced by its scope. A scope is one of a fixed number of stripes, which many
// things share by their hash. Two things in one stripe cost each other some entries, but never
// correctness.
package cache

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// A Kind is the kind of an entry, in keys and in the statistics.
type Kind uint8

const (
	Note Kind = iota
	List
	Session

	numKinds = int(iota)
)

var kindNames = [numKinds]string{"note", "list", "session"}

func (k Kind) String() string { return kindNames[k] }

// A Key identifies an entry: a note by its id, a list by its query, a session by its token.
type Key struct {
	Kind      Kind
	Owner, ID string
}

// Config says how many bytes are kept, and for how long.
type Config struct {
	Bytes int64 // most bytes to keep; 0: nothing is kept
	// MaxAge is the longest that an entry is kept: a bound for mistakes, and for changes that are
	// not announced.
	MaxAge time.Duration
	Shards int // number of shards, each with a lock; a power of two
}

const stripes = 1 << 12 // stripes that all scopes share

// A Cache keeps entries. Make one with New.
type Cache struct {
	maxAge time.Duration
	seed   maphash.Seed
	began  time.Time

	shards  []shard
	stripes []versionStripe

	// epoch counts the calls of InvalidateAll. Entries and reads of an older epoch are invalid.
	epoch   atomic.Uint64
	trusted atomic.Int64 // when the lease (LeaseUntil) expires, since began

	flights flights
	counts  [numKinds]counts
}

type counts struct {
	hits, misses, shared atomic.Uint64
	_                    [40]byte // pads to a cache line of its own
}

// A versionStripe is the version state of the scopes that hash to it.
type versionStripe struct {
	// version changes under mu. An entry of another version is stale.
	version atomic.Uint64
	mu      sync.Mutex // guards writing, and keeps version unchanged while an entry is put
	writing int        // changes that may be visible and are not known to be done
}

// New makes an empty cache. It is not used until LeaseUntil is called.
func New(cfg Config) *Cache { return newCache(cfg, stripes) }

func newCache(cfg Config, stripes int) *Cache {
	c := &Cache{
		maxAge:  cfg.MaxAge,
		seed:    maphash.MakeSeed(),
		began:   time.Now(),
		shards:  make([]shard, max(1, cfg.Shards)),
		stripes: make([]versionStripe, stripes),
	}
	for i := range c.shards {
		c.shards[i].init()
	}
	c.flights.running = make(map[Key]*flight)
	c.SetLimit(cfg.Bytes)
	return c
}

// SetLimit changes how many bytes are kept, with immediate effect.
func (c *Cache) SetLimit(bytes int64) {
	for i := range c.shards {
		c.shards[i].setLimit(bytes / int64(len(c.shards)))
	}
}

// LeaseUntil sets the lease: until the given time, the changes of other processes are heard of in
// time. Entries from before a gap in the lease are dropped: in the gap, a user may have read
// something newer from the database.
func (c *Cache) LeaseUntil(until time.Time) {
	if int64(c.now()) >= c.trusted.Load() {
		c.InvalidateAll()
	}
	c.trusted.Store(int64(until.Sub(c.began)))
}

// InvalidateAll drops all entries, and the results of reads that are under way.
func (c *Cache) InvalidateAll() {
	c.epoch.Add(1)
	for i := range c.shards {
		c.shards[i].clear()
	}
}

// A Scope is the unit of invalidation: data that can change.
type Scope uint16

// NoteScope is the scope of one note. It is strict: while the note is being written no entry is
// kept of it, and every request reads the database.
func (c *Cache) NoteScope(owner, id string) Scope { return c.scope('n', owner, id) }

// ListScope is the scope of all of a user's notes, in their order. It is lenient, because a user
// who writes all the time would otherwise never have a list kept. An entry from before a change
// serves until the change is done, or until a user may have seen it.
func (c *Cache) ListScope(owner string) Scope { return c.scope('l', owner, "") }

// SessionScope is the scope of one session.
func (c *Cache) SessionScope(key string) Scope { return c.scope('s', key, "") }

// UserScope is the scope of all sessions of a user.
func (c *Cache) UserScope(user string) Scope { return c.scope('u', user, "") }

// AnySession is the scope of all sessions of all users.
func (c *Cache) AnySession() Scope { return c.scope('a', "", "") }

func (c *Cache) scope(kind byte, a, b string) Scope {
	h := maphash.String(c.seed, a) ^ uint64(kind)*0x9E3779B97F4A7C15
	if b != "" {
		h = h*31 + maphash.String(c.seed, b)
	}
	return Scope((h ^ h>>32 ^ h>>16) % uint64(len(c.stripes)))
}

// now returns the time by which entries are dated.
func (c *Cache) now() time.Duration { return time.Since(c.began) }

// Get returns the value of the entry under key, if that can be used.
func (c *Cache) Get(key Key) (value any, ok bool) {
	n := &c.counts[key.Kind]
	if value, ok = c.Look(key); ok {
		n.hits.Add(1)
	} else {
		n.misses.Add(1)
	}
	return value, ok
}

// Look is Get without counting a hit or a miss.
func (c *Cache) Look(key Key) (any, bool) {
	now := c.now()
	if int64(now) >= c.trusted.Load() {
		return nil, false
	}
	s := c.shardOf(c.hash(key))
	e, ok := s.get(key)
	if !ok {
		return nil, false
	}
	if !c.fresh(&e, now) {
		s.remove(key)
		return nil, false
	}
	return e.value, true
}

// fresh reports whether the entry e is still valid: nothing has happened to the data it is a copy
// of.
func (c *Cache) fresh(e *content, now time.Duration) bool {
	if e.epoch != c.epoch.Load() || now-e.put >= c.maxAge {
		return false
	}
	for _, m := range e.marks {
		if c.stripes[m.scope].version.Load() != m.version {
			return false
		}
	}
	return true
}

func (c *Cache) hash(key Key) uint64 {
	return maphash.String(c.seed, key.Owner)*31 + maphash.String(c.seed, key.ID)
}

func (c *Cache) shardOf(hash uint64) *shard {
	return &c.shards[(hash^hash>>32)%uint64(len(c.shards))]
}

// A versionMark is a scope at a version.
type versionMark struct {
	version uint64
	scope   Scope
}

// A Snapshot is the state of a scope, from before something in that scope was read. What
// was read can be put as long as the snapshot holds.
type Snapshot struct {
	versionMark
	epoch uint64
	clean bool // no change was under way
}

// Snapshot takes a snapshot of a scope; call it before reading.
func (c *Cache) Snapshot(scope Scope) Snapshot {
	epoch := c.epoch.Load()
	s := &c.stripes[scope]
	s.mu.Lock()
	defer s.mu.Unlock()
	return Snapshot{versionMark{s.version.Load(), scope}, epoch, s.writing == 0}
}

// Holds reports whether no change was under way when the snapshot was taken, and none has begun
// since.
func (c *Cache) Holds(v Snapshot) bool {
	s := &c.stripes[v.scope]
	s.mu.Lock()
	defer s.mu.Unlock()
	return v.holds(s) && v.epoch == c.epoch.Load()
}

// holds is the part of Holds about the stripe s, which the caller has locked.
func (v Snapshot) holds(s *versionStripe) bool {
	return v.clean && s.writing == 0 && s.version.Load() == v.version
}

// Validate validates the snapshot after a read of a lenient scope; call it before the result is
// shown to any user. If the read may have seen a change that is not done, the entries of the scope
// predate the change and are invalidated. The snapshot that Validate returns serves to put the
// result.
func (c *Cache) Validate(v Snapshot) Snapshot {
	s := &c.stripes[v.scope]
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.holds(s) {
		return v
	}
	latest := s.version.Load() == v.version
	version := s.version.Add(1)
	if latest {
		v.version = version
	}
	return v
}

// Observe is called when a strict scope was read and the result is about to be shown to a user. If
// the result may be a change that is not done, the entries of the lenient scope predate the change
// and are invalidated.
func (c *Cache) Observe(strict, lenient Scope) {
	s := &c.stripes[strict]
	s.mu.Lock()
	writing := s.writing
	s.mu.Unlock()
	if writing > 0 {
		c.Drop(lenient)
	}
}

// Drop invalidates all entries of the scope.
func (c *Cache) Drop(scope Scope) {
	s := &c.stripes[scope]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version.Add(1)
}

// PutNote keeps the result of a read of a strict scope if the snapshot of the scope holds.
func (c *Cache) PutNote(key Key, value any, size int, v Snapshot) {
	s := &c.stripes[v.scope]
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.holds(s) {
		c.put(key, key.Owner, value, size, v.epoch, v.versionMark)
	}
}

// PutList keeps the result of a read of a lenient scope unless it is known to be old. The snapshot
// is the one from Validate.
func (c *Cache) PutList(key Key, value any, size int, v Snapshot) {
	s := &c.stripes[v.scope]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.version.Load() == v.version {
		c.put(key, key.Owner, value, size, v.epoch, v.versionMark)
	}
}

// PutSession keeps a session of user. In the session store, the session has a key of its own. The
// read itself tells whose session it is, so the snapshot is of AnySession.
func (c *Cache) PutSession(key Key, value any, size int, sessionKey, user string, v Snapshot) {
	session, all := c.SessionScope(sessionKey), c.UserScope(user)
	marks := [2]versionMark{{c.stripes[session].version.Load(), session}, {c.stripes[all].version.Load(), all}}
	s := &c.stripes[v.scope]
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.holds(s) { // so no session has ended since the marks were taken
		c.put(key, user, value, size, v.epoch, marks[0], marks[1])
	}
}

// put stores an entry that is about owner. The caller holds the lock of the entry's scope.
func (c *Cache) put(key Key, owner string, value any, size int, epoch uint64, marks ...versionMark) {
	hash := c.hash(key)
	c.shardOf(hash).put(key, hash, owner, content{
		value: value,
		size:  int64(size + overhead + len(key.ID)),
		epoch: epoch,
		put:   c.now(),
		marks: [2]versionMark{marks[0], marks[len(marks)-1]},
	})
}

// A Write is a change under way.
type Write struct {
	c             *Cache
	epoch         uint64
	strict, loose versionMark
}

// BeginWrite announces that from now on a strict scope may change, and with it a lenient one. The
// entries of the strict scope are stale from now on.
func (c *Cache) BeginWrite(strict, lenient Scope) Write {
	return Write{c: c, epoch: c.epoch.Load(), strict: versionMark{c.begin(strict, 1), strict},
		loose: versionMark{c.begin(lenient, 0), lenient}}
}

// begin announces a change in the scope, and returns the scope's version from now on.
func (c *Cache) begin(scope Scope, step uint64) uint64 {
	s := &c.stripes[scope]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing++
	return s.version.Add(step)
}

// Done announces that the change is visible to all, or has failed. If value is not nil, it is the
// new value of the strict scope's key. It is kept unless another change was under way meanwhile:
// then it is unknown which change was the last.
func (w *Write) Done(key Key, value any, size int) {
	w.c.end(w.loose.scope, 1) // first: a request that finds the new value must find no older list
	c, s := w.c, &w.c.stripes[w.strict.scope]
	s.mu.Lock()
	defer s.mu.Unlock()
	if value != nil && s.writing == 1 && s.version.Load() == w.strict.version {
		c.put(key, key.Owner, value, size, w.epoch, w.strict)
	} else {
		s.version.Add(1) // tells the other changes under way that this one has happened
	}
	s.writing--
}

// end is the counterpart of begin.
func (c *Cache) end(scope Scope, step uint64) {
	s := &c.stripes[scope]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing--
	s.version.Add(step)
}

// BeginEnd announces that a session is about to end, or all sessions of user if sessionKey is
// empty. The function that it returns announces that they have ended.
func (c *Cache) BeginEnd(sessionKey, user string) (done func()) {
	scope := c.SessionScope(sessionKey)
	if sessionKey == "" {
		scope = c.UserScope(user)
	}
	anybody := c.AnySession()
	// This comes first. Otherwise a session that was read before could be put once its scope has
	// moved on.
	c.begin(anybody, 1)
	c.Drop(scope)
	return func() { c.end(anybody, 0) }
}

// Stats is what a cache holds, and the requests it had.
type Stats struct {
	Bytes, Limit int64
	Entries      int
	Evicted      uint64
	Trusted      bool
	Kinds        map[string]KindStats
}

// KindStats counts the requests for one kind.
type KindStats struct{ Hits, Misses, Shared uint64 }

// Stats returns the present statistics.
func (c *Cache) Stats() Stats {
	st := Stats{Trusted: int64(c.now()) < c.trusted.Load(), Kinds: map[string]KindStats{}}
	for i := range c.shards {
		c.shards[i].addTo(&st)
	}
	for k := range c.counts {
		n := &c.counts[k]
		st.Kinds[Kind(k).String()] = KindStats{n.hits.Load(), n.misses.Load(), n.shared.Load()}
	}
	return st
}
