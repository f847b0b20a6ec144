package store_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"notesd/internal/testserver"
	"notesd/store"
	"notesd/store/storetest"
)

// An examined database has the schema of this binary, the right time, and is as it was.
func TestExamine(t *testing.T) {
	storetest.Engines(t, func(t *testing.T, url string) {
		storetest.Open(t, url) // it serves meanwhile
		x, err := store.Examine(t.Context(), store.Config{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		if x.Schema != x.Newest || x.Schema < 1 || x.Misfit != nil || x.Missing || x.Version == "" || x.Latency <= 0 {
			t.Errorf("Examine() = %+v, want the newest schema", x)
		}
		if x.Engine == "SQLite" {
			if x.JournalMode != "wal" {
				t.Errorf("journal mode %q, want wal", x.JournalMode)
			}
			return
		}
		if x.MaxConnections < 10 || x.Reserved < 1 || x.ConnLimit != -1 || x.SharedBuffers < 1<<20 || x.EffectiveCache < 1<<20 ||
			x.WorkMem < 64<<10 || x.MaintenanceWorkMem < 1<<20 || x.Encrypted || x.Verified || !x.Heard || !x.Peer.IsLoopback() {
			t.Errorf("Examine() = %+v", x)
		}
		if x.Fsync || x.FullPageWrites || x.SynchronousCommit != "off" { // as storetest has it
			t.Errorf("durability %v %v %q, want all off", x.Fsync, x.FullPageWrites, x.SynchronousCommit)
		}
		if x.Skew.Abs() > time.Second {
			t.Errorf("skew %v of a clock that is ours", x.Skew)
		}
	})
}

// A channel to elsewhere hears nothing.
func TestExamineChannel(t *testing.T) {
	url, other := testserver.EmptyPostgres(t), testserver.EmptyPostgres(t)
	for channel, want := range map[string]bool{url: true, other: false} {
		if x, err := store.Examine(t.Context(), store.Config{URL: url, ChannelURL: channel}); err != nil || x.Heard != want {
			t.Errorf("Examine() with the channel %s: heard %v, %v, want %v", channel, x.Heard, err, want)
		}
	}
}

// Nothing is made where nothing is.
func TestExamineEmpty(t *testing.T) {
	file := storetest.SQLite(t)
	x, err := store.Examine(t.Context(), store.Config{URL: file})
	if _, gone := os.Stat(file); err != nil || !x.Missing || !errors.Is(gone, os.ErrNotExist) {
		t.Errorf("Examine() of no file = %+v, %v and then %v", x, err, gone)
	}
	url := testserver.EmptyPostgres(t)
	for range 2 {
		if x, err := store.Examine(t.Context(), store.Config{URL: url}); err != nil || x.Schema != 0 || x.Misfit != nil {
			t.Errorf("Examine() of an empty database = %+v, %v, want schema 0", x, err)
		}
	}
}

// A clock that is ahead and a schema that is too new are seen.
func TestExamineTrouble(t *testing.T) {
	url := storetest.Postgres(t)
	execute(t, url,
		"CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT pg_catalog.clock_timestamp() + interval ''1 hour'''",
		"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database()); END $$",
		"UPDATE schema_info SET min_binary = 1000")
	x, err := store.Examine(t.Context(), store.Config{URL: url})
	if off := x.Skew - time.Hour; err != nil || off.Abs() > time.Second || !errors.Is(x.Misfit, store.ErrSchema) {
		t.Errorf("Examine() = %+v, %v, want a skew of 1h0m0s and ErrSchema", x, err)
	}
}

// A limit of connections holds for everybody but superusers.
func TestExamineConnLimit(t *testing.T) {
	url := testserver.EmptyPostgres(t)
	execute(t, url, "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT 7', current_database()); END $$",
		"CREATE ROLE plain LOGIN")
	defer execute(t, url, "DROP ROLE plain")
	for of, want := range map[string]int{url: -1, strings.Replace(url, "notes@", "plain@", 1): 7} {
		if x, err := store.Examine(t.Context(), store.Config{URL: of}); err != nil || x.ConnLimit != want {
			t.Errorf("Examine(%s) finds a limit of %d, %v, want %d", of, x.ConnLimit, err, want)
		}
	}
}

func execute(t *testing.T, url string, statements ...string) {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
}

// What can't be reached is an error without the password.
func TestExamineAway(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, url := range []string{"postgres://u:geheim@127.0.0.1:1/notes", "postgres://u:gehe%zzim@h/notes", "mysql://u:geheim@h/notes"} {
		if _, err := store.Examine(ctx, store.Config{URL: url}); err == nil || strings.Contains(err.Error(), "geheim") || strings.Contains(err.Error(), "zzim") {
			t.Errorf("Examine(%q) = %v, want an error without the password", url, err)
		}
	}
}
