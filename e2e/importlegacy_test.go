package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"notesd/internal/testkit"
	"notesd/internal/testserver"
	"notesd/store"
	"notesd/store/storetest"
)

// oldPassword is that of the accounts in legacy.sql.
const oldPassword = "correct horse battery"

// legacyTables are the statements that make the old backend's database.
func legacyTables(t *testing.T, files ...string) (statements []string) {
	t.Helper()
	for _, file := range files {
		text, err := os.ReadFile("../internal/legacy/testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		statements = append(statements, string(text))
	}
	return statements
}

// target is a database to import into: its settings and URL, given a process and the old one's URL.
type target struct {
	name string
	url  func(t *testing.T, old string) string // empty: SQLite in the process's directory
}

var targets = []target{
	{"SQLite", func(*testing.T, string) string { return "" }},
	{"PostgreSQL", func(t *testing.T, _ string) string { return storetest.Postgres(t) }},
	{"the same PostgreSQL", func(_ *testing.T, old string) string { return old }},
}

// importer is a process that is not running yet, with the database it imports into.
func (tg target) importer(t *testing.T, old string) (*process, string) {
	t.Helper()
	settings := []string{"TRASH_RETENTION_DAYS=36500"}
	database := tg.url(t, old)
	if database != "" {
		settings = append(settings, "DATABASE_URL="+database, secret)
	}
	p := newUnraced(t, settings...) // the race detector takes 20 s of a busy machine for one hash of bcrypt
	if database == "" {
		database = p.data("notes.db")
	}
	return p, database
}

// shownNotes is
// what the API has to show of an account's old notes, by SQL and not by the
// program under test.
const shownNotes = `SELECT json_build_object('id', "id", 'title', "title", 'content', "content",
		'tags', ARRAY(SELECT t FROM unnest("tags") AS t WHERE t IS NOT NULL), 'color', "color",
		'isPinned', "isPinned", 'isFavorite', "isFavorite", 'isArchived', "isArchived", 'isMarkdown', "isMarkdown",
		'isTrashed', "isTrashed", 'trashedAt', CASE WHEN "isTrashed" THEN to_char(coalesce("trashedAt", "updatedAt"), form) END,
		'userId', "userId", 'createdAt', to_char("createdAt", form), 'updatedAt', to_char("updatedAt", form), 'revision', 1)::text
	FROM "Note", (VALUES ('YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) AS f (form)
	WHERE "userId" = $1 AND "id" NOT LIKE '%X' AND "id" <> ''`

// oldNotes are the notes that an account has to show, by id.
func oldNotes(t *testing.T, conn *pgx.Conn, account string) map[string]any {
	t.Helper()
	rows, err := conn.Query(t.Context(), shownNotes, account)
	if err != nil {
		t.Fatal(err)
	}
	texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return notesByID(t, "["+strings.Join(texts, ",")+"]")
}

func notesByID(t *testing.T, list string) map[string]any {
	t.Helper()
	var notes []map[string]any
	if err := json.Unmarshal([]byte(list), &notes); err != nil {
		t.Fatal(err)
	}
	byID := map[string]any{}
	for _, n := range notes {
		byID[n["id"].(string)] = n
	}
	return byID
}

// allNotes are the notes of all three lists, by id.
func (c *client) allNotes() map[string]any {
	c.t.Helper()
	all := map[string]any{}
	for _, list := range []string{"", "?archived=true", "?trashed=true"} {
		var in struct{ Data json.RawMessage }
		c.get("/api/notes" + list).want(http.StatusOK).decode(&in)
		maps.Copy(all, notesByID(c.t.(*testing.T), string(in.Data)))
	}
	return all
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) }) // with its database
	return conn
}

// Everything that can come over does, to a server whose API shows what the old
// tables hold; what can't is named; a second run changes nothing.
func TestImportLegacy(t *testing.T) {
	t.Parallel()
	for _, tg := range targets {
		t.Run(tg.name, func(t *testing.T) {
			t.Parallel()
			old := testserver.PostgresWith(t, legacyTables(t, "legacy.sql", "awkward.sql")...)
			p, database := tg.importer(t, old)
			conn := connect(t, old)
			expected := map[string]map[string]any{}
			people := map[string]string{"ada@example.com": "cm4legacy0000000000000001",
				"grüße@example.com": "cm4legacy0000000000000003", "שלום+🎉@example.com": "user-script",
				"nobody.yet@example.com": "user-empty"}
			for _, id := range people {
				expected[id] = oldNotes(t, conn, id)
			}

			dry, code := p.run("", "import-legacy", "--from", old, "--dry-run")
			if code != 3 || !strings.Contains(dry, "TO IMPORT") {
				t.Errorf("dry run = exit %d:\n%s", code, dry)
			}
			if list := p.must("", "user", "list"); strings.Contains(list, "@") {
				t.Errorf("a dry run made accounts:\n%s", list)
			}
			said, code := p.run("", "import-legacy", "--from", old)
			if code != 3 {
				t.Fatalf("import-legacy = exit %d, want 3:\n%s", code, said)
			}
			checkFindings(t, said)
			if foundIn(dry) != foundIn(said) {
				t.Errorf("a dry run finds\n%s\nand the import\n%s", dry, said)
			}

			p.start()
			p.awaitReady()
			for email, id := range people {
				c := p.visitor()
				c.signIn(strings.ToUpper(email), oldPassword).want(http.StatusOK)
				if diff := cmp.Diff(expected[id], c.allNotes()); diff != "" {
					t.Errorf("notes of %s (-old +shown):\n%s", email, diff)
				}
			}
			p.visitor().signIn("locked@example.com", oldPassword).want(http.StatusLocked)
			p.visitor().signIn("other.hash@example.com", "plain text").want(http.StatusUnauthorized)
			ada := useAndSignOut(t, p)
			p.stop()

			again := p.must("", "import-legacy", "--from", old, "--json", "--allow-left-out")
			want := map[string]any{"dryRun": false, "bytes": 0.0, "oldTrash": 0.0,
				"accounts": counts(0, 8, 0, 5), "notes": counts(0, 1012, 1, 8)}
			if got := summaryOf(t, again); cmp.Diff(want, got) != "" {
				t.Errorf("a second run (-want +got):\n%s", cmp.Diff(want, got))
			}
			checkRehash(t, database)

			p.start()
			p.awaitReady()
			c := p.visitor()
			c.signIn("ada@example.com", oldPassword).want(http.StatusOK)
			if diff := cmp.Diff(ada, c.allNotes()); diff != "" {
				t.Errorf("a second import changed what was there (-before +after):\n%s", diff)
			}
		})
	}
}

// useAndSignOut has Ada change one note and delete another, and returns what she has then.
func useAndSignOut(t *testing.T, p *process) map[string]any {
	t.Helper()
	c := p.visitor()
	c.signIn("ada@example.com", oldPassword).want(http.StatusOK)
	c.call(http.MethodPatch, "/api/notes/cm4legacynote000000000001", map[string]any{"title": "Mine"}).want(http.StatusOK)
	c.call(http.MethodDelete, "/api/notes/cm4legacynote000000000002/permanent", nil).want(http.StatusOK)
	return c.allNotes()
}

// checkRehash fails the test unless who has signed in has a hash of today's kind.
func checkRehash(t *testing.T, database string) {
	t.Helper()
	db, err := store.Open(t.Context(), store.Config{URL: database, Log: testkit.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	for email, kind := range map[string]string{"ada@example.com": "$argon2id$", "many@example.com": "$2a$10$"} {
		u, err := db.UserByEmail(t.Context(), email)
		if err != nil || !strings.HasPrefix(u.PasswordHash, kind) {
			t.Errorf("the hash of %s is %.10q, %v, want %s", email, u.PasswordHash, err, kind)
		}
	}
}

// checkFindings fails the test unless everything that was to be left out was named with its reason.
func checkFindings(t *testing.T, said string) {
	t.Helper()
	for _, says := range []string{
		"left out: account cm4legacy0000000000000002 of Ada@Example.com with notes: 1: its address is that of account " +
			"cm4legacy0000000000000001, ada@example.com, in other letter case; that one is the oldest, and none has ever signed in\n",
		"left out: account user-strasse-1-X of strasse@example.com with notes: 1: its address is that of account " +
			"user-strasse-2, STRASSE@example.com, in other letter case; that one signed in last\n",
		"left out: account user-strasse-3-X of straße@example.com \"stra\\u00dfe@example.com\": its address",
		"left out: account user-forever-X of forever@example.com: a date",
		"left out: account user-no-address-X: its e-mail address is empty\n",
		"left out: note note-too-many-tags-X of שלום+🎉@example.com \"\\u05e9\\u05dc\\u05d5\\u05dd+\\U0001f389@example.com\": tags: must be at most 50, are 51\n",
		"left out: note note-long-tag-X of שלום+🎉@example.com \"\\u05e9\\u05dc\\u05d5\\u05dd+\\U0001f389@example.com\": tags: tag 1 must be at most 64 characters, is 65\n",
		"left out: note note-after-all-X of", "left out: note note-before-all-X of", "left out: note note-forever-X of",
		"left out: note  of שלום+🎉@example.com \"\\u05e9\\u05dc\\u05d5\\u05dd+\\U0001f389@example.com\": its id is empty",
		"changed: note note-null-tag of שלום+🎉@example.com \"\\u05e9\\u05dc\\u05d5\\u05dd+\\U0001f389@example.com\": of its tags 1 are null",
		"no sign-in: account user-hash of other.hash@example.com",
		"accounts  8         0              0             5\n",
		"notes     1013      0              0             8\n",
	} {
		if !strings.Contains(said, says) {
			t.Errorf("import-legacy does not say %q", says)
		}
	}
	if t.Failed() {
		t.Log(said)
	}
}

// foundIn are the lines before the table, but for the one that says that a database was made.
func foundIn(said string) string {
	before, _, _ := strings.Cut(said, "\n   ")
	if made, rest, ok := strings.Cut(before, "\n"); ok && strings.HasPrefix(made, "made: database ") {
		return rest
	}
	return before
}

func counts(imported, present, deleted, leftOut float64) map[string]any {
	return map[string]any{"imported": imported, "thereAlready": present, "deletedHere": deleted, "leftOut": leftOut}
}

// summaryOf is the last line of JSON, without the time.
func summaryOf(t *testing.T, said string) (summary map[string]any) {
	t.Helper()
	lines := slices.Collect(strings.Lines(said))
	for _, line := range lines {
		clear(summary)
		if err := json.Unmarshal([]byte(line), &summary); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
	}
	delete(summary, "seconds")
	return summary
}

// The ways out that docs/IMPORT.md shows lead out.
func TestImportLegacyWaysOut(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/IMPORT.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllSubmatch(page, -1)
	if len(blocks) != 2 {
		t.Fatalf("docs/IMPORT.md has %d blocks of SQL, want 2", len(blocks))
	}
	old := testserver.PostgresWith(t, legacyTables(t, "legacy.sql", "awkward.sql")...)
	p := newProcess(t)
	wanted := []string{"cm4legacy0000000000000002 of Ada@", "note-too-many-tags-X", "note-long-tag-X"}
	before, code := p.run("", "import-legacy", "--from", old)
	for _, out := range wanted {
		if code != 3 || !strings.Contains(before, out) {
			t.Errorf("import-legacy = exit %d, and does not leave %s out:\n%s", code, out, before)
		}
	}
	conn := connect(t, old)
	for _, block := range blocks {
		text := strings.ReplaceAll(string(block[1]), "…", "cm4legacy0000000000000002")
		if _, err := conn.Exec(t.Context(), text); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
	}
	after, _ := p.run("", "import-legacy", "--from", old)
	for _, out := range wanted {
		if strings.Contains(after, out) {
			t.Errorf("import-legacy still leaves %s out:\n%s", out, after)
		}
	}
	for _, row := range []string{"accounts  1         8              0             4\n", "notes     3         1013           0             5\n"} {
		if !strings.Contains(after, row) {
			t.Errorf("import-legacy does not say %q:\n%s", row, after)
		}
	}
}

// manyNotes makes n notes of some 2 KB.
func manyNotes(n int) string {
	return fmt.Sprintf(`INSERT INTO "Note" ("id","title","content","tags","userId","updatedAt")
		SELECT 'n'||n, 'Note '||n, repeat('Some words, ', 170), ARRAY['a','b'], 'cm4legacy0000000000000001', '2025-01-01'
		FROM generate_series(1, %d) AS n`, n)
}

// Killed in the middle, it goes on where it was.
func TestImportLegacyKilled(t *testing.T) {
	t.Parallel()
	long(t, "it is killed many times")
	const notes = 6000
	for _, tg := range targets[:2] {
		t.Run(tg.name, func(t *testing.T) {
			t.Parallel()
			old := testserver.PostgresWith(t, append(legacyTables(t, "legacy.sql"), manyNotes(notes))...)
			p, _ := tg.importer(t, old)
			p.must("", "migrate")
			for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGKILL, syscall.SIGTERM} {
				cmd := p.command("import-legacy", "--from", old)
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(400 * time.Millisecond) // the other process's work takes real time
				_ = cmd.Process.Signal(sig)        // it may be through
				_ = cmd.Wait()
			}
			said := p.must("", "import-legacy", "--from", old, "--json", "--allow-left-out")
			t.Logf("after three that were ended: %s", said)
			p.start()
			p.awaitReady()
			c := p.visitor()
			c.signIn("ada@example.com", oldPassword).want(http.StatusOK)
			if got := len(c.allNotes()); got != notes+2 {
				t.Errorf("Ada has %d notes, want %d", got, notes+2)
			}
		})
	}
}

// What it is told wrongly it says, and no password with it.
func TestImportLegacyMistakes(t *testing.T) {
	t.Parallel()
	old := testserver.PostgresWith(t, legacyTables(t, "legacy.sql")...)
	older := testserver.PostgresWith(t, append(legacyTables(t, "legacy.sql"), `ALTER TABLE "Note" DROP COLUMN "isTrashed"`)...)
	u, err := url.Parse(old)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(testserver.Locked)
	const hidden = "hush-hush"
	p := newProcess(t)
	for _, row := range []struct {
		args []string
		code int
		says string
	}{
		{nil, 2, "import-legacy takes --from"},
		{[]string{"postgres://ada:" + hidden + "@127.0.0.1/notes"}, 2, "import-legacy takes --from"},
		{[]string{"--from", "mysql://ada:" + hidden + "@127.0.0.1/notes"}, 2, "--from takes a postgres:// URL"},
		{[]string{"--from", "postgres://ada:" + hidden + "@%%%/notes"}, 1, "can't be read"},
		{[]string{"--from", "postgres://ada:" + hidden + "@127.0.0.1:1/notes"}, 1, "refused"},
		{[]string{"--from", strings.Replace(u.String(), "@", ":"+hidden+"@", 1)}, 1, "password authentication failed"},
		{[]string{"--from", older}, 1, `table "Note" has no column "isTrashed"`},
		{[]string{"-h"}, 0, "-dry-run"},
	} {
		out, code := p.run("", append([]string{"import-legacy"}, row.args...)...)
		if code != row.code || !strings.Contains(out, row.says) || strings.Contains(out, hidden) {
			t.Errorf("import-legacy %q = exit %d, %q; want %d, %q", row.args, code, out, row.code, row.says)
		}
	}
	p.settings = append(p.settings, "LEGACY_DATABASE_PASSWORD="+testserver.LockedPassword)
	if out, code := p.run("", "import-legacy", "--from", u.String()); code != 3 {
		t.Errorf("with the password in the environment: exit %d, %s", code, out)
	}
}

// A NULL that the old backend never writes leaves its row out, by name, and no other.
func TestImportLegacyNulls(t *testing.T) {
	t.Parallel()
	old := testserver.PostgresWith(t, append(legacyTables(t, "legacy.sql"),
		`ALTER TABLE "Note" ALTER "title" DROP NOT NULL`, `ALTER TABLE "Note" ALTER "userId" DROP NOT NULL`,
		`ALTER TABLE "User" ALTER "password" DROP NOT NULL`,
		`UPDATE "Note" SET "title" = NULL WHERE "id" = 'cm4legacynote000000000001'`,
		`UPDATE "Note" SET "userId" = NULL WHERE "id" = 'cm4legacynote000000000002'`,
		`UPDATE "User" SET "password" = NULL WHERE "id" = 'cm4legacy0000000000000002'`)...)
	p := newProcess(t)
	said, code := p.run("", "import-legacy", "--from", old)
	if code != 3 {
		t.Errorf("import-legacy = exit %d, want 3", code)
	}
	for _, says := range []string{
		`left out: note cm4legacynote000000000001 of ada@example.com: its column "title" is NULL`,
		`left out: note cm4legacynote000000000002: its column "userId" is NULL`,
		`left out: account cm4legacy0000000000000002 of Ada@Example.com with notes: 1: its column "password" is NULL`,
	} {
		if !strings.Contains(said, says) {
			t.Errorf("import-legacy does not say %q:\n%s", says, said)
		}
	}
}

// The commands of docs/IMPORT.md bring a real database of the old backend over, and serve what came.
func TestMigrationPage(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("pg_dump"); err != nil {
		t.Skip("needs pg_dump, of PostgreSQL's client")
	}
	const twin = `DELETE FROM "Note" WHERE "userId" IN (SELECT "id" FROM "User" WHERE "email" = 'Ada@Example.com');
		DELETE FROM "User" WHERE "email" = 'Ada@Example.com'` // of another account, which the import would name
	url := testserver.PostgresWith(t, append(legacyTables(t, "legacy.sql"), twin)...)
	old, _, _ := strings.Cut(url, "?") // whose & is the shell's
	p := newProcess(t)
	lines := commandLines(sh.FindStringSubmatch(readFile(t, "../docs/IMPORT.md"))[2])
	if last := lines[len(lines)-1]; last != "notesd" {
		t.Fatalf("the last command is %s, want notesd", last)
	}
	text := strings.NewReplacer("postgres://notes@db.example.com/notes", old, "…", "unused").Replace(strings.Join(lines[:len(lines)-1], "\n"))
	if out := p.runs(text); strings.Count(out, "account") < 2 {
		t.Errorf("the import says\n%s", out)
	}
	p.start()
	p.awaitReady()
	p.visitor().get("/api/health").want(http.StatusOK)
	p.stop()
}
