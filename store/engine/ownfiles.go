package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// filesTick is more than a file system's clock may stand still: what happens to a
// directory that was changed longer ago than that changes its time.
const filesTick = 50 * time.Millisecond

// ownFiles are the files of a SQLite database that this process has open, with the
// lock on their directory. Whoever removes one of them, or puts another in its
// place, leaves this process with a file without a name, which ends with it; and
// without the lock a second process may write beside it.
type ownFiles struct {
	dir     string
	open    []ownFile
	seen    atomic.Pointer[os.FileInfo] // of dir, as it was when all were in place; nil: look
	trouble atomic.Pointer[error]       // nil: all were in place when they were last looked at
}

type ownFile struct {
	path string
	info os.FileInfo // of the file that is open
}

// remember takes the files at their paths for those that are open. SQLite makes no
// -wal and no -shm where the file system does not allow that.
func (f *ownFiles) remember(lock *DirLock, path string) error {
	info, err := lock.file.Stat()
	if err != nil {
		return err
	}
	f.dir, f.open = filepath.Dir(path), []ownFile{{lock.file.Name(), info}}
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(name)
		if errors.Is(err, os.ErrNotExist) && name != path {
			continue
		}
		if err != nil {
			return err
		}
		f.open = append(f.open, ownFile{name, info})
	}
	return nil
}

// check is look for before and after each write: it looks only if the directory has
// changed since the last look.
func (f *ownFiles) check() error {
	if f.dir == "" { // they are being opened
		return nil
	}
	seen := f.seen.Load()
	if seen != nil {
		dir, err := os.Stat(f.dir)
		if err == nil && os.SameFile(dir, *seen) && dir.ModTime().Equal((*seen).ModTime()) {
			return nil
		}
	}
	return f.look()
}

// look compares the files that are open with those at their paths.
func (f *ownFiles) look() error {
	f.seen.Store(nil)
	dir, dirErr := os.Stat(f.dir)
	for _, file := range f.open {
		info, err := os.Stat(file.path)
		if err == nil && os.SameFile(info, file.info) {
			continue
		}
		err = Unavailable(fmt.Errorf("%s was removed or replaced while it is open: writes are refused, and what was "+
			"written before may be lost when this process ends (docs/OPERATIONS.md#notesdfilesreplaced)", file.path))
		f.trouble.Store(&err)
		return err
	}
	f.trouble.Store(nil)
	if dirErr == nil && time.Since(dir.ModTime()) > filesTick {
		f.seen.Store(&dir)
	}
	return nil
}

// err is what the last look found.
func (f *ownFiles) err() error {
	if trouble := f.trouble.Load(); trouble != nil {
		return *trouble
	}
	return nil
}

// FilesInPlace returns nil while the files of a SQLite database that are open are
// those at their paths, or why writes are refused. On PostgreSQL it is nil.
func (d *DB) FilesInPlace() error { return d.files.err() }

// LookAtFiles looks whether the files of a SQLite database that are open are those
// at their paths, and returns nil if they are: nobody else could write to them.
func (d *DB) LookAtFiles() error { return d.files.look() }
