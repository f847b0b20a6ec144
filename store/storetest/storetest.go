// Package storetest gives tests fresh stores on real databases. PostgreSQL and
// Redis are started on first use, one of each for a test binary, and are gone
// with their files when it ends, in whichever way it ends.
package storetest

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"notesd/store"
)

// startTimeout is how long a server may take to start and a store to be ready.
const startTimeout = time.Minute

// Each runs test on a fresh store of each engine.
func Each(t *testing.T, test func(t *testing.T, s *store.Store)) {
	t.Helper()
	Engines(t, func(t *testing.T, url string) { test(t, Open(t, url)) })
}

// Engines runs test with the URL of a fresh database of each engine.
func Engines(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) { test(t, SQLite(t)) })
	t.Run("PostgreSQL", func(t *testing.T) { test(t, Postgres(t)) })
}

// Open opens the database at url, waits until it can be used, and closes it
// when the test ends.
func Open(t testing.TB, url string) *store.Store {
	t.Helper()
	return OpenWatched(t, url, nil)
}

// OpenWatched is Open with a Witness.
func OpenWatched(t testing.TB, url string, w store.Witness) *store.Store {
	t.Helper()
	// Not t.Context: it ends before the cleanups, the store's users among them.
	s, err := store.Open(context.Background(), store.Config{URL: url, Witness: w, Log: Log(t)})
	if err != nil {
		t.Fatalf("open %s: %v", url, err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close %s: %v", url, err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	if err := s.WaitReady(ctx); err != nil {
		t.Fatalf("open %s: %v", url, err)
	}
	return s
}

// SQLite returns the path of a database that is not there yet, in a data
// directory that is not there either.
func SQLite(t testing.TB) string {
	return filepath.Join(t.TempDir(), "data", "notes.db")
}

// Log is a logger whose lines are shown with the test's.
func Log(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// Main runs the tests of a package and exits: see Run.
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run runs the tests of a package, stops what they started, and fails if a
// goroutine is left. It returns the code to exit with.
func Run(m *testing.M) int {
	code := m.Run()
	if err := stopAll(); err != nil {
		fmt.Fprintln(os.Stderr, "storetest:", err)
		code = max(code, 1)
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "storetest:", err)
			code = 1
		}
	}
	return code
}
