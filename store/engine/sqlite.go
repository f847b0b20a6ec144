package engine

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"gorm.io/gorm"
	"modernc.org/sqlite"

	"notesd/internal/owned"
)

// openSQLite opens the file at cfg.URL for this process alone, and makes it if need be. One
// connection writes, and cfg.MaxConns connections read at the same time.
func openSQLite(ctx context.Context, cfg Config) (_ *DB, err error) {
	path, err := SQLitePath(cfg.URL)
	if err != nil {
		return nil, err
	}
	d := &DB{log: cfg.Log, health: health{changed: make(chan struct{}, 1)},
		writeLock: make(chan struct{}, 1), written: make(chan struct{}, 1)}
	d.state.begin()
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	lock, err := claimFile(ctx, path, cfg.LockPatience)
	if err != nil {
		return nil, err
	}
	d.onClose(lock.Release)
	// This is the setting of the SQLite builds that distributions ship. A commit syncs what is
	// needed to read it again, but not the file's times, which many file systems have to write to
	// their journal (https://github.com/modernc-org/sqlite/issues/10).
	if _, err := sqlite.Fdatasync(true); err != nil && !errors.Is(err, sqlite.ErrFdatasyncUnavailable) {
		return nil, err
	}
	if err := d.openSQLitePools(ctx, path, cfg); err != nil {
		return nil, fmt.Errorf("open SQLite file %s: %w", path, err)
	}
	if err := errors.Join(d.beginLog(ctx), d.files.remember(lock, path)); err != nil {
		return nil, fmt.Errorf("open SQLite file %s: %w", path, err)
	}
	d.InBackground(ctx, d.checkpoints)
	d.state.endStart(nil)
	return d, nil
}

// IsFile reports whether url names a SQLite file, which one process owns at a time.
func IsFile(url string) bool { return !IsPostgres(url) }

// FilePath returns the path of the SQLite file that url names; "" if it names none.
func FilePath(url string) string {
	if IsPostgres(url) {
		return ""
	}
	path, _ := SQLitePath(url) // Open reports the error
	return path
}

// FileFits returns ErrSchema if the SQLite file that name names is too new for this binary. It
// changes nothing, and another process may own the file. It returns nil for a file that is missing
// and for one that is older.
func FileFits(ctx context.Context, name string) error {
	path, err := SQLitePath(name)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	db, err := OpenReadOnly(path)
	if err != nil {
		return err
	}
	found, err := ReadSchema(ctx, db)
	if err == nil && found.MinBinary > binary {
		err = found.Fits()
	}
	return errors.Join(Translate(err), db.Close())
}

// openSQLitePools opens the writer, migrates with it, and opens the readers.
func (d *DB) openSQLitePools(ctx context.Context, path string, cfg Config) (err error) {
	cache := cachePragma(cfg)
	d.writes, err = d.openSQLitePool(path, 1, cache, "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)",
		fmt.Sprintf("wal_autocheckpoint(%d)", backstopPages), fmt.Sprintf("journal_size_limit(%d)", LogBytes))
	if err != nil {
		return err
	}
	// The writing connection is never closed. The last connection to be closed removes -wal and
	// -shm, and the files that SQLite makes after that are not the ones that were remembered.
	Pool(d.writes).SetConnMaxLifetime(0)
	d.migrator = SQLiteMigrator(d.log, func() (*sql.DB, func() error) {
		d.writeLock <- struct{}{}
		return Pool(d.writes), func() error { <-d.writeLock; return nil }
	})
	if err := d.Migrate(ctx); err != nil {
		return err
	}
	d.reads, err = d.openSQLitePool(path, cfg.MaxConns, cache, "query_only(1)")
	if err == nil {
		Pool(d.reads).SetConnMaxIdleTime(readerIdle)
	}
	return err
}

// readerIdle is how long a connection that reads stays open without work. Its page cache has up to
// 2 MB, and a burst of requests opens as many connections as there are workers. To open one takes
// half a millisecond, and the kernel still has the pages.
const readerIdle = 15 * time.Second

// cachePragma sets the page cache of each connection, in KiB, to SQLite's own size or less.
// Together the caches never take more than cfg allows, unless that is too little for the least size
// of each. The kernel's page cache holds the other pages, and the kernel can reclaim it.
func cachePragma(cfg Config) string {
	const most, least = 2000, 128
	size := int64(most)
	if cfg.CacheBytes > 0 {
		size = min(most, max(least, cfg.CacheBytes>>10/int64(cfg.MaxConns+1)))
	}
	return fmt.Sprintf("cache_size(-%d)", size)
}

// SQLitePath reads the path out of a path or URL. For a link it returns the path that the link
// leads to, because SQLite keeps its log there, and the lock is there too.
func SQLitePath(name string) (string, error) {
	path := name
	for _, scheme := range []string{"sqlite:", "file:"} {
		rest, ok := strings.CutPrefix(name, scheme)
		if !ok {
			continue
		}
		decoded, err := url.PathUnescape(strings.TrimPrefix(rest, "//"))
		if err != nil || strings.Contains(rest, "?") {
			// The error does not repeat the parameters, which may be secret.
			return "", errors.New("not a path to a SQLite file: parameters are not taken, a % is written %25")
		}
		path = decoded
	}
	switch {
	case path == "", strings.HasSuffix(path, string(filepath.Separator)):
		return "", fmt.Errorf("%q names no SQLite file", name)
	case strings.Contains(path, ":memory:"):
		return "", errors.New("a SQLite database in memory is not supported: name a file")
	case strings.Contains(path, "://"):
		scheme, _, _ := strings.Cut(path, "://") // the rest may hold a password
		return "", fmt.Errorf("no database is known under %s://: it is postgres:// or a path to a SQLite file", scheme)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return owned.Follow(path)
}

// claimFile locks the file's directory. It makes the directory and the file unless they exist. Only
// the owner can read what it makes.
func claimFile(ctx context.Context, path string, patience time.Duration) (*DirLock, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory %s can't be made: %w", dir, err)
	}
	lock, err := awaitDir(ctx, dir, patience)
	if err != nil {
		return nil, err
	}
	if err := cmp.Or(CheckOwners(path), errors.Join(CheckLog(ctx, path), hideFromOthers(path))); err != nil {
		return nil, errors.Join(fmt.Errorf("database file can't be used: %w", err), lock.Release())
	}
	return lock, nil
}

// CheckOwners returns an error if SQLite would write to a file that another user owns.
func CheckOwners(path string) error {
	for _, suffix := range []string{"", "-journal", "-wal", "-shm"} {
		info, err := os.Lstat(path + suffix)
		if err == nil {
			err = owned.Check(path+suffix, info)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// hideFromOthers makes the file unless it exists, and removes the rights that other users have to
// it. SQLite gives the files beside it the same mode.
func hideFromOthers(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Mode()&0o007 != 0 {
		err = f.Chmod(info.Mode().Perm() &^ 0o007)
	}
	return errors.Join(err, f.Close())
}

// openSQLitePool opens up to conns connections, and sets the pragmas on each of them. A pragma sent
// with Exec would reach one connection only.
func (d *DB) openSQLitePool(path string, conns int, pragmas ...string) (*gorm.DB, error) {
	// Without "immediate", a transaction that begins with a read can't wait for the right to write.
	connector, err := sqliteConnector(path, url.Values{"_txlock": {"immediate"}}, pragmas...)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(stmtCache{ownConnector{connector, &d.files}})
	d.onClose(db.Close)
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	db.SetConnMaxLifetime(connLifetime)
	g, err := gorm.Open(sqliteDialect{db}, gormConfig())
	if err != nil {
		return nil, err
	}
	return g, Translate(db.Ping()) // opens the file
}

// OpenOwn opens the one connection to a file that no other process or connection uses.
func OpenOwn(path string, pragmas ...string) (*sql.DB, error) {
	db, err := openSQLiteFile(path, url.Values{}, pragmas...)
	if err == nil {
		db.SetMaxOpenConns(1)
	}
	return db, err
}

// openSQLiteFile opens a pool whose connections keep their statements prepared.
func openSQLiteFile(path string, params url.Values, pragmas ...string) (*sql.DB, error) {
	connector, err := sqliteConnector(path, params, pragmas...)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(stmtCache{connector}), nil
}

// OpenReadOnly opens an existing file, and does not lock its directory. SQLite's own locks keep
// readers and the one writer apart. The reader that ends last leaves the cleanup to the file's
// owner.
func OpenReadOnly(path string) (*sql.DB, error) {
	connector, err := sqliteConnector(path, url.Values{"mode": {"ro"}}, "query_only(1)")
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// sqliteConnector makes connections to the file, each with the parameters and the pragmas.
func sqliteConnector(path string, params url.Values, pragmas ...string) (driver.Connector, error) {
	params.Set("_dqs", "0")      // an unknown column is an error, not a text
	params.Set("_error_rc", "1") // the error has no text of an older error beside its own code
	params["_pragma"] = append([]string{"busy_timeout(5000)"}, pragmas...)
	name := url.URL{Scheme: "file", Path: path, RawQuery: params.Encode()}
	return sqlite.NewConnector(name.String())
}
