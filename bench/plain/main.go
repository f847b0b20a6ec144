// Command plain is what notesd is measured against. It is the least code that gives the same
// responses to the measured requests (health, one note, the first page of a list, create) on the
// same tables and the same sessions. It uses net/http, pgx and redigo, and one read of Redis a
// request. It has no framework, no ORM and no cache. It has none of what protects notesd from
// overload and failures: no admission, no limits, no request timeouts, no request log.
//
// It takes HOST, BACKEND_PORT, DATABASE_URL, REDIS_URL and SESSION_SECRET (a single one) as notesd
// does. It expects the tables and the sessions to be made by notesd.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// With 4 to 64 connections on 2 cores, more connections serve reads alone a little faster. They
	// serve the mix much more slowly, above all its slowest requests.
	connectionsPerCore = 8
	redisConnections   = 64
	leaveTime          = 10 * time.Second
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills at once
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "plain:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context) error {
	db, err := openDatabase(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	defer db.Close()
	sessions := openSessions(os.Getenv("REDIS_URL"))
	defer sessions.Close()
	listener, err := net.Listen("tcp",
		net.JoinHostPort(cmp.Or(os.Getenv("HOST"), "127.0.0.1"), os.Getenv("BACKEND_PORT")))
	if err != nil {
		return err
	}
	secret := []byte(os.Getenv("SESSION_SECRET"))
	s := &server{db: db, sessions: sessions, secret: secret, cursorKey: sign(secret, []byte("notesd cursor"))}
	web := &http.Server{Handler: s.routes(), ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() {
		ending, cancel := context.WithTimeout(context.Background(), leaveTime)
		defer cancel()
		_ = web.Shutdown(ending) // a request without a response by then gets none
	})
	slog.New(slog.NewJSONHandler(os.Stdout, nil)).Info("listening", "url", "http://"+listener.Addr().String())
	if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// openDatabase returns a pool whose connections prepare each statement once.
func openDatabase(ctx context.Context, url string) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = int32(connectionsPerCore * runtime.GOMAXPROCS(0))
	return pgxpool.NewWithConfig(ctx, cfg)
}

func openSessions(url string) *redis.Pool {
	return &redis.Pool{
		MaxIdle: redisConnections, MaxActive: redisConnections, Wait: true,
		DialContext: func(ctx context.Context) (redis.Conn, error) { return redis.DialURLContext(ctx, url) },
	}
}
