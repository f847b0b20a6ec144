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
	"log/slog"
	"time"

	"github.com/google/uuid"

	"notesd/store/engine"
	"notesd/store/pgnotify"
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

// A Store is one open database. Its methods are safe for concurrent use.
type Store struct {
	db       *engine.DB
	postgres bool // the engine, where the SQL must differ
	log      *slog.Logger
	witness  Witness
	notifier *pgnotify.Notifier // to other processes; nil on SQLite

	committer     committer // of notes
	uncertainties uncertainties
	statements    func(sql string, args []any) // hears of those that gorm doesn't know; nil: nobody

	quotaNotes, quotaBytes *int64 // of people without their own; nil: no limit
	trimEvery              int    // trimEvery, but in tests

	indexRequests chan indexRequest // to the indexer, of searches
	lookAtFiles   *time.Ticker      // says when to; nil on PostgreSQL
}

// Open opens the database that cfg names.
//
// A SQLite file is created, locked and migrated before Open returns, and what
// stands in the way is an error. For PostgreSQL Open only reads the URL: the
// server may come later. Until it has been reached and its schema fits, and
// whenever it has gone since, every method returns ErrUnavailable at once and
// Ready says why; the first attempts end with Close or ctx.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	if cfg.Witness == nil {
		cfg.Witness = nobody{}
	}
	s := &Store{
		postgres: engine.IsPostgres(cfg.URL), log: cfg.Log, witness: cfg.Witness,
		quotaNotes: cfg.QuotaNotes, quotaBytes: cfg.QuotaBytes, trimEvery: trimEvery,
		indexRequests: make(chan indexRequest, maxIndexRequests),
	}
	s.committer.begin(s)
	var err error
	if s.postgres {
		if s.notifier, err = s.newNotifier(cfg); err != nil {
			return nil, err
		}
	}
	s.db, err = engine.Open(ctx, engine.Config{
		URL: cfg.URL, MaxConns: cfg.MaxConns, CacheBytes: cfg.CacheBytes, Log: cfg.Log, LockPatience: cfg.LockPatience,
	})
	if err != nil {
		return nil, err
	}
	if s.postgres && s.listens() {
		s.db.InBackground(context.WithoutCancel(ctx), s.listen) // what still runs when ctx ends is to be told of
	}
	if !s.postgres {
		s.lookAtFiles = time.NewTicker(filesEvery)
		s.db.InBackground(ctx, s.watchFiles)
	}
	s.db.InBackground(ctx, s.runIndexer)
	return s, nil
}

// Close ends the connections once their statements have ended, and releases
// the data directory. Methods called later return ErrUnavailable.
func (s *Store) Close() error {
	s.db.Retire()
	s.committer.close()
	defer s.uncertainties.endAll()
	return s.db.Close()
}

// Engine names the database, for people to read.
func (s *Store) Engine() string { return s.db.Engine() }

// The engines.
const (
	PostgreSQL = engine.PostgreSQL
	SQLite     = engine.SQLite
)

// Stats returns the figures of the connection pools by name: "database" on
// PostgreSQL, "reader" and "writer" on SQLite.
func (s *Store) Stats() map[string]sql.DBStats { return s.db.Stats() }

// Migrate brings the schema up to date and returns once it fits. It is safe to
// call from several processes at once, and while others serve. ErrSchema: the
// schema is too new for this binary.
func (s *Store) Migrate(ctx context.Context) error { return s.db.Migrate(ctx) }

// SchemaVersion returns the number of the newest migration that the database has.
func (s *Store) SchemaVersion(ctx context.Context) (int64, error) { return s.db.SchemaVersion(ctx) }

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
