// Package cache keeps what was read from a database until it changes there.
//
// What it promises:
//
//   - Never stale here. Whoever changes something says so before the change can
//     be seen (Writing) and again once its outcome is known. A Get that begins
//     after that finds nothing older. More: all that a process has read and
//     answered, from memory or from the database, could have been read at single
//     moments one after another, each between the question and its answer
//     (linearizability), as far as everything that changes it says so.
//   - Briefly bounded elsewhere. What other processes change is heard of
//     (Drop). As long as nothing was heard from them for longer than is
//     trusted (Trust), Get finds nothing; when something may have been missed
//     (Forget), what was kept is gone. Nothing is kept for longer than MaxAge.
//   - Bounded in bytes, with all that an entry costs. What is asked for once, as a walk through
//     everything does, is the first to go: the S3-FIFO algorithm (Yang et al.,
//     "FIFO queues are all you need for cache eviction", SOSP 2023). What is about one
//     person takes at most a quarter.
//   - No herd: of those who ask at once for what is not there one reads, and the
//     others take what it found, unless it may be older than their question.
//
// A change is said by its scope: one of a fixed number of stripes that many
// things share by their hash. Two in one stripe cost each other some copies,
// never the truth.
package cache

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// A Kind tells apart what is kept, in keys and in the statistics.
type Kind uint8

const (
	Note Kind = iota
	List
	Session

	numKinds = int(iota)
)

var kindNames = [numKinds]string{"note", "list", "session"}

func (k Kind) String() string { return kindNames[k] }

// A Key names what is kept: a note by its id, a list by its query, a session by its token.
type Key struct {
	Kind      Kind
	Owner, ID string
}

// Config says how much is kept, and for how long.
type Config struct {
	Bytes  int64         // at most; 0: nothing is kept
	MaxAge time.Duration // of an entry: a bound for mistakes, and for changes that nobody announces
	Shards int           // of the lock; a power of two
}

const stripes = 1 << 12 // of all scopes

// A Cache keeps entries. Make one with New.
type Cache struct {
	maxAge time.Duration
	seed   maphash.Seed
	began  time.Time

	shards  []shard
	stripes []stripe

	epoch   atomic.Uint64 // of Forget: entries and readings of an older one are nothing
	trusted atomic.Int64  // until when, since began

	flights flights
	counts  [numKinds]counts
}

type counts struct {
	hits, misses, shared atomic.Uint64
	_                    [40]byte // to a cache line of its own
}

// A stripe is the state of the scopes that fall into it.
type stripe struct {
	version atomic.Uint64 // an entry of another version is stale; changed under mu
	mu      sync.Mutex    // guards writing, and that a version is still the one when an entry is put
	writing int           // changes that may be seen already and are not known to be done
}

// New makes an empty cache, which Trust has to say is to be used.
func New(cfg Config) *Cache { return newCache(cfg, stripes) }

func newCache(cfg Config, stripes int) *Cache {
	c := &Cache{
		maxAge:  cfg.MaxAge,
		seed:    maphash.MakeSeed(),
		began:   time.Now(),
		shards:  make([]shard, max(1, cfg.Shards)),
		stripes: make([]stripe, stripes),
	}
	for i := range c.shards {
		c.shards[i].init()
	}
	c.flights.running = make(map[Key]*flight)
	c.SetLimit(cfg.Bytes)
	return c
}

// SetLimit changes how many bytes are kept, at once.
func (c *Cache) SetLimit(bytes int64) {
	for i := range c.shards {
		c.shards[i].setLimit(bytes / int64(len(c.shards)))
	}
}

// Trust says that until the given time what others change is heard of in time.
// What was kept before a gap in trust is gone: somebody may have read something
// newer in it, from the database.
func (c *Cache) Trust(until time.Time) {
	if int64(c.now()) >= c.trusted.Load() {
		c.Forget()
	}
	c.trusted.Store(int64(until.Sub(c.began)))
}

// Forget drops everything, and what is being read now.
func (c *Cache) Forget() {
	c.epoch.Add(1)
	for i := range c.shards {
		c.shards[i].clear()
	}
}

// A Scope is what can change.
type Scope uint16

// NoteScope is one note. It is strict: while it is being written nothing is
// kept of it, and everybody reads the database.
func (c *Cache) NoteScope(owner, id string) Scope { return c.scope('n', owner, id) }

// ListScope is all of a person's notes, in their order. It is lenient, for
// somebody who writes all the time would never have a list kept: what was kept
// before a change serves until the change is done, or somebody may have seen it.
func (c *Cache) ListScope(owner string) Scope { return c.scope('l', owner, "") }

// SessionScope is one session, UserScope all of a person's.
func (c *Cache) SessionScope(key string) Scope { return c.scope('s', key, "") }

// UserScope is all sessions of a person.
func (c *Cache) UserScope(user string) Scope { return c.scope('u', user, "") }

// AnySession is all sessions of everybody.
func (c *Cache) AnySession() Scope { return c.scope('a', "", "") }

func (c *Cache) scope(kind byte, a, b string) Scope {
	h := maphash.String(c.seed, a) ^ uint64(kind)*0x9E3779B97F4A7C15
	if b != "" {
		h = h*31 + maphash.String(c.seed, b)
	}
	return Scope((h ^ h>>32 ^ h>>16) % uint64(len(c.stripes)))
}

// now is the time that entries are dated by.
func (c *Cache) now() time.Duration { return time.Since(c.began) }

// Get returns what is kept under key, if it can be used.
func (c *Cache) Get(key Key) (value any, ok bool) {
	n := &c.counts[key.Kind]
	if value, ok = c.Look(key); ok {
		n.hits.Add(1)
	} else {
		n.misses.Add(1)
	}
	return value, ok
}

// Look is Get without being counted as a question.
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

// fresh reports whether nothing has happened to what e is a copy of.
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

// A mark is a scope at a version.
type mark struct {
	version uint64
	scope   Scope
}

// A View is the state of a scope before something was read of it. What was read
// can be put as long as the view holds.
type View struct {
	mark
	epoch uint64
	clean bool // nothing was being written
}

// View looks at a scope; call it before reading.
func (c *Cache) View(scope Scope) View {
	epoch := c.epoch.Load()
	s := &c.stripes[scope]
	s.mu.Lock()
	defer s.mu.Unlock()
	return View{mark{s.version.Load(), scope}, epoch, s.writing == 0}
}

// Holds reports whether nothing has been written, nor was being written, since
// the view was taken.
func (c *Cache) Holds(v View) bool {
	s := &c.stripes[v.scope]
	s.mu.Lock()
	defer s.mu.Unlock()
	return v.holds(s) && v.epoch == c.epoch.Load()
}

// holds is for a stripe that is locked.
func (v View) holds(s *stripe) bool {
	return v.clean && s.writing == 0 && s.version.Load() == v.version
}

// Settle is called after a read of a lenient scope, before its result is shown
// to anybody. If that may have seen a change which is not done, what was kept
// before is older: it is dropped. The view that Settle returns serves to put the result.
func (c *Cache) Settle(v View) View {
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

// Saw is called when something was read of a strict scope and is to be shown to somebody. If it may be a
// change that is not done, what was kept of the lenient one before is older: it is dropped.
func (c *Cache) Saw(strict, lenient Scope) {
	s := &c.stripes[strict]
	s.mu.Lock()
	writing := s.writing
	s.mu.Unlock()
	if writing > 0 {
		c.Drop(lenient)
	}
}

// Drop makes everything stale that was kept of the scope.
func (c *Cache) Drop(scope Scope) {
	s := &c.stripes[scope]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version.Add(1)
}

// PutNote keeps what was read of a strict scope if the view of it holds.
func (c *Cache) PutNote(key Key, value any, size int, v View) {
	s := &c.stripes[v.scope]
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.holds(s) {
		c.put(key, key.Owner, value, size, v.epoch, v.mark)
	}
}

// PutList keeps what was read of a lenient scope unless it is known to be old. The view is from Settle.
func (c *Cache) PutList(key Key, value any, size int, v View) {
	s := &c.stripes[v.scope]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.version.Load() == v.version {
		c.put(key, key.Owner, value, size, v.epoch, v.mark)
	}
}

// PutSession keeps a session that is one of user's and, in the store of
// sessions, has a key of its own. Whose it is turned out by reading it, so the
// view is of AnySession.
func (c *Cache) PutSession(key Key, value any, size int, sessionKey, user string, v View) {
	session, all := c.SessionScope(sessionKey), c.UserScope(user)
	marks := [2]mark{{c.stripes[session].version.Load(), session}, {c.stripes[all].version.Load(), all}}
	s := &c.stripes[v.scope]
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.holds(s) { // so none has ended since the marks were taken
		c.put(key, user, value, size, v.epoch, marks[0], marks[1])
	}
}

// put stores an entry that is about owner. The caller holds the lock of its scope.
func (c *Cache) put(key Key, owner string, value any, size int, epoch uint64, marks ...mark) {
	hash := c.hash(key)
	c.shardOf(hash).put(key, hash, owner, content{
		value: value,
		size:  int64(size + overhead + len(key.ID)),
		epoch: epoch,
		put:   c.now(),
		marks: [2]mark{marks[0], marks[len(marks)-1]},
	})
}

// A Write is a change under way.
type Write struct {
	c             *Cache
	epoch         uint64
	strict, loose mark
}

// Writing says that from now on a strict scope may change, and with it a lenient one.
// What was kept of the strict one is stale from now on.
func (c *Cache) Writing(strict, lenient Scope) Write {
	return Write{c: c, epoch: c.epoch.Load(), strict: mark{c.begin(strict, 1), strict}, loose: mark{c.begin(lenient, 0), lenient}}
}

// begin returns the version from now on.
func (c *Cache) begin(scope Scope, step uint64) uint64 {
	s := &c.stripes[scope]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing++
	return s.version.Add(step)
}

// Done says that the change can be seen by everybody, or has failed. With a
// value, that is what the strict scope's key is from now on, which is kept unless
// another change was under way meanwhile: nobody knows which of them was the last.
func (w *Write) Done(key Key, value any, size int) {
	w.c.end(w.loose.scope, 1) // first: who finds the new value must not find an older list
	c, s := w.c, &w.c.stripes[w.strict.scope]
	s.mu.Lock()
	defer s.mu.Unlock()
	if value != nil && s.writing == 1 && s.version.Load() == w.strict.version {
		c.put(key, key.Owner, value, size, w.epoch, w.strict)
	} else {
		s.version.Add(1) // for the others that are under way, to whom it has happened
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

// Ending says that one session, or with an empty key all of user's, is about to
// end. The function it returns says that it has.
func (c *Cache) Ending(sessionKey, user string) (done func()) {
	scope := c.SessionScope(sessionKey)
	if sessionKey == "" {
		scope = c.UserScope(user)
	}
	anybody := c.AnySession()
	c.begin(anybody, 1) // first: or a session read before could be put once its scope has moved on
	c.Drop(scope)
	return func() { c.end(anybody, 0) }
}

// Stats is what a cache holds and has been asked for.
type Stats struct {
	Bytes, Limit int64
	Entries      int
	Evicted      uint64
	Trusted      bool
	Kinds        map[string]KindStats
}

// KindStats counts the questions for one kind.
type KindStats struct{ Hits, Misses, Shared uint64 }

// Stats returns the figures of the moment.
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
