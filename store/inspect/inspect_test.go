package inspect_test

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
	"notesd/store/engine"
	"notesd/store/inspect"
	"notesd/store/storetest"
)

func TestMain(m *testing.M) { testserver.Main(m) }

// An inspected database has the schema of this binary, the right time, and is as it was.
func TestInspect(t *testing.T) {
	storetest.Engines(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url) // it serves meanwhile
		for email, key := range map[string]string{"a@example.org": "one", "b@example.org": "two", "c@example.org": "one"} {
			u, err := s.CreateUser(t.Context(), email, "", "no hash")
			err = errors.Join(err, s.BeginTOTP(t.Context(), store.TOTP{UserID: u.ID, Secret: []byte{1}, KeyID: key}))
			if err != nil {
				t.Fatal(err)
			}
		}
		r, err := inspect.Inspect(t.Context(), url, "")
		if err != nil {
			t.Fatal(err)
		}
		if r.Schema != r.Newest || r.Schema < 1 || r.Misfit != nil || r.Missing || r.Version == "" || r.Latency <= 0 {
			t.Errorf("Inspect() = %+v, want the newest schema", r)
		}
		if len(r.TOTPKeys) != 2 || r.TOTPKeys["one"] != 2 || r.TOTPKeys["two"] != 1 {
			t.Errorf("Inspect() counts %v by keys, want 2 of one and 1 of two", r.TOTPKeys)
		}
		if r.Engine == "SQLite" {
			if r.JournalMode != "wal" {
				t.Errorf("journal mode %q, want wal", r.JournalMode)
			}
			return
		}
		if r.MaxConnections < 10 || r.Reserved < 1 || r.ConnLimit != -1 || r.SharedBuffers < 1<<20 || r.EffectiveCache < 1<<20 ||
			r.WorkMem < 64<<10 || r.MaintenanceWorkMem < 1<<20 || r.Encrypted || r.Verified || !r.NotifyWorks || !r.Peer.IsLoopback() {
			t.Errorf("Inspect() = %+v", r)
		}
		if r.Fsync || r.FullPageWrites || r.SynchronousCommit != "off" { // as storetest has it
			t.Errorf("durability %v %v %q, want all off", r.Fsync, r.FullPageWrites, r.SynchronousCommit)
		}
		if r.ClockSkew.Abs() > time.Second {
			t.Errorf("skew %v of a clock that is ours", r.ClockSkew)
		}
	})
}

// A channel to elsewhere hears nothing.
func TestInspectChannel(t *testing.T) {
	url, other := testserver.EmptyPostgres(t), testserver.EmptyPostgres(t)
	for channel, want := range map[string]bool{url: true, other: false} {
		if r, err := inspect.Inspect(t.Context(), url, channel); err != nil || r.NotifyWorks != want {
			t.Errorf("Inspect() with the channel %s: heard %v, %v, want %v", channel, r.NotifyWorks, err, want)
		}
	}
}

// Nothing is made where nothing is.
func TestInspectEmpty(t *testing.T) {
	file := storetest.EmptySQLite(t)
	r, err := inspect.Inspect(t.Context(), file, "")
	if _, gone := os.Stat(file); err != nil || !r.Missing || !errors.Is(gone, os.ErrNotExist) {
		t.Errorf("Inspect() of no file = %+v, %v and then %v", r, err, gone)
	}
	url := testserver.EmptyPostgres(t)
	for range 2 {
		if r, err := inspect.Inspect(t.Context(), url, ""); err != nil || r.Schema != 0 || r.Misfit != nil {
			t.Errorf("Inspect() of an empty database = %+v, %v, want schema 0", r, err)
		}
	}
}

// A clock that is ahead and a schema that is too new are seen.
func TestInspectTrouble(t *testing.T) {
	url := storetest.Postgres(t)
	execute(t, url,
		"CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT pg_catalog.clock_timestamp() + interval ''1 hour'''",
		"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database()); END $$",
		"UPDATE schema_info SET min_binary = 1000")
	r, err := inspect.Inspect(t.Context(), url, "")
	if off := r.ClockSkew - time.Hour; err != nil || off.Abs() > time.Second || !errors.Is(r.Misfit, engine.ErrSchema) {
		t.Errorf("Inspect() = %+v, %v, want a skew of 1h0m0s and ErrSchema", r, err)
	}
}

// A limit of connections holds for everybody but superusers.
func TestInspectConnLimit(t *testing.T) {
	url := testserver.EmptyPostgres(t)
	execute(t, url, "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT 7', current_database()); END $$",
		"CREATE ROLE plain LOGIN")
	defer execute(t, url, "DROP ROLE plain")
	for of, want := range map[string]int{url: -1, strings.Replace(url, "notes@", "plain@", 1): 7} {
		if r, err := inspect.Inspect(t.Context(), of, ""); err != nil || r.ConnLimit != want {
			t.Errorf("Inspect(%s) finds a limit of %d, %v, want %d", of, r.ConnLimit, err, want)
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
func TestInspectAway(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, url := range []string{"postgres://u:geheim@127.0.0.1:1/notes", "postgres://u:gehe%zzim@h/notes", "mysql://u:geheim@h/notes"} {
		if _, err := inspect.Inspect(ctx, url, ""); err == nil || strings.Contains(err.Error(), "geheim") || strings.Contains(err.Error(), "zzim") {
			t.Errorf("Inspect(%q) = %v, want an error without the password", url, err)
		}
	}
}
