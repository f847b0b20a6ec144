package cache_test

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"notesd/internal/cache"
)

var (
	key      = cache.Key{Kind: cache.Note, Owner: "ada", ID: "1"}
	otherKey = cache.Key{Kind: cache.Note, Owner: "bob", ID: "1"}
	listKey  = cache.Key{Kind: cache.List, Owner: "ada", ID: "newest"}
	config   = cache.Config{Bytes: 1 << 20, MaxAge: time.Hour, Shards: 1}
)

// newCache returns a cache that is trusted.
func newCache() *cache.Cache {
	c := cache.New(config)
	c.TrustForever()
	return c
}

func noteScope(c *cache.Cache) cache.Scope { return c.NoteScope(key.Owner, key.ID) }

func listScope(c *cache.Cache) cache.Scope { return c.ListScope(key.Owner) }

// writing says that the note is being written.
func writing(c *cache.Cache) cache.Write { return c.BeginWrite(noteScope(c), listScope(c)) }

func want(t *testing.T, c *cache.Cache, key cache.Key, want any) {
	t.Helper()
	if value, ok := c.Get(key); value != want || ok != (want != nil) {
		t.Errorf("Get(%v) = %v, %v, want %v", key, value, ok, want)
	}
}

// Two changes of one note can be done in another order than the database made them in. Then nobody knows
// which value is the note's.
func TestDoneInAnotherOrder(t *testing.T) {
	for _, firstDone := range []int{0, 1} {
		c := newCache()
		writes := []cache.Write{writing(c), writing(c)}
		values := []string{"first", "second"}
		writes[firstDone].Done(key, values[firstDone], 10)
		want(t, c, key, nil)
		writes[1-firstDone].Done(key, values[1-firstDone], 10)
		want(t, c, key, nil)
	}
}

// keep reads the note and puts it.
func keep(c *cache.Cache, key cache.Key, value any) {
	c.PutNote(key, value, 10, c.Snapshot(c.NoteScope(key.Owner, key.ID)))
}

// keepList reads the list and puts it.
func keepList(c *cache.Cache, value any) {
	c.PutList(listKey, value, 10, c.Validate(c.Snapshot(listScope(c))))
}

// What was read of a note is kept unless it was being written at any moment since the view was taken.
func TestPutNote(t *testing.T) {
	var w cache.Write
	begin := func(c *cache.Cache) { w = writing(c) }
	done := func(*cache.Cache) { w.Done(key, nil, 0) }
	write := func(c *cache.Cache) { begin(c); done(c) }
	drop := func(c *cache.Cache) { c.Drop(noteScope(c)) }
	writeAnother := func(c *cache.Cache) { c.BeginWrite(c.NoteScope("bob", "1"), c.ListScope("bob")) }
	for _, when := range []struct {
		name                string
		before, between     func(*cache.Cache)
		kept, holds, reread bool // reread: the next reading is kept
	}{
		{"nothing happens", nothing, nothing, true, true, true},
		{"written before", write, nothing, true, true, true},
		{"being written", begin, nothing, false, false, false},
		{"begun meanwhile", nothing, begin, false, false, false},
		{"done meanwhile", begin, done, false, false, true},
		{"begun and done meanwhile", nothing, write, false, false, true},
		{"dropped before", drop, nothing, true, true, true},
		{"dropped meanwhile", nothing, drop, false, false, true},
		{"all forgotten before", (*cache.Cache).InvalidateAll, nothing, true, true, true},
		{"all forgotten meanwhile", nothing, (*cache.Cache).InvalidateAll, false, false, true},
		{"another note is written", writeAnother, nothing, true, true, true},
	} {
		c := newCache()
		when.before(c)
		v := c.Snapshot(noteScope(c))
		when.between(c)
		if got := c.Holds(v); got != when.holds {
			t.Errorf("%s: Holds = %v, want %v", when.name, got, when.holds)
		}
		c.PutNote(key, "read", 10, v)
		if _, kept := c.Get(key); kept != when.kept {
			t.Errorf("%s: kept = %v, want %v", when.name, kept, when.kept)
		}
		keep(c, key, "again")
		if _, kept := c.Get(key); kept != when.reread {
			t.Errorf("%s: read again, kept = %v, want %v", when.name, kept, when.reread)
		}
	}
}

func nothing(*cache.Cache) {}

// A note that is kept is gone from the moment when it may be written, and its new value is there when that
// is done; a list is there until that is done.
func TestWriting(t *testing.T) {
	c := newCache()
	keep(c, key, "old")
	keep(c, otherKey, "other")
	keepList(c, "old list")
	w := writing(c)
	want(t, c, key, nil)
	want(t, c, listKey, "old list")
	w.Done(key, "new", 10)
	want(t, c, key, "new")
	want(t, c, listKey, nil)
	want(t, c, otherKey, "other")

	keepList(c, "new list")
	w = writing(c)
	w.Done(key, nil, 0) // it failed, or the note is gone
	want(t, c, key, nil)
	want(t, c, listKey, nil)
}

// The value that a change is done with is not kept if anything has happened to the note meanwhile.
func TestDone(t *testing.T) {
	for name, happens := range map[string]func(*cache.Cache){
		"another change begins":           func(c *cache.Cache) { writing(c) },
		"another change begins and fails": func(c *cache.Cache) { w := writing(c); w.Done(key, nil, 0) },
		"another process changes it":      func(c *cache.Cache) { c.Drop(noteScope(c)) },
		"all is forgotten":                (*cache.Cache).InvalidateAll,
	} {
		c := newCache()
		w := writing(c)
		happens(c)
		w.Done(key, "new", 10)
		if value, ok := c.Get(key); ok {
			t.Errorf("%s: Get = %v, want nothing", name, value)
		}
	}
}

// A list that is being read while notes change is kept if it can be taken for what was there when the view
// was taken, or for the latest that anybody has seen.
func TestPutList(t *testing.T) {
	var w cache.Write
	saw := func(c *cache.Cache) { c.Observe(noteScope(c), listScope(c)) }
	begin := func(c *cache.Cache) { w = writing(c) }
	done := func(*cache.Cache) { w.Done(key, nil, 0) }
	settle := func(c *cache.Cache) { c.Validate(c.Snapshot(listScope(c))) } // another list is read and shown
	for _, when := range []struct {
		name                          string
		before, meanwhile, afterwards func(*cache.Cache) // the view, the settling, the put
		kept                          bool
	}{
		{"nothing happens", nothing, nothing, nothing, true},
		{"being written", begin, nothing, nothing, true},
		{"begun meanwhile", nothing, begin, nothing, true},
		{"begun afterwards", nothing, nothing, begin, true},
		{"done before", func(c *cache.Cache) { begin(c); done(c) }, nothing, nothing, true},
		{"done meanwhile", begin, done, nothing, false},
		{"done afterwards", begin, nothing, done, false},
		{"the change seen before", func(c *cache.Cache) { begin(c); saw(c) }, nothing, nothing, true},
		{"the change seen meanwhile", begin, saw, nothing, false},
		{"the change seen afterwards", begin, nothing, saw, false},
		{"the change perhaps seen in a list before", func(c *cache.Cache) { begin(c); settle(c) }, nothing, nothing, true},
		{"the change perhaps seen in a list meanwhile", begin, settle, nothing, false},
		{"the change perhaps seen in a list afterwards", begin, nothing, settle, false},
		{"a note seen that is not written", nothing, saw, saw, true},
		{"another list read, nothing written", settle, settle, settle, true},
		{"dropped meanwhile", nothing, func(c *cache.Cache) { c.Drop(listScope(c)) }, nothing, false},
		{"all forgotten meanwhile", nothing, (*cache.Cache).InvalidateAll, nothing, false},
		{"all forgotten afterwards", nothing, nothing, (*cache.Cache).InvalidateAll, false},
	} {
		c := newCache()
		when.before(c)
		v := c.Snapshot(listScope(c))
		when.meanwhile(c)
		v = c.Validate(v)
		when.afterwards(c)
		c.PutList(listKey, "read", 10, v)
		if _, kept := c.Get(listKey); kept != when.kept {
			t.Errorf("%s: kept = %v, want %v", when.name, kept, when.kept)
		}
	}
}

// What may show a change that is not done makes lists from before it stale; nothing else does.
func TestSeen(t *testing.T) {
	for _, when := range []struct {
		name    string
		writing bool
		sees    func(*cache.Cache)
		kept    bool
	}{
		{"nobody", true, nothing, true},
		{"a note, not written", false, func(c *cache.Cache) { c.Observe(noteScope(c), listScope(c)) }, true},
		{"a note, being written", true, func(c *cache.Cache) { c.Observe(noteScope(c), listScope(c)) }, false},
		{"another note", true, func(c *cache.Cache) { c.Observe(c.NoteScope("ada", "2"), listScope(c)) }, true},
		{"a list, nothing written", false, func(c *cache.Cache) { c.Validate(c.Snapshot(listScope(c))) }, true},
		{"a list, something being written", true, func(c *cache.Cache) { c.Validate(c.Snapshot(listScope(c))) }, false},
		{"a list, since whose reading began something is written", false, func(c *cache.Cache) {
			v := c.Snapshot(listScope(c))
			writing(c)
			c.Validate(v)
		}, false},
		{"another's list", true, func(c *cache.Cache) { c.Validate(c.Snapshot(c.ListScope("bob"))) }, true},
	} {
		c := newCache()
		keepList(c, "before")
		if when.writing {
			writing(c)
		}
		when.sees(c)
		if _, kept := c.Get(listKey); kept != when.kept {
			t.Errorf("seen by %s: kept = %v, want %v", when.name, kept, when.kept)
		}
	}
}

// Who finds the new value of a note finds no list from before it: Done does not keep the value as long as it
// cannot make the list stale.
func TestDoneListFirst(t *testing.T) {
	c := newCache()
	w := writing(c)
	unlock := c.Lock(listScope(c))
	done := make(chan struct{})
	go func() { w.Done(key, "new", 10); close(done) }()
	for end := time.Now().Add(10 * time.Millisecond); time.Now().Before(end); runtime.Gosched() {
		if _, ok := c.Get(key); ok {
			t.Error("the note is found before the list is stale")
			break
		}
	}
	unlock()
	<-done
	want(t, c, key, "new")
}

// What was read of any session before one ends is not to be put with its scope as it is afterwards: BeginEnd
// does not move that on as long as it cannot make the reading stale.
func TestEndingAnySessionFirst(t *testing.T) {
	c := newCache()
	session := cache.Key{Kind: cache.Session, ID: "cookie"}
	c.PutSession(session, "session", 10, "hash", "ada", c.Snapshot(c.AnySession()))
	unlock := c.Lock(c.AnySession())
	begun := make(chan struct{})
	go func() { c.BeginEnd("hash", "ada"); close(begun) }()
	for end := time.Now().Add(10 * time.Millisecond); time.Now().Before(end); runtime.Gosched() {
		if _, ok := c.Get(session); !ok {
			t.Error("the session's scope has moved on before that of any session")
			break
		}
	}
	unlock()
	<-begun
	want(t, c, session, nil)
}

// A list that is known to be old does not take the place of a newer one.
func TestOldListNotPut(t *testing.T) {
	c := newCache()
	v := c.Snapshot(listScope(c))
	w := writing(c)
	w.Done(key, "new", 10)
	keepList(c, "newer")
	c.PutList(listKey, "older", 10, v)
	want(t, c, listKey, "newer")
}

// Forget and Drop make stale what is kept.
func TestDrop(t *testing.T) {
	c := newCache()
	keep(c, key, "note")
	keep(c, otherKey, "other")
	keepList(c, "list")
	c.Drop(noteScope(c))
	want(t, c, key, nil)
	want(t, c, otherKey, "other")
	want(t, c, listKey, "list")
	c.Drop(listScope(c))
	want(t, c, listKey, nil)
	c.InvalidateAll()
	want(t, c, otherKey, nil)
	if st := c.Stats(); st.Bytes != 0 || st.Entries != 0 {
		t.Errorf("after Forget there are %d entries of %d bytes, want none", st.Entries, st.Bytes)
	}
}

// An entry can be used for less than MaxAge, and putting it again begins its time anew.
func TestMaxAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache()
		keep(c, key, "first")
		time.Sleep(config.MaxAge - 1)
		want(t, c, key, "first")
		time.Sleep(time.Nanosecond)
		want(t, c, key, nil)
		if st := c.Stats(); st.Entries != 0 {
			t.Errorf("%d entries are left that were found too old", st.Entries)
		}

		keep(c, key, "second")
		time.Sleep(time.Minute)
		keep(c, key, "third")
		time.Sleep(config.MaxAge - 1)
		want(t, c, key, "third")
		time.Sleep(time.Nanosecond)
		want(t, c, key, nil)
	})
}

// Nothing is found before the first Trust nor from the time on that it named, nor after a gap in trust what was
// kept before its end: in the gap somebody may have read something newer.
func TestTrust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New(config)
		trusted := func(now bool) {
			t.Helper()
			if got := c.Stats().Trusted; got != now {
				t.Errorf("Trusted = %v, want %v", got, now)
			}
		}
		keep(c, key, "kept")
		want(t, c, key, nil)
		trusted(false)
		c.LeaseUntil(time.Now().Add(time.Second))
		want(t, c, key, nil)
		keep(c, key, "kept")
		want(t, c, key, "kept")
		time.Sleep(time.Second - 1)
		want(t, c, key, "kept")
		trusted(true)
		c.LeaseUntil(time.Now().Add(time.Second)) // in time
		want(t, c, key, "kept")
		time.Sleep(time.Second)
		want(t, c, key, nil)
		trusted(false)
		keep(c, key, "kept in the gap")
		c.LeaseUntil(time.Now().Add(time.Second))
		want(t, c, key, nil)
	})
}

// A session is kept unless any has begun to end, somewhere, since the view of all was taken.
func TestPutSession(t *testing.T) {
	session := cache.Key{Kind: cache.Session, ID: "cookie"}
	var end func()
	ending := func(key, user string) func(*cache.Cache) {
		return func(c *cache.Cache) { end = c.BeginEnd(key, user) }
	}
	ended := func(*cache.Cache) { end() }
	endedElsewhere := func(c *cache.Cache) { c.BeginEnd("hash", "ada")() }
	for _, when := range []struct {
		name                          string
		before, meanwhile, afterwards func(*cache.Cache)
		kept                          bool
	}{
		{"nothing happens", nothing, nothing, nothing, true},
		{"it ends meanwhile", nothing, ending("hash", "ada"), nothing, false},
		{"it ends afterwards", nothing, nothing, ending("hash", "ada"), false},
		{"all of hers end meanwhile", nothing, ending("", "ada"), nothing, false},
		{"all of hers end afterwards", nothing, nothing, ending("", "ada"), false},
		{"another is ending", ending("other", "ada"), nothing, nothing, false},
		{"another ends meanwhile", nothing, ending("other", "bob"), ended, false},
		{"another ends afterwards", nothing, nothing, ending("other", "ada"), true},
		{"all of another's end afterwards", nothing, nothing, ending("", "bob"), true},
		{"another has ended", func(c *cache.Cache) { c.BeginEnd("other", "bob")() }, nothing, nothing, true},
		{"it ended before and began anew", endedElsewhere, nothing, nothing, true},
		{"another process ended it meanwhile", nothing, endedElsewhere, nothing, false},
		{"all forgotten meanwhile", nothing, (*cache.Cache).InvalidateAll, nothing, false},
		{"all forgotten afterwards", nothing, nothing, (*cache.Cache).InvalidateAll, false},
	} {
		c := newCache()
		when.before(c)
		v := c.Snapshot(c.AnySession())
		when.meanwhile(c)
		c.PutSession(session, "session", 10, "hash", "ada", v)
		when.afterwards(c)
		if _, kept := c.Get(session); kept != when.kept {
			t.Errorf("%s: kept = %v, want %v", when.name, kept, when.kept)
		}
	}
}

// However many scopes share a stripe, nothing is kept that should not be.
func TestOneStripe(t *testing.T) {
	c := cache.NewNarrow(config, 1)
	c.TrustForever()
	keepList(c, "list")
	keep(c, key, "note")
	w := writing(c)
	want(t, c, key, nil)
	keepList(c, "list")
	c.BeginEnd("hash", "ada")()
	w.Done(key, "new", 10)
	want(t, c, key, nil)
	want(t, c, listKey, nil)
	keep(c, key, "new")
	want(t, c, key, "new")
}

// Stats counts what Get finds and what it does not, by kind; Look is not counted.
func TestStats(t *testing.T) {
	c := newCache()
	keep(c, key, "note")
	c.Get(key)
	c.Get(key)
	c.Get(listKey)
	if value, ok := c.Look(key); value != "note" || !ok {
		t.Errorf("Look = %v, %v, want what Get finds", value, ok)
	}
	c.Drop(noteScope(c))
	c.Get(key)
	if value, ok := c.Look(key); ok {
		t.Errorf("Look = %v, want nothing as Get", value)
	}
	got := c.Stats()
	want := cache.Stats{Limit: config.Bytes, Trusted: true, Kinds: map[string]cache.KindStats{
		"note": {Hits: 2, Misses: 1}, "list": {Misses: 1}, "session": {},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Stats (-want +got):\n%s", diff)
	}
}
