// Package engine opens one database: PostgreSQL, or a SQLite file that one process owns. It brings
// the schema up to date and runs transactions. It knows connections, dialects, migrations and
// files, and how each of them fails. It knows nothing of what the tables hold.
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
	URL        string       // postgres://…, or a path of a SQLite file (also sqlite: or file:)
	MaxConns   int          // maximum number of connections; on SQLite that of readers. 0: 4
	CacheBytes int64        // bytes for all SQLite page caches; 0: the default, 2 MB a connection
	Log        *slog.Logger // nil: slog.Default()
	// LockPatience is how long to wait for the data directory of a SQLite file while another
	// process holds it.
	LockPatience time.Duration
}

const defaultMaxConns = 4

// connLifetime bounds the lifetime of a connection. With it the pool finds a database that has
// moved, and memory that a connection has accumulated is freed.
const connLifetime = 30 * time.Minute

// A DB is one open database. Its methods are safe for concurrent use.
type DB struct {
	log      *slog.Logger
	postgres bool
	reads    *gorm.DB
	writes   *gorm.DB // the same pool as reads on PostgreSQL, the one writer on SQLite
	migrator Migrator

	// writeLock is the lock for writing to SQLite. It is a channel, because a channel serves its
	// waiters in order. The writer's sql.DB would serve its waiters in random order, so it never
	// gets more than one. writeLock is nil on PostgreSQL.
	writeLock chan struct{}

	written chan struct{} // has an element when writeLock was released after a write

	monitor *healthMonitor // watches the server; nil on SQLite
	files   ownFiles       // the open files of SQLite; none on PostgreSQL

	state    state
	health   health
	writable writability
	closer   []func() error // run by Close, the last one first
}

// Open opens the database that cfg names.
//
// A SQLite file is created, locked and migrated before Open returns, and a failure of that is an
// error. For PostgreSQL Open only parses the URL, and the server may start later. Until the server
// has been reached and its schema fits, and whenever it is gone later (see healthMonitor), every
// method returns ErrUnavailable at once and Ready says why. The first attempts to connect end with
// Close or ctx.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	cfg.MaxConns = cmp.Or(cfg.MaxConns, defaultMaxConns)
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	if IsPostgres(cfg.URL) {
		return openPostgres(ctx, cfg)
	}
	return openSQLite(ctx, cfg)
}

// InBackground runs fn until ctx ends or the DB is closed. Close waits for fn, and ends the
// function that began last first.
func (d *DB) InBackground(ctx context.Context, fn func(context.Context)) {
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { fn(ctx) })
	d.onClose(func() error { stop(); running.Wait(); return nil })
}

// Engine returns the name of the database engine, for display.
func (d *DB) Engine() string {
	if d.postgres {
		return PostgreSQL
	}
	return SQLite
}

// Of returns the name of the engine for the database at a URL.
func Of(url string) string {
	if IsPostgres(url) {
		return PostgreSQL
	}
	return SQLite
}

// These are the names of the engines.
const (
	PostgreSQL = "PostgreSQL"
	SQLite     = "SQLite"
)

// Stats returns the statistics of the connection pools by name: "database" on PostgreSQL, "reader"
// and "writer" on SQLite.
func (d *DB) Stats() map[string]sql.DBStats {
	if d.postgres {
		return map[string]sql.DBStats{"database": Pool(d.reads).Stats()}
	}
	return map[string]sql.DBStats{"reader": Pool(d.reads).Stats(), "writer": Pool(d.writes).Stats()}
}

// Ready returns nil when the database answers and its schema fits, and otherwise why not.
func (d *DB) Ready(ctx context.Context) error {
	_, err := d.SchemaVersion(ctx)
	return err
}

// Writable returns an error if the database has lately refused a write for want of space, although
// it may answer: its disk is full, fails or is read-only. Otherwise it returns nil. Writable sends
// no query: it goes by the results of writes.
func (d *DB) Writable() error { return d.writable.err() }

// WaitReady returns nil once the database can be used. It returns ErrSchema, ErrRefused or
// ErrEncoding if the database never will be usable. If ctx ends first, the error is ctx's with the
// reason.
func (d *DB) WaitReady(ctx context.Context) error { return d.state.wait(ctx) }

// Retire makes all later calls return ErrUnavailable. Transactions that have begun go on.
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

// Usable returns nil when statements may be sent, and otherwise why not.
func (d *DB) Usable() error {
	if err := d.state.err(); err != nil || d.monitor == nil {
		return err
	}
	return d.monitor.err()
}

// Reader returns a session for read queries, which end with ctx. Before the database is ready, its
// Error is set and no query runs. Row returns nil then, so read with Scan, Take, Find or Rows.
func (d *DB) Reader(ctx context.Context) *gorm.DB {
	db := d.reads.WithContext(ctx)
	if err := d.Usable(); err != nil {
		_ = db.AddError(err)
	}
	return db
}

// Write runs fn in one transaction and commits it. An error or a panic of fn rolls it back. fn may
// run again, because a transaction that PostgreSQL aborted is retried. On SQLite Write waits for
// writeLock, in order, until ctx ends. The error is that of fn, mapped by Translate.
func (d *DB) Write(ctx context.Context, fn func(tx *gorm.DB) error) error {
	return d.WriteOne(ctx, func(db *gorm.DB) error { return transaction(ctx, db, fn) })
}

// retryJitter is the maximum delay before an aborted transaction is retried. Without the delay the
// transaction might take its first lock again before the winner of the conflict wakes.
const retryJitter = 20 * time.Millisecond

// WriteOne is Write for an fn that is a single transaction by itself, for example one statement. It
// saves PostgreSQL two round trips.
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
	d.writable.record(err)
	if err != nil && ctx.Err() != nil {
		return ctx.Err() // whatever error the driver returned for it
	}
	return Translate(err)
}

// withWriteLock runs fn on the one SQLite writer while it holds writeLock. ctx does not reach the
// driver, because interrupting a statement would break its transaction and its connection. fn holds
// the lock only briefly. If ctx has ended by the end of a transaction, transaction rolls it back.
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
		err = d.files.check() // again: the file may have lost its name since
	}
	select {
	case d.written <- struct{}{}:
	default:
	}
	return err
}

// transaction runs fn between BEGIN and COMMIT. It sends ROLLBACK instead if fn fails, panics or
// ends its goroutine, or if ctx has ended by then.
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

// gormConfig returns the configuration for both engines. gorm's own log stays silent: every error
// is returned, and the caller's request writes the one log line.
func gormConfig() *gorm.Config {
	return &gorm.Config{
		TranslateError: true,
		// Columns are named, so that one that a newer binary adds does not break our prepared
		// statements.
		QueryFields:            true,
		SkipDefaultTransaction: true,
		DisableAutomaticPing:   true,
		NowFunc:                func() time.Time { return time.Now().UTC().Truncate(time.Millisecond) },
		Logger:                 logger.Discard,
	}
}

// Pool returns the connection pool under db.
func Pool(db *gorm.DB) *sql.DB { return db.ConnPool.(*sql.DB) }

// Pause waits for the duration long, or until ctx ends, and returns ctx's error.
func Pause(ctx context.Context, long time.Duration) error {
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return ctx.Err()
}
