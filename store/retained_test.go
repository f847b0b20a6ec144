package store_test

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"notesd/notes"
	"notesd/store/storetest"
)

// A large note is not kept in memory by the connection that wrote it.
func TestLargeNoteLeavesMemory(t *testing.T) {
	storetest.Engines(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		owner := newOwner(t, s)
		defer runtime.KeepAlive(s)
		live := func() int {
			var m runtime.MemStats
			runtime.GC()
			runtime.GC() // what a sync.Pool keeps survives one
			runtime.ReadMemStats(&m)
			return int(m.HeapAlloc)
		}
		if _, err := s.CreateNote(t.Context(), owner, notes.NewNote{Title: "first"}); err != nil {
			t.Fatal(err)
		}
		before := live()
		content := strings.Repeat("é", 4<<20)
		if _, err := s.CreateNote(t.Context(), owner, notes.NewNote{Title: "large", Content: content}); err != nil {
			t.Fatal(err)
		}
		content = ""
		after := live()
		for range 100 { // the other engine may be at the same place
			if after <= before+4<<20 {
				return
			}
			time.Sleep(100 * time.Millisecond)
			after = live()
		}
		t.Errorf("%d bytes are alive after a note of 8 MiB was written, %d before", after, before)
	})
}
