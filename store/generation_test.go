package store_test

import (
	"context"
	"database/sql"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"notesd/internal/testkit"
	"notesd/notes"
	"notesd/store"
	"notesd/store/engine"
)

// crashed is the directory of a store that was killed with a log beside its file:
// what was there while it ran.
func crashed(t *testing.T, s *store.Store, dir string) (left string) {
	t.Helper()
	left = t.TempDir()
	for _, name := range []string{"notes.db", "notes.db-wal"} { // nobody writes meanwhile
		copyFile(t, filepath.Join(dir, name), filepath.Join(left, name))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return left
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

func openFile(t *testing.T, dir string) (*store.Store, error) {
	return store.Open(context.Background(), store.Config{URL: filepath.Join(dir, "notes.db"), Log: testkit.Log(t)})
}

func mustOpenFile(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := openFile(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A -wal file that a killed process has left is applied only to the database file it was written
// for. It would corrupt any other copy.
func TestLeftoverLog(t *testing.T) {
	// A directory with two sound copies of its file, of before, and the log of a run since.
	dir, copies := t.TempDir(), t.TempDir()
	s := mustOpenFile(t, dir)
	owner := mustUser(t, s, "ada@example.org").ID
	note := func(s *store.Store, title string) {
		t.Helper()
		if _, err := s.CreateNote(t.Context(), owner, notes.NewNote{Title: title, Content: strings.Repeat(title, 1000)}); err != nil {
			t.Fatal(err)
		}
	}
	note(s, "first")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	copyFile(t, filepath.Join(dir, "notes.db"), filepath.Join(copies, "two runs before"))
	s = mustOpenFile(t, dir)
	note(s, "second")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	copyFile(t, filepath.Join(dir, "notes.db"), filepath.Join(copies, "at its start"))
	s = mustOpenFile(t, dir)
	note(s, "third")
	vacuumInto(t, filepath.Join(dir, "notes.db"), filepath.Join(copies, "vacuumed since"))
	note(s, "fourth")
	left := crashed(t, s, dir)
	other := t.TempDir()
	if err := mustOpenFile(t, other).Close(); err != nil {
		t.Fatal(err)
	}
	copyFile(t, filepath.Join(other, "notes.db"), filepath.Join(copies, "another database"))
	if err := os.WriteFile(filepath.Join(copies, "empty"), nil, 0o600); err != nil {
		t.Fatal(err)
	}

	tests := []struct {
		name string // of the copy that is put over notes.db; "": none is
		fits bool
	}{
		{"", true},
		{"at its start", true}, // the very file that the log was begun for
		{"two runs before", false},
		{"vacuumed since", false},
		{"another database", false},
		{"empty", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range []string{"notes.db", "notes.db-wal"} {
				copyFile(t, filepath.Join(left, name), filepath.Join(dir, name))
			}
			if test.name != "" {
				copyFile(t, filepath.Join(copies, test.name), filepath.Join(dir, "notes.db"))
			}
			before := files(t, dir)
			s, err := openFile(t, dir)
			if !test.fits {
				if err == nil || !strings.Contains(err.Error(), "was written for another copy of it") {
					t.Errorf("Open = %v, want it refused", err)
				}
				if after := files(t, dir); after["notes.db"] != before["notes.db"] || after["notes.db-wal"] != before["notes.db-wal"] {
					t.Error("the refused start has changed what is there")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := titles(t, s, owner, notes.Query{}); len(got) != 4 {
				t.Errorf("the notes are %v, want all four", got)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// files are the texts of those in dir.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(text)
	}
	return all
}

func vacuumInto(t *testing.T, from, to string) {
	t.Helper()
	db, err := sql.Open("sqlite", from)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("VACUUM INTO ?", to); err != nil {
		t.Fatal(err)
	}
}

// Whenever a process is killed, its log is taken for its own: also while the log
// is copied, and begun anew.
func TestLogGenerations(t *testing.T) {
	dir := t.TempDir()
	s := mustOpenFile(t, dir)
	owner := mustUser(t, s, "ada@example.org").ID
	t.Cleanup(func() { _ = s.Close() })
	content := strings.Repeat("x", 1<<20) // 256 pages, and as many folded
	begun := map[string]bool{}
	for i := 0; len(begun) < 4; i++ {
		if i == 200 {
			t.Fatalf("the log has begun %d times in %d MB, want 4", len(begun), i)
		}
		if _, err := s.CreateNote(t.Context(), owner, notes.NewNote{Title: "note", Content: content}); err != nil {
			t.Fatal(err)
		}
		left := t.TempDir()
		resume := store.PauseCheckpoints(s)
		for _, name := range []string{"notes.db", "notes.db-wal"} {
			copyFile(t, filepath.Join(dir, name), filepath.Join(left, name))
		}
		resume()
		log, err := os.ReadFile(filepath.Join(left, "notes.db-wal"))
		if err != nil {
			t.Fatal(err)
		}
		begun[string(log[16:24])] = true // its salts
		if err := engine.CheckLog(t.Context(), filepath.Join(left, "notes.db")); err != nil {
			t.Fatalf("after note %d: %v", i, err)
		}
		if err := os.RemoveAll(left); err != nil {
			t.Fatal(err)
		}
	}
}
