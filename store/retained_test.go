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
		write := func(content string) {
			if _, err := s.CreateNote(t.Context(), owner, notes.NewNote{Title: "note", Content: content}); err != nil {
				t.Fatal(err)
			}
		}
		write("short")
		before := live()
		write(strings.Repeat("é", 4<<20))
		if after := live(); after > before+4<<20 {
			t.Errorf("%.20s: %d bytes are alive after a note of 8 MiB was written, %d before", url, after, before)
		}
		runtime.KeepAlive(s)
	}
}
