package cli

import (
	"errors"
	"strings"
	"testing"

	"notesd/notes"
	"notesd/store"
)

func TestUserQuota(t *testing.T) {
	dir := t.TempDir()
	environ := []string{"DATA_DIR=" + dir, "QUOTA_MB=50"}
	user := func(args string) (string, error) {
		var out strings.Builder
		err := User(t.Context(), Process{Environ: environ, Out: &out}, strings.Fields(args))
		return out.String(), err
	}
	if _, err := user("add ada@example.com"); err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), store.Config{URL: dir + "/notes.db"})
	if err != nil {
		t.Fatal(err)
	}
	ada, err := db.UserByEmail(t.Context(), "ada@example.com")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.CreateNote(t.Context(), ada.ID, notes.NewNote{Title: "t", Content: strings.Repeat("x", 3<<19)}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ args, says string }{
		{"quota ada@example.com", "1 note (no limit) and takes 3.0 MB (at most 50), its history 0.0 MB"},
		{"quota ada@example.com -notes 7", "1 note (at most 7) and takes 3.0 MB (at most 50), its history 0.0 MB"},
		{"quota -mb 2 ada@example.com", "1 note (at most 7) and takes 3.0 MB (at most 2), its history 0.0 MB"},
		{"quota ada@example.com -notes none -mb none", "1 note (no limit) and takes 3.0 MB (no limit), its history 0.0 MB"},
		{"quota ada@example.com -mb 0", "1 note (no limit) and takes 3.0 MB (at most 0), its history 0.0 MB"},
		{"quota ada@example.com -notes default -mb default", "1 note (no limit) and takes 3.0 MB (at most 50), its history 0.0 MB"},
	} {
		if said, err := user(test.args); err != nil || said != "ada@example.com has "+test.says+"\n" {
			t.Errorf("notesd user %s says %q, %v; want %q", test.args, said, err, test.says)
		}
	}
	for _, args := range []string{"quota", "quota ada@example.com -notes many", "quota ada@example.com -mb -1",
		"quota ada@example.com -mb 1.5", "quota ada@example.com -notes 1000000001", "reset ada@example.com -notes 1", "list -mb 1"} {
		if said, err := user(args); !errors.Is(err, errUsage) {
			t.Errorf("notesd user %s says %q, %v; want that it is misused", args, said, err)
		}
	}
	if _, err := user("quota eve@example.com"); err == nil {
		t.Error("there is a quota of nobody")
	}
}
