package store_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"notesd/notes"
	"notesd/store"
	"notesd/store/dump"
)

// plant puts files and links into a directory as if another user had put them there.
func plant(t *testing.T, names ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	for _, name := range names {
		if err := os.Lchown(name, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
}

// What somebody else has put where the database goes is not used: notes would be
// written where that user can read them, or over a file of ours.
func TestPlantedDatabase(t *testing.T) {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		t.Run("notes.db"+suffix, func(t *testing.T) {
			dir, other := t.TempDir(), filepath.Join(t.TempDir(), "other")
			path := filepath.Join(dir, "notes.db")
			if err := os.WriteFile(path+suffix, nil, 0o666); err != nil {
				t.Fatal(err)
			}
			plant(t, path+suffix)
			if s, err := openFile(t, dir); err == nil || !strings.Contains(err.Error(), "somebody else") {
				t.Errorf("Open beside a stranger's file = %v, want whose it is", err)
				if err == nil {
					_ = s.Close()
				}
			}
			if suffix != "" {
				return // SQLite follows no link here
			}
			if err := errors.Join(os.Remove(path), os.Symlink(other, path)); err != nil {
				t.Fatal(err)
			}
			plant(t, path)
			if s, err := openFile(t, dir); err == nil || !strings.Contains(err.Error(), "somebody else") {
				t.Errorf("Open of a stranger's link = %v, want whose it is", err)
				if err == nil {
					_ = s.Close()
				}
			}
			_, err := dump.Dump(t.Context(), path, func([]byte) error { return nil })
			if err == nil || !strings.Contains(err.Error(), "somebody else") {
				t.Errorf("Snapshot of a stranger's link = %v, want whose it is", err)
			}
			if _, err := os.Lstat(other); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the stranger's link was followed: %v", err)
			}
		})
	}
}

// An operator may link notes.db to another disk: all that belongs to the database is
// there, with the lock, so that two directories with links to it are not served at
// once. A restore leaves the link in place.
func TestLinkedDatabase(t *testing.T) {
	disk := t.TempDir()
	dirs := []string{t.TempDir(), t.TempDir()}
	for _, dir := range dirs {
		if err := os.Symlink(filepath.Join(disk, "mine.db"), filepath.Join(dir, "notes.db")); err != nil {
			t.Fatal(err)
		}
	}
	s, err := openFile(t, dirs[0])
	if err != nil {
		t.Fatal(err)
	}
	owner := mustUser(t, s, "ada@example.org").ID
	if other, err := openFile(t, dirs[1]); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second Open of the file by another link = %v, want that it is in use", err)
		if err == nil {
			_ = other.Close()
		}
	}
	if err := os.Remove(filepath.Join(disk, "mine.db-wal")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateNote(t.Context(), owner, notes.NewNote{Title: "x"}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("CreateNote without the log = %v, want ErrUnavailable", err)
	}
	_ = s.Close()

	var saved [][]byte
	source := filepath.Join(t.TempDir(), "source.db")
	if s, err = store.Open(t.Context(), store.Config{URL: source}); err != nil {
		t.Fatal(err)
	}
	mustUser(t, s, "eve@example.org")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := dump.Dump(t.Context(), source, func(line []byte) error {
		saved = append(saved, []byte(string(line)))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	next := func() ([]byte, error) {
		if len(saved) == 0 {
			return nil, io.EOF
		}
		line := saved[0]
		saved = saved[1:]
		return line, nil
	}
	for _, name := range []string{"mine.db", "mine.db-wal", "mine.db-shm"} {
		_ = os.Remove(filepath.Join(disk, name))
	}
	if _, err := dump.Restore(t.Context(), filepath.Join(dirs[0], "notes.db"), next, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if target, err := os.Readlink(filepath.Join(dirs[0], "notes.db")); err != nil || target != filepath.Join(disk, "mine.db") {
		t.Errorf("after the restore the link is %q, %v", target, err)
	}
	if _, err := os.Stat(filepath.Join(disk, "mine.db")); err != nil {
		t.Errorf("the restored file: %v", err)
	}
}
