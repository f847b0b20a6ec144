package legacy_test

import (
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"notesd/internal/legacy"
	"notesd/internal/testserver"
)

func TestMain(m *testing.M) { testserver.Main(m) }

// database is an old database of files in testdata and more statements.
func database(t *testing.T, files []string, statements ...string) string {
	t.Helper()
	var all []string
	for _, file := range files {
		all = append(all, read(t, file))
	}
	return testserver.PostgresWith(t, append(all, statements...)...)
}

func open(t *testing.T, url string) (*legacy.Database, error) {
	t.Helper()
	server, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	old, err := legacy.Open(t.Context(), server)
	if err == nil {
		t.Cleanup(func() {
			if err := old.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return old, err
}

func mustOpen(t *testing.T, url string) *legacy.Database {
	t.Helper()
	old, err := open(t, url)
	if err != nil {
		t.Fatal(err)
	}
	return old
}

// all collects what a reading gives.
func all[T any](t *testing.T, rows iter.Seq2[T, error]) (list []T) {
	t.Helper()
	for row, err := range rows {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, row)
	}
	return list
}

func utc(year int, month time.Month, day, hour, minute, milli int) time.Time {
	return time.Date(year, month, day, hour, minute, 0, milli*1e6, time.UTC)
}

func TestRead(t *testing.T) {
	old := mustOpen(t, database(t, []string{"legacy.sql"}))
	accounts, err := old.Accounts(t.Context())
	if err != nil || len(accounts) != 3 {
		t.Fatalf("Accounts() = %v, %v, want 3", accounts, err)
	}
	got := accounts[1]
	want := legacy.Account{
		ID: "cm4legacy0000000000000002", Email: "Ada@Example.com", Name: "Ada",
		PasswordHash: "$2b$12$T22yvYhpu0doAXjwef9l6OdSGDtBpvT5XdkP.0F.HLbEgzJj1Z29S", FailedLogins: 5,
		LockedUntil: utc(2025, 12, 2, 10, 15, 0), CreatedAt: got.CreatedAt, UpdatedAt: utc(2025, 12, 2, 10, 0, 0), Notes: 1,
	}
	if diff := cmp.Diff(want, got); diff != "" || got.CreatedAt.IsZero() {
		t.Errorf("the second account (-want +got):\n%s", diff)
	}
	notes := all(t, old.Notes(t.Context(), "cm4legacy0000000000000001"))
	wantNotes := []legacy.Note{{
		ID: "cm4legacynote000000000001", Title: "Escaped by the old filter", Content: "a &lt; b &amp;&amp; c &gt; d",
		Tags: []*string{new("work"), new("two words"), new("a,b")}, Color: new("#fee2e2"), Pinned: true,
		CreatedAt: utc(2025, 12, 1, 10, 0, 0), UpdatedAt: utc(2025, 12, 1, 10, 0, 1),
	}, {
		ID: "cm4legacynote000000000002", Title: "Trashed without a date", Color: new(""), Trashed: true,
		CreatedAt: utc(2025, 12, 1, 10, 0, 0), UpdatedAt: utc(2025, 12, 5, 0, 0, 0),
	}}
	if diff := cmp.Diff(wantNotes, notes); diff != "" {
		t.Errorf("the first account's notes (-want +got):\n%s", diff)
	}
}

// What is read is of the moment of Open, and nothing of it can be changed.
func TestSnapshot(t *testing.T) {
	url := database(t, []string{"legacy.sql"})
	old := mustOpen(t, url)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), `DELETE FROM "User"`); err != nil {
		t.Fatal(err)
	}
	accounts, err := old.Accounts(t.Context())
	if err != nil || len(accounts) != 3 {
		t.Fatalf("Accounts() after others' deletion = %d, %v, want 3", len(accounts), err)
	}
	if notes := all(t, old.Notes(t.Context(), accounts[0].ID)); len(notes) == 0 && accounts[0].Notes > 0 {
		t.Error("no notes after others' deletion")
	}
}

// Whoever stops early ends the reading.
func TestStop(t *testing.T) {
	old := mustOpen(t, database(t, []string{"legacy.sql", "awkward.sql"}))
	for _, err := range old.Notes(t.Context(), "user-many") {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	if _, err := old.Accounts(t.Context()); err == nil {
		t.Error("Accounts() after a reading that was stopped = nil, want an error")
	}
}

func TestOrphans(t *testing.T) {
	old := mustOpen(t, database(t, []string{"legacy.sql"}, `ALTER TABLE "Note" DROP CONSTRAINT "Note_userId_fkey"`,
		`UPDATE "Note" SET "userId" = 'gone' WHERE "id" = 'cm4legacynote000000000004'`))
	want := []legacy.Orphan{{ID: "cm4legacynote000000000004", UserID: "gone"}}
	if diff := cmp.Diff(want, all(t, old.Orphans(t.Context()))); diff != "" {
		t.Errorf("Orphans() (-want +got):\n%s", diff)
	}
}

// What is missing is named, all of it.
func TestOtherSchema(t *testing.T) {
	for _, row := range []struct {
		name       string
		statements []string
		says       []string
	}{
		{"empty", []string{`DROP TABLE "Note", "User"`}, []string{`there is no table "User"`, `there is no table "Note"`}},
		{"one table", []string{`DROP TABLE "Note"`}, []string{`there is no table "Note"`}},
		{"older release", []string{`ALTER TABLE "Note" DROP COLUMN "isTrashed", DROP COLUMN "trashedAt"`},
			[]string{`table "Note" has no column "isTrashed"`, `table "Note" has no column "trashedAt"`}},
		{"other types", []string{`ALTER TABLE "Note" ALTER "createdAt" TYPE timestamptz`,
			`ALTER TABLE "User" ALTER "failedLoginAttempts" TYPE bigint`},
			[]string{`column "createdAt" of table "Note" is timestamp with time zone, not timestamp without time zone`,
				`column "failedLoginAttempts" of table "User" is bigint, not integer`}},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := open(t, database(t, []string{"legacy.sql"}, row.statements...))
			for _, says := range row.says {
				if err == nil || !strings.Contains(err.Error(), says) {
					t.Errorf("Open() = %v, want %q in it", err, says)
				}
			}
		})
	}
}

// The old backend's own URL will do, with what its database library alone
// understands; its tables may be in another schema.
func TestOldURL(t *testing.T) {
	url := database(t, nil, `CREATE SCHEMA "Old notes"; SET search_path = "Old notes";`+read(t, "legacy.sql"))
	old := mustOpen(t, url+"&schema=Old%20notes&connection_limit=5&pool_timeout=10&pgbouncer=true&sslaccept=strict")
	if accounts, err := old.Accounts(t.Context()); err != nil || len(accounts) != 3 {
		t.Errorf("Accounts() = %d, %v, want 3", len(accounts), err)
	}
	if _, err := open(t, url); err == nil || !strings.Contains(err.Error(), `there is no table "User"`) {
		t.Errorf("Open() without the schema = %v", err)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Limits of time that the server sets end nothing.
func TestPatience(t *testing.T) {
	url := database(t, []string{"legacy.sql"})
	_, name, _ := strings.Cut(url[:strings.IndexByte(url, '?')], "/test")
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), "ALTER DATABASE test"+name+" SET idle_in_transaction_session_timeout = '500ms'")
	if err != nil {
		t.Fatal(err)
	}
	old := mustOpen(t, url)
	time.Sleep(700 * time.Millisecond) // the server's clock is a real one, and a busy machine takes its time to begin
	if _, err := old.Accounts(t.Context()); err != nil {
		t.Errorf("Accounts() after a while = %v", err)
	}
}

// A NULL where the old backend has none is told of with its row, and the rows after
// it are read.
func TestNulls(t *testing.T) {
	url := database(t, []string{"legacy.sql"}, `CREATE TABLE "savedUser" AS TABLE "User"`, `CREATE TABLE "savedNote" AS TABLE "Note"`)
	untouched := mustOpen(t, url)
	accounts, err := untouched.Accounts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	account := accounts[0].ID
	notes := all(t, untouched.Notes(t.Context(), account))
	if err := untouched.Close(); err != nil { // its snapshot locks the tables
		t.Fatal(err)
	}
	for _, row := range []struct{ table, column, id string }{
		{"User", "email", account}, {"User", "name", account}, {"User", "password", account},
		{"User", "failedLoginAttempts", account}, {"User", "createdAt", account}, {"User", "updatedAt", account},
		{"Note", "title", notes[0].ID}, {"Note", "content", notes[0].ID}, {"Note", "isPinned", notes[0].ID},
		{"Note", "isFavorite", notes[0].ID}, {"Note", "isArchived", notes[0].ID}, {"Note", "isMarkdown", notes[0].ID},
		{"Note", "isTrashed", notes[0].ID}, {"Note", "createdAt", notes[0].ID}, {"Note", "updatedAt", notes[0].ID},
		{"Note", "userId", notes[0].ID},
	} {
		t.Run(row.table+" "+row.column, func(t *testing.T) {
			alter(t, url, fmt.Sprintf(`ALTER TABLE %[1]q ALTER %[2]q DROP NOT NULL; UPDATE %[1]q SET %[2]q = NULL WHERE "id" = '%[3]s'`,
				row.table, row.column, row.id))
			old := mustOpen(t, url)
			alter(t, url, fmt.Sprintf(`UPDATE %[1]q SET %[2]q = (SELECT %[2]q FROM "saved%[3]s" WHERE "id" = '%[4]s') WHERE "id" = '%[4]s'`,
				row.table, row.column, row.table, row.id)) // for the next; old reads what was before
			found, err := old.Accounts(t.Context())
			if err != nil || len(found) != len(accounts) {
				t.Fatalf("Accounts() = %d, %v, want all %d", len(found), err, len(accounts))
			}
			nulls := map[string]string{}
			for _, a := range found {
				nulls[a.ID] = a.Null
			}
			for _, n := range all(t, old.Notes(t.Context(), account)) {
				nulls[n.ID] = n.Null
			}
			for _, orphan := range all(t, old.Orphans(t.Context())) {
				if orphan.UserID == "" {
					nulls[orphan.ID] = "userId"
				}
			}
			for id, null := range nulls {
				if want := map[bool]string{true: row.column}[id == row.id]; null != want {
					t.Errorf("row %s: NULL is %q, want %q", id, null, want)
				}
			}
			if len(nulls) != len(accounts)+len(notes) {
				t.Errorf("%d rows were read, want %d", len(nulls), len(accounts)+len(notes))
			}
		})
	}
}

func alter(t *testing.T, url, statements string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), statements); err != nil {
		t.Fatal(err)
	}
}
