// Package store keeps people, their sessions and their notes in one database:
// PostgreSQL, or a SQLite file that one process owns. It knows no HTTP.
//
// Its promises: a method that returns nil has its change on disk; one that
// returns an error has changed nothing, unless the connection broke or the
// context ended in the very moment of the commit; another person's note looks
// like none; and both engines give the same answers. An error is one of
// errors.go's, or the context's, or a defect.
package store

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

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// Config says which database to open and how much of it to use.
type Config struct {
	URL        string       // postgres://…, or a SQLite file's path (sqlite: or file: before it is allowed)
	MaxConns   int          // connections at most; on SQLite those that read. 0: 4
	CacheBytes int64        // that SQLite's page caches may take in all; 0: what it takes itself, 2 MB a connection
	Witness    Witness      // of changes; nil: nobody
	ChannelURL string       // leads to the same PostgreSQL without a pooler in between; "": URL does
	Log        *slog.Logger // nil: slog.Default()
	// QuotaNotes and QuotaBytes are for people without a quota of their own; nil: no limit.
	QuotaNotes, QuotaBytes *int64
	// LockPatience is how long to wait for the data directory of a SQLite file
	// while another process has it.
	LockPatience time.Duration
}

const defaultMaxConns = 4

// connLifetime bounds how long a connection is kept: a moved database is
// found, and what a connection has piled up is let go.
const connLifetime = 30 * time.Minute

// A Store is one open database. Its methods are safe for concurrent use.
type Store struct {
	log      *slog.Logger
	witness  Witness
	postgres bool // the engine, where the SQL must differ
	reads    *gorm.DB
	writes   *gorm.DB // the same pool as reads on PostgreSQL, the one writer on SQLite
	migrator migrator

	// turn is the right to write to SQLite: a channel serves its waiters in
	// order, and the writer's sql.DB, which serves them at random, never sees
	// a second one. Nil on PostgreSQL.
	turn chan struct{}

	written chan struct{} // has an element when the turn has come to an end

	watchdog *watchdog // of the server; nil on SQLite
	files    ownFiles  // of SQLite; none on PostgreSQL
	channel  *channel  // to other processes; nil on SQLite

	committer     committer // of notes
	uncertainties uncertainties
	statements    func(sql string, args []any) // hears of those that gorm doesn't know; nil: nobody

	quotaNotes, quotaBytes *int64 // of people without their own; nil: no limit
	trimEvery              int    // trimEvery, but in tests

	indexRequests chan indexRequest // to the indexer, of searches

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
// whenever it has gone since (see watchdog), every method returns ErrUnavailable
// at once and Ready says why; the first attempts end with Close or ctx.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	cfg.MaxConns = cmp.Or(cfg.MaxConns, defaultMaxConns)
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	if cfg.Witness == nil {
		cfg.Witness = nobody{}
	}
	open := openSQLite
	if isPostgres(cfg.URL) {
		open = openPostgres
	}
	s, err := open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	s.indexRequests = make(chan indexRequest, maxIndexRequests)
	s.trimEvery = trimEvery
	s.inBackground(ctx, s.runIndexer)
	return s, nil
}

// inBackground runs fn until ctx or the store's use ends. Close waits for it.
func (s *Store) inBackground(ctx context.Context, fn func(context.Context)) {
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { fn(ctx) })
	s.onClose(func() error { stop(); running.Wait(); return nil })
}

// Engine names the database, for people to read.
func (s *Store) Engine() string {
	if s.postgres {
		return PostgreSQL
	}
	return SQLite
}

// EngineOf is Engine of the database at a URL.
func EngineOf(url string) string {
	if isPostgres(url) {
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
func (s *Store) Stats() map[string]sql.DBStats {
	if s.postgres {
		return map[string]sql.DBStats{"database": pool(s.reads).Stats()}
	}
	return map[string]sql.DBStats{"reader": pool(s.reads).Stats(), "writer": pool(s.writes).Stats()}
}

// Ready returns nil when the database answers and its schema fits, else why not.
func (s *Store) Ready(ctx context.Context) error {
	_, err := s.SchemaVersion(ctx)
	return err
}

// Writable returns why the database, though it may answer, has lately had no
// place for a write (its disk is full, fails or is read-only), or nil. It asks
// nothing: writes tell.
func (s *Store) Writable() error { return s.writable.err() }

// WaitReady returns nil once the store can be used, ErrSchema, ErrRefused or
// ErrEncoding if it never will be, and when ctx ends first ctx's error with the reason.
func (s *Store) WaitReady(ctx context.Context) error { return s.state.wait(ctx) }

// Close ends the connections once their statements have ended, and releases
// the data directory. Methods called later return ErrUnavailable.
func (s *Store) Close() error {
	s.state.close()
	s.committer.close()
	defer s.uncertainties.endAll()
	if s.turn != nil { // the last write ends first
		s.turn <- struct{}{}
		defer func() { <-s.turn }()
	}
	var errs []error
	for _, undo := range slices.Backward(s.closer) {
		errs = append(errs, undo())
	}
	s.closer = nil
	return errors.Join(errs...)
}

func (s *Store) onClose(undo func() error) { s.closer = append(s.closer, undo) }

// usable returns nil when statements may be sent, else why not.
func (s *Store) usable() error {
	if err := s.state.err(); err != nil || s.watchdog == nil {
		return err
	}
	return s.watchdog.err()
}

// reader is a session of reading queries that end with ctx. Before the store
// is ready its Error is set and no query runs; Row then returns nil, so read
// with Scan, Take, Find or Rows.
func (s *Store) reader(ctx context.Context) *gorm.DB {
	db := s.reads.WithContext(ctx)
	if err := s.usable(); err != nil {
		_ = db.AddError(err)
	}
	return db
}

// write runs fn in one transaction and commits what it did; an error or panic
// of fn takes it back. fn may run again: a transaction that PostgreSQL broke up
// is tried anew. On SQLite it waits for its turn, in order, until ctx ends. The
// error is fn's, in our words.
func (s *Store) write(ctx context.Context, fn func(tx *gorm.DB) error) error {
	return s.attempt(ctx, func(db *gorm.DB) error { return transaction(ctx, db, fn) })
}

// writeOne is write for an fn of one statement, which is a transaction by itself
// and spares PostgreSQL two round trips.
func (s *Store) writeOne(ctx context.Context, fn func(db *gorm.DB) error) error {
	return s.attempt(ctx, fn)
}

// standBack is how long, at most, whoever was broken up lets the other go on: at
// once he might take the first lock again before the other is awake.
const standBack = 20 * time.Millisecond

// attempt runs fn with the right to write, again if PostgreSQL broke it up.
func (s *Store) attempt(ctx context.Context, fn func(db *gorm.DB) error) error {
	if err := s.usable(); err != nil {
		return err
	}
	const attempts = 3
	var err error
	for range attempts {
		if s.postgres {
			err = fn(s.writes.WithContext(ctx))
		} else {
			err = s.inTurn(ctx, fn)
		}
		if !brokenUp(err) || pause(ctx, standBack/2+rand.N(standBack/2)) != nil {
			break
		}
	}
	s.writable.note(err)
	if err != nil && ctx.Err() != nil {
		return ctx.Err() // whatever the driver called it
	}
	return translate(err)
}

// inTurn runs fn on the one SQLite writer when its turn has come. ctx does not
// reach the driver: a statement interrupted halfway takes its transaction and
// the connection with it. A turn is short; what is no longer wanted at the end
// of a transaction is taken back there.
func (s *Store) inTurn(ctx context.Context, fn func(db *gorm.DB) error) error {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.turn }()
	if err := s.files.check(); err != nil {
		return err
	}
	err := fn(s.writes.WithContext(context.WithoutCancel(ctx)))
	if err == nil {
		err = s.files.check() // again: it may be written to a file that has just lost its name
	}
	select {
	case s.written <- struct{}{}:
	default:
	}
	return err
}

// transaction runs fn between BEGIN and COMMIT, or ROLLBACK if fn fails, panics
// or ends its goroutine, or ctx has ended meanwhile.
func transaction(ctx context.Context, db *gorm.DB, fn func(tx *gorm.DB) error, options ...*sql.TxOptions) error {
	tx := db.Begin(options...)
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

// overhear tells who listens of a statement that doesn't go through gorm.
func (s *Store) overhear(sql string, args []any) {
	if s.statements != nil {
		s.statements(sql, args)
	}
}

// now is the time that the tables hold: Unix milliseconds.
func (s *Store) now() int64 { return time.Now().UnixMilli() }

// fromMillis is a table's time as the methods return it.
func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// NewID makes an identifier; later ones sort after earlier ones.
func NewID() string { return uuid.Must(uuid.NewV7()).String() }

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

// pool is the connections under db.
func pool(db *gorm.DB) *sql.DB { return db.ConnPool.(*sql.DB) }
