// Package inspect reads the settings and the state of a database, for `notesd check`.
package inspect

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

// notifyTimeout is how long a notification may take to arrive.
const notifyTimeout = 2 * time.Second

// A Report describes a database. A field that its engine does not have is zero.
type Report struct {
	Engine  string // as engine.Of has it
	Version string
	Missing bool // SQLite: there is no file yet

	Schema, Newest int64 // newest migration of the database (0: none), and of this binary
	Misfit         error // why this binary can't serve the schema

	Latency   time.Duration // latency of one query
	ClockSkew time.Duration // by how much its clock is ahead of ours; the error is half the latency

	// These fields are for PostgreSQL only.
	MaxConnections, Reserved int // Reserved of MaxConnections are for superusers and the like
	ConnLimit                int // limit of this role or this database; -1: none, as for superusers
	OthersConnected          int // clients that are not notesd
	SharedBuffers            int64
	EffectiveCache           int64
	WorkMem                  int64
	MaintenanceWorkMem       int64
	Fsync, FullPageWrites    bool
	SynchronousCommit        string
	Peer                     netip.Addr // address of the server; not valid: a socket
	Encrypted, Verified      bool       // the connection is; its certificate and name are
	NotifyWorks              bool       // a notification arrived

	JournalMode string // SQLite only

	// NoteBytes and HistoryBytes are what all users store, as store.Counters counts it. They are 0 if
	// the schema is older than histories.
	NoteBytes, HistoryBytes int64

	// TOTPKeys counts the secrets of one-time codes by the id of the key that encrypts them.
	TOTPKeys map[string]int64
}

// Inspect reads the state of the database at a URL, and changes nothing. channelURL is a URL of the
// same PostgreSQL without a pooler in between, or "". The errors don't show the URLs, which may
// contain a password.
func Inspect(ctx context.Context, url, channelURL string) (Report, error) {
	if engine.IsPostgres(url) {
		return inspectPostgres(ctx, url, channelURL)
	}
	return inspectSQLite(ctx, url)
}

func inspectPostgres(ctx context.Context, url, channelURL string) (r Report, err error) {
	server, err := engine.ParsePostgresURL(url)
	if err != nil {
		return r, err
	}
	hearing, err := engine.ParsePostgresURL(cmp.Or(channelURL, url))
	if err != nil {
		return r, err
	}
	conn, err := pgx.ConnectConfig(ctx, server)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	r = Report{Engine: engine.PostgreSQL, Newest: engine.NewestMigration(engine.PostgreSQL)}
	if peer, err := netip.ParseAddrPort(conn.PgConn().Conn().RemoteAddr().String()); err == nil {
		r.Peer = peer.Addr().Unmap()
	}
	if err := r.readClock(ctx, conn); err != nil {
		return r, err
	}
	if err := r.readPostgres(ctx, conn); err != nil {
		return r, err
	}
	r.Verified = r.Encrypted && server.TLSConfig != nil && !server.TLSConfig.InsecureSkipVerify
	if r.NotifyWorks, err = notifyWorks(ctx, conn, hearing); err != nil {
		return r, err
	}
	db := stdlib.OpenDB(*server)
	defer func() { err = errors.Join(err, db.Close()) }()
	return r, r.readSchema(ctx, db)
}

// readClock asks for the time a few times. The fastest answer is the most exact.
func (r *Report) readClock(ctx context.Context, conn *pgx.Conn) error {
	for i := range 5 {
		began := time.Now()
		var there time.Time
		if err := conn.QueryRow(ctx, "SELECT clock_timestamp()",
			pgx.QueryExecModeSimpleProtocol).Scan(&there); err != nil {
			return err
		}
		if took := time.Since(began); i == 0 || took < r.Latency {
			r.Latency, r.ClockSkew = took, there.Sub(began.Add(took/2))
		}
	}
	return nil
}

func (r *Report) readPostgres(ctx context.Context, conn *pgx.Conn) error {
	var encrypted pgtype.Bool
	err := conn.QueryRow(ctx, `SELECT current_setting('server_version'),
		current_setting('max_connections')::int,
		current_setting('superuser_reserved_connections')::int
			+ coalesce(current_setting('reserved_connections', true), '0')::int,
		(SELECT coalesce(min(l), -1) FROM (SELECT datconnlimit AS l FROM pg_database WHERE datname = current_database()
			UNION ALL SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS limits
			WHERE l >= 0 AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)),
		(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name <> $1),
		pg_size_bytes(current_setting('shared_buffers')), pg_size_bytes(current_setting('effective_cache_size')),
		pg_size_bytes(current_setting('work_mem')), pg_size_bytes(current_setting('maintenance_work_mem')),
		current_setting('fsync')::bool, current_setting('full_page_writes')::bool,
		current_setting('synchronous_commit'),
		(SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid())`, engine.ApplicationName).
		Scan(&r.Version, &r.MaxConnections, &r.Reserved, &r.ConnLimit, &r.OthersConnected,
			&r.SharedBuffers, &r.EffectiveCache, &r.WorkMem, &r.MaintenanceWorkMem, &r.Fsync, &r.FullPageWrites,
			&r.SynchronousCommit, &encrypted)
	r.Encrypted = encrypted.Bool
	return err
}

// notifyWorks reports whether a notification of sender reaches a listener. A pooler in transaction
// mode prevents that.
func notifyWorks(ctx context.Context, sender *pgx.Conn, hearing *pgx.ConnConfig) (bool, error) {
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
	waiting, cancel := context.WithTimeout(ctx, notifyTimeout)
	defer cancel()
	_, err = listener.WaitForNotification(waiting)
	if waiting.Err() != nil {
		return false, ctx.Err()
	}
	return err == nil, err
}

func inspectSQLite(ctx context.Context, name string) (r Report, err error) {
	path, err := engine.SQLitePath(name)
	if err != nil {
		return r, err
	}
	r = Report{Engine: engine.SQLite, Newest: engine.NewestMigration(engine.SQLite)}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		r.Missing = true
		return r, nil
	} else if err != nil {
		return r, err
	}
	params := url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(2000)"}}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: params.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	began := time.Now()
	if err := db.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&r.Version); err != nil {
		return r, engine.Translate(err)
	}
	if err := db.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&r.JournalMode); err != nil {
		return r, engine.Translate(err)
	}
	r.Latency = time.Since(began)
	return r, r.readSchema(ctx, db)
}

func (r *Report) readSchema(ctx context.Context, db *sql.DB) error {
	found, err := engine.ReadSchema(ctx, db)
	if err != nil {
		return engine.Translate(err)
	}
	r.Schema = found.Version
	if found.Version > 0 {
		r.Misfit = found.Fits()
	}
	if found.Version < historySchema {
		return nil
	}
	err = db.QueryRowContext(ctx,
		`SELECT coalesce(sum(note_bytes), 0), coalesce(sum(history_bytes), 0) FROM user_counters`).
		Scan(&r.NoteBytes, &r.HistoryBytes)
	if err != nil || found.Version < totpSchema {
		return engine.Translate(err)
	}
	return engine.Translate(r.readTOTPKeys(ctx, db))
}

// These are the migrations since which notes have histories, and accounts one-time codes.
const (
	historySchema = 5
	totpSchema    = 7
)

func (r *Report) readTOTPKeys(ctx context.Context, db *sql.DB) error {
	rows, err := db.QueryContext(ctx, "SELECT key_id, count(*) FROM totp GROUP BY key_id")
	if err != nil {
		return err
	}
	defer rows.Close()
	r.TOTPKeys = map[string]int64{}
	for rows.Next() {
		var id string
		var n int64
		if err := rows.Scan(&id, &n); err != nil {
			return err
		}
		r.TOTPKeys[id] = n
	}
	return rows.Err()
}
