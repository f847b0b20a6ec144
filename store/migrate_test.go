package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"notesd/internal/testkit"
	"notesd/internal/testserver"
	"notesd/store"
	"notesd/store/engine"
	"notesd/store/storetest"
)

// Several replicas that start at once on an empty database migrate it once.
func TestMigrateTogether(t *testing.T) {
	url := testserver.EmptyPostgres(t)
	began := time.Now()
	var wg sync.WaitGroup
	for range 5 {
		s := openPostgres(t, url)
		wg.Go(func() {
			if err := s.WaitReady(t.Context()); err != nil {
				t.Errorf("WaitReady of one of five replicas = %v", err)
			}
		})
	}
	wg.Wait()
	t.Logf("five replicas were ready after %v", time.Since(began))
	var rows int
	mustQuery(t, url, "SELECT count(*) FROM schema_info", &rows)
	if rows != 1 {
		t.Errorf("the first migration ran %d times", rows)
	}
}

// A start without a rival is quick, both with the schema to make and without.
func TestMigrateAlone(t *testing.T) {
	url := testserver.EmptyPostgres(t)
	for _, state := range []string{"empty", "up to date"} {
		began := time.Now()
		s := storetest.Open(t, url)
		if took := time.Since(began); took > 5*time.Second { // 0.1 s, and a machine that is busy
			t.Errorf("start on a database that is %s took %v", state, took)
		}
		if version, err := s.SchemaVersion(t.Context()); version != 10 || err != nil {
			t.Errorf("SchemaVersion = %d, %v, want 10", version, err)
		}
		if err := s.Migrate(t.Context()); err != nil {
			t.Errorf("Migrate of a database that is up to date = %v", err)
		}
	}
}

// A migration fails no request of the binary before it, which goes on to look up sessions.
func TestMigrateBesideReaders(t *testing.T) {
	url := testserver.EmptyPostgres(t)
	server, err := engine.ParsePostgresURL(url)
	if err != nil {
		t.Fatal(err)
	}
	migrator := engine.PostgresMigrator(server, testkit.Log(t))
	if err := migrator.UpTo(t.Context(), 6); err != nil {
		t.Fatal(err)
	}
	migrated := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		conn := connect(t, url)
		wg.Go(func() {
			defer conn.Close(context.Background())
			for {
				_, err := conn.Exec(t.Context(), `SELECT 1 FROM sessions WHERE token_hash = 'x' AND EXISTS (
					SELECT 1 FROM users WHERE users.id = sessions.user_id AND users.session_epoch = sessions.epoch)`)
				if err != nil {
					t.Errorf("looking up a session beside the migration = %v", err)
					return
				}
				select {
				case <-migrated:
					return
				default:
				}
			}
		})
	}
	if err := migrator.Up(t.Context()); err != nil {
		t.Error(err)
	}
	close(migrated)
	wg.Wait()
}

// A migration fails no write of the binary before it, whose transactions lock the tables in this
// order.
func TestMigrateBesideWriters(t *testing.T) {
	url := testserver.EmptyPostgres(t)
	server, err := engine.ParsePostgresURL(url)
	if err != nil {
		t.Fatal(err)
	}
	migrator := engine.PostgresMigrator(server, testkit.Log(t))
	if err := migrator.UpTo(t.Context(), 9); err != nil {
		t.Fatal(err)
	}
	const writers = 4
	mustExec(t, url, fmt.Sprintf(`INSERT INTO users (id, email, email_folded, name, password_hash, created_at, updated_at)
		SELECT 'user ' || i, i, i, '', '', 0, 0 FROM generate_series(1, %d) AS i`, writers))
	mustExec(t, url, "INSERT INTO user_counters (user_id) SELECT id FROM users")
	migrated := make(chan struct{})
	var wg sync.WaitGroup
	for i := range writers {
		conn := connect(t, url)
		wg.Go(func() {
			defer conn.Close(context.Background())
			for n := 0; ; n++ {
				_, err := conn.Exec(t.Context(), fmt.Sprintf(`BEGIN;
					SELECT 1 FROM user_counters WHERE user_id = '%[1]s' FOR UPDATE;
					INSERT INTO notes (id, user_id, is_pinned, is_favorite, is_archived, is_markdown, is_trashed, created_at,
						updated_at, revision, change_seq, bytes, title, title_folded, content)
					SELECT '%[1]s note %[2]d', '%[1]s', false, false, false, false, false, 0, 0, 1, 1, 1, '', '', '';
					INSERT INTO note_search (note_key, content_folded)
					SELECT key, '' FROM notes WHERE id = '%[1]s note %[2]d';
					INSERT INTO note_tags (note_key, position, tag)
					SELECT key, 0, '' FROM notes WHERE id = '%[1]s note %[2]d';
					COMMIT`, fmt.Sprint("user ", i+1), n))
				if err != nil {
					t.Errorf("a write beside the migration = %v", err)
					return
				}
				select {
				case <-migrated:
					return
				default:
				}
			}
		})
	}
	if err := migrator.Up(t.Context()); err != nil {
		t.Error(err)
	}
	close(migrated)
	wg.Wait()
	var references int
	mustQuery(t, url, `SELECT count(*) FROM pg_constraint WHERE contype = 'f'
		AND conrelid = ANY (ARRAY['notes', 'note_search', 'note_tags', 'note_versions']::regclass[])`, &references)
	if references != 0 {
		t.Errorf("%d references are left, which every write would check", references)
	}
}

// A process that was killed while it migrated stands in the way until its lease
// has run out, and no longer.
func TestMigrateAfterKill(t *testing.T) {
	url := testserver.EmptyPostgres(t)
	mustExec(t, url, `CREATE TABLE goose_lock (lock_id bigint PRIMARY KEY, locked boolean NOT NULL DEFAULT false,
		locked_at timestamptz, locked_by text, lease_expires_at timestamptz, updated_at timestamptz)`)
	mustExec(t, url, `INSERT INTO goose_lock VALUES (4097083626, true, now(), 'killed', now() + interval '2 s', now())`)
	began := time.Now()
	storetest.Open(t, url)
	if took := time.Since(began); took < time.Second {
		t.Errorf("ready after %v, which another's lease of 2 s did not allow", took)
	}
}

// A schema says which binaries it serves. This one goes on beside a newer one
// until the schema has moved too far.
func TestNewerSchema(t *testing.T) {
	storetest.Engines(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		newer := func(minBinary int) {
			t.Helper()
			for _, change := range []string{
				"INSERT INTO goose_db_version (version_id, is_applied) VALUES (3, true)",
				fmt.Sprintf("UPDATE schema_info SET min_binary = %d", minBinary),
			} {
				if err := s.WriterDB().Exec(change).Error; err != nil {
					t.Fatal(err)
				}
			}
		}
		reopen := func() error {
			if s.Engine() == "SQLite" {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			other, err := store.Open(t.Context(), store.Config{URL: url, Log: testkit.Log(t)})
			if err != nil {
				return err
			}
			defer other.Close()
			if err := other.WaitReady(t.Context()); err != nil {
				return err
			}
			return other.Ready(t.Context())
		}
		newer(1)
		if version, err := s.SchemaVersion(t.Context()); version != 10 || err != nil {
			t.Errorf("SchemaVersion = %d, %v, want 10", version, err)
		}
		if err := s.Ready(t.Context()); err != nil {
			t.Errorf("Ready on a newer schema that serves us = %v", err)
		}
		if err := reopen(); err != nil {
			t.Errorf("Open on a newer schema that serves us = %v", err)
		}
		if s.Engine() == "SQLite" {
			s = storetest.Open(t, url)
		}
		newer(2)
		if err := s.Ready(t.Context()); !errors.Is(err, store.ErrSchema) {
			t.Errorf("Ready on a schema too new = %v, want ErrSchema", err)
		}
		if err := reopen(); !errors.Is(err, store.ErrSchema) || !strings.Contains(err.Error(), "newer notesd") {
			t.Errorf("Open on a schema too new = %v, want ErrSchema with the way out", err)
		}
	})
}

// Both engines end in the same schema: the same columns, which may be missing,
// and the same indexes.
func TestEqualSchemas(t *testing.T) {
	var mu sync.Mutex // guards schemas
	schemas := map[string][]string{}
	t.Run("engines", func(t *testing.T) { // which returns when both have run
		storetest.Each(t, func(t *testing.T, s *store.Store) {
			queries := map[string][2]string{
				"SQLite": {
					`SELECT m.name || '.' || c.name || CASE WHEN c."notnull" OR c.pk THEN '' ELSE ' null' END
				 FROM sqlite_schema m, pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%'`,
					`SELECT tbl_name || ' ' || name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL`,
				},
				"PostgreSQL": {
					`SELECT table_name || '.' || column_name || CASE WHEN is_nullable = 'NO' THEN '' ELSE ' null' END
				 FROM information_schema.columns WHERE table_schema = 'public'`,
					`SELECT tablename || ' ' || indexname FROM pg_indexes
				 WHERE schemaname = 'public' AND indexname NOT LIKE '%key' AND indexname NOT LIKE '%_pkey'`,
				},
			}
			var schema []string
			for _, query := range queries[s.Engine()] {
				var found []string
				if err := s.DB().Raw(query).Scan(&found).Error; err != nil {
					t.Fatal(err)
				}
				found = slices.DeleteFunc(found, func(name string) bool { return strings.HasPrefix(name, "goose_") })
				schema = append(schema, found...)
			}
			slices.Sort(schema)
			mu.Lock()
			defer mu.Unlock()
			schemas[s.Engine()] = schema
		})
	})
	if diff := cmp.Diff(schemas["SQLite"], schemas["PostgreSQL"]); diff != "" || len(schemas["SQLite"]) < 60 {
		t.Errorf("schemas differ (-SQLite +PostgreSQL):\n%s", diff)
	}
}

func mustExec(t *testing.T, url, statement string) {
	t.Helper()
	conn := connect(t, url)
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func mustQuery(t *testing.T, url, query string, into ...any) {
	t.Helper()
	conn := connect(t, url)
	defer conn.Close(context.Background())
	if err := conn.QueryRow(t.Context(), query).Scan(into...); err != nil {
		t.Fatal(err)
	}
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// failedQueries counts the queries that PostgreSQL answers with an error, and so logs.
type failedQueries struct {
	mu     sync.Mutex // guards errors
	errors []error
}

func (f *failedQueries) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (f *failedQueries) TraceQueryEnd(_ context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	if data.Err != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.errors = append(f.errors, data.Err)
	}
}

// The first start of one process, or of several at once, leaves no error in PostgreSQL's log.
func TestFirstMigrationIsQuiet(t *testing.T) {
	for _, processes := range []int{1, 4} {
		server, err := pgx.ParseConfig(testserver.EmptyPostgres(t))
		if err != nil {
			t.Fatal(err)
		}
		var failed failedQueries
		server.Tracer = &failed
		var wg sync.WaitGroup
		for range processes {
			wg.Go(func() {
				if err := engine.PostgresMigrator(server, testkit.Log(t)).Up(t.Context()); err != nil {
					t.Errorf("Up of one of %d = %v", processes, err)
				}
			})
		}
		wg.Wait()
		for _, err := range failed.errors {
			t.Errorf("%d at once: PostgreSQL logs %v", processes, err)
		}
	}
}
