package cli

import (
	"strings"
	"testing"
)

// A reset that can't reach Redis has changed the password all the same: it says which it is.
func TestResetWithoutRedis(t *testing.T) {
	environ := []string{"DATA_DIR=" + t.TempDir(), "REDIS_URL=redis://127.0.0.1:1"}
	user := func(args ...string) string {
		t.Helper()
		var out strings.Builder
		if err := User(t.Context(), Process{Environ: environ, Out: &out}, args); err != nil {
			t.Fatalf("notesd user %s = %v", strings.Join(args, " "), err)
		}
		return out.String()
	}
	user("add", "ada@example.com")
	if said := user("unlock", "Ada@example.com"); said != "unlocked Ada@example.com\n" {
		t.Errorf("user unlock says %q", said)
	}
	if said := user("reset", "ada@example.com"); !strings.Contains(said, "reset; its sessions and app tokens are ended: ada@example.com\npassword: ") {
		t.Errorf("user reset says %q, want the password", said)
	}
	if said := user("disable", "ada@example.com"); said != "disabled ada@example.com; its sessions are ended\n" {
		t.Errorf("user disable says %q", said)
	}
	if said := user("enable", "ADA@example.com"); said != "enabled ADA@example.com\n" {
		t.Errorf("user enable says %q", said)
	}
	if said := user("delete", "ada@example.com"); !strings.Contains(said, "deleted ada@example.com") {
		t.Errorf("user delete says %q, want that it is deleted", said)
	}
}
