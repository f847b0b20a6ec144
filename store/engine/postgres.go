package engine

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"notesd/internal/netutil"
)

const (
	connectTimeout = time.Second // timeout of one attempt to connect, unless the URL has its own
	logAgain       = time.Minute // interval at which an unchanged error is logged again
)

// ApplicationName is our name in pg_stat_activity.
const ApplicationName = "notesd"

// IsPostgres reports whether the name of a database is a PostgreSQL URL.
func IsPostgres(name string) bool {
	return strings.HasPrefix(name, "postgres://") || strings.HasPrefix(name, "postgresql://")
}

// openPostgres returns at once. connect runs in the background.
func openPostgres(ctx context.Context, cfg Config) (*DB, error) {
	server, err := ParsePostgresURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	d := &DB{log: cfg.Log, postgres: true, health: health{changed: make(chan struct{}, 1)},
		monitor: newHealthMonitor(server, cfg.Log)}
	d.state.begin()
	tell := d.monitor.report
	d.monitor.report = func(gone error) {
		d.health.wake()
		if d.state.hasStarted() { // until then connect logs what is wrong
			tell(gone)
		}
	}
	d.monitor.watchConnsOf(server)
	server.OnNotification = ignore
	c := newConnInit(cfg.URL, cfg.Log)
	db := openPool(server, stdlib.OptionBeforeConnect(c.chooseMode), stdlib.OptionAfterConnect(c.prepare),
		stdlib.OptionResetSession(stillOpen))
	d.onClose(db.Close)
	db.SetMaxOpenConns(cfg.MaxConns)
	db.SetMaxIdleConns(cfg.MaxConns)
	db.SetConnMaxLifetime(connLifetime)
	d.monitor.dropIdle = func() {
		db.SetMaxIdleConns(0)
		db.SetMaxIdleConns(cfg.MaxConns)
	}
	d.reads, err = gorm.Open(postgres.New(postgres.Config{Conn: db}), gormConfig())
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	d.writes = d.reads
	d.migrator = PostgresMigrator(server, cfg.Log)
	d.InBackground(ctx, d.connect)
	// The monitor also watches statements that still run after ctx has ended.
	d.InBackground(context.WithoutCancel(ctx), d.monitor.run)
	return d, nil
}

// ignore drops notifications. A pooler may pass on a connection on which another client has left a
// LISTEN, and pgx would keep the notifications of it.
func ignore(*pgconn.PgConn, *pgconn.Notification) {}

// A connInit prepares new connections. Statements are kept prepared on them, unless there is a
// pooler in between. A pooler may pass a connection on to another server process, which does not
// have our prepared statements, or has a different one under the same name.
type connInit struct {
	chosen bool // the URL sets the mode in which statements are sent
	log    *slog.Logger
	pooled atomic.Bool
}

func newConnInit(url string, log *slog.Logger) *connInit {
	return &connInit{chosen: choosesMode(url), log: log}
}

func (c *connInit) chooseMode(_ context.Context, server *pgx.ConnConfig) error {
	if !c.chosen && !c.pooled.Load() {
		server.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	}
	return nil
}

// prepare prepares a new connection. If it detects a pooler after the mode was chosen, it makes
// database/sql connect again with another mode. On a pooler's connection it sets nothing, since
// that connection may serve any other client.
func (c *connInit) prepare(ctx context.Context, conn *pgx.Conn) error {
	monitoredUnder(conn).pid.Store(conn.PgConn().PID())
	ours, err := SetSessionTimeouts(ctx, conn)
	if err != nil || ours {
		return err
	}
	if !c.pooled.Swap(true) {
		c.log.Info("PostgreSQL is reached through a pooler: statements are not kept prepared there")
	}
	if c.chosen || conn.Config().DefaultQueryExecMode != pgx.QueryExecModeCacheStatement {
		return nil
	}
	_ = conn.Close(ctx) // it has run no statement of a caller
	return driver.ErrBadConn
}

// SetSessionTimeouts sets the timeouts of the server's end of a connection, unless a pooler may
// share the connection with others. It reports whether the connection is ours alone. If this
// process vanishes without notice, its locks must not remain for more than two seconds. That is
// long enough, because no transaction of ours waits for anything but the database. The connections of
// a vanished process must not remain for more than ten seconds, or the server would run out of
// connections. A server that is too old for one of these settings runs without it.
func SetSessionTimeouts(ctx context.Context, conn *pgx.Conn) (ours bool, err error) {
	// A pooler invents the process id, so it differs from pg_backend_pid.
	done, err := conn.Exec(ctx, fmt.Sprintf(`SELECT set_config(name, value, false)
		FROM (VALUES ('idle_in_transaction_session_timeout', '2s'), ('tcp_user_timeout', '10s'),
			('tcp_keepalives_idle', '5'), ('tcp_keepalives_interval', '1'), ('tcp_keepalives_count', '5')
		) AS wanted (name, value) WHERE current_setting(name, true) IS NOT NULL AND pg_backend_pid() = %d`,
		int32(conn.PgConn().PID())))
	return done.RowsAffected() > 0, err
}

// stillOpen checks an idle connection before it is used. A connection that has died is discarded.
// On any other it ends pgx's background read.
func stillOpen(_ context.Context, conn *pgx.Conn) error {
	w := monitoredUnder(conn)
	if !netutil.StillOpen(w.Conn) || w.endReading() != nil {
		return driver.ErrBadConn
	}
	return nil
}

// ParsePostgresURL parses a postgres:// URL. Its error shows neither the URL's password nor a part
// that may be one.
func ParsePostgresURL(name string) (*pgx.ConnConfig, error) {
	u, err := url.Parse(name)
	if err != nil {
		return nil, errors.New("the postgres:// URL can't be read: special characters of a password " +
			"must be percent-encoded in it, or the password given apart")
	}
	// pgx ends a password at the first @ and would take the rest of it for the host, and name the
	// host in its errors. net/url ends a password at the last @, and String encodes the others.
	server, err := pgx.ParseConfig(u.String())
	if err != nil {
		_, reason, _ := strings.Cut(err.Error(), "`: ")
		password, _ := u.User.Password()
		for _, secret := range []string{password, u.Query().Get("password"), u.Query().Get("sslpassword")} {
			if secret != "" && strings.Contains(reason, secret) {
				reason = ""
			}
		}
		return nil, fmt.Errorf("the postgres:// URL can't be used: %s", cmp.Or(reason, "check its parts"))
	}
	if !choosesMode(name) {
		// In this mode statements have no names, so they work through every pooler.
		server.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	if !u.Query().Has("connect_timeout") {
		server.ConnectTimeout = connectTimeout
	}
	if server.RuntimeParams["application_name"] == "" {
		server.RuntimeParams["application_name"] = ApplicationName
	}
	return server, nil
}

// choosesMode reports whether a postgres:// URL sets the mode in which statements are sent.
func choosesMode(name string) bool {
	u, err := url.Parse(name)
	return err == nil && u.Query().Has("default_query_exec_mode")
}

// connect migrates the database as soon as it can be reached, and then marks it ready. It gives up
// in three cases: ctx ends; the database refuses access or has another encoding; its schema does
// not fit this binary.
func (d *DB) connect(ctx context.Context) {
	var complaint Complaint
	for {
		err := d.Migrate(ctx)
		if err == nil {
			d.log.Info("database ready", "engine", d.Engine())
			d.state.endStart(nil)
			return
		}
		if refusal := refused(err); refusal != nil {
			err = refusal
		}
		if errors.Is(err, ErrSchema) || errors.Is(err, ErrRefused) || errors.Is(err, ErrEncoding) {
			d.state.endStart(err)
			return
		}
		if ctx.Err() != nil {
			d.state.endStart(Unavailable(ctx.Err()))
			return
		}
		err = Unavailable(err)
		d.state.set(err)
		if complaint.IsNews(err) {
			d.log.Warn("database can't be used yet, trying again", "error", err)
		}
		_ = Pause(ctx, retry)
	}
}

// A Complaint limits how often an error is logged. A new error is logged at once, and an unchanged
// one only every sayAgain.
type Complaint struct {
	last string
	at   time.Time
}

// IsNews reports whether err is to be logged now. If so, it takes err as logged.
func (c *Complaint) IsNews(err error) bool {
	if c.IsKnown(err) && time.Since(c.at) < logAgain {
		return false
	}
	c.last, c.at = err.Error(), time.Now()
	return true
}

// IsKnown reports whether err was the last one logged.
func (c *Complaint) IsKnown(err error) bool { return err.Error() == c.last }
