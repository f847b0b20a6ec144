package engine

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// filesTick is longer than the granularity of a file system's clock. If a directory's last change
// is longer ago than filesTick, the next change gives it a different time.
const filesTick = 50 * time.Millisecond

// ownFiles are the files of a SQLite database that this process has open, and the lock file of
// their directory. If one of them is removed or replaced, this process is left with a file without
// a name, and that file is lost when the process ends. Without the lock file, a second process may
// write to the database at the same time.
type ownFiles struct {
	dir     string
	open    []ownFile
	seen    atomic.Pointer[os.FileInfo] // dir when all files were in place; nil: compare compares
	trouble atomic.Pointer[error]       // nil: all were in place at the last comparison
}

type ownFile struct {
	path string
	info os.FileInfo // identifies the open file
}

// remember records the files at their paths as those that are open. SQLite makes no -wal and no
// -shm where the file system does not allow it.
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

// check is the form of compare for before and after each write. It compares the files only if the
// directory has changed since the last comparison.
func (f *ownFiles) check() error {
	if f.dir == "" { // the files are still being opened
		return nil
	}
	seen := f.seen.Load()
	if seen != nil {
		dir, err := os.Stat(f.dir)
		if err == nil && os.SameFile(dir, *seen) && dir.ModTime().Equal((*seen).ModTime()) {
			return nil
		}
	}
	return f.compare()
}

// compare compares the open files with those at their paths.
func (f *ownFiles) compare() error {
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

// An ownConnector makes connections to the files that are open. A connection to files that have
// taken their place is refused: it would read another database.
type ownConnector struct {
	driver.Connector
	files *ownFiles
}

func (c ownConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.files.check(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// err returns what the last comparison found.
func (f *ownFiles) err() error {
	if trouble := f.trouble.Load(); trouble != nil {
		return *trouble
	}
	return nil
}

// FilesInPlace returns nil while the open files of a SQLite database are those at their paths, and
// otherwise why writes are refused. On PostgreSQL it returns nil.
func (d *DB) FilesInPlace() error { return d.files.err() }

// LookAtFiles checks whether the open files of a SQLite database are those at their paths. It
// returns nil if they are: then no other process can write to them.
func (d *DB) LookAtFiles() error { return d.files.compare() }
