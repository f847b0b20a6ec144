package store_test

import (
	"sync"
	"testing"
	"time"

	"notesd/store"
	"notesd/store/storetest"
)

func TestSignInFailures(t *testing.T) {
	eachInTime(t, func(t *testing.T, s *store.Store) {
		const window = 15 * time.Minute
		add := func(key string, wantCount int, wantEnds time.Time) {
			t.Helper()
			count, ends, err := s.AddSignInFailure(t.Context(), key, window)
			if err != nil || count != wantCount || !ends.Equal(wantEnds) {
				t.Fatalf("AddSignInFailure(%q) = %d, %v, %v, want %d, %v", key, count, ends, err, wantCount, wantEnds)
			}
		}
		refund := func(key string) {
			t.Helper()
			if err := s.RefundSignInFailure(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
		ends := time.Now().Add(window)
		add("a", 1, ends)
		time.Sleep(window - time.Millisecond)
		add("a", 2, ends) // the window does not move
		add("b", 1, time.Now().Add(window))
		refund("a")
		add("a", 2, ends)
		time.Sleep(time.Millisecond)
		ends = time.Now().Add(window)
		add("a", 1, ends) // a new window
		refund("a")
		refund("a") // one too many
		refund("nothing was ever counted here")
		add("a", 1, ends)
	})
}

// Guesses that come at once each see another count: none slips through.
func TestSignInFailuresParallel(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		const guesses = 50
		var seen sync.Map
		var wg sync.WaitGroup
		for range guesses {
			wg.Go(func() {
				count, _, err := s.AddSignInFailure(t.Context(), "key", time.Hour)
				if _, twice := seen.LoadOrStore(count, true); err != nil || twice || count < 1 || count > guesses {
					t.Errorf("AddSignInFailure = %d, %v, want each of 1 to %d once", count, err, guesses)
				}
			})
		}
		wg.Wait()
	})
}
