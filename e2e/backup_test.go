package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"notesd/internal/testkit"
	"notesd/internal/testserver"
	"notesd/store/dump"
)

// emptyDatabases are settings for a database of each engine with nothing in it.
var emptyDatabases = map[string]func(t testing.TB) []string{
	"SQLite":     func(testing.TB) []string { return []string{secret} },
	"PostgreSQL": func(t testing.TB) []string { return []string{secret, "DATABASE_URL=" + testserver.EmptyPostgres(t)} },
}

// A backup taken by a second process while people write, and while the server is
// killed: it restores into either engine, and nothing that was acknowledged
// before it began is missing there. The server's data comes to no harm.
func TestBackupWhileServing(t *testing.T) {
	t.Parallel()
	long(t, "three backups under load, restored into either engine")
	for engine, settings := range emptyDatabases {
		t.Run(engine, func(t *testing.T) {
			p := start(t, settings(t)...)
			writers := startWriters(p)
			var taken []string
			for i := range 3 {
				time.Sleep(200 * time.Millisecond)
				reader := p.member(fmt.Sprintf("reader%d@example.com", i)) // acknowledged before the backup
				id := reader.create("before", "the backup")
				file := filepath.Join(p.dir, fmt.Sprintf("%d.backup", i))
				cmd := p.command("backup", file)
				out, err := os.Create(filepath.Join(p.dir, "out"))
				if err != nil {
					t.Fatal(err)
				}
				cmd.Stdout, cmd.Stderr = out, out
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				if i == 1 {
					p.kill()
					p.start()
					p.awaitReady()
				}
				if err := cmd.Wait(); err != nil {
					text, _ := os.ReadFile(out.Name())
					t.Fatalf("backup %d: %v\n%s", i, err, text)
				}
				if err := out.Close(); err != nil {
					t.Fatal(err)
				}
				taken = append(taken, file)
				reader.get("/api/notes/" + id).want(http.StatusOK)
			}
			if f := writers.stop(t); f.missing+f.twice+f.undone != 0 || f.notes < 20 {
				t.Errorf("after backups and a kill: %+v", f)
			}
			for i, file := range taken {
				for other, empty := range emptyDatabases {
					q := newProcess(t, empty(t)...)
					q.check(command{args: "restore " + file, says: "counters and change numbers fit"})
					q.start()
					q.awaitReady()
					for n := range i + 1 {
						c := q.visitor()
						c.signIn(fmt.Sprintf("reader%d@example.com", n), password).want(http.StatusOK)
						if titles := c.titles(); !titles["before"] {
							t.Errorf("backup %d in %s: %v", i, other, titles)
						}
					}
				}
			}
		})
	}
}

// What the API said before a backup it says after its restore, on either engine:
// lists, and the next page of a list begun before. Sessions are gone. Revisions are
// higher, all by the same number, so no ETag is the same.
func TestBackupKeepsAnswers(t *testing.T) {
	t.Parallel()
	for engine, settings := range emptyDatabases {
		t.Run(engine, func(t *testing.T) {
			p := start(t, settings(t)...)
			ada := p.member("ada@example.com")
			var ids []string
			for i := range 5 {
				ids = append(ids, ada.create(fmt.Sprintf("Größe %d", i), "<b>"))
			}
			ada.call(http.MethodPatch, "/api/notes/"+ids[1]+"/favorite", nil).want(http.StatusOK)
			ada.call(http.MethodPatch, "/api/notes/"+ids[2]+"/trash", nil).want(http.StatusOK)
			ada.call(http.MethodDelete, "/api/notes/"+ids[3], nil).want(http.StatusOK)
			var page struct{ NextCursor string }
			ada.get("/api/notes?limit=2").want(http.StatusOK).decode(&page)
			questions := []string{"/api/notes", "/api/notes?trashed=true", "/api/notes?search=GRÖSSE&sortBy=title", "/api/notes/" + ids[0],
				"/api/notes/" + ids[3], "/api/notes?limit=2&cursor=" + url.QueryEscape(page.NextCursor)}
			answers := func(c *client, raised int) (all, etags []string) {
				for _, question := range questions {
					r := c.get(question)
					text := regexp.MustCompile(`,"requestId":"[^"]*"`).ReplaceAllString(string(r.text), "")
					text = regexp.MustCompile(`"revision":\d+`).ReplaceAllStringFunc(text, func(field string) string {
						revision, _ := strconv.Atoi(strings.TrimPrefix(field, `"revision":`))
						return fmt.Sprintf(`"revision":%d`, revision-raised)
					})
					all = append(all, fmt.Sprintf("%s: %d %s", question, r.status, text))
					if etag := r.header.Get("ETag"); etag != "" && strings.Contains(text, `"revision"`) {
						etags = append(etags, etag)
					}
				}
				return all, etags
			}
			want, etags := answers(ada, 0)
			file := filepath.Join(p.dir, "a.backup")
			p.check(command{args: "backup " + file, says: "1 account and 4 notes of " + engine})
			for other, empty := range emptyDatabases {
				q := newProcess(t, empty(t)...)
				q.check(command{args: "restore " + file, says: "1 account and 4 notes of " + engine})
				q.start()
				q.awaitReady()
				c := ada.on(q)
				c.get("/api/notes").want(http.StatusUnauthorized)
				c = q.visitor()
				c.signIn("ada@example.com", password).want(http.StatusOK)
				raised := c.get(questions[3]).note().Revision - ada.get(questions[3]).note().Revision
				if raised < 1_000_000 {
					t.Errorf("%s to %s: revisions are raised by %d, want more than can have been lost", engine, other, raised)
				}
				have, newETags := answers(c, int(raised))
				if !slices.Equal(have, want) {
					t.Errorf("%s to %s:\n%s\nwant\n%s", engine, other, strings.Join(have, "\n"), strings.Join(want, "\n"))
				}
				for _, etag := range newETags {
					if slices.Contains(etags, etag) {
						t.Errorf("%s to %s: the ETag %s is that of before", engine, other, etag)
					}
				}
			}
		})
	}
}

// bigBackup is the file of a backup of one account with so many notes.
func bigBackup(t testing.TB, n int) string {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "many.backup"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := dump.NewWriter(file)
	if err != nil {
		t.Fatal(err)
	}
	line := func(v any) {
		text, err := json.Marshal(v)
		if err == nil {
			err = w.Line(text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	section := func(table, columns string) {
		line(map[string]any{"table": table, "columns": strings.Fields(columns)})
	}
	line(map[string]any{"schema": 2, "engine": "SQLite", "taken": time.Now().UTC()})
	section("users", "id email name password_hash failed_logins locked_until last_login_at created_at updated_at")
	line([]any{"u", "ada@example.com", "ada", "hash", 0, nil, nil, 1, 1})
	content := longText(1000)
	size := len("note") + len(content) + len("tag")
	section("user_counters", "user_id change_seq note_count note_bytes quota_notes quota_bytes")
	line([]any{"u", n, n, n * size, nil, nil})
	section("notes", `key id user_id is_pinned is_favorite is_archived is_markdown is_trashed trashed_at created_at
		updated_at revision change_seq bytes color title content`)
	for i := 1; i <= n; i++ {
		turned := content[i%len(content):] + content[:i%len(content)]
		line([]any{i, fmt.Sprintf("n%08d", i), "u", false, false, false, false, false, nil, i, i, 1, i, size, nil, "note", turned})
	}
	section("note_tags", "note_key position tag")
	for i := 1; i <= n; i++ {
		line([]any{i, 0, "tag"})
	}
	section("tombstones", "user_id change_seq note_id deleted_at")
	section("idempotency_keys", "user_id key body_hash note_id created_at")
	line(map[string]any{"rows": map[string]int{"users": 1, "user_counters": 1, "notes": n, "note_tags": n, "tombstones": 0,
		"idempotency_keys": 0}, "lastKey": n})
	if err := errors.Join(w.Close(), file.Close()); err != nil {
		t.Fatal(err)
	}
	return file.Name()
}

// killMidway starts a command and kills it after a while, and reports whether
// that was in time. Else it must have succeeded, or found that the one killed
// before it had, whose database was still at its commit when it was killed.
func (p *process) killMidway(after time.Duration, args ...string) (killed bool) {
	p.t.Helper()
	cmd := p.command(args...)
	cmd.SysProcAttr.Pdeathsig = 0 // it is killed here, or ends
	var said testkit.LogBuffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	time.Sleep(after)
	_ = cmd.Process.Kill() // it may have ended
	err := cmd.Wait()
	if cmd.ProcessState.ExitCode() > 0 {
		if strings.Contains(said.String(), "is not empty") {
			return false
		}
		p.t.Fatalf("notesd %v: %v\n%s", args, err, said.String())
	}
	return err != nil
}

// A backup or a restore that is killed leaves nothing that looks whole, and
// nothing that keeps the next from its work.
func TestBackupKilled(t *testing.T) {
	t.Parallel()
	long(t, "it is killed many times")
	file := bigBackup(t, 5000)
	for engine, settings := range emptyDatabases {
		t.Run(engine, func(t *testing.T) {
			environ := settings(t)
			p := newProcess(t, environ...)
			var conn *pgx.Conn
			if engine == "PostgreSQL" {
				conn = connect(t, strings.TrimPrefix(environ[1], "DATABASE_URL="))
			}
			there := func() bool { // which is whole then: its last step was done
				if conn == nil {
					_, err := os.Stat(p.data("notes.db"))
					return err == nil
				}
				var users int // a command of notesd's would bring the schema up to date, and the backup is older
				err := conn.QueryRow(t.Context(), "SELECT count(*) FROM users").Scan(&users)
				return err == nil && users > 0
			}
			killed := 0
			for after := 20 * time.Millisecond; p.killMidway(after, "restore", file) && !there(); after = after * 3 / 2 {
				killed++
			}
			p.check(command{args: "restore " + file, code: 1, says: "nothing is restored: "}) // what is there, or its newer schema
			t.Logf("%d restores were killed", killed)
			p.must("", "migrate") // what a start does: the backup is of an older release
			if killed < 3 {
				t.Errorf("%d restores were killed, want more", killed)
			}
			if left, _ := filepath.Glob(p.data("*restoring*")); len(left) > 0 {
				t.Errorf("left: %v", left)
			}

			killed = 0
			made := filepath.Join(p.dir, "made.backup")
			for after := 10 * time.Millisecond; p.killMidway(after, "backup", made); after = after * 3 / 2 {
				killed++
				if _, err := os.Stat(made); err == nil {
					p.check(command{args: "backup -verify " + made, says: "5000 notes"}) // killed after its last step
					if err := os.Remove(made); err != nil {
						t.Fatal(err)
					}
				}
			}
			p.check(command{args: "backup -verify " + made, says: "whole: 1 account and 5000 notes"})
			if left, _ := filepath.Glob(made + "?*"); len(left) > 0 || killed < 3 {
				t.Errorf("left: %v, killed: %d", left, killed)
			}
		})
	}
}

// What stands in the way is said, with an exit status that a script can tell by.
func TestBackupCommands(t *testing.T) {
	t.Parallel()
	p := newUnraced(t)
	p.check(
		command{args: "backup", code: 2, says: "see notesd help"},
		command{args: "backup a b", code: 2, says: "see notesd help"},
		command{args: "backup -dir d a", code: 2, says: "see notesd help"},
		command{args: "backup -keep 3 a", code: 2, says: "see notesd help"},
		command{args: "backup -h", says: "-keep"},
		command{args: "restore", code: 2, says: "see notesd help"},
		command{args: "backup a", code: 1, says: "there is no database"},
		command{args: "backup -verify a", code: 1, says: "no such file"},
		command{args: "restore a", code: 1, says: "no such file"},
		command{args: "migrate", says: "up to date"},
		command{args: "backup a", says: "a: 0 accounts and 0 notes of SQLite"},
		command{args: "backup a", code: 1, says: "a exists already"},
		command{args: "backup -dir new/backups -keep 1", says: "new/backups/notesd-"},
		command{args: "backup missing/a", code: 1, says: "no such file or directory"},
		command{args: "backup -verify a", says: "a: whole: 0 accounts"},
		command{args: "restore a", says: "restored 0 accounts"}, // into an empty database
		command{args: "user add ada@example.com", says: "added"},
		command{args: "restore a", code: 1, says: "nothing is restored: " + p.data("notes.db") + ": database is not empty: accounts 1, notes 0"},
		command{args: "backup b", says: "1 account"},
	)
	whole, err := os.ReadFile(filepath.Join(p.dir, "b"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"cut": whole[:len(whole)-40], "other": []byte("SQLite format 3"), "none": nil} {
		if err := os.WriteFile(filepath.Join(p.dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
		p.check(command{args: "backup -verify " + name, code: 3, says: name + ": not a whole backup"},
			command{args: "restore " + name, code: 3, says: name + ": not a whole backup"})
	}
	p.check(command{args: "backup -verify cut", code: 3, says: fmt.Sprintf("it breaks off at byte %d", len(whole)-40)})

	away := newProcess(t, secret, "DATABASE_URL=postgres://notesd@127.0.0.1:1/notesd")
	away.check(command{args: "backup a", code: 1, says: "database unavailable"})
	if left, _ := filepath.Glob(filepath.Join(away.dir, "a*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// In a directory the newest so many stay, and a disk that is full costs none of them.
func TestBackupDirectory(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	p.must("", "restore", bigBackup(t, 3000))
	dir := filepath.Join(p.dir, "backups")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	mount(t, dir, 8<<10)
	old := []string{"notesd-20200101T000000Z.backup", "notesd-20200102T000000Z.backup"}
	for _, name := range old {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list := func() []string {
		found, err := filepath.Glob(filepath.Join(dir, "notesd*"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	free := fill(t, dir)
	p.check(command{args: "backup -dir backups -keep 2", code: 1, says: "no space left on device"})
	if left := list(); len(left) != 2 {
		t.Errorf("after a full disk: %v", left)
	}
	free()
	p.check(command{args: "backup -dir backups -keep 2", says: "removed backups/" + old[0]})
	left := list()
	if len(left) != 2 || filepath.Base(left[0]) != old[1] {
		t.Errorf("kept %v", left)
	}
	p.check(command{args: "backup -verify " + left[1], says: "whole: 1 account and 3000 notes"})
}

// The commands of a restore drill in docs/BACKUP.md work as they stand there.
func TestRestoreDrill(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/BACKUP.md")
	if err != nil {
		t.Fatal(err)
	}
	_, drill, _ := strings.Cut(string(page), "<!-- a test runs this -->\n```sh\n")
	drill, _, found := strings.Cut(drill, "```")
	if !found {
		t.Fatal("no drill in docs/BACKUP.md")
	}
	for engine, settings := range emptyDatabases {
		t.Run(engine, func(t *testing.T) {
			p := start(t, settings(t)...)
			p.member("ada@example.com").create("kept", "")
			cmd := p.command()
			script := exec.Command("bash", "-euo", "pipefail", "-c", drill)
			script.Dir, script.Env = p.dir, append(cmd.Env, "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"))
			out, err := script.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "counters and change numbers fit") || !strings.Contains(string(out), "ada@example.com") {
				t.Errorf("the drill: %v\n%s", err, out)
			}
		})
	}
}

// BenchmarkBackup prints how long a backup and a restore of 100 000 notes take.
func BenchmarkBackup(b *testing.B) {
	file := bigBackup(b, 100_000)
	for engine, settings := range emptyDatabases {
		b.Run(engine, func(b *testing.B) {
			for b.Loop() {
				p := newProcess(b, settings(b)...)
				b.Log(p.must("", "restore", file))
				b.Log(p.must("", "backup", "made.backup"))
				began := time.Now()
				p.must("", "backup", "-verify", "made.backup")
				b.Logf("verified in %.1f s", time.Since(began).Seconds())
			}
		})
	}
}
