package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"notesd/internal/testkit"
	"notesd/store/storetest"
)

// A server with an heir stays ready while it lets go, refuses nobody, and leaves
// the listener open, with whoever waits in its backlog.
func TestHandOver(t *testing.T) {
	t.Parallel()
	h := newHolding()
	s := makeSite(t, storetest.Open(t, storetest.SQLite(t)), func(cfg *Config, _ *Deps) { cfg.ShutdownTimeout = 10 * time.Second })
	s.extend(t, h.routes()...)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	heirs, err := ln.(*net.TCPListener).File() // as if another process had it
	if err != nil {
		t.Fatal(err)
	}
	defer heirs.Close()
	s.url = "http://" + ln.Addr().String()
	left := make(chan error)
	go func() { left <- s.server.Serve(t.Context(), ln.(*net.TCPListener)) }()
	held, kept := s.ask(t, "/hold", nil), s.dial(t)
	h.await(t)
	kept.header("GET", "/healthz", nil)
	wantHeader(t, kept.reply().want(http.StatusOK), "Connection", "")

	began := time.Now()
	handed := make(chan error)
	go func() { handed <- s.server.HandOver(t.Context(), nil) }()
	testkit.Eventually(t, "the handover", s.server.router.ClosesConnections)
	s.visitor().get("/readyz").want(http.StatusOK)
	kept.header("GET", "/healthz", nil)
	wantHeader(t, kept.reply().want(http.StatusOK), "Connection", "close")
	if err := <-handed; err != nil || time.Since(began) < handoffGrace {
		t.Fatalf("HandOver() = %v after %v, want nil after %v", err, time.Since(began), handoffGrace)
	}

	testkit.Eventually(t, "the listener left", func() bool { return strings.Contains(s.log.String(), "shutdown: listener left to the new process") })
	waiting := s.dial(t) // in the backlog
	waiting.header("GET", "/healthz", nil)
	close(h.finish)
	held.reply().want(http.StatusOK)
	if err := <-left; err != nil {
		t.Errorf("Serve() = %v, want nil", err)
	}
	if last := s.lastLine(t); last["cut"] != 0.0 || last["shed"] != 0.0 {
		t.Errorf("%v, want none cut nor shed", last)
	}

	heir := makeSite(t, storetest.Open(t, storetest.SQLite(t)))
	inherited, err := net.FileListener(heirs)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	go func() { left <- heir.server.Serve(ctx, inherited.(*net.TCPListener)) }()
	waiting.reply().want(http.StatusOK)
	stop()
	if err := <-left; err != nil {
		t.Errorf("the heir's Serve() = %v, want nil", err)
	}
}

// Without an heir there is no handover: all is as before.
func TestHandOverFails(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	died := make(chan struct{})
	close(died)
	if err := s.server.HandOver(t.Context(), died); !errors.Is(err, ErrChildDied) {
		t.Fatalf("HandOver() = %v, want ErrChildDied", err)
	}
	wantHeader(t, s.visitor().get("/readyz").want(http.StatusOK), "Connection", "")
}
