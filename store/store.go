// Package store keeps users, their sessions and their notes in one database. The database is
// PostgreSQL, or a SQLite file that one process owns. The package knows no HTTP.
//
// It promises:
//   - A method that returns nil has its change on disk.
//   - A method that returns an error has changed nothing, unless the connection broke or the
//     context ended during the commit itself.
//   - A note of another user looks like a note that does not exist.
//   - Both engines give the same answers.
//
// An error is one of errors.go's, or the context's, or a defect.
package store

import (
	"cmp"
	"context"
	"database/sql"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"notesd/store/delta"
	"notesd/store/engine"
	"notesd/store/pgnotify"
)

// Config says which database to open and how much of it to use.
type Config struct {
	URL         string       // postgres://…, or a path of a SQLite file (also sqlite: or file:)
	MaxConns    int          // maximum number of connections; on SQLite that of readers. 0: 4
	CacheBytes  int64        // bytes for all SQLite page caches; 0: the default, 2 MB a connection
	Invalidator Invalidator  // is told of changes, for caches; nil: none
	Changes     Changes      // is told of changes once they are committed; nil: none
	ChannelURL  string       // the same PostgreSQL without a pooler in between; "": URL is
	Log         *slog.Logger // nil: slog.Default()
	// QuotaNotes and QuotaBytes are for users without a quota of their own; nil: no limit.
	QuotaNotes, QuotaBytes *int64
	// LockPatience is how long to wait for the data directory of a SQLite file while another
	// process holds it.
	LockPatience time.Duration
}

// A Store is one open database. Its methods are safe for concurrent use.
type Store struct {
	db          *engine.DB
	postgres    bool // the engine is PostgreSQL; used where the SQL differs
	identity    string
	log         *slog.Logger
	invalidator Invalidator
	changes     Changes
	notifier    *pgnotify.Notifier // connects to other processes; nil on SQLite

	sizes           atomic.Pointer[Sizes]
	committers      []*groupCommitter // commit mutations of notes: see committerOf
	unknownOutcomes unknownOutcomes
	sqlTrace        func(sql string, args []any) // hears statements that bypass gorm; nil: none

	quotaNotes, quotaBytes *int64        // for users without a quota of their own; nil: no limit
	trimEvery              int           // the constant trimEvery, except in tests
	deltas                 delta.Decoder // of versions

	indexRequests chan indexRequest // from searches to the indexer
	indexLater    chan string       // from writes to the indexer: users whose notes have changed
	started       chan struct{}     // closed once the indexer has looked for what its start has to index
	lookAtFiles   *time.Ticker      // ticks for watchFiles; nil on PostgreSQL
	deletions     chan struct{}     // says that the deletion of an account has begun
}

// Open opens the database that cfg names.
//
// A SQLite file is created, locked and migrated before Open returns, and a failure of that is an
// error. For PostgreSQL Open only parses the URL, and the server may start later. Until the server
// has been reached and its schema fits, and whenever it is gone later, every method returns
// ErrUnavailable at once and Ready says why. The first attempts to connect end with Close or ctx.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	if cfg.Invalidator == nil {
		cfg.Invalidator = noInvalidator{}
	}
	if cfg.Changes == nil {
		cfg.Changes = noChanges{}
	} else {
		cfg.Invalidator = observers{cfg.Invalidator, cfg.Changes}
	}
	s := &Store{
		postgres: engine.IsPostgres(cfg.URL), log: cfg.Log, invalidator: cfg.Invalidator, changes: cfg.Changes,
		quotaNotes: cfg.QuotaNotes, quotaBytes: cfg.QuotaBytes, trimEvery: trimEvery,
		indexRequests: make(chan indexRequest, maxIndexRequests), indexLater: make(chan string, maxIndexRequests),
		deletions: make(chan struct{}, 1), started: make(chan struct{}),
	}
	s.beginCommitters()
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
	s.identity = engine.Identity(cfg.URL)
	if s.postgres && s.listens() {
		// Writes that still run after ctx has ended are announced too.
		s.db.InBackground(context.WithoutCancel(ctx), s.listen)
	}
	if !s.postgres {
		s.lookAtFiles = time.NewTicker(filesEvery)
		s.db.InBackground(ctx, s.watchFiles)
	}
	s.db.InBackground(ctx, s.runIndexer)
	s.db.InBackground(ctx, s.runDeletions)
	return s, nil
}

// Close ends the connections once their statements have ended, and releases the data directory.
// Methods that are called later return ErrUnavailable.
func (s *Store) Close() error {
	s.db.Retire()
	s.closeCommitters()
	defer s.unknownOutcomes.endAll()
	return s.db.Close()
}

// Engine returns the name of the database engine, for display.
func (s *Store) Engine() string { return s.db.Engine() }

// Identity returns engine.Identity of the database.
func (s *Store) Identity() string { return s.identity }

// These are the names of the engines.
const (
	PostgreSQL = engine.PostgreSQL
	SQLite     = engine.SQLite
)

// Stats returns the statistics of the connection pools by name: "database" on PostgreSQL, "reader"
// and "writer" on SQLite.
func (s *Store) Stats() map[string]sql.DBStats { return s.db.Stats() }

// Migrate brings the schema up to date and returns once it fits. It may be called from several
// processes at once, and while others serve. ErrSchema: the schema is too new for this binary.
func (s *Store) Migrate(ctx context.Context) error { return s.db.Migrate(ctx) }

// SchemaVersion returns the number of the newest migration that the database has.
func (s *Store) SchemaVersion(ctx context.Context) (int64, error) { return s.db.SchemaVersion(ctx) }

// traceSQL passes a statement that doesn't go through gorm to s.sqlTrace.
func (s *Store) traceSQL(sql string, args []any) {
	if s.sqlTrace != nil {
		s.sqlTrace(sql, args)
	}
}

// now returns the current time as the tables hold it: Unix milliseconds.
func (s *Store) now() int64 { return time.Now().UnixMilli() }

// fromMillis converts a table's time to the time that the methods return.
func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// NewID makes an identifier (a UUIDv7). Later identifiers sort after earlier ones.
func NewID() string { return uuid.Must(uuid.NewV7()).String() }
