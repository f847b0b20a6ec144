package store

import (
	"cmp"
	"context"
	"database/sql"
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
	"github.com/pressly/goose/v3"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
)

const (
	connectTimeout = time.Second // of one attempt, unless the URL has its own
	sayAgain       = time.Minute // how often an unchanged reason is logged

	applicationName = "notesd" // as the server's people see us
)

// isPostgres reports whether the name of a database is a PostgreSQL URL.
func isPostgres(name string) bool {
	return strings.HasPrefix(name, "postgres://") || strings.HasPrefix(name, "postgresql://")
}

// openPostgres returns at once; connect goes on in the background.
func openPostgres(ctx context.Context, cfg Config) (*Store, error) {
	server, err := ParsePostgresURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	hearing, err := ParsePostgresURL(cmp.Or(cfg.ChannelURL, cfg.URL))
	if err != nil {
		return nil, fmt.Errorf("channel: %w", err)
	}
	s := &Store{log: cfg.Log, witness: cfg.Witness, quotaNotes: cfg.QuotaNotes, quotaBytes: cfg.QuotaBytes, postgres: true,
		health: health{changed: make(chan struct{}, 1)}, watchdog: newWatchdog(server, cfg.Log)}
	s.committer.begin(s)
	s.state.begin()
	tell := s.watchdog.tell
	s.watchdog.tell = func(gone error) {
		s.health.wake()
		if s.state.isSettled() { // until then connect says what is wrong
			tell(gone)
		}
	}
	hearing.DialFunc = s.watchdog.dialer.DialContext // it waits most of the time, and beats: no watchdog is needed
	s.channel = s.newChannel(hearing)
	s.watchdog.attend(server)
	server.OnNotification = ignore
	g := newGreeter(cfg.URL, cfg.Log)
	db := openPool(server, stdlib.OptionBeforeConnect(g.choose), stdlib.OptionAfterConnect(g.greet),
		stdlib.OptionResetSession(stillOpen))
	s.onClose(db.Close)
	db.SetMaxOpenConns(cfg.MaxConns)
	db.SetMaxIdleConns(cfg.MaxConns)
	db.SetConnMaxLifetime(connLifetime)
	s.watchdog.dropIdle = func() {
		db.SetMaxIdleConns(0)
		db.SetMaxIdleConns(cfg.MaxConns)
	}
	s.reads, err = gorm.Open(postgres.New(postgres.Config{Conn: db}), gormConfig())
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.writes = s.reads
	s.migrator = migrator{dialect: goose.DialectPostgres, dir: "migrations/postgres", log: cfg.Log,
		open: func() (*sql.DB, func() error) {
			own := stdlib.OpenDB(*server)
			return own, own.Close
		}}
	s.inBackground(ctx, s.connect)
	s.inBackground(context.WithoutCancel(ctx), s.watchdog.run) // what still runs when ctx ends is to be watched
	if s.channel.listens {
		s.inBackground(context.WithoutCancel(ctx), s.listen) // and to be told of
	}
	return s, nil
}

// listen runs the channel once the database is ready.
func (s *Store) listen(ctx context.Context) {
	if s.state.wait(ctx) == nil {
		s.channel.run(ctx)
	}
}

// ignore is for what the channel of another client has left behind on a
// connection that a pooler passes on. pgx would keep it.
func ignore(*pgconn.PgConn, *pgconn.Notification) {}

// A greeter prepares new connections. Statements are kept prepared on them, unless a pooler
// in between may pass them on to others, where PostgreSQL knows no statement of
// ours, or another one by its name.
type greeter struct {
	chosen bool // the URL says how statements are sent
	log    *slog.Logger
	pooled atomic.Bool
}

func newGreeter(url string, log *slog.Logger) *greeter {
	return &greeter{chosen: choosesMode(url), log: log}
}

func (g *greeter) choose(_ context.Context, server *pgx.ConnConfig) error {
	if !g.chosen && !g.pooled.Load() {
		server.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	}
	return nil
}

// greet has database/sql try again, with another mode, when it notices a pooler
// too late. What is set at a pooler's connection may be set at anybody's.
func (g *greeter) greet(ctx context.Context, conn *pgx.Conn) error {
	wireUnder(conn).pid.Store(conn.PgConn().PID())
	ours, err := outliveUsBriefly(ctx, conn)
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

// outliveUsBriefly prepares the server's end of a connection, unless it isn't
// ours alone, which it reports. Should we vanish
// without a word, our locks are not to outlast us by more than two seconds (no
// transaction of ours idles for as many milliseconds), nor our connections by ten: the
// server would run out of them. A server too old to know one of these does without.
func outliveUsBriefly(ctx context.Context, conn *pgx.Conn) (ours bool, err error) {
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
	w := wireUnder(conn)
	if !StillOpen(w.Conn) || w.endReading() != nil {
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
		server.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe // whose statements have no names: every pooler lets them pass
	}
	if !u.Query().Has("connect_timeout") {
		server.ConnectTimeout = connectTimeout
	}
	if server.RuntimeParams["application_name"] == "" {
		server.RuntimeParams["application_name"] = applicationName
	}
	return server, nil
}

// choosesMode reports whether a postgres:// URL says how statements are sent.
func choosesMode(name string) bool {
	u, err := url.Parse(name)
	return err == nil && u.Query().Has("default_query_exec_mode")
}

// connect migrates the database as soon as it can be reached, and so makes the
// store ready. It gives up when ctx ends, when the database refuses us or has
// another encoding, or when its schema does not fit this binary.
func (s *Store) connect(ctx context.Context) {
	var said complaint
	for {
		err := s.Migrate(ctx)
		if err == nil {
			s.log.Info("database ready", "engine", s.Engine())
			s.state.settle(nil)
			return
		}
		if refusal := refused(err); refusal != nil {
			err = refusal
		}
		if errors.Is(err, ErrSchema) || errors.Is(err, ErrRefused) || errors.Is(err, ErrEncoding) {
			s.state.settle(err)
			return
		}
		if ctx.Err() != nil {
			s.state.settle(unavailable(ctx.Err()))
			return
		}
		err = unavailable(err)
		s.state.set(err)
		if said.isNews(err) {
			s.log.Warn("database can't be used yet, trying again", "error", err)
		}
		_ = pause(ctx, retry)
	}
}

// A complaint is a reason that is worth a line in the log when it is another
// one, and now and then while it stays.
type complaint struct {
	said string
	at   time.Time
}

func (c *complaint) isNews(err error) bool {
	if err.Error() == c.said && time.Since(c.at) < sayAgain {
		return false
	}
	c.said, c.at = err.Error(), time.Now()
	return true
}
