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
	connectTimeout = time.Second // of one attempt, unless the URL has its own
	sayAgain       = time.Minute // how often an unchanged reason is logged
)

// ApplicationName is our name in pg_stat_activity.
const ApplicationName = "notesd"

// IsPostgres reports whether the name of a database is a PostgreSQL URL.
func IsPostgres(name string) bool {
	return strings.HasPrefix(name, "postgres://") || strings.HasPrefix(name, "postgresql://")
}

// openPostgres returns at once; connect goes on in the background.
func openPostgres(ctx context.Context, cfg Config) (*DB, error) {
	server, err := ParsePostgresURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	d := &DB{log: cfg.Log, postgres: true, health: health{changed: make(chan struct{}, 1)},
		monitor: newHealthMonitor(server, cfg.Log)}
	d.state.begin()
	tell := d.monitor.tell
	d.monitor.tell = func(gone error) {
		d.health.wake()
		if d.state.isSettled() { // until then connect says what is wrong
			tell(gone)
		}
	}
	d.monitor.attend(server)
	server.OnNotification = ignore
	g := newConnInit(cfg.URL, cfg.Log)
	db := openPool(server, stdlib.OptionBeforeConnect(g.choose), stdlib.OptionAfterConnect(g.greet),
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
	d.InBackground(context.WithoutCancel(ctx), d.monitor.run) // what still runs when ctx ends is to be watched
	return d, nil
}

// ignore is for what the channel of another client has left behind on a
// connection that a pooler passes on. pgx would keep it.
func ignore(*pgconn.PgConn, *pgconn.Notification) {}

// A connInit prepares new connections. Statements are kept prepared on them, unless a pooler
// in between may pass them on to others, where PostgreSQL knows no statement of
// ours, or another one by its name.
type connInit struct {
	chosen bool // the URL says how statements are sent
	log    *slog.Logger
	pooled atomic.Bool
}

func newConnInit(url string, log *slog.Logger) *connInit {
	return &connInit{chosen: choosesMode(url), log: log}
}

func (g *connInit) choose(_ context.Context, server *pgx.ConnConfig) error {
	if !g.chosen && !g.pooled.Load() {
		server.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	}
	return nil
}

// greet has database/sql try again, with another mode, when it notices a pooler
// too late. What is set at a pooler's connection may be set at anybody's.
func (g *connInit) greet(ctx context.Context, conn *pgx.Conn) error {
	monitoredUnder(conn).pid.Store(conn.PgConn().PID())
	ours, err := SetSessionTimeouts(ctx, conn)
	if err != nil || ours {
		return err
	}
	if !g.pooled.Swap(true) {
		g.log.Info("PostgreSQL is reached through a pooler: statements are not kept prepared there")
	}
	if g.chosen || conn.Config().DefaultQueryExecMode != pgx.QueryExecModeCacheStatement {
		return nil
	}
	_ = conn.Close(ctx) // it has done nothing
	return driver.ErrBadConn
}

// SetSessionTimeouts prepares the server's end of a connection, unless it isn't
// ours alone, which it reports. Should we vanish
// without a word, our locks are not to outlast us by more than two seconds (no
// transaction of ours idles for as many milliseconds), nor our connections by ten: the
// server would run out of them. A server too old to know one of these does without.
func SetSessionTimeouts(ctx context.Context, conn *pgx.Conn) (ours bool, err error) {
	// A pooler has made the process id up.
	done, err := conn.Exec(ctx, fmt.Sprintf(`SELECT set_config(name, value, false)
		FROM (VALUES ('idle_in_transaction_session_timeout', '2s'), ('tcp_user_timeout', '10s'),
			('tcp_keepalives_idle', '5'), ('tcp_keepalives_interval', '1'), ('tcp_keepalives_count', '5')
		) AS wanted (name, value) WHERE current_setting(name, true) IS NOT NULL AND pg_backend_pid() = %d`,
		int32(conn.PgConn().PID())))
	return done.RowsAffected() > 0, err
}

// stillOpen has an idle connection that died discarded before it is used, and ends
// what pgx still reads on another one in the background.
func stillOpen(_ context.Context, conn *pgx.Conn) error {
	w := monitoredUnder(conn)
	if !netutil.StillOpen(w.Conn) || w.endReading() != nil {
		return driver.ErrBadConn
	}
	return nil
}

// ParsePostgresURL reads a postgres:// URL. Its error has nothing of the URL's
// password, nor of what may be one.
func ParsePostgresURL(name string) (*pgx.ConnConfig, error) {
	u, err := url.Parse(name)
	if err != nil {
		return nil, errors.New("the postgres:// URL can't be read: special characters of a password " +
			"must be percent-encoded in it, or the password given apart")
	}
	server, err := pgx.ParseConfig(name)
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
		// Its statements have no names: every pooler lets them pass.
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

// choosesMode reports whether a postgres:// URL says how statements are sent.
func choosesMode(name string) bool {
	u, err := url.Parse(name)
	return err == nil && u.Query().Has("default_query_exec_mode")
}

// connect migrates the database as soon as it can be reached, and so makes the
// database ready. It gives up when ctx ends, when the database refuses us or has
// another encoding, or when its schema does not fit this binary.
func (d *DB) connect(ctx context.Context) {
	var said Complaint
	for {
		err := d.Migrate(ctx)
		if err == nil {
			d.log.Info("database ready", "engine", d.Engine())
			d.state.settle(nil)
			return
		}
		if refusal := refused(err); refusal != nil {
			err = refusal
		}
		if errors.Is(err, ErrSchema) || errors.Is(err, ErrRefused) || errors.Is(err, ErrEncoding) {
			d.state.settle(err)
			return
		}
		if ctx.Err() != nil {
			d.state.settle(Unavailable(ctx.Err()))
			return
		}
		err = Unavailable(err)
		d.state.set(err)
		if said.IsNews(err) {
			d.log.Warn("database can't be used yet, trying again", "error", err)
		}
		_ = Pause(ctx, retry)
	}
}

// A Complaint is a reason that is worth a line in the log when it is another
// one, and now and then while it stays.
type Complaint struct {
	said string
	at   time.Time
}

// IsNews reports whether err is worth a line, which it is taken to get then.
func (c *Complaint) IsNews(err error) bool {
	if c.IsKnown(err) && time.Since(c.at) < sayAgain {
		return false
	}
	c.said, c.at = err.Error(), time.Now()
	return true
}

// IsKnown reports whether err is what the last line was of.
func (c *Complaint) IsKnown(err error) bool { return err.Error() == c.said }
