package dump

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"
)

// ErrExists: a file with the name exists. It stays as it is.
var ErrExists = errors.New("exists already")

// A File is a backup that is being written. It has a temporary name until it is complete, so every
// file with the name of a backup is a complete backup.
type File struct {
	*os.File
	path string
}

// Create begins the file at path, which only its owner can read. It overwrites the partial file of
// a killed process.
func Create(path string) (*File, error) { return create(path, path+".partial") }

// CreateIn begins the file of a backup taken at t in a directory of backups. Only one backup is
// made there at a time. CreateIn makes the directory unless it exists.
func CreateIn(dir string, t time.Time) (*File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return create(filepath.Join(dir, Name(t)), filepath.Join(dir, "notesd.backup.partial"))
}

func create(path, partial string) (*File, error) {
	f, err := os.OpenFile(partial, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("%s is a link, which somebody has put there: remove it", partial)
	}
	if err != nil {
		return nil, err
	}
	if err := claim(f, path); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &File{f, path}, nil
}

// claim locks f for this process and empties it. It fails if another process writes to the file, or
// has given it its final name in the meantime. Therefore it takes the lock before it checks the
// name.
func claim(f *os.File, path string) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("another process writes %s", f.Name())
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	ours, err := f.Stat()
	if err != nil {
		return err
	}
	if err := checkOwner(ours); err != nil {
		return fmt.Errorf("%s %w", f.Name(), err)
	}
	if named, err := os.Lstat(f.Name()); err != nil || !os.SameFile(ours, named) {
		return fmt.Errorf("another process has written %s", path)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("%s %w", path, ErrExists), os.Remove(f.Name()))
	}
	return errors.Join(f.Truncate(0), f.Chmod(0o600)) // a umask may have left fewer rights
}

// checkOwner returns an error for a file that another user has put there and could go on reading.
func checkOwner(info os.FileInfo) error {
	stat, known := info.Sys().(*syscall.Stat_t)
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 ||
		known && (int(stat.Uid) != os.Geteuid() || stat.Nlink != 1) {
		return errors.New("was put there by somebody else: remove it")
	}
	return nil
}

// Path returns the final name of the file.
func (f *File) Path() string { return f.path }

// Finish syncs the file to disk, gives it its final name, and closes it.
func (f *File) Finish() error {
	err := f.Sync()
	if err == nil {
		err = os.Rename(f.Name(), f.path)
	}
	if err != nil {
		return errors.Join(err, f.Discard())
	}
	return errors.Join(f.Close(), SyncDir(filepath.Dir(f.path)))
}

// Discard removes the file.
func (f *File) Discard() error { return errors.Join(os.Remove(f.Name()), f.Close()) }

// SyncDir syncs the names in a directory to disk.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// named matches the name of a backup in a directory of backups. The names sort in the order in
// which the backups were taken.
var named = regexp.MustCompile(`^notesd-\d{8}T\d{6}Z\.backup$`)

// Name returns the name of a backup taken at t in a directory of backups.
func Name(t time.Time) string { return t.UTC().Format("notesd-20060102T150405Z.backup") }

// Prune removes all but the newest keep backups from dir, and returns the names of those it
// removed. It ignores files with other names.
func Prune(dir string, keep int) (removed []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && named.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	for _, name := range names[:max(0, len(names)-keep)] {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			return removed, err
		}
		removed = append(removed, name)
	}
	return removed, nil
}
