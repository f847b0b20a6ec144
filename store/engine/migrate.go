package engine

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"notesd/store/migrations"
)

const (
	// binary is this binary's number, which is compared with a schema's min_binary. It grows by one
	// with every release for whose schema change older binaries must be replaced first.
	binary = 1

	// needsSchema is the oldest schema this binary can work with.
	needsSchema = 9
)

// PostgreSQL is migrated under a lease. A killed process delays others for leaseTime at most. A
// living process renews its lease every leaseRenewal.
const (
	leaseTime    = 10 * time.Second
	leaseRenewal = 2 * time.Second
	leasePoll    = 200 * time.Millisecond
	leasePolls   = 5 * 60 * 5 // five minutes, since another's migration may be long
)

// A Migrator brings a database's schema up to date.
type Migrator struct {
	dialect goose.Dialect
	dir     string // of the migrations
	log     *slog.Logger
	// open returns connections for the migration and a function that gives them back. goose needs
	// several, and must not take those that serve requests.
	open func() (*sql.DB, func() error)
}

// PostgresMigrator returns a Migrator that opens connections of its own.
func PostgresMigrator(server *pgx.ConnConfig, log *slog.Logger) Migrator {
	return Migrator{dialect: goose.DialectPostgres, dir: postgresMigrations, log: log,
		open: func() (*sql.DB, func() error) {
			own := stdlib.OpenDB(*server)
			return own, own.Close
		}}
}

// SQLiteMigrator returns a Migrator that uses the connection of take, and then gives it back.
func SQLiteMigrator(log *slog.Logger, take func() (db *sql.DB, giveBack func() error)) Migrator {
	return Migrator{dialect: goose.DialectSQLite3, dir: sqliteMigrations, log: log, open: take}
}

// These are the directories of the migrations.
const (
	postgresMigrations = "postgres"
	sqliteMigrations   = "sqlite"
)

// Migrate brings the schema up to date and returns once it fits. It may be called from several
// processes at once, and while others serve. ErrSchema: the schema is too new for this binary.
func (d *DB) Migrate(ctx context.Context) error {
	return Translate(d.migrator.Up(ctx))
}

// SchemaVersion returns the number of the newest migration that the database has.
func (d *DB) SchemaVersion(ctx context.Context) (int64, error) {
	if err := d.Usable(); err != nil {
		return 0, err
	}
	found, err := ReadSchema(ctx, Pool(d.reads))
	return found.Version, Translate(cmp.Or(err, found.Fits()))
}

// Up migrates the schema to the newest version, unless it is newer. ErrSchema: the schema does not
// fit this binary.
func (m Migrator) Up(ctx context.Context) (err error) {
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
	found, err := m.readSchema(ctx, db)
	if err == nil && found.Version == 0 && m.dialect == goose.DialectPostgres {
		release := m.awaitTurn(ctx, db)
		defer release()
		found, err = m.readSchema(ctx, db) // another process may have made it
	}
	if err != nil {
		return err
	}
	if found.Version >= newest || found.MinBinary > binary {
		return found.Fits()
	}
	began := time.Now()
	results, err := provider.Up(ctx)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if len(results) > 0 {
		m.log.Info("schema migrated", "version", newest, "migrations", len(results), "ms",
			time.Since(began).Milliseconds())
	}
	if found, err = ReadSchema(ctx, db); err != nil {
		return err
	}
	return found.Fits()
}

// firstLock is the number of the advisory lock under which the schema of an empty PostgreSQL
// database is made: "notesd" in ASCII.
const firstLock = 0x6e6f74657364

// awaitTurn waits while another process makes the schema of the empty database, and returns the
// function that lets others do it. The lease would be enough, but goose makes its own tables before
// it takes the lease, and PostgreSQL logs an error for each process that does so at the same time.
// So an error here does not matter, and the wait ends after leaseTime.
func (m Migrator) awaitTurn(ctx context.Context, db *sql.DB) (release func()) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return func() {}
	}
	release = func() { _ = tx.Rollback() } // it has changed nothing
	for deadline := time.Now().Add(leaseTime); time.Now().Before(deadline); {
		var ours, made bool
		err := tx.QueryRowContext(ctx, `SELECT pg_try_advisory_xact_lock($1),
			to_regclass('schema_info') IS NOT NULL`, firstLock).Scan(&ours, &made)
		if err != nil || ours || made || Pause(ctx, leasePoll) != nil {
			break
		}
	}
	return release
}

// UpTo migrates an empty database to the schema of a version. If the database has that version
// already, UpTo does nothing.
func (m Migrator) UpTo(ctx context.Context, version int64) (err error) {
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
	found, err := m.readSchema(ctx, db)
	if err != nil || found.Version == version {
		return err
	}
	if found.Version != 0 {
		return fmt.Errorf("%w: the database has schema %d and not %d: use an empty one", ErrSchema,
			found.Version, version)
	}
	if _, err := provider.UpTo(ctx, version); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// checkEncoding returns ErrEncoding for a PostgreSQL database that can't hold every text.
func (m Migrator) checkEncoding(ctx context.Context, db *sql.DB) error {
	if m.dialect != goose.DialectPostgres {
		return nil
	}
	var encoding, name string
	err := db.QueryRowContext(ctx,
		`SELECT current_setting('server_encoding'), current_database()`).Scan(&encoding, &name)
	if err != nil {
		return err
	}
	if encoding != "UTF8" {
		return fmt.Errorf("%w: that of %q is %s. Make a new one: CREATE DATABASE … ENCODING 'UTF8' "+
			"TEMPLATE template0",
			ErrEncoding, name, encoding)
	}
	return nil
}

func (m Migrator) provider(db *sql.DB) (*goose.Provider, error) {
	files, err := fs.Sub(migrations.Files, m.dir)
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
	} // SQLite needs no locker: the lock on the data directory is enough
	return goose.NewProvider(m.dialect, db, files, options...)
}

// leaseHeld reports whether err only means that another process is migrating. After any other error
// the migration starts over.
func leaseHeld(err error) bool {
	if _, ok := errors.AsType[*pgconn.PgError](err); ok {
		return false
	}
	return !errors.Is(Translate(err), ErrUnavailable)
}

// A Schema describes the schema of a database, as the database records it.
type Schema struct {
	Version   int64 // the newest migration it has; 0: empty
	MinBinary int64 // the oldest binary it serves
}

// A Querier is a database or a transaction.
type Querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// ReadSchema reads the schema of a database. For an empty database it is zero.
func ReadSchema(ctx context.Context, db Querier) (Schema, error) {
	var found Schema
	err := db.QueryRowContext(ctx, `SELECT min_binary, (SELECT max(version_id) FROM goose_db_version WHERE is_applied)
		FROM schema_info`).Scan(&found.MinBinary, &found.Version)
	if noSuchTable(err) {
		return Schema{}, nil
	}
	if err != nil {
		return Schema{}, fmt.Errorf("read schema version: %w", err)
	}
	return found, nil
}

// readSchema is ReadSchema for a database that is probably empty: PostgreSQL would log a query of a
// missing table as an error.
func (m Migrator) readSchema(ctx context.Context, db *sql.DB) (Schema, error) {
	if m.dialect == goose.DialectPostgres {
		var exists bool
		err := db.QueryRowContext(ctx, "SELECT to_regclass('schema_info') IS NOT NULL").Scan(&exists)
		if err != nil {
			return Schema{}, fmt.Errorf("read schema version: %w", err)
		}
		if !exists {
			return Schema{}, nil
		}
	}
	return ReadSchema(ctx, db)
}

// Fits returns ErrSchema unless this binary can serve the schema. A newer schema is accepted if its
// MinBinary allows it. So two consecutive releases can serve the same database side by side.
func (f Schema) Fits() error {
	switch {
	case f.MinBinary > binary:
		return fmt.Errorf("%w: schema %d serves binaries from %d on and this one is %d, use a newer notesd",
			ErrSchema, f.Version, f.MinBinary, binary)
	case f.Version < needsSchema:
		return fmt.Errorf("%w: schema %d is older than %d, which this binary needs", ErrSchema, f.Version, needsSchema)
	}
	return nil
}

// NewestMigration returns the number of an engine's newest schema that this binary knows.
func NewestMigration(engine string) int64 {
	if engine == PostgreSQL {
		return newestMigration(postgresMigrations)
	}
	return newestMigration(sqliteMigrations)
}

// newestMigration returns the number of the last file in dir.
func newestMigration(dir string) int64 {
	files, err := fs.ReadDir(migrations.Files, dir)
	if err != nil || len(files) == 0 {
		panic(fmt.Sprintf("no migrations in %s: %v", dir, err)) // they are embedded
	}
	n, err := goose.NumericComponent(files[len(files)-1].Name())
	if err != nil {
		panic(err)
	}
	return n
}
