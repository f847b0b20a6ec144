package cli

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"notesd/notes"
	"notesd/store"
	"notesd/store/dump"
)

// A note that is longer than BODY_PARSER_LIMIT allows today is backed up, and the backup
// is read again. To restore it one has to say that such notes are right.
func TestBackupOfLongNote(t *testing.T) {
	dir := t.TempDir()
	command := func(data, limit string, args ...string) error {
		environ := []string{"DATA_DIR=" + filepath.Join(dir, data), "BODY_PARSER_LIMIT=" + limit}
		run := map[string]func(context.Context, Process, []string) error{"backup": Backup, "restore": Restore}[args[0]]
		return run(t.Context(), Process{Environ: environ, Out: &strings.Builder{}}, args[1:])
	}
	db, err := store.Open(t.Context(), store.Config{URL: filepath.Join(dir, "data", "notes.db")})
	if err != nil {
		t.Fatal(err)
	}
	user, err := db.CreateUser(t.Context(), "ada@example.com", "Ada", "")
	if err == nil {
		_, err = db.CreateNote(t.Context(), user.ID, notes.NewNote{Title: "long", Content: strings.Repeat("long ", 1<<19)})
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "notes.backup")
	if err := command("data", "10kb", "backup", file); err != nil {
		t.Fatalf("backup = %v", err)
	}
	for _, args := range [][]string{{"backup", "-verify", file}, {"restore", file}} {
		if err := command("other", "10kb", args...); !errors.Is(err, dump.ErrTooLong) || !strings.Contains(err.Error(), "BODY_PARSER_LIMIT") {
			t.Errorf("%s = %v, want ErrTooLong and the name of the setting", args[0], err)
		}
		if err := command("other", "3mb", args...); err != nil {
			t.Errorf("%s with a larger limit = %v", args[0], err)
		}
	}
}

// A restore makes the search index, which no backup has: so the first search is quick.
func TestRestoreIndexes(t *testing.T) {
	dir := t.TempDir()
	db, err := store.Open(t.Context(), store.Config{URL: filepath.Join(dir, "data", "notes.db")})
	if err != nil {
		t.Fatal(err)
	}
	user, err := db.CreateUser(t.Context(), "ada@example.com", "Ada", "")
	if err == nil {
		_, err = db.Import(t.Context(), store.Import{User: user, Notes: func(yield func(notes.Note, error) bool) {
			for range 1000 {
				if !yield(notes.Note{ID: store.NewID(), Title: "a quetzal"}, nil) {
					return
				}
			}
		}})
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "notes.backup")
	for _, command := range []struct {
		data string
		run  func(context.Context, Process, []string) error
	}{{"data", Backup}, {"other", Restore}} {
		p := Process{Environ: []string{"DATA_DIR=" + filepath.Join(dir, command.data)}, Out: &strings.Builder{}}
		if err := command.run(t.Context(), p, []string{file}); err != nil {
			t.Fatal(err)
		}
	}
	restored, err := sql.Open("sqlite", filepath.Join(dir, "other", "notes.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer restored.Close()
	var segments int
	if err := restored.QueryRow("SELECT count(*) FROM search_index WHERE part = 0").Scan(&segments); err != nil || segments != 1 {
		t.Errorf("a restored database has %d segments of an index, %v, want 1", segments, err)
	}
}
