package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// lockPoll is the interval between attempts to take a lock.
const lockPoll = 10 * time.Millisecond

// ErrInUse is the error for a lock that another process holds.
var ErrInUse = errors.New("in use by notesd")

// A DirLock is an exclusive lock of one process on a data directory. The kernel releases it when
// the process ends, in whichever way.
type DirLock struct{ file *os.File }

// awaitDir is LockDir for a process that expects the lock to become free. It retries until patience
// or ctx ends.
func awaitDir(ctx context.Context, dir string, patience time.Duration) (*DirLock, error) {
	for deadline := time.Now().Add(patience); ; {
		lock, err := LockDir(dir)
		if !errors.Is(err, ErrInUse) || !time.Now().Before(deadline) {
			return lock, err
		}
		if err := Pause(ctx, lockPoll); err != nil {
			return nil, err
		}
	}
}

// LockDir takes the lock on dir. If another process holds it, the error is ErrInUse and names that
// process.
func LockDir(dir string) (*DirLock, error) {
	f, err := os.OpenFile(filepath.Join(dir, "notesd.lock"), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory %s can't be used: %w", dir, err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		holder, _ := io.ReadAll(io.LimitReader(f, 200))
		err = fmt.Errorf("data directory %s is %w (%s), which must be stopped first", dir, ErrInUse,
			cmp.Or(strings.TrimSpace(string(holder)), "it is just starting"))
	} else if err == nil {
		err = signLock(f)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &DirLock{f}, nil
}

// signLock writes the holder of the lock into the lock file, for the next process to read. The file
// is never removed: otherwise two processes could lock two files of the same name.
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

// Release lets another process have the directory.
func (l *DirLock) Release() error { return l.file.Close() }
