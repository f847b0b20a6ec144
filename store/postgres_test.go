package store_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"notesd/internal/testkit"
	"notesd/internal/testserver"
	"notesd/notes"
	"notesd/store"
	"notesd/store/storetest"
)

// openPostgres opens a store whose server may be away.
func openPostgres(t *testing.T, url string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{URL: url, MaxConns: 3, Log: testkit.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return s
}

// A server that is away at the start, goes, crashes and comes back: the store
// says at once that it can't serve, and is back by itself.
func TestPostgresAway(t *testing.T) {
	server := testserver.NewPostgres(t)
	server.Stop(t)
	s := openPostgres(t, strings.Replace(server.URL(), "@", ":secret@", 1))
	ctx := t.Context()

	away := func(when string) {
		t.Helper()
		for name, call := range map[string]func() error{
			"reading": func() error { _, err := s.User(ctx, "id"); return err },
			"writing": func() error { return s.DeleteUser(ctx, "id") },
			"Ready":   func() error { return s.Ready(ctx) },
		} {
			for range 4 { // more than there are connections
				began := time.Now()
				err := call()
				if !errors.Is(err, store.ErrUnavailable) || strings.Contains(err.Error(), "secret") {
					t.Errorf("%s %s = %v, want ErrUnavailable and no secret", name, when, err)
				}
				if took := time.Since(began); testkit.TooLong(took, told, time.Second) {
					t.Errorf("%s %s says so after %v", name, when, took)
				}
			}
		}
	}
	back := func(when string) {
		t.Helper()
		began := time.Now()
		for s.Ready(ctx) != nil && time.Since(began) < 20*time.Second {
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(began); took > 5*time.Second { // 2 s, and a machine that is busy
			t.Errorf("back %v after the server, %s", took, when)
		}
		for range 4 {
			if _, err := s.User(ctx, "id"); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("User %s = %v, want ErrNotFound", when, err)
			}
		}
	}
	away("before the server has ever been there")
	waiting, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	err := s.WaitReady(waiting)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("WaitReady while the server is away = %v, want the deadline and the reason", err)
	}
	server.Start(t)
	back("once it has come")
	if err := s.WaitReady(ctx); err != nil {
		t.Errorf("WaitReady = %v", err)
	}
	user := mustUser(t, s, "somebody@example.org")
	server.Stop(t)
	away("while it is stopped")
	server.Start(t)
	back("once it is started again")
	server.Kill(t)
	away("after it has crashed")
	server.Start(t)
	back("once it has recovered")
	if _, err := s.User(ctx, user.ID); err != nil {
		t.Errorf("an acknowledged user after the crash: %v", err)
	}
}

// What a wrong address or password leads to is said without the password.
func TestPostgresRefuses(t *testing.T) {
	right := storetest.Postgres(t)
	with := func(user *url.Userinfo, path string) string {
		u, err := url.Parse(right)
		if err != nil {
			t.Fatal(err)
		}
		u.User = user
		if path != "" {
			u.Path = path
		}
		return u.String()
	}
	for _, c := range []struct{ name, url, want string }{
		{"a wrong password", with(url.UserPassword(testserver.Locked, "secret"), ""), "password authentication failed"},
		{"an unknown database", with(url.UserPassword("notes", "secret"), "/missing"), `database "missing" does not exist`},
		{"an unknown user", with(url.UserPassword("stranger", "secret"), ""), `role "stranger" does not exist`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openPostgres(t, c.url)
			waiting, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			err := s.WaitReady(waiting)
			if !errors.Is(err, store.ErrRefused) || strings.Count(err.Error(), c.want) != 1 || strings.Contains(err.Error(), "secret") {
				t.Errorf("WaitReady = %v, want ErrRefused that says %q once and no secret", err, c.want)
			}
			if _, err := s.User(t.Context(), "id"); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("User = %v, want ErrUnavailable", err)
			}
		})
	}
	storetest.Open(t, with(url.UserPassword(testserver.Locked, testserver.LockedPassword), ""))
}

// Why a server can't be reached is said in one line, whatever stands in the way.
func TestPostgresOutOfReach(t *testing.T) {
	plain := storetest.Postgres(t)
	for _, c := range []struct{ name, url, want string }{
		{"refused", "postgres://u:secret@127.0.0.1:1/x", "database unavailable: dial tcp 127.0.0.1:1: connect: connection refused"},
		{"unknown host", "postgres://u:secret@no.such.host.invalid/x", "database unavailable: lookup no.such.host.invalid"},
		{"no TLS", plain + "&sslmode=require", "database unavailable: server refused TLS connection"},
		{"two hosts", "postgres://u:secret@127.0.0.1:1,127.0.0.1:2/x", "127.0.0.1:1: connect: connection refused; dial tcp 127.0.0.1:2: connect"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openPostgres(t, c.url)
			var got string
			for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
				if got = s.Ready(t.Context()).Error(); strings.Contains(got, c.want) {
					break
				}
			}
			if !strings.Contains(got, c.want) || strings.Contains(got, "\n") || strings.Contains(got, "secret") {
				t.Errorf("Ready = %q, want %q in one line", got, c.want)
			}
		})
	}
}

// A URL that can't be used is refused at once, and what may be its password is
// not repeated.
func TestPostgresURL(t *testing.T) {
	for _, bad := range []string{
		"postgres://me:se/cret@host/notes",
		"postgres://me:sec#ret@host/notes",
		"postgres://me:secret@host:port/notes",
		"postgres://me:se%cret@host/notes",
		"postgres://me:secret@host/notes?sslmode=secret",
		"postgres://me:secret@host/notes?sslmode=verify-full&sslrootcert=/no/secret/file",
		"postgres://me@host/notes?password=secret&sslmode=wrong",
		"postgresql://me:secret@[::1/notes",
	} {
		s, err := store.Open(t.Context(), store.Config{URL: bad, Log: testkit.Log(t)})
		if err == nil {
			s.Close()
			if !strings.Contains(bad, "#") { // to a URL it is a fragment
				t.Errorf("Open(%q) succeeds, want an error", bad)
			}
			continue
		}
		for _, part := range []string{"secret", "cret", "sec"} {
			if strings.Contains(err.Error(), part) {
				t.Errorf("Open(%q) = %q, which repeats %q", bad, err, part)
			}
		}
	}
}

// The name in pg_stat_activity is ours unless the URL gives another.
func TestPostgresApplicationName(t *testing.T) {
	base := storetest.Postgres(t)
	for extra, want := range map[string]string{"": "notesd", "&application_name=replica-2": "replica-2"} {
		var got string
		err := storetest.Open(t, base+extra).DB().Raw("SHOW application_name").Scan(&got).Error
		if err != nil || got != want {
			t.Errorf("application_name = %q, %v, want %q", got, err, want)
		}
	}
}

// Nobody waits in sql.DB's queue while there are as many callers as connections.
func TestPostgresConnections(t *testing.T) {
	s := storetest.Open(t, storetest.Postgres(t))
	done := make(chan error)
	const callers = 4 // as many as there are connections
	for caller := range callers {
		go func() {
			var err error
			for i := range 50 {
				_, e := s.CreateUser(t.Context(), fmt.Sprintf("%d.%d@example.org", caller, i), "", "")
				err = errors.Join(err, e)
			}
			done <- err
		}()
	}
	for range callers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got := s.Stats()["database"]; got.WaitCount != 0 || got.MaxOpenConnections != callers {
		t.Errorf("%d waited for one of %d connections, want 0 for %d", got.WaitCount, got.MaxOpenConnections, callers)
	}
}

// A database of another encoding can't hold every note: it is refused, with what to do.
func TestPostgresEncoding(t *testing.T) {
	for _, encoding := range []string{"LATIN1", "SQL_ASCII"} {
		t.Run(encoding, func(t *testing.T) {
			server := testserver.EmptyPostgres(t)
			name := "encoding_" + strings.ToLower(encoding)
			for _, statement := range []string{"DROP DATABASE IF EXISTS " + name,
				"CREATE DATABASE " + name + " ENCODING '" + encoding + "' LOCALE 'C' TEMPLATE template0"} {
				if err := execPostgres(t, server, statement); err != nil {
					t.Fatal(err)
				}
			}
			t.Cleanup(func() {
				if err := execPostgres(t, server, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
					t.Error(err)
				}
			})
			u, err := url.Parse(server)
			if err != nil {
				t.Fatal(err)
			}
			u.Path = "/" + name
			s := openPostgres(t, u.String())
			waiting, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			err = s.WaitReady(waiting)
			if !errors.Is(err, store.ErrEncoding) || !strings.Contains(err.Error(), encoding) || !strings.Contains(err.Error(), "CREATE DATABASE") {
				t.Errorf("WaitReady = %v, want ErrEncoding that names %s and says what to do", err, encoding)
			}
			if err := execPostgres(t, u.String(), "SELECT FROM users"); err == nil {
				t.Error("tables were made in it")
			}
		})
	}
}

func execPostgres(t *testing.T, url, statement string) error {
	ctx := context.WithoutCancel(t.Context())
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}

// When somebody changes a column's type, no request fails of it: neither one that
// reads nor one that writes, on any connection.
func TestPostgresColumnChanged(t *testing.T) {
	s := openPostgres(t, storetest.Postgres(t))
	ready(t, s)
	ctx := t.Context()
	owner := mustUser(t, s, "ada@example.org").ID
	first, err := s.CreateNote(ctx, owner, notes.NewNote{Title: "first"})
	if err != nil {
		t.Fatal(err)
	}
	all := func() { // on several connections, and each more than once: statements are kept prepared then
		t.Helper()
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				if _, err := s.Note(ctx, owner, first.ID); err != nil {
					t.Errorf("Note = %v", err)
				}
				if _, err := s.UserByEmail(ctx, "ada@example.org"); err != nil {
					t.Errorf("UserByEmail = %v", err)
				}
				if _, err := s.ToggleNote(ctx, owner, first.ID, notes.FlagPinned); err != nil {
					t.Errorf("ToggleNote = %v", err)
				}
				if _, err := s.CreateNote(ctx, owner, notes.NewNote{Title: "another"}); err != nil {
					t.Errorf("CreateNote = %v", err)
				}
			})
		}
		wg.Wait()
	}
	all()
	all()
	for _, statement := range []string{"ALTER TABLE notes ALTER title TYPE varchar(400)", "ALTER TABLE users ALTER name TYPE varchar(400)"} {
		if err := s.WriterDB().Exec(statement).Error; err != nil {
			t.Fatal(err)
		}
	}
	all()
}
