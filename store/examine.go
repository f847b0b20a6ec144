package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"

	"notesd/store/engine"
)

// heardIn is how long a notification may take.
const heardIn = 2 * time.Second

// An Examination is what a database says of itself. What an engine does not have is zero.
type Examination struct {
	Engine  string // as Store.Engine has it
	Version string
	Missing bool // SQLite: there is no file yet

	Schema, Newest int64 // the migrations it has, and those there are; 0: empty
	Misfit         error // why this binary can't serve the schema

	Latency time.Duration // of one query
	Skew    time.Duration // its clock's lead over ours, right to half the latency

	// PostgreSQL alone.
	MaxConnections, Reserved int // of them for superusers and the like
	ConnLimit                int // of this role, or this database; -1: none, as for superusers
	OthersConnected          int // clients that are not notesd
	SharedBuffers            int64
	EffectiveCache           int64
	WorkMem                  int64
	MaintenanceWorkMem       int64
	Fsync, FullPageWrites    bool
	SynchronousCommit        string
	Peer                     netip.Addr // where the server is; not valid: on a socket
	Encrypted, Verified      bool       // the connection; the server's certificate and name
	Heard                    bool       // a notification came through

	JournalMode string // SQLite alone
}

// Examine looks at the database that cfg names, and changes nothing. Its errors don't show the URLs: they may hold a
// password.
func Examine(ctx context.Context, cfg Config) (Examination, error) {
	if engine.IsPostgres(cfg.URL) {
		return examinePostgres(ctx, cfg)
	}
	return examineSQLite(ctx, cfg.URL)
}

func examinePostgres(ctx context.Context, cfg Config) (x Examination, err error) {
	server, err := engine.ParsePostgresURL(cfg.URL)
	if err != nil {
		return x, err
	}
	hearing, err := engine.ParsePostgresURL(cmp.Or(cfg.ChannelURL, cfg.URL))
	if err != nil {
		return x, err
	}
	conn, err := pgx.ConnectConfig(ctx, server)
	if err != nil {
		return x, err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	x = Examination{Engine: "PostgreSQL", Newest: engine.NewestMigration(engine.PostgreSQL)}
	if peer, err := netip.ParseAddrPort(conn.PgConn().Conn().RemoteAddr().String()); err == nil {
		x.Peer = peer.Addr().Unmap()
	}
	if err := x.readClock(ctx, conn); err != nil {
		return x, err
	}
	if err := x.readPostgres(ctx, conn); err != nil {
		return x, err
	}
	x.Verified = x.Encrypted && server.TLSConfig != nil && !server.TLSConfig.InsecureSkipVerify
	if x.Heard, err = heard(ctx, conn, hearing); err != nil {
		return x, err
	}
	db := stdlib.OpenDB(*server)
	defer func() { err = errors.Join(err, db.Close()) }()
	return x, x.readSchema(ctx, db)
}

// readClock asks for the time a few times: the quickest answer says most.
func (x *Examination) readClock(ctx context.Context, conn *pgx.Conn) error {
	for i := range 5 {
		began := time.Now()
		var there time.Time
		if err := conn.QueryRow(ctx, "SELECT clock_timestamp()", pgx.QueryExecModeSimpleProtocol).Scan(&there); err != nil {
			return err
		}
		if took := time.Since(began); i == 0 || took < x.Latency {
			x.Latency, x.Skew = took, there.Sub(began.Add(took/2))
		}
	}
	return nil
}

func (x *Examination) readPostgres(ctx context.Context, conn *pgx.Conn) error {
	var encrypted pgtype.Bool
	err := conn.QueryRow(ctx, `SELECT current_setting('server_version'),
		current_setting('max_connections')::int,
		current_setting('superuser_reserved_connections')::int + coalesce(current_setting('reserved_connections', true), '0')::int,
		(SELECT coalesce(min(l), -1) FROM (SELECT datconnlimit AS l FROM pg_database WHERE datname = current_database()
			UNION ALL SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS limits
			WHERE l >= 0 AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)),
		(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name <> $1),
		pg_size_bytes(current_setting('shared_buffers')), pg_size_bytes(current_setting('effective_cache_size')),
		pg_size_bytes(current_setting('work_mem')), pg_size_bytes(current_setting('maintenance_work_mem')),
		current_setting('fsync')::bool, current_setting('full_page_writes')::bool, current_setting('synchronous_commit'),
		(SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid())`, engine.ApplicationName).
		Scan(&x.Version, &x.MaxConnections, &x.Reserved, &x.ConnLimit, &x.OthersConnected, &x.SharedBuffers, &x.EffectiveCache,
			&x.WorkMem, &x.MaintenanceWorkMem, &x.Fsync, &x.FullPageWrites, &x.SynchronousCommit, &encrypted)
	x.Encrypted = encrypted.Bool
	return err
}

// heard reports whether what sender notifies of comes to a listener, which a pooler in transaction mode prevents.
func heard(ctx context.Context, sender *pgx.Conn, hearing *pgx.ConnConfig) (bool, error) {
	const channel = "notesd_check"
	listener, err := pgx.ConnectConfig(ctx, hearing)
	if err != nil {
		return false, err
	}
	defer listener.Close(context.WithoutCancel(ctx))
	if _, err := listener.Exec(ctx, "LISTEN "+channel); err != nil {
		return false, err
	}
	if _, err := sender.Exec(ctx, "NOTIFY "+channel); err != nil {
		return false, err
	}
	waiting, cancel := context.WithTimeout(ctx, heardIn)
	defer cancel()
	_, err = listener.WaitForNotification(waiting)
	if waiting.Err() != nil {
		return false, ctx.Err()
	}
	return err == nil, err
}

func examineSQLite(ctx context.Context, name string) (x Examination, err error) {
	path, err := engine.SQLitePath(name)
	if err != nil {
		return x, err
	}
	x = Examination{Engine: "SQLite", Newest: engine.NewestMigration(engine.SQLite)}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		x.Missing = true
		return x, nil
	} else if err != nil {
		return x, err
	}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(2000)"}}.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return x, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	began := time.Now()
	if err := db.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&x.Version); err != nil {
		return x, engine.Translate(err)
	}
	if err := db.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&x.JournalMode); err != nil {
		return x, engine.Translate(err)
	}
	x.Latency = time.Since(began)
	return x, x.readSchema(ctx, db)
}

func (x *Examination) readSchema(ctx context.Context, db *sql.DB) error {
	found, err := engine.ReadSchema(ctx, db)
	if err != nil {
		return engine.Translate(err)
	}
	x.Schema = found.Version
	if found.Version > 0 {
		x.Misfit = found.Fits()
	}
	return nil
}
