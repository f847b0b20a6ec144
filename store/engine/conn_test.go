package engine_test

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"notesd/internal/testkit"
	"notesd/store/engine"
	"notesd/store/storetest"
)

// A write that was kept from its core leaves pgx reading an idle connection in
// the background (jackc/pgx#1673). Nobody waits for what it reads: the health monitor
// leaves the connection alone, and it is used again.
func TestPostgresIdleReader(t *testing.T) {
	t.Parallel()
	var said testkit.LogBuffer
	db, err := engine.Open(t.Context(), engine.Config{URL: storetest.Postgres(t), MaxConns: 2, Log: slog.New(slog.NewTextHandler(&said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	ready(t, db)
	first, second := pids(t, db)
	prompt := engine.LateWrites(db)
	ask := func() (pid int) {
		if err := db.Reader(t.Context()).Raw("SELECT pg_backend_pid()").Scan(&pid).Error; err != nil {
			t.Errorf("a query = %v", err)
		}
		return pid
	}
	var long sync.WaitGroup
	long.Go(func() { // the health monitor looks while somebody waits, which is more than ten times
		if err := db.Reader(t.Context()).Exec("SELECT pg_sleep(1.5)").Error; err != nil {
			t.Errorf("a query that takes 1.5 s = %v", err)
		}
	})
	for db.Stats()["database"].InUse == 0 {
		time.Sleep(time.Millisecond)
	}
	idle := ask()
	long.Wait()
	prompt()
	if n := engine.Reads(db); n == 0 {
		t.Error("nobody reads the idle connections: nothing was proved")
	}
	if again := ask(); again != idle && again != first && again != second {
		t.Errorf("process %d answers, want one of %d and %d: the connections are well", again, first, second)
	}
	if n := engine.Reads(db); n > 1 {
		t.Errorf("%d connections are still read, want at most the one that was not used again", n)
	}
	if text := said.String(); strings.Contains(text, "gone dead") {
		t.Errorf("the log says\n%s", text)
	}
}

// pids are the server's processes at the ends of both connections.
func pids(t *testing.T, db *engine.DB) (first, second int) {
	t.Helper()
	var both sync.WaitGroup
	for _, pid := range []*int{&first, &second} {
		both.Go(func() {
			if err := db.Reader(t.Context()).Raw("SELECT pg_backend_pid() FROM pg_sleep(0.2)").Scan(pid).Error; err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	if first == second {
		t.Fatal("one connection answered both")
	}
	return first, second
}
