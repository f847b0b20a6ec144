package store

import (
	"cmp"
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations
var migrations embed.FS

const (
	// binary is what a schema's min_binary is compared with. It grows by one
	// with every release that an older one's schema change must wait for.
	binary = 1

	// needsSchema is the oldest schema this binary can work with.
	needsSchema = 4
)

// The lease under which PostgreSQL is migrated: a killed process stands in the
// way for leaseTime at most, a living one renews it every leaseRenewal.
const (
	leaseTime    = 10 * time.Second
	leaseRenewal = 2 * time.Second
	leasePoll    = 200 * time.Millisecond
	leasePolls   = 5 * 60 * 5 // five minutes of them: another's migration may be long
)

// migrator brings a database's schema up to date.
type migrator struct {
	dialect goose.Dialect
	dir     string // of the migrations
	log     *slog.Logger
	// open returns the connections to migrate with and a function that gives
	// them back: goose wants several, and none of the requests'.
	open func() (*sql.DB, func() error)
}

// Migrate brings the schema up to date and returns once it fits. It is safe to
// call from several processes at once, and while others serve. ErrSchema: the
// schema is too new for this binary.
func (s *Store) Migrate(ctx context.Context) error {
	return translate(s.migrator.run(ctx))
}

// SchemaVersion returns the number of the newest migration that the database has.
func (s *Store) SchemaVersion(ctx context.Context) (int64, error) {
	if err := s.usable(); err != nil {
		return 0, err
	}
	found, err := readSchema(ctx, pool(s.reads))
	return found.version, translate(cmp.Or(err, found.fits()))
}

func (m migrator) run(ctx context.Context) (err error) {
	db, done := m.open()
	defer func() { err = errors.Join(err, done()) }()
	if err := m.checkEncoding(ctx, db); err != nil {
		return err
	}
	provider, err := m.provider(db)
	if err != nil {
		return err
	}
	newest := newestMigration(m.dir)
	found, err := readSchema(ctx, db)
	if err != nil {
		return err
	}
	if found.version >= newest || found.minBinary > binary {
		return found.fits()
	}
	began := time.Now()
	results, err := provider.Up(ctx)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if len(results) > 0 {
		m.log.Info("schema migrated", "version", newest, "migrations", len(results), "ms", time.Since(began).Milliseconds())
	}
	if found, err = readSchema(ctx, db); err != nil {
		return err
	}
	return found.fits()
}

// to makes the schema of an empty database that of a version, or finds it so.
func (m migrator) to(ctx context.Context, version int64) (err error) {
	db, done := m.open()
	defer func() { err = errors.Join(err, done()) }()
	if err := m.checkEncoding(ctx, db); err != nil {
		return err
	}
	provider, err := m.provider(db)
	if err != nil {
		return err
	}
	if newest := newestMigration(m.dir); version < 1 || version > newest {
		return fmt.Errorf("%w: schema %d is asked for, and this binary knows those up to %d: use a newer notesd",
			ErrSchema, version, newest)
	}
	found, err := readSchema(ctx, db)
	if err != nil || found.version == version {
		return err
	}
	if found.version != 0 {
		return fmt.Errorf("%w: the database has schema %d and not %d: use an empty one", ErrSchema, found.version, version)
	}
	if _, err := provider.UpTo(ctx, version); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// checkEncoding returns ErrEncoding for a PostgreSQL database that can't hold every text.
func (m migrator) checkEncoding(ctx context.Context, db *sql.DB) error {
	if m.dialect != goose.DialectPostgres {
		return nil
	}
	var encoding, name string
	err := db.QueryRowContext(ctx, `SELECT current_setting('server_encoding'), current_database()`).Scan(&encoding, &name)
	if err != nil {
		return err
	}
	if encoding != "UTF8" {
		return fmt.Errorf("%w: that of %q is %s. Make a new one: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
			ErrEncoding, name, encoding)
	}
	return nil
}

func (m migrator) provider(db *sql.DB) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, m.dir)
	if err != nil {
		return nil, err
	}
	options := []goose.ProviderOption{goose.WithSlog(m.log), goose.WithDisableGlobalRegistry(true)}
	if m.dialect == goose.DialectPostgres {
		lease, err := lock.NewPostgresTableLocker(
			lock.WithTableLeaseDuration(leaseTime),
			lock.WithTableHeartbeatInterval(leaseRenewal),
			lock.WithTableLockTimeout(leasePoll, leasePolls),
			lock.WithTableUnlockTimeout(leasePoll, uint64(leaseTime/leasePoll)),
			lock.WithTableRetryPolicy(leaseHeld),
			lock.WithTableLogger(m.log),
		)
		if err != nil {
			return nil, err
		}
		options = append(options, goose.WithLocker(lease))
	} // SQLite: the data directory's lock is the lock
	return goose.NewProvider(m.dialect, db, files, options...)
}

// leaseHeld reports whether err only says that another process is migrating.
// Everything else is tried again from the start.
func leaseHeld(err error) bool {
	if _, ok := errors.AsType[*pgconn.PgError](err); ok {
		return false
	}
	return !errors.Is(translate(err), ErrUnavailable)
}

// schemaInfo is what a database says of its own.
type schemaInfo struct {
	version   int64 // the newest migration it has; 0: empty
	minBinary int64 // the oldest binary it serves
}

// An asker is a database, or a transaction of one.
type asker interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// readSchema reads it. Of an empty database it is zero.
func readSchema(ctx context.Context, db asker) (schemaInfo, error) {
	var found schemaInfo
	err := db.QueryRowContext(ctx, `SELECT min_binary, (SELECT max(version_id) FROM goose_db_version WHERE is_applied)
		FROM schema_info`).Scan(&found.minBinary, &found.version)
	if noSuchTable(err) {
		return schemaInfo{}, nil
	}
	if err != nil {
		return schemaInfo{}, fmt.Errorf("read schema version: %w", err)
	}
	return found, nil
}

// fits returns ErrSchema unless this binary can serve the schema. A newer one
// is welcome as long as it says so: two neighbouring binaries serve it side by
// side.
func (f schemaInfo) fits() error {
	switch {
	case f.minBinary > binary:
		return fmt.Errorf("%w: schema %d serves binaries from %d on and this one is %d, use a newer notesd",
			ErrSchema, f.version, f.minBinary, binary)
	case f.version < needsSchema:
		return fmt.Errorf("%w: schema %d is older than %d, which this binary needs", ErrSchema, f.version, needsSchema)
	}
	return nil
}
