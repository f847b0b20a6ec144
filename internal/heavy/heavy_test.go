package heavy

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestDo: as many run at once as there are cores less one, and at least one; and a panic gives the
// turn back.
func TestDo(t *testing.T) {
	defer SetCores(cap(turns) + 1)
	for cores, want := range map[int]int{1: 1, 2: 1, 3: 2, 8: 7} {
		synctest.Test(t, func(t *testing.T) {
			SetCores(cores)
			var running, most int
			var mu sync.Mutex // guards both
			count := func(more int) {
				mu.Lock()
				defer mu.Unlock()
				running += more
				most = max(most, running)
			}
			var all sync.WaitGroup
			for i := range 20 {
				all.Go(func() {
					defer func() { _ = recover() }()
					Do(func() {
						count(1)
						defer count(-1)
						time.Sleep(time.Millisecond)
						if i%2 == 0 {
							panic("on purpose")
						}
					})
				})
			}
			all.Wait()
			if most != want {
				t.Errorf("on %d cores %d ran at once, want %d", cores, most, want)
			}
		})
	}
}

// TestTurns: work in pieces lets others in between two of them.
func TestTurns(t *testing.T) {
	defer SetCores(cap(turns) + 1)
	synctest.Test(t, func(t *testing.T) {
		SetCores(2)
		var order []string
		var all sync.WaitGroup
		for _, name := range []string{"a", "b", "c"} {
			all.Go(func() {
				for range 3 {
					Do(func() {
						order = append(order, name)
						time.Sleep(time.Millisecond)
					})
				}
			})
		}
		all.Wait()
		for i := 3; i < len(order); i++ {
			if order[i] != order[i-3] {
				t.Fatalf("the order is %v, want that each takes its turn", order)
			}
		}
	})
}

func BenchmarkDo(b *testing.B) {
	for b.Loop() {
		Do(func() {})
	}
}
