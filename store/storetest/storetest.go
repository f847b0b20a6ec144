// Package storetest gives tests fresh stores on real databases.
package storetest

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"notesd/internal/testkit"
	"notesd/internal/testserver"
	"notesd/store"
)

// readyTimeout is how long a store may take to be ready.
const readyTimeout = time.Minute

// Each runs test on a fresh store of each engine, on both at once: see Engines.
func Each(t *testing.T, test func(t *testing.T, s *store.Store)) {
	t.Helper()
	Engines(t, func(t *testing.T, url string) { test(t, Open(t, url)) })
}

// Engines runs test with the URL of a fresh database of each engine, on both at
// once. Like all parallel subtests they run after the function that t belongs to
// has returned.
func Engines(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	for name, fresh := range map[string]func(testing.TB) string{"SQLite": SQLite, "PostgreSQL": Postgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, fresh(t))
		})
	}
}

// Open opens the database at url, waits until it can be used, and closes it
// when the test ends.
func Open(t testing.TB, url string) *store.Store {
	t.Helper()
	return OpenWith(t, url, nil, nil)
}

// OpenWith is Open for a store with an Invalidator and a Changes, each of which may be nil.
func OpenWith(t testing.TB, url string, w store.Invalidator, c store.Changes) *store.Store {
	t.Helper()
	// Not t.Context: it ends before the cleanups, the store's users among them.
	s, err := store.Open(context.Background(), store.Config{URL: url, Invalidator: w, Changes: c, Log: testkit.Log(t)})
	if err != nil {
		t.Fatalf("open %s: %v", url, err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close %s: %v", url, err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), readyTimeout)
	defer cancel()
	if err := s.WaitReady(ctx); err != nil {
		t.Fatalf("open %s: %v", url, err)
	}
	if err := s.WaitStarted(ctx); err != nil {
		t.Fatalf("start %s: %v", url, err)
	}
	return s
}

// SQLite returns the path of a fresh database that has the schema and nothing
// else, in a data directory of its own.
func SQLite(t testing.TB) string {
	t.Helper()
	file, err := migratedSQLite()
	if err != nil {
		t.Fatal(err)
	}
	path := EmptySQLite(t)
	if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o700), os.WriteFile(path, file, 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}

// EmptySQLite returns the path of a database that does not exist yet, in a data
// directory that does not exist either.
func EmptySQLite(t testing.TB) string {
	return filepath.Join(t.TempDir(), "data", "notes.db")
}

// Postgres returns the URL of a fresh database that has the schema and nothing
// else, on the server that this test binary shares. It is dropped when the
// test ends.
func Postgres(t testing.TB) string {
	t.Helper()
	return migrated.Copy(t)
}

var (
	migrated       = testserver.NewPostgresTemplate("migrated", migrate)
	migratedSQLite = sync.OnceValues(func() (file []byte, err error) {
		dir, err := os.MkdirTemp("", "storetest")
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		path := filepath.Join(dir, "notes.db")
		if err := migrate(path); err != nil {
			return nil, err
		}
		return os.ReadFile(path)
	})
)

// migrate makes the schema in an empty database.
func migrate(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	s, err := store.Open(ctx, store.Config{URL: url, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	return errors.Join(s.WaitReady(ctx), s.Close())
}
