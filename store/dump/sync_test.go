package dump

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A file gets its name only once it is on disk. What can't be written there, as a pipe can't, never gets one.
func TestNoNameBeforeSync(t *testing.T) {
	dir := t.TempDir()
	pipe, name := filepath.Join(dir, "pipe"), filepath.Join(dir, "name")
	for what, finish := range map[string]func() error{
		"Finish": func() error {
			f, err := os.OpenFile(pipe, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			return (&File{f, name}).Finish()
		},
		"putInPlace": func() error { return putInPlace(pipe, name) },
	} {
		if err := syscall.Mkfifo(pipe, 0o600); err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
		if err := finish(); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("%s = %v, want the error of fsync", what, err)
		}
		if _, err := os.Lstat(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the file has its name (%v)", what, err)
		}
	}
}
