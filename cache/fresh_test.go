package cache_test

import (
	"testing"
	"time"

	"notesd/cache"
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
func writing(c *cache.Cache) cache.Write { return c.Writing(noteScope(c), listScope(c)) }

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
