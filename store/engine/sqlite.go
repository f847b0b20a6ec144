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

// openSQLite opens the file at cfg.URL, made if need be, for this process
// alone: one connection writes, cfg.MaxConns read beside it.
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
	// As in the builds of SQLite that distributions ship: a commit syncs what is
	// needed to read it again, and not the file's times, which many a file system
	// has to write to its journal (https://github.com/modernc-org/sqlite/issues/10).
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
	d.state.settle(nil)
	return d, nil
}

// IsFile tells whether url names a SQLite file, which one process owns at a time.
func IsFile(url string) bool { return !IsPostgres(url) }

// FilePath returns the path of the SQLite file that url names; "" if it names none.
func FilePath(url string) string {
	if IsPostgres(url) {
		return ""
	}
	path, _ := SQLitePath(url) // Open says what is wrong with it
	return path
}

// FileFits returns ErrSchema if the SQLite file that url names is too new for
// this binary. It changes nothing, and another process may own the file. There
// is nothing against a file that is not there, nor against one that is older.
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
	// The connection that writes is never closed: the last one to be closed removes
	// -wal and -shm, and those that come then are not the ones that were remembered.
	Pool(d.writes).SetConnMaxLifetime(0)
	d.migrator = SQLiteMigrator(d.log, func() (*sql.DB, func() error) {
		d.writeLock <- struct{}{}
		return Pool(d.writes), func() error { <-d.writeLock; return nil }
	})
	if err := d.Migrate(ctx); err != nil {
		return err
	}
	d.reads, err = d.openSQLitePool(path, cfg.MaxConns, cache, "query_only(1)")
	return err
}

// cachePragma sizes the page cache of each connection, in KiB, at SQLite's own
// size or less: all of them never more than cfg allows, while there is a little
// for each. What they don't hold the kernel has in its cache, which can go.
func cachePragma(cfg Config) string {
	const most, least = 2000, 128
	size := int64(most)
	if cfg.CacheBytes > 0 {
		size = min(most, max(least, cfg.CacheBytes>>10/int64(cfg.MaxConns+1)))
	}
	return fmt.Sprintf("cache_size(-%d)", size)
}

// SQLitePath reads the path out of what may be a path or a URL. Where a link is, it is
// the path that the link leads to: SQLite keeps its log there, and there is the lock.
func SQLitePath(name string) (string, error) {
	path := name
	for _, scheme := range []string{"sqlite:", "file:"} {
		rest, ok := strings.CutPrefix(name, scheme)
		if !ok {
			continue
		}
		decoded, err := url.PathUnescape(strings.TrimPrefix(rest, "//"))
		if err != nil || strings.Contains(rest, "?") {
			// The parameters are not repeated: they may be secret.
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

// claimFile locks the file's directory and makes both unless they are there.
// What it makes only the owner can read.
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

// CheckOwners returns an error if SQLite would write to a file of somebody else's.
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

// hideFromOthers makes the file unless it is there, and takes the rights that
// strangers have to it. SQLite gives the files beside it the same mode.
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

// openSQLitePool opens up to conns connections, each with the pragmas: those of
// an Exec would reach one connection only.
func (d *DB) openSQLitePool(path string, conns int, pragmas ...string) (*gorm.DB, error) {
	// Without immediate a transaction that reads first can't wait for its right to write.
	db, err := openSQLiteFile(path, url.Values{"_txlock": {"immediate"}}, pragmas...)
	if err != nil {
		return nil, err
	}
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

// OpenOwn opens the one connection to a file that nobody else uses.
func OpenOwn(path string, pragmas ...string) (*sql.DB, error) {
	db, err := openSQLiteFile(path, url.Values{}, pragmas...)
	if err == nil {
		db.SetMaxOpenConns(1)
	}
	return db, err
}

// openSQLiteFile makes connections that keep their statements prepared.
func openSQLiteFile(path string, params url.Values, pragmas ...string) (*sql.DB, error) {
	connector, err := sqliteConnector(path, params, pragmas...)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(stmtCache{connector}), nil
}

// OpenReadOnly opens a file that is there, and takes no lock: readers and the one
// writer of a SQLite file agree through locks of SQLite's own. What a reader that ends
// last would tidy up is left to the file's owner.
func OpenReadOnly(path string) (*sql.DB, error) {
	connector, err := sqliteConnector(path, url.Values{"mode": {"ro"}}, "query_only(1)")
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// sqliteConnector makes connections to the file, each with the parameters and
// the pragmas.
func sqliteConnector(path string, params url.Values, pragmas ...string) (driver.Connector, error) {
	params.Set("_dqs", "0")      // a column that is not there is an error, not a text
	params.Set("_error_rc", "1") // no older error's text beside this one's code
	params["_pragma"] = append([]string{"busy_timeout(5000)"}, pragmas...)
	name := url.URL{Scheme: "file", Path: path, RawQuery: params.Encode()}
	return sqlite.NewConnector(name.String())
}
