package owned_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"notesd/internal/owned"
)

const stranger = 65534

func give(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.Lchown(name, stranger, stranger); err != nil {
			t.Fatal(err)
		}
	}
}

// What belongs to root, to us or to the directory's owner is followed, and nothing else.
func TestFollow(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(t *testing.T, dir, disk string) // dir/x is followed
		want    string                               // below the root; "": refused
		root    bool                                 // only root can prepare it
	}{
		{"nothing", func(*testing.T, string, string) {}, "dir/x", false},
		{"a file", func(t *testing.T, dir, _ string) { write(t, dir+"/x") }, "dir/x", false},
		{"a link", func(t *testing.T, dir, disk string) { write(t, disk+"/y"); link(t, disk+"/y", dir+"/x") }, "disk/y", false},
		{"a relative link", func(t *testing.T, dir, disk string) { write(t, disk+"/y"); link(t, "../disk/y", dir+"/x") }, "disk/y", false},
		{"a link to a directory", func(t *testing.T, dir, disk string) { link(t, disk+"/", dir+"/x") }, "disk", false},
		{"a link to nothing yet", func(t *testing.T, dir, disk string) { link(t, disk+"/y", dir+"/x") }, "disk/y", false},
		{"a link to a link", func(t *testing.T, dir, disk string) { link(t, disk+"/y", dir+"/x"); link(t, "z", disk+"/y") }, "disk/z", false},
		{"by a linked directory and up", func(t *testing.T, dir, disk string) {
			link(t, disk, dir+"/there")
			link(t, "there/../y", dir+"/x")
		}, "y", false},
		{"a link to nowhere", func(t *testing.T, dir, disk string) { link(t, disk+"/none/y", dir+"/x") }, "", false},
		{"a circle", func(t *testing.T, dir, _ string) { link(t, "x", dir+"/x") }, "", false},
		{"a stranger's file", func(t *testing.T, dir, _ string) { write(t, dir+"/x"); give(t, dir+"/x") }, "", true},
		{"a stranger's link", func(t *testing.T, dir, disk string) { link(t, disk+"/y", dir+"/x"); give(t, dir+"/x") }, "", true},
		{"a link to a stranger's file", func(t *testing.T, dir, disk string) {
			write(t, disk+"/y")
			give(t, disk+"/y")
			link(t, disk+"/y", dir+"/x")
		}, "", true},
		{"a link to a stranger's link", func(t *testing.T, dir, disk string) {
			link(t, disk+"/y", dir+"/x")
			link(t, "z", disk+"/y")
			give(t, disk+"/y")
		}, "", true},
		{"all is one stranger's", func(t *testing.T, dir, disk string) {
			write(t, disk+"/y")
			link(t, disk+"/y", dir+"/x")
			give(t, dir, disk, disk+"/y", dir+"/x")
		}, "disk/y", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.root && os.Geteuid() != 0 {
				t.Skip("only root can give files away")
			}
			root, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			dir, disk := filepath.Join(root, "dir"), filepath.Join(root, "disk")
			if err := errors.Join(os.Mkdir(dir, 0o700), os.Mkdir(disk, 0o700)); err != nil {
				t.Fatal(err)
			}
			test.prepare(t, dir, disk)
			got, err := owned.Follow(filepath.Join(dir, "x"))
			if test.want == "" {
				if err == nil {
					t.Errorf("Follow = %s, want an error", got)
				}
				if test.root && err != nil && !strings.Contains(err.Error(), "somebody else (user id 65534)") {
					t.Errorf("Follow = %v, want whose it is", err)
				}
				return
			}
			if want := filepath.Join(root, test.want); err != nil || got != want {
				t.Errorf("Follow = %s, %v, want %s", got, err, want)
			}
		})
	}
}

func write(t *testing.T, name string) {
	t.Helper()
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}
