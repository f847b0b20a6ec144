package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
)

const (
	connectTimeout = time.Second // of one attempt, unless the URL has its own
	firstRetry     = 100 * time.Millisecond
	lastRetry      = 2 * time.Second
	sayAgain       = 5 * time.Second // how often an unchanged reason is logged
)

// isPostgres reports whether the name of a database is a PostgreSQL URL.
func isPostgres(name string) bool {
	return strings.HasPrefix(name, "postgres://") || strings.HasPrefix(name, "postgresql://")
}

// openPostgres returns at once; connect goes on in the background.
func openPostgres(ctx context.Context, cfg Config) (*Store, error) {
	server, err := parsePostgresURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	s := &Store{log: cfg.Log, postgres: true}
	s.state.begin()
	db := stdlib.OpenDB(*server)
	s.onClose(db.Close)
	db.SetMaxOpenConns(cfg.MaxConns)
	db.SetMaxIdleConns(cfg.MaxConns)
	db.SetConnMaxLifetime(connLifetime)
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
	ctx, stop := context.WithCancel(ctx)
	starting := make(chan struct{})
	go func() {
		defer close(starting)
		s.connect(ctx)
	}()
	s.onClose(func() error { stop(); <-starting; return nil })
	return s, nil
}

// parsePostgresURL reads a postgres:// URL. Its error has nothing of the URL's
// password, nor of what may be one.
func parsePostgresURL(name string) (*pgx.ConnConfig, error) {
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
	if !u.Query().Has("connect_timeout") {
		server.ConnectTimeout = connectTimeout
	}
	if server.RuntimeParams["application_name"] == "" {
		server.RuntimeParams["application_name"] = "notesd"
	}
	return server, nil
}

// connect migrates the database as soon as it can be reached, and so makes the
// store ready. It gives up when ctx ends or the schema is too new for us.
func (s *Store) connect(ctx context.Context) {
	retry := firstRetry
	var said string
	var saidAt time.Time
	for {
		err := s.Migrate(ctx)
		if err == nil {
			s.log.Info("database ready", "engine", s.Engine())
			s.state.settle(nil)
			return
		}
		if errors.Is(err, ErrSchema) {
			s.state.settle(err)
			return
		}
		if ctx.Err() != nil {
			s.state.settle(unavailable(ctx.Err()))
			return
		}
		s.state.set(unavailable(err))
		if err.Error() != said || time.Since(saidAt) >= sayAgain {
			said, saidAt = err.Error(), time.Now()
			s.log.Warn("database can't be used yet, trying again", "error", said)
		}
		select {
		case <-time.After(retry):
		case <-ctx.Done():
		}
		retry = min(2*retry, lastRetry)
	}
}
