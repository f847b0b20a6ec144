package dump

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"notesd/store/engine"
)

// intoSQLite restores into a file beside the requested one. That file is then renamed to the
// requested name.
func (r *restore) intoSQLite(ctx context.Context, name string, schema int64) (err error) {
	path, err := engine.SQLitePath(name)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data directory %s can't be made: %w", dir, err)
	}
	lock, err := engine.LockDir(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	if err := engine.CheckOwners(path); err != nil {
		return err
	}
	if err := checkVacant(ctx, path); err != nil {
		return err
	}
	making := path + ".restoring"
	if err := removeSQLite(making); err != nil { // left by a restore that was killed
		return err
	}
	if err := r.fillSQLite(ctx, making, schema); err != nil {
		return errors.Join(err, removeSQLite(making))
	}
	r.done.Engine = engine.SQLite
	return putInPlace(making, path)
}

// checkVacant returns nil if there is no SQLite file at path, or one without accounts. SQLite's
// -wal beside it must be missing or empty: SQLite would apply it to the next file with the name.
func checkVacant(ctx context.Context, path string) error {
	if info, err := os.Stat(path); err == nil && info.Size() > 0 {
		if err := checkUnoccupied(ctx, path); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	if info, err := os.Stat(path + "-wal"); err == nil && info.Size() > 0 {
		return fmt.Errorf("%s-wal belongs to another database: %w", path, ErrOccupied)
	}
	return nil
}

// checkUnoccupied opens the file as its owner does. So when it closes the file as the last
// connection, SQLite merges the files beside it into it.
func checkUnoccupied(ctx context.Context, path string) (err error) {
	db, err := engine.OpenOwn(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	found, err := engine.ReadSchema(ctx, db)
	if err != nil {
		return err
	}
	if found.Version > 0 {
		return refuseOccupied(ctx, db)
	}
	var tables int
	err = db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema`).Scan(&tables)
	if err == nil && tables > 0 {
		err = fmt.Errorf("%w: it is not notesd's", ErrOccupied)
	}
	return err
}

// removeSQLite removes a file, and the files that SQLite keeps beside it, if they exist.
func removeSQLite(path string) error {
	var errs []error
	for _, suffix := range []string{"", "-journal", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// fillSQLite makes the file at path, without syncing to disk: until the file is complete and synced
// it is not used.
func (r *restore) fillSQLite(ctx context.Context, path string, schema int64) (err error) {
	// O_EXCL excludes a link, and a file of another user.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	db, err := engine.OpenOwn(path, "journal_mode(MEMORY)", "synchronous(OFF)", "foreign_keys(1)", "cache_size(-32000)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	m := engine.SQLiteMigrator(quiet, func() (*sql.DB, func() error) { return db, func() error { return nil } })
	if err := m.UpTo(ctx, schema); err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := r.into(ctx, emptySQLite{tx}); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	return r.upgrade(ctx, m, db)
}

type emptySQLite struct{ *sql.Tx }

func (db emptySQLite) insert(ctx context.Context, table string, columns []string, rows [][]any) error {
	statement, err := db.PrepareContext(ctx,
		"INSERT INTO "+table+" ("+strings.Join(columns, ", ")+") VALUES ("+placeholders(len(columns))+")")
	if err != nil {
		return err
	}
	defer statement.Close()
	for _, row := range rows {
		if _, err := statement.ExecContext(ctx, row...); err != nil {
			return err
		}
	}
	return nil
}

// keepKeys sets the last value of AUTOINCREMENT.
func (db emptySQLite) keepKeys(ctx context.Context, last int64) error {
	if _, err := db.ExecContext(ctx, `DELETE FROM sqlite_sequence WHERE name = 'notes'`); err != nil || last == 0 {
		return err
	}
	_, err := db.ExecContext(ctx, `INSERT INTO sqlite_sequence (name, seq) VALUES ('notes', ?)`, last)
	return err
}

// putInPlace syncs a complete file to disk and renames it.
func putInPlace(from, to string) error {
	f, err := os.OpenFile(from, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
