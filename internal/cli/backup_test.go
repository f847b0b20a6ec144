package cli

import (
	"context"
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
