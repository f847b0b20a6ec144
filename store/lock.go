package store

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// dirLock is the right of one process to a data directory. The kernel takes
// it back when the process ends, in whichever way.
type dirLock struct{ file *os.File }

// lockDir takes the lock on dir. If another process has it, the error names
// that process.
func lockDir(dir string) (*dirLock, error) {
	f, err := os.OpenFile(filepath.Join(dir, "notesd.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory %s can't be used: %w", dir, err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		holder, _ := io.ReadAll(io.LimitReader(f, 200))
		err = fmt.Errorf("data directory %s is in use by notesd (%s)", dir,
			cmp.Or(strings.TrimSpace(string(holder)), "it is just starting"))
	} else if err == nil {
		err = signLock(f)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &dirLock{f}, nil
}

// signLock writes who holds the lock into its file, for the next process to
// read. The file is never removed: that would let two processes lock two files
// of the same name.
func signLock(f *os.File) error {
	host, err := os.Hostname()
	if err != nil {
		host = "an unnamed host"
	}
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("sign %s: %w", f.Name(), err)
	}
	if _, err := fmt.Fprintf(f, "pid %d on %s\n", os.Getpid(), host); err != nil {
		return fmt.Errorf("sign %s: %w", f.Name(), err)
	}
	return nil
}

func (l *dirLock) release() error { return l.file.Close() }
