package cache_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"notesd/internal/cache"
)

// sized returns a cache of one shard that is trusted.
func sized(bytes int64) *cache.Cache {
	c := cache.New(cache.Config{Bytes: bytes, MaxAge: time.Hour, Shards: 1})
	c.TrustForever()
	return c
}

// entrySize is what an entry of one of the keys below costs with a value of so many bytes.
func entrySize(value int) int64 {
	return int64(value + cache.Overhead + len(numbered(0).ID))
}

// roomFor is what so many of the keys below cost.
func roomFor(entries, value int) int64 {
	return int64(entries)*entrySize(value) + 8*int64(cache.OwnerCost+len(numbered(0).Owner))
}

// numbered is one of eight people's notes, of whom each has about as many as the others.
func numbered(n int) cache.Key {
	return cache.Key{Kind: cache.Note, Owner: fmt.Sprintf("ada%d", (n%8+8)%8), ID: fmt.Sprintf("%06d", n)}
}

func keepSized(c *cache.Cache, key cache.Key, value any, size int) {
	c.PutNote(key, value, size, c.Snapshot(c.NoteScope(key.Owner, key.ID)))
}

// Whatever is asked of it: a cache holds no more than its limit, counts what it holds, and finds under a
// key only what was put there last. What would not fit in a fourth of it is not kept, nor what was there
// before it, and no more than a fourth is one person's.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shards := rapid.IntRange(1, 3).Draw(t, "shards")
		limit := rapid.Int64Range(0, 12_000).Draw(t, "limit")
		c := cache.New(cache.Config{Bytes: limit, MaxAge: time.Hour, Shards: shards})
		c.TrustForever()
		may := map[cache.Key]int{} // be there
		keys := rapid.Custom(func(t *rapid.T) cache.Key { return numbered(rapid.IntRange(0, 30).Draw(t, "n")) })
		puts := 0
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				key, size := keys.Draw(t, "key"), rapid.IntRange(0, 1500).Draw(t, "size")
				puts++
				keepSized(c, key, puts, size)
				may[key] = puts
				if entrySize(size) > limit/int64(shards)/4 {
					delete(may, key)
				}
			},
			"get": func(t *rapid.T) {
				key := keys.Draw(t, "key")
				value, found := c.Get(key)
				if should, ok := may[key]; found && (!ok || value != should) {
					t.Errorf("Get(%v) = %v, want %v or nothing, and if false nothing: %v", key, value, should, ok)
				} else if !found {
					delete(may, key) // it has left
				}
			},
			"drop": func(t *rapid.T) {
				key := keys.Draw(t, "key")
				c.Drop(c.NoteScope(key.Owner, key.ID))
				delete(may, key)
				if value, found := c.Get(key); found {
					t.Errorf("after Drop Get(%v) = %v", key, value)
				}
			},
			"limit": func(t *rapid.T) {
				limit = rapid.Int64Range(0, 12_000).Draw(t, "limit")
				c.SetLimit(limit)
			},
			"forget": func(*rapid.T) { c.InvalidateAll(); clear(may) },
			"": func(t *rapid.T) {
				st := c.Stats()
				bytes, entries, most, ok := c.Audit()
				if !ok || bytes != st.Bytes || entries != st.Entries {
					t.Errorf("it says %d entries of %d bytes, and holds %d of %d, in order: %v",
						st.Entries, st.Bytes, entries, bytes, ok)
				}
				for owner, bytes := range most {
					if bytes > limit/int64(shards)/4 {
						t.Errorf("%d bytes are kept of %s within %d, want at most a fourth", bytes, owner, limit/int64(shards))
					}
				}
				if st.Bytes > limit || st.Limit > limit {
					t.Errorf("%d bytes are kept within %d, want at most %d", st.Bytes, st.Limit, limit)
				}
				if entries > len(may) {
					t.Errorf("%d entries are kept, want at most %d", entries, len(may))
				}
			},
		})
	})
}

// What is asked for again and again stays while everything else is walked through, several times.
func TestScan(t *testing.T) {
	const room, inUse = 1000, 500
	c := sized(roomFor(room, 100))
	for n := range inUse {
		keepSized(c, numbered(n), n, 100)
		c.Get(numbered(n))
	}
	for n := range 10 * room {
		keepSized(c, numbered(inUse+n), n, 100)
	}
	left := 0
	for n := range inUse {
		if _, ok := c.Get(numbered(n)); ok {
			left++
		}
	}
	if left != inUse {
		t.Errorf("after a walk through %d others %d of %d in use are left, want all", 10*room, left, inUse)
	}
}

// Who comes again soon after it had to leave goes to the main queue and survives a walk there.
func TestGhost(t *testing.T) {
	const room = 1000
	c := sized(roomFor(room, 100))
	keepSized(c, numbered(0), 0, 100)
	others := 0
	walk := func(entries int) {
		for range entries {
			others++
			keepSized(c, numbered(others), others, 100)
		}
	}
	walk(room) // pushes it out of the full cache
	wantNumbered(t, c, 0, false)
	keepSized(c, numbered(0), 0, 100)
	walk(5 * room)
	wantNumbered(t, c, 0, true)
}

// full returns a cache in whose main queue is room for the entries 0 to inUse-1, which are there; the rest is
// the small queue's.
func full(inUse, newcomers int) *cache.Cache {
	c := sized(roomFor(inUse+newcomers, 100))
	for n := range inUse {
		keepSized(c, numbered(n), n, 100)
		for range 3 {
			c.Get(numbered(n))
		}
	}
	for n := range newcomers + 1 { // pushes them into the main queue
		keepSized(c, numbered(-1-n), n, 100)
	}
	return c
}

// Who comes stays until as many others have come as a tenth of the limit holds.
func TestSmallQueue(t *testing.T) {
	const newcomers = 100
	for others, stays := range map[int]bool{newcomers - 1: true, newcomers: false} {
		c := full(9*newcomers, newcomers)
		keepSized(c, numbered(10_000), "newcomer", 100)
		for n := range others {
			keepSized(c, numbered(20_000+n), n, 100)
		}
		wantNumbered(t, c, 10_000, stays)
	}
}

// In the main queue who is asked for there outlives who was asked for only before, and leaves in its turn when
// it is asked for no more.
func TestMainQueue(t *testing.T) {
	const inUse, newcomers = 900, 100
	c := full(inUse, newcomers)
	come := func(from, entries int) {
		for n := range entries {
			keepSized(c, numbered(from+n), n, 100)
			c.Get(numbered(from + n))
		}
	}
	for n := range inUse / 2 {
		c.Get(numbered(n))
	}
	come(10_000, inUse/2+newcomers)
	for n := range inUse {
		wantNumbered(t, c, n, n < inUse/2) // and they are asked for again
	}
	come(20_000, 2*inUse)
	for n := range inUse {
		wantNumbered(t, c, n, false)
	}
}

func wantNumbered(t *testing.T, c *cache.Cache, n int, want bool) {
	t.Helper()
	if _, ok := c.Get(numbered(n)); ok != want {
		t.Errorf("entry %d is there: %v, want %v", n, ok, want)
	}
}

// No more is remembered of those that left than there were entries, however many have left, and however
// they came again.
func TestGhostsAreBounded(t *testing.T) {
	const room = 100
	c := sized(roomFor(room, 100))
	for n := range 100 * room {
		keepSized(c, numbered(n%(10*room)), n, 100)
		keepSized(c, numbered(max(0, n-room-3)), n, 100) // one that has just left
	}
	if known, order := c.Ghosts(); known > room || order > 3*room {
		t.Errorf("%d ghosts take the room of %d, want at most %d and %d", known, order, room, 3*room)
	}
}

// What takes more than a fourth is not kept, and what was there before is gone.
func TestTooLarge(t *testing.T) {
	const limit = 10_000
	fits := limit/4 - int(entrySize(0))
	c := sized(limit)
	keepSized(c, numbered(1), "fits", fits)
	wantNumbered(t, c, 1, true)
	keepSized(c, numbered(2), "does not fit", fits+1)
	wantNumbered(t, c, 2, false)
	keepSized(c, numbered(1), "fits no more", fits+1)
	wantNumbered(t, c, 1, false)
	if st := c.Stats(); st.Bytes != 0 {
		t.Errorf("%d bytes are kept of nothing", st.Bytes)
	}
}

// With a limit of 0 nothing is kept; with another it works again.
func TestSetLimit(t *testing.T) {
	c := sized(10_000)
	for n := range 100 {
		keepSized(c, numbered(n), n, 100)
		c.Get(numbered(n))
	}
	if st := c.Stats(); st.Entries == 0 || st.Evicted == 0 || st.Entries+int(st.Evicted) != 100 {
		t.Errorf("of 100 put %d are there and %d have left", st.Entries, st.Evicted)
	}
	c.SetLimit(0)
	if st := c.Stats(); st.Entries != 0 || st.Bytes != 0 || st.Limit != 0 {
		t.Errorf("with a limit of 0 the cache says %+v", st)
	}
	keepSized(c, numbered(0), 0, 0)
	wantNumbered(t, c, 0, false)
	c.SetLimit(10_000)
	keepSized(c, numbered(0), 0, 100)
	wantNumbered(t, c, 0, true)
}

// A limit that is less than what the owners cost leaves room for some, and ends nothing.
func TestSetLimitOfManyOwners(t *testing.T) {
	const entries = 1000
	each := int64(cache.Overhead + cache.OwnerCost + 3*len(numbered(0).ID))
	key := func(n int) cache.Key { return cache.Key{Owner: numbered(n).ID, ID: numbered(n).ID} }
	c := sized(entries * each)
	for n := range entries {
		keepSized(c, key(n), n, 0)
	}
	limit := entries / 10 * each
	c.SetLimit(limit)
	if st := c.Stats(); st.Entries < entries/20 || st.Bytes > limit {
		t.Errorf("a tenth of the limit keeps %d of %d entries, %d of %d bytes", st.Entries, entries, st.Bytes, limit)
	}
}

// An entry in a full cache costs overhead bytes of heap besides its ID and value, with the ghost of one that has left,
// and its owner costs ownerCost and the name. The maps that hold them grow in steps, and this is between two of them.
func TestOverhead(t *testing.T) {
	const entries = 125_000
	id := func(n int) string { return fmt.Sprintf("%036d", n) }
	for _, test := range []struct {
		name string
		key  func(n int) cache.Key
		most int64 // that is counted of an entry
	}{
		{"eight people's", func(n int) cache.Key { return cache.Key{Owner: id(n % 8), ID: id(n)} }, cache.Overhead + 36},
		{"a person's each", func(n int) cache.Key { return cache.Key{Owner: id(n), ID: id(n)} }, cache.Overhead + 36 + cache.OwnerCost + 36},
	} {
		keys := make([]cache.Key, 3*entries) // they are there already, and the values take no heap
		for n := range keys {
			keys[n] = test.key(n)
		}
		before := heap()
		c := sized(entries * test.most)
		for _, key := range keys {
			keepSized(c, key, true, 0)
		}
		each := float64(heap()-before) / float64(c.Stats().Entries)
		t.Logf("an entry that is %s costs %.0f bytes of %d", test.name, each, test.most)
		if each > 1.05*float64(test.most) || each < 0.9*float64(test.most) {
			t.Errorf("an entry that is %s costs %.0f bytes, want about %d", test.name, each, test.most)
		}
		runtime.KeepAlive(keys)
	}
}

// What is given up is given back: a lower limit frees also most of the maps that held it.
func TestSetLimitFrees(t *testing.T) {
	const entries = 50_000
	keys := make([]cache.Key, 2*entries)
	for n := range keys {
		keys[n] = numbered(n)
	}
	before := heap()
	c := sized(roomFor(entries, 0))
	for _, key := range keys {
		keepSized(c, key, true, 0)
	}
	full := heap() - before
	c.SetLimit(roomFor(entries/10, 0))
	if left := heap() - before; left > full/5 {
		t.Errorf("with a tenth of the limit %d of %d bytes are in use, want at most a fifth", left, full)
	}
	runtime.KeepAlive(keys)
	runtime.KeepAlive(c)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A key that is a part of something long doesn't keep all of that.
func TestKeyIsItsOwn(t *testing.T) {
	c := cache.New(cache.Config{Bytes: 1 << 20, MaxAge: time.Hour, Shards: 1})
	c.TrustForever()
	const keys, long = 200, 1 << 16
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range keys {
		request := fmt.Sprintf("%036d", i) + strings.Repeat("x", long)
		scope := c.NoteScope("owner", request[:36])
		c.PutNote(cache.Key{Kind: cache.Note, Owner: "owner", ID: request[:36]}, i, 0, c.Snapshot(scope))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if n := c.Stats().Entries; n != keys {
		t.Fatalf("%d entries, want %d", n, keys)
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > keys*long/4 {
		t.Errorf("%d entries keep %d bytes alive", keys, grown)
	}
	runtime.KeepAlive(c)
}

// Whatever one person reads, however often, costs others nothing as long as they are within their quarters. What the
// person asks for again and again stays while everything else of theirs is walked through.
func TestQuarter(t *testing.T) {
	const room, others = 4000, 2900
	for _, gets := range []int{0, 5} {
		c := sized(roomFor(room, 100))
		for n := range others { // of eight people
			keepSized(c, numbered(n), n, 100)
		}
		eve := func(n int) cache.Key { return cache.Key{Kind: cache.Note, Owner: "eves", ID: fmt.Sprintf("%06d", n)} }
		inUse := eve(999_999)
		keepSized(c, inUse, "in use", 100)
		for n := range 3 * room {
			keepSized(c, eve(n), n, 100)
			for range gets {
				c.Get(eve(n))
			}
			if _, ok := c.Get(inUse); !ok && gets == 0 {
				t.Fatalf("what is in use is gone after a walk through %d others", n)
			}
		}
		for n := range others {
			wantNumbered(t, c, n, true)
		}
		if _, _, most, ok := c.Audit(); !ok || most["eves"] < room/4*entrySize(100) {
			t.Errorf("of one who reads all the time %d bytes are kept, want a fourth, %d; in order: %v", most["eves"], room/4*entrySize(100), ok)
		}
	}
}

// A person's sessions are part of the quarter.
func TestQuarterOfSessions(t *testing.T) {
	const limit = 100_000
	c := sized(limit)
	for n := range 1000 {
		key := fmt.Sprint("session ", n)
		c.PutSession(cache.Key{Kind: cache.Session, ID: key}, n, 100, key, "eve", c.Snapshot(c.AnySession()))
	}
	if _, _, most, ok := c.Audit(); !ok || most["eve"] > limit/4 || most["eve"] < limit/5 {
		t.Errorf("%d bytes are kept of one person's sessions within %d, want a fourth; in order: %v", most["eve"], limit, ok)
	}
}
