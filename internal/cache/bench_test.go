package cache_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"notesd/internal/cache"
)

// benchmarked returns a cache with so many notes and their keys.
func benchmarked(notes int) (*cache.Cache, []cache.Key) {
	c := cache.New(cache.Config{Bytes: 1 << 30, MaxAge: time.Hour, Shards: 16})
	c.TrustForever()
	keys := make([]cache.Key, notes)
	for n := range keys {
		keys[n] = numbered(n)
		keepSized(c, keys[n], n, 100)
	}
	return c, keys
}

// Finding what is there: one note that all ask for, and any of many.
func BenchmarkGet(b *testing.B) {
	for name, notes := range map[string]int{"one": 1, "many": 1 << 16} {
		b.Run(name, func(b *testing.B) {
			c, keys := benchmarked(notes)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for n := rand.IntN(notes); pb.Next(); n++ {
					if _, ok := c.Get(keys[n%notes]); !ok {
						b.Error("a note is not there")
						return
					}
				}
			})
		})
	}
}

// Putting a note for which another has to leave.
func BenchmarkPutNote(b *testing.B) {
	c, keys := benchmarked(1 << 16)
	c.SetLimit(c.Stats().Bytes / 2)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for n := rand.IntN(len(keys)); pb.Next(); n++ {
			keepSized(c, keys[n%len(keys)], true, 100)
		}
	})
}

// A change from its beginning to its end.
func BenchmarkWriting(b *testing.B) {
	c, keys := benchmarked(1 << 16)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for n := rand.IntN(len(keys)); pb.Next(); n++ {
			key := keys[n%len(keys)]
			w := c.BeginWrite(c.NoteScope(key.Owner, key.ID), c.ListScope(key.Owner))
			w.Done(key, true, 100)
		}
	})
}

// Get allocates nothing, whether there is something or not.
func TestGetAllocatesNothing(t *testing.T) {
	c, keys := benchmarked(100)
	n := 0
	if allocs := testing.AllocsPerRun(1000, func() { c.Get(keys[n%len(keys)]); c.Get(listKey); n++ }); allocs != 0 {
		t.Errorf("Get allocates %v times", allocs)
	}
}
