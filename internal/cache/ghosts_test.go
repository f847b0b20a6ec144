package cache

import "testing"

// A ghost is known until it is taken or as many have come after it as are remembered.
func TestGhosts(t *testing.T) {
	g := ghosts{known: map[uint64]uint64{}}
	take := func(hash uint64, want bool) {
		t.Helper()
		if got := g.take(hash); got != want {
			t.Errorf("take(%d) = %v, want %v", hash, got, want)
		}
	}
	add := func(hashes ...uint64) {
		for _, hash := range hashes {
			g.add(hash, 3)
		}
	}
	take(1, false)
	add(1, 2, 3, 4)
	take(1, false) // the fourth from the end
	take(2, true)
	take(2, false)
	add(2, 5) // now 2 has come twice, and its first coming is forgotten
	take(3, false)
	take(2, true)
	add(6, 6, 6, 7)
	take(6, true)
	take(5, false)
	g.add(8, 0)
	take(7, false)
	take(8, true) // the last is always known
	if len(g.known) != 0 || len(g.order) > 3 {
		t.Errorf("%d known and %d in order are left", len(g.known), len(g.order))
	}
}
