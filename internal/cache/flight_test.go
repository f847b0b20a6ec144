package cache_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"notesd/internal/cache"
)

// A reader takes a second for each read and counts them.
type reader struct {
	reads atomic.Int64
	err   error
}

func (r *reader) read(cache.Snapshot) (any, error) {
	number := int(r.reads.Add(1))
	time.Sleep(time.Second)
	if r.err != nil {
		return nil, r.err
	}
	return number, nil
}

// bubble is synctest.Test with a cache.
func bubble(t *testing.T, test func(t *testing.T, c *cache.Cache)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newCache()) })
}

func share(t *testing.T, c *cache.Cache, r *reader) (any, error) {
	return c.Share(t.Context(), key, noteScope(c), r.read)
}

// Of those who ask at once one reads, and all have what it found when it has found it.
func TestShare(t *testing.T) {
	bubble(t, func(t *testing.T, c *cache.Cache) {
		var r reader
		began := time.Now()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				value, err := share(t, c, &r)
				if took := time.Since(began); value != 1 || err != nil || took != time.Second {
					t.Errorf("Share = %v, %v after %v, want 1 after 1s", value, err, took)
				}
			})
		}
		wg.Wait()
		if shared := c.Stats().Kinds["note"].Shared; r.reads.Load() != 1 || shared != 99 {
			t.Errorf("%d have read and %d shared, want 1 and 99", r.reads.Load(), shared)
		}
		if value, err := share(t, c, &r); value != 2 || err != nil {
			t.Errorf("Share afterwards = %v, %v, want a read of its own", value, err)
		}
	})
}

// Who has looked before it was put, and asks afterwards, reads nothing.
func TestShareFindsWhatIsKept(t *testing.T) {
	c := newCache()
	keep(c, key, "kept")
	var r reader
	if value, err := share(t, c, &r); value != "kept" || err != nil || r.reads.Load() != 0 {
		t.Errorf("Share = %v, %v after %d reads, want what is kept after none", value, err, r.reads.Load())
	}
	if shared := c.Stats().Kinds["note"].Shared; shared != 1 {
		t.Errorf("%d are counted as shared, want 1", shared)
	}
}

// Who asks for something else reads it.
func TestShareIsByKey(t *testing.T) {
	bubble(t, func(t *testing.T, c *cache.Cache) {
		var r reader
		var wg sync.WaitGroup
		for n := range 10 {
			wg.Go(func() {
				_, _ = c.Share(t.Context(), numbered(n), noteScope(c), r.read)
			})
		}
		wg.Wait()
		if r.reads.Load() != 10 {
			t.Errorf("%d reads of 10 notes, want 10", r.reads.Load())
		}
	})
}

// What fails for one fails for nobody else: the others read for themselves.
func TestShareFails(t *testing.T) {
	mine := errors.New("mine")
	for name, fail := range map[string]func(cache.Snapshot) (any, error){
		"an error":                func(cache.Snapshot) (any, error) { time.Sleep(time.Second); return nil, mine },
		"an error beside a value": func(cache.Snapshot) (any, error) { time.Sleep(time.Second); return "half", mine },
		"a panic":                 func(cache.Snapshot) (any, error) { time.Sleep(time.Second); panic(mine) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, c *cache.Cache) {
				var wg sync.WaitGroup
				wg.Go(func() {
					if err := try(func() error {
						_, err := c.Share(t.Context(), key, noteScope(c), fail)
						return err
					}); err != mine {
						t.Errorf("Share = %v, want %v", err, mine)
					}
				})
				synctest.Wait()
				for range 3 {
					wg.Go(func() {
						var r reader
						if value, err := share(t, c, &r); value != 1 || err != nil || r.reads.Load() != 1 {
							t.Errorf("another's Share = %v, %v, want 1 of its own read", value, err)
						}
					})
				}
				wg.Wait()
			})
		})
	}
}

// try calls fn and returns what it panics with as its error.
func try(fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = v.(error)
		}
	}()
	return fn()
}

// Who waits for another's read waits no longer than its context, and ends nobody else's wait.
func TestShareContext(t *testing.T) {
	bubble(t, func(t *testing.T, c *cache.Cache) {
		var r reader
		var wg sync.WaitGroup
		wg.Go(func() {
			if value, err := share(t, c, &r); value != 1 || err != nil {
				t.Errorf("Share = %v, %v, want 1", value, err)
			}
		})
		synctest.Wait()
		mine, began := errors.New("mine"), time.Now()
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second/2, mine)
		defer cancel()
		_, err := c.Share(ctx, key, noteScope(c), r.read)
		if took := time.Since(began); err != mine || took != time.Second/2 {
			t.Errorf("Share = %v after %v, want %v after 500ms", err, took, mine)
		}
		wg.Wait()
	})
}

// Nobody gets an answer that may be older than the question.
func TestShareIsNotOlder(t *testing.T) {
	note := func(c *cache.Cache) cache.Scope { return noteScope(c) }
	write := func(c *cache.Cache) { w := writing(c); w.Done(key, nil, 0) }
	begin := func(c *cache.Cache) { writing(c) }
	saw := func(c *cache.Cache) { c.Observe(noteScope(c), listScope(c)) }
	settle := func(c *cache.Cache) { c.Validate(c.Snapshot(listScope(c))) }
	for _, when := range []struct {
		name              string
		key               cache.Key
		scope             func(*cache.Cache) cache.Scope
		before, meanwhile func(*cache.Cache)
		shared            bool
	}{
		{"nothing happens to a note", key, note, nothing, nothing, true},
		{"a note was written before", key, note, write, nothing, true},
		{"a note is written meanwhile", key, note, nothing, write, false},
		{"a note begins to be written meanwhile", key, note, nothing, begin, false},
		{"a note is being written", key, note, begin, nothing, false},
		{"a note changes elsewhere", key, note, nothing, func(c *cache.Cache) { c.Drop(noteScope(c)) }, false},
		{"all is forgotten", key, note, nothing, (*cache.Cache).InvalidateAll, false},
		{"nothing happens to a list", listKey, listScope, nothing, nothing, true},
		{"a list is written meanwhile", listKey, listScope, nothing, write, false},
		{"a list is being written, which nobody has seen", listKey, listScope, begin, nothing, true},
		{"a list begins to be written meanwhile, which nobody has seen", listKey, listScope, nothing, begin, true},
		{"a list is being written, which somebody sees", listKey, listScope, begin, saw, false},
		{"a list is being written, which somebody sees in another list", listKey, listScope, begin, settle, false},
		{"all is forgotten while a list is read", listKey, listScope, nothing, (*cache.Cache).InvalidateAll, false},
	} {
		bubble(t, func(t *testing.T, c *cache.Cache) {
			var r reader
			var wg sync.WaitGroup
			ask := func() { _, _ = c.Share(t.Context(), when.key, when.scope(c), r.read) }
			when.before(c)
			wg.Go(ask)
			synctest.Wait()
			when.meanwhile(c)
			wg.Go(ask)
			wg.Wait()
			if shared := r.reads.Load() == 1; shared != when.shared {
				t.Errorf("%s: shared = %v, want %v", when.name, shared, when.shared)
			}
		})
	}
}

// Who asks after a change takes the place of the read from before it: who comes next shares the newer one.
func TestShareTheNewest(t *testing.T) {
	bubble(t, func(t *testing.T, c *cache.Cache) {
		var r reader
		var wg sync.WaitGroup
		ask := func(want int) {
			wg.Go(func() {
				if value, err := share(t, c, &r); value != want || err != nil {
					t.Errorf("Share = %v, %v, want read %d", value, err, want)
				}
			})
			time.Sleep(time.Second / 4)
		}
		ask(1)
		c.Drop(noteScope(c))
		ask(2)
		ask(2)
		time.Sleep(time.Second/4 + 1) // the first has landed
		ask(2)
		wg.Wait()
	})
}

// Without trust everybody reads: what others have changed since a read began may not have been heard of.
func TestShareWithoutTrust(t *testing.T) {
	bubble(t, func(t *testing.T, c *cache.Cache) {
		c.LeaseUntil(time.Now())
		var r reader
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, err := share(t, c, &r); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if r.reads.Load() != 3 {
			t.Errorf("%d have read, want all 3", r.reads.Load())
		}
	})
}
