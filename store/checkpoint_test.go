package store_test

import (
	"database/sql"
	"os"
	"strings"
	"sync"
	"testing"

	"notesd/internal/testkit"
	"notesd/notes"
	"notesd/store"
	"notesd/store/storetest"
)

// SQLite's log stays short however much is written, but while somebody reads
// what it would have to give up. Afterwards it is short again.
func TestLogStaysShort(t *testing.T) {
	t.Parallel()
	const most = store.LogBytes
	path := storetest.EmptySQLite(t)
	s := storetest.Open(t, path)
	owner := newOwner(t, s)
	logSize := func() int64 {
		t.Helper()
		info, err := os.Stat(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	write := func(size int64) {
		t.Helper()
		const writers, each = 8, 100 << 10
		note := notes.NewNote{Title: "t", Content: strings.Repeat("x", each)}
		var all sync.WaitGroup
		for range writers {
			all.Go(func() {
				for range size / writers / (2 * each) { // once more, folded
					if _, err := s.CreateNote(t.Context(), owner, note); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
	}
	write(2 * most)
	if n := logSize(); n == 0 || n > most {
		t.Errorf("the log has %d bytes, want %d at most", n, most)
	}

	reader, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	tx, err := reader.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var count int
	if err := tx.QueryRow("SELECT count(*) FROM notes").Scan(&count); err != nil {
		t.Fatal(err)
	}
	write(2 * most)
	if n := logSize(); n < 2*most {
		t.Errorf("the log has %d bytes while it is read, want %d at least", n, 2*most)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "short log", func() bool {
		write(2 << 20)
		return logSize() <= most
	})
}
