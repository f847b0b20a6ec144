package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"notesd/internal/testkit"
	"notesd/notes"
	"notesd/store"
)

// trusting is an Invalidator that knows how long its copies are good for.
type trusting struct {
	store.NoInvalidator
	mu    sync.Mutex // guards what follows
	until time.Time
}

func (w *trusting) LeaseUntil(until time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.until = until
}

func (w *trusting) trusts() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Before(w.until)
}

// A SQLite database is written to only while its files are those at their paths: no
// write is acknowledged that would end with the process, or that another process
// has not heard of. Reading goes on, but not from memory.
func TestFilesInPlace(t *testing.T) {
	rename := func(from, to string) error { return os.Rename(from, to) }
	tests := []struct {
		name string
		harm func(dir string) error
		well bool // nothing is wrong
	}{
		{name: "notes.db removed", harm: func(dir string) error { return os.Remove(filepath.Join(dir, "notes.db")) }},
		{name: "notes.db replaced", harm: func(dir string) error {
			other := filepath.Join(dir, "other")
			return errors.Join(os.WriteFile(other, []byte("older"), 0o600), rename(other, filepath.Join(dir, "notes.db")))
		}},
		{name: "-wal removed", harm: func(dir string) error { return os.Remove(filepath.Join(dir, "notes.db-wal")) }},
		{name: "-shm removed", harm: func(dir string) error { return os.Remove(filepath.Join(dir, "notes.db-shm")) }},
		{name: "notesd.lock removed", harm: func(dir string) error { return os.Remove(filepath.Join(dir, "notesd.lock")) }},
		{name: "notesd.lock replaced", harm: func(dir string) error {
			lock := filepath.Join(dir, "notesd.lock")
			return errors.Join(os.Remove(lock), os.WriteFile(lock, nil, 0o600))
		}},
		{name: "the directory renamed", harm: func(dir string) error { return rename(dir, dir+".away") }},
		{name: "the directory replaced", harm: func(dir string) error {
			return errors.Join(rename(dir, dir+".away"), os.Mkdir(dir, 0o700))
		}},
		{name: "the directory moved, with a link to it", well: true, harm: func(dir string) error {
			return errors.Join(rename(dir, dir+".away"), os.Symlink(dir+".away", dir))
		}},
		{name: "a file of somebody else's removed", well: true, harm: func(dir string) error {
			other := filepath.Join(dir, "other")
			return errors.Join(os.WriteFile(other, nil, 0o600), os.Remove(other))
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "data")
			witness := &trusting{}
			s, err := store.Open(t.Context(), store.Config{URL: filepath.Join(dir, "notes.db"), Invalidator: witness, Log: testkit.Log(t)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() }) // of what is no longer there
			owner := mustUser(t, s, "ada@example.org").ID
			first, err := s.CreateNote(t.Context(), owner, notes.NewNote{Title: "before"})
			if err != nil {
				t.Fatal(err)
			}
			testkit.Eventually(t, "trust", witness.trusts)
			if err := s.WaitStarted(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := test.harm(dir); err != nil {
				t.Fatal(err)
			}
			_, err = s.CreateNote(t.Context(), owner, notes.NewNote{Title: "after"}) // at once, before any look
			if test.well {
				if err != nil || s.FilesInPlace() != nil {
					t.Errorf("CreateNote = %v, FilesInPlace = %v, want nil", err, s.FilesInPlace())
				}
				return
			}
			if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "removed or replaced") {
				t.Errorf("CreateNote = %v, want ErrUnavailable and why", err)
			}
			if err := s.FilesInPlace(); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("FilesInPlace = %v, want ErrUnavailable", err)
			}
			testkit.Eventually(t, "the end of trust", func() bool { return !witness.trusts() })
			if n, err := s.Note(t.Context(), owner, first.ID); err != nil || n.Title != "before" {
				t.Errorf("Note = %q, %v, want what was written before", n.Title, err)
			}
		})
	}
}

// What was only moved away can be put back, and all is well.
func TestFilesPutBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s, err := store.Open(t.Context(), store.Config{URL: filepath.Join(dir, "notes.db"), Log: testkit.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "a look", func() bool { return s.FilesInPlace() != nil })
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "another look", func() bool { return s.FilesInPlace() == nil })
	mustUser(t, s, "ada@example.org")
}

// Connections come and go, and the files stay the ones that were open first.
func TestFilesStayOpen(t *testing.T) {
	s, err := store.Open(t.Context(), store.Config{URL: filepath.Join(t.TempDir(), "notes.db"), Log: testkit.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	readers, err := s.DB().DB()
	if err != nil {
		t.Fatal(err)
	}
	readers.SetMaxIdleConns(0) // all that read are closed, and made anew
	if err := s.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustUser(t, s, "ada@example.org")
}

// A lock that is a link to somewhere else is none.
func TestLockIsALink(t *testing.T) {
	dir, other := t.TempDir(), filepath.Join(t.TempDir(), "other")
	if err := errors.Join(os.WriteFile(other, []byte("kept"), 0o600), os.Symlink(other, filepath.Join(dir, "notesd.lock"))); err != nil {
		t.Fatal(err)
	}
	if s, err := openFile(t, dir); err == nil {
		t.Error("Open = nil, want an error")
		_ = s.Close()
	}
	if text, err := os.ReadFile(other); err != nil || string(text) != "kept" {
		t.Errorf("the other file is %q, %v, want it as it was", text, err)
	}
}
