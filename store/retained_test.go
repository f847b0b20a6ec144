package store_test

import (
	"runtime"
	"strings"
	"testing"

	"notesd/notes"
	"notesd/store/storetest"
)

// A large note is not kept in memory by the connection that wrote it. The test runs alone: it counts what is alive.
func TestLargeNoteLeavesMemory(t *testing.T) {
	for _, url := range []string{storetest.SQLite(t), storetest.Postgres(t)} {
		s := storetest.Open(t, url)
		owner := newOwner(t, s)
		live := func() int {
			var m runtime.MemStats
			runtime.GC()
			runtime.GC() // what a sync.Pool keeps survives one
			runtime.ReadMemStats(&m)
			return int(m.HeapAlloc)
		}
		write := func(content string) string {
			n, err := s.CreateNote(t.Context(), owner, notes.NewNote{Title: "note", Content: content})
			if err != nil {
				t.Fatal(err)
			}
			return n.ID
		}
		write("short")
		before := live()
		id := write(strings.Repeat("é", 4<<20))
		if after := live(); after > before+4<<20 {
			t.Errorf("%.20s: %d bytes are alive after a note of 8 MiB was written, %d before", url, after, before)
		}
		// The version that this replaces has the content.
		if _, err := s.ToggleNote(t.Context(), owner, id, notes.FlagPinned); err != nil {
			t.Fatal(err)
		}
		if after := live(); after > before+4<<20 {
			t.Errorf("%.20s: %d bytes are alive after a flag of it changed, %d before", url, after, before)
		}
		runtime.KeepAlive(s)
	}
}
