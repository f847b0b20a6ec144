// Package engine opens one database, PostgreSQL or a SQLite file that one process
// owns, brings its schema up to date, and runs transactions in it. It knows
// connections, dialects, migrations and files, and how each of them fails, and
// nothing of what the tables hold.
package engine

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// Config says which database to open and how much of it to use.
type Config struct {
	URL        string       // postgres://…, or a SQLite file's path (sqlite: or file: before it is allowed)
	MaxConns   int          // connections at most; on SQLite those that read. 0: 4
	CacheBytes int64        // that SQLite's page caches may take in all; 0: what it takes itself, 2 MB a connection
	Log        *slog.Logger // nil: slog.Default()
	// LockPatience is how long to wait for the data directory of a SQLite file
	// while another process has it.
	LockPatience time.Duration
}

const defaultMaxConns = 4

// connLifetime bounds how long a connection is kept: a moved database is
// found, and what a connection has piled up is let go.
const connLifetime = 30 * time.Minute

// A DB is one open database. Its methods are safe for concurrent use.
type DB struct {
	log      *slog.Logger
	postgres bool
	reads    *gorm.DB
	writes   *gorm.DB // the same pool as reads on PostgreSQL, the one writer on SQLite
	migrator Migrator

	// writeLock is the right to write to SQLite: a channel serves its waiters in
	// order, and the writer's sql.DB, which serves them at random, never sees
	// a second one. Nil on PostgreSQL.
	writeLock chan struct{}

	written chan struct{} // has an element when the turn has come to an end

	monitor *healthMonitor // of the server; nil on SQLite
	files   ownFiles       // of SQLite; none on PostgreSQL

	state    state
	health   health
	writable writability
	closer   []func() error // what Close does, last first
}

// Open opens the database that cfg names.
//
// A SQLite file is created, locked and migrated before Open returns, and what
// stands in the way is an error. For PostgreSQL Open only reads the URL: the
// server may come later. Until it has been reached and its schema fits, and
// whenever it has gone since (see healthMonitor), every method returns ErrUnavailable
// at once and Ready says why; the first attempts end with Close or ctx.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	cfg.MaxConns = cmp.Or(cfg.MaxConns, defaultMaxConns)
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	if IsPostgres(cfg.URL) {
		return openPostgres(ctx, cfg)
	}
	return openSQLite(ctx, cfg)
}

// InBackground runs fn until ctx or the database's use ends. Close waits for it,
// and ends what began last first.
func (d *DB) InBackground(ctx context.Context, fn func(context.Context)) {
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { fn(ctx) })
	d.onClose(func() error { stop(); running.Wait(); return nil })
}

// Engine names the database, for people to read.
func (d *DB) Engine() string {
	if d.postgres {
		return PostgreSQL
	}
	return SQLite
}

// Of is Engine of the database at a URL.
func Of(url string) string {
	if IsPostgres(url) {
		return PostgreSQL
	}
	return SQLite
}

// The engines.
const (
	PostgreSQL = "PostgreSQL"
	SQLite     = "SQLite"
)

// Stats returns the figures of the connection pools by name: "database" on
// PostgreSQL, "reader" and "writer" on SQLite.
func (d *DB) Stats() map[string]sql.DBStats {
	if d.postgres {
		return map[string]sql.DBStats{"database": Pool(d.reads).Stats()}
	}
	return map[string]sql.DBStats{"reader": Pool(d.reads).Stats(), "writer": Pool(d.writes).Stats()}
}

// Ready returns nil when the database answers and its schema fits, else why not.
func (d *DB) Ready(ctx context.Context) error {
	_, err := d.SchemaVersion(ctx)
	return err
}

// Writable returns why the database, though it may answer, has lately had no
// place for a write (its disk is full, fails or is read-only), or nil. It asks
// nothing: writes tell.
func (d *DB) Writable() error { return d.writable.err() }

// WaitReady returns nil once the database can be used, ErrSchema, ErrRefused or
// ErrEncoding if it never will be, and when ctx ends first ctx's error with the reason.
func (d *DB) WaitReady(ctx context.Context) error { return d.state.wait(ctx) }

// Retire has methods that are called later return ErrUnavailable. Transactions
// that are under way go on.
func (d *DB) Retire() { d.state.close() }

// Close retires the database, ends the connections once their statements have
// ended, and releases the data directory.
func (d *DB) Close() error {
	d.Retire()
	if d.writeLock != nil { // the last write ends first
		d.writeLock <- struct{}{}
		defer func() { <-d.writeLock }()
	}
	var errs []error
	for _, undo := range slices.Backward(d.closer) {
		errs = append(errs, undo())
	}
	d.closer = nil
	return errors.Join(errs...)
}

func (d *DB) onClose(undo func() error) { d.closer = append(d.closer, undo) }

// Usable returns nil when statements may be sent, else why not.
func (d *DB) Usable() error {
	if err := d.state.err(); err != nil || d.monitor == nil {
		return err
	}
	return d.monitor.err()
}

// Reader is a session of reading queries that end with ctx. Before the database
// is ready its Error is set and no query runs; Row then returns nil, so read
// with Scan, Take, Find or Rows.
func (d *DB) Reader(ctx context.Context) *gorm.DB {
	db := d.reads.WithContext(ctx)
	if err := d.Usable(); err != nil {
		_ = db.AddError(err)
	}
	return db
}

// Write runs fn in one transaction and commits what it did; an error or panic
// of fn takes it back. fn may run again: a transaction that PostgreSQL broke up
// is tried anew. On SQLite it waits for its turn, in order, until ctx ends. The
// error is fn's, as Translate has it.
func (d *DB) Write(ctx context.Context, fn func(tx *gorm.DB) error) error {
	return d.WriteOne(ctx, func(db *gorm.DB) error { return transaction(ctx, db, fn) })
}

// retryJitter is how long, at most, a transaction that was broken up waits before it
// is tried anew: at once it might take the first lock again before the one that it was
// in the way of is awake.
const retryJitter = 20 * time.Millisecond

// WriteOne is Write for an fn that is one transaction by itself, as one statement
// is, which spares PostgreSQL two round trips.
func (d *DB) WriteOne(ctx context.Context, fn func(db *gorm.DB) error) error {
	if err := d.Usable(); err != nil {
		return err
	}
	const attempts = 3
	var err error
	for range attempts {
		if d.postgres {
			err = fn(d.writes.WithContext(ctx))
		} else {
			err = d.withWriteLock(ctx, fn)
		}
		if !IsRetryable(err) || Pause(ctx, retryJitter/2+rand.N(retryJitter/2)) != nil {
			break
		}
	}
	d.writable.note(err)
	if err != nil && ctx.Err() != nil {
		return ctx.Err() // whatever the driver called it
	}
	return Translate(err)
}

// withWriteLock runs fn on the one SQLite writer when its turn has come. ctx does not
// reach the driver: a statement interrupted halfway takes its transaction and
// the connection with it. A turn is short; what is no longer wanted at the end
// of a transaction is taken back there.
func (d *DB) withWriteLock(ctx context.Context, fn func(db *gorm.DB) error) error {
	select {
	case d.writeLock <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-d.writeLock }()
	if err := d.files.check(); err != nil {
		return err
	}
	err := fn(d.writes.WithContext(context.WithoutCancel(ctx)))
	if err == nil {
		err = d.files.check() // again: it may be written to a file that has just lost its name
	}
	select {
	case d.written <- struct{}{}:
	default:
	}
	return err
}

// transaction runs fn between BEGIN and COMMIT, or ROLLBACK if fn fails, panics
// or ends its goroutine, or ctx has ended meanwhile.
func transaction(ctx context.Context, db *gorm.DB, fn func(tx *gorm.DB) error) error {
	tx := db.Begin()
	if tx.Error != nil {
		return tx.Error
	}
	over := false
	defer func() {
		if !over {
			tx.Rollback()
		}
	}()
	if err := fn(tx); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	over = true
	return tx.Commit().Error
}

// gormConfig is the same for both engines. gorm's own log stays silent: every
// error is returned, and the caller's request makes the one log line.
func gormConfig() *gorm.Config {
	return &gorm.Config{
		TranslateError:         true,
		QueryFields:            true, // a column that a newer binary adds must not break our prepared statements
		SkipDefaultTransaction: true,
		DisableAutomaticPing:   true,
		NowFunc:                func() time.Time { return time.Now().UTC().Truncate(time.Millisecond) },
		Logger:                 logger.Discard,
	}
}

// Pool is the connections under db.
func Pool(db *gorm.DB) *sql.DB { return db.ConnPool.(*sql.DB) }

// Pause waits for so long, or until ctx ends, and returns ctx's error.
func Pause(ctx context.Context, long time.Duration) error {
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return ctx.Err()
}
