// Command plain is what notesd is measured against: the least code that gives
// the same answers to the work that is measured (health, one note, the first
// page of a list, create) on the same tables and the same sessions. net/http,
// pgx and redigo, one read of Redis a request; no framework, no ORM, no cache,
// and none of what keeps notesd up: no admission, no limits, no timeouts of
// requests, no log of them.
//
// It takes HOST, BACKEND_PORT, DATABASE_URL, REDIS_URL and SESSION_SECRET (one)
// as notesd does. The tables and the sessions are notesd's to make.
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
	// Of 4 to 64 connections on 2 cores, more serve reads alone a little faster
	// and the mix a good deal more slowly, its slowest requests above all.
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
	listener, err := net.Listen("tcp", net.JoinHostPort(cmp.Or(os.Getenv("HOST"), "127.0.0.1"), os.Getenv("BACKEND_PORT")))
	if err != nil {
		return err
	}
	secret := []byte(os.Getenv("SESSION_SECRET"))
	s := &server{db: db, sessions: sessions, secret: secret, cursorKey: sign(secret, []byte("notesd cursor"))}
	web := &http.Server{Handler: s.routes(), ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() {
		ending, cancel := context.WithTimeout(context.Background(), leaveTime)
		defer cancel()
		_ = web.Shutdown(ending) // who has no answer by then gets none
	})
	slog.New(slog.NewJSONHandler(os.Stdout, nil)).Info("listening", "url", "http://"+listener.Addr().String())
	if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// openDatabase makes a pool whose connections prepare each statement once.
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
