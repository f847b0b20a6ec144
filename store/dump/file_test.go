package dump_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"notesd/store/dump"
)

// What somebody else has put where a backup begins is neither followed nor kept.
func TestPlanted(t *testing.T) {
	plants := map[string]func(partial, other string) error{
		"a link":          func(partial, other string) error { return os.Symlink(other, partial) },
		"another name of": func(partial, other string) error { return os.Link(other, partial) },
		"a readable file": func(partial, _ string) error { return os.WriteFile(partial, nil, 0o644) },
		"a directory":     func(partial, _ string) error { return os.Mkdir(partial, 0o700) },
		"a dangling link": func(partial, _ string) error { return os.Symlink("nowhere", partial) },
		"a file of others": func(partial, _ string) error {
			return errors.Join(os.WriteFile(partial, nil, 0o600), os.Chown(partial, 65534, 65534))
		},
	}
	for name, plant := range plants {
		t.Run(name, func(t *testing.T) {
			if name == "a file of others" && os.Geteuid() != 0 {
				t.Skip("only root can give files away")
			}
			dir, other := t.TempDir(), filepath.Join(t.TempDir(), "other")
			if err := os.WriteFile(other, []byte("kept"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := plant(filepath.Join(dir, "notesd.backup.partial"), other); err != nil {
				t.Fatal(err)
			}
			f, err := dump.CreateIn(dir, time.Now())
			if err == nil {
				t.Errorf("CreateIn = nil, want an error")
				_ = f.Discard()
			}
			if text, err := os.ReadFile(other); err != nil || string(text) != "kept" {
				t.Errorf("the other file is %q, %v, want it as it was", text, err)
			}
		})
	}
}
