package e2e

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"notesd/internal/testserver"
	"notesd/server/admin"
	"notesd/store/storetest"
)

// command is one run of a subcommand and what must come of it.
type command struct {
	args string // separated by spaces
	in   string
	code int
	says string
}

func (p *process) check(commands ...command) {
	p.t.Helper()
	for _, c := range commands {
		out, code := p.run(c.in, strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(out, c.says) {
			p.t.Errorf("notesd %s = exit %d, %q; want %d, %q", c.args, code, out, c.code, c.says)
		}
	}
}

// What needs no database.
func TestCommands(t *testing.T) {
	t.Parallel()
	p := newUnraced(t)
	p.check(
		command{args: "version", says: "notesd "},
		command{args: "help", says: "notesd user add EMAIL"},
		command{args: "-h", says: "notesd user add EMAIL"},
		command{args: "help backup", says: "-keep"},
		command{args: "user add -h", says: "-password-stdin"},
		command{args: "brew", code: 2, says: `no command "brew"`},
		command{args: "chek", code: 2, says: `no command "chek" (did you mean check?): see notesd help`},
		command{args: "import", code: 2, says: "did you mean import-legacy?"},
		command{args: "users list", code: 2, says: "did you mean user?"},
		command{args: "serve now", code: 2, says: "takes no arguments"},
		command{args: "migrate now", code: 2, says: "takes no arguments"},
		command{args: "healthcheck now", code: 2, says: "takes no arguments"},
		command{args: "user", code: 2, says: "see notesd help"},
		command{args: "user rename ada@example.com", code: 2, says: "see notesd help"},
		command{args: "user lst", code: 2, says: `no command user "lst" (did you mean list?): see notesd help`},
		command{args: "user add", code: 2, says: "see notesd help"},
		command{args: "user add -loud ada@example.com", code: 2, says: "no flag -loud"},
		command{args: "user add -pasword-stdin ada@example.com", code: 2, says: "did you mean -password-stdin?"},
		command{args: "user add --password-stdin=hunter2 ada@example.com", code: 2, says: "-password-stdin takes no value"},
		command{args: "user list ada@example.com", code: 2, says: "takes no arguments"},
		command{args: "backup a -kep 3", code: 2, says: "did you mean -keep?"},
		command{args: "backup a -keep x", code: 2, says: `invalid value "x" for flag -keep`},
		command{args: "healthcheck", code: 1, says: "connection refused"},
		command{args: "healthcheck -- -h", code: 2, says: "takes no arguments"},
	)
	for _, name := range []string{"serve", "healthcheck", "migrate", "user", "user add", "user reset", "user list", "user quota", "user delete",
		"import-legacy", "check", "backup", "restore", "bench", "version"} {
		says := "notesd " + strings.Fields(name)[0]
		p.check(
			command{args: name + " -h", says: says}, command{args: name + " --help", says: says},
			command{args: name + " --version", says: "notesd "},
		)
	}
	if _, err := os.Stat(p.data("")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the data directory was made (%v)", err)
	}
}

// A command that is to find data makes none where a path is wrong, and one that makes it says so.
func TestNoSilentDatabase(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		setting, says, path string
	}{
		{"DATA_DIR=nots", "(DATA_DIR says where)", "nots/notes.db"},
		{"DATABASE_URL=nots.db", "(DATABASE_URL says where)", "nots.db"},
	} {
		p := newUnraced(t, row.setting, "LOG_FORMAT=json")
		missing := "there is no database " + filepath.Join(p.dir, row.path) + " " + row.says
		p.check(
			command{args: "user list", code: 1, says: missing},
			command{args: "user reset ada@example.com", code: 1, says: missing},
			command{args: "user delete ada@example.com", code: 1, says: missing},
			command{args: "backup a", code: 1, says: missing},
		)
		if _, err := os.Stat(filepath.Join(p.dir, row.path)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the file was made (%v)", row.setting, err)
		}
		made := "made a new, empty database: " + filepath.Join(p.dir, row.path)
		p.check(command{args: "user add ada@example.com -password-stdin", in: "chosen by hand\n", says: made})
		if out := p.must("", "user", "list"); strings.Contains(out, "made") || !strings.Contains(out, "ada@example.com") {
			t.Errorf("user list: %s", out)
		}
		if err := os.Remove(filepath.Join(p.dir, row.path)); err != nil {
			t.Fatal(err)
		}
		p.check(command{args: "migrate", says: made})
		if err := os.Remove(filepath.Join(p.dir, row.path)); err != nil {
			t.Fatal(err)
		}
		p.start()
		p.awaitReady()
		if e := p.awaitLog("made a new, empty database"); e.Text("path") != filepath.Join(p.dir, row.path) {
			t.Errorf("the log says %v", e)
		}
		p.stop()
		p.start()
		p.awaitReady()
		p.stop()
		if n := len(p.log.With("made a new, empty database")); n != 1 {
			t.Errorf("said %d times, want once", n)
		}
	}
}

// What is wrong with the data directory names the setting.
func TestDataDirNamed(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ setting, want string }{
		{"DATA_DIR=file/data", "(DATA_DIR says where)"},
		{"DATABASE_URL=file/notes.db", "(DATABASE_URL says where)"},
	} {
		p := newUnraced(t, row.setting)
		if row.setting != "DATA_DIR=file/data" {
			p.settings = append(p.settings, secret) // else DATA_DIR is made for one
		}
		if err := os.WriteFile(filepath.Join(p.dir, "file"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if said := p.fails(); !strings.Contains(said, row.want) || !strings.Contains(said, "not a directory") {
			t.Errorf("%s: %s", row.setting, said)
		}
		p.check(command{args: "migrate", code: 1, says: row.want})
	}
	p := newUnraced(t, "DATA_DIR=file/data", secret) // the database, not the secret
	if err := os.WriteFile(filepath.Join(p.dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if said := p.fails(); !strings.Contains(said, "(DATA_DIR says where)") {
		t.Errorf("with a secret: %s", said)
	}
}

// healthcheck is what a container runs: 0 only when the server is ready.
func TestHealthcheck(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.check(command{args: "healthcheck", says: "ready"})
	p.stop()
	p.check(command{args: "healthcheck", code: 1, says: "connection refused"})

	postgres := testserver.NewPostgres(t)
	postgres.Stop(t)
	away := newProcess(t, "DATABASE_URL="+postgres.URL(), secret)
	away.start()
	away.await("health", func() bool { return away.probe("/api/health") == http.StatusOK })
	away.check(command{args: "healthcheck", code: 1, says: "not ready"})
}

// migrate brings a schema up to date, once or twice, and while others serve.
func TestMigrate(t *testing.T) {
	t.Parallel()
	sqlite := newProcess(t)
	sqlite.check(command{args: "migrate", says: "SQLite schema"}, command{args: "migrate", says: "up to date"})
	sqlite.start()
	sqlite.awaitReady()
	sqlite.check(command{args: "migrate", code: 1, says: "in use by notesd (pid "})

	postgres := newProcess(t, "DATABASE_URL="+testserver.EmptyPostgres(t), secret)
	postgres.check(command{args: "migrate", says: "PostgreSQL schema"})
	postgres.start()
	postgres.awaitReady()
	postgres.check(command{args: "migrate", says: "up to date"})
}

// Accounts made, reset, listed and deleted by hand, where registration is
// closed. On SQLite one process owns the data: the server does it, or rests meanwhile.
func TestUserCommands(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name     string
		settings func(t *testing.T) []string
		rests    bool
	}{
		{"SQLite", func(t *testing.T) []string { return nil }, true},
		{"SQLite, served", func(t *testing.T) []string { return nil }, false},
		{"PostgreSQL", func(t *testing.T) []string {
			return []string{"DATABASE_URL=" + storetest.Postgres(t), secret}
		}, false},
		{"PostgreSQL and Redis", func(t *testing.T) []string {
			return []string{"DATABASE_URL=" + storetest.Postgres(t), "REDIS_URL=" + testserver.Redis(t), secret}
		}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p := start(t, append(row.settings(t), "REGISTRATION=closed")...)
			byHand := func(commands func()) {
				if row.rests {
					p.stop()
					defer func() { p.start(); p.awaitReady() }()
				}
				commands()
			}
			userCommands(t, p, byHand)
		})
	}
}

// userCommands takes an account from its making to its end; byHand runs
// commands when the server lets them.
func userCommands(t *testing.T, p *process, byHand func(commands func())) {
	ada, grace := p.visitor(), p.visitor()
	refused := ada.signUp("ada@example.com").want(http.StatusForbidden)
	if f := refused.failure(); f.Error != "Registration is closed" {
		t.Errorf("sign-up says %q", f.Error)
	}
	var made string
	byHand(func() {
		made = madePassword(t, p.must("", "user", "add", "ada@example.com"))
		p.check(
			command{args: "user add -password-stdin grace@example.com", in: "chosen by hand\n", says: "added grace@example.com\n"},
			command{args: "user add ADA@example.com", code: 1, says: "has an account already"},
			command{args: "user add nobody", code: 1, says: "email"},
			command{args: "user add -password-stdin eve@example.com", in: "short", code: 1, says: "password too short"},
			command{args: "user reset eve@example.com", code: 1, says: "no account has the address"},
			command{args: "user delete eve@example.com", code: 1, says: "no account has the address"},
			command{args: "user list", says: "grace@example.com"},
		)
	})
	ada.signIn("ada@example.com", made).want(http.StatusOK)
	grace.signIn("grace@example.com", "chosen by hand").want(http.StatusOK)
	id := ada.create("first", "of many")

	var fresh string
	byHand(func() { fresh = madePassword(t, p.must("", "user", "reset", "Ada@Example.com")) })
	ada.get("/api/auth/me").want(http.StatusUnauthorized) // its sessions have ended
	grace.get("/api/auth/me").want(http.StatusOK)         // and nobody else's
	ada.signIn("ada@example.com", made).want(http.StatusUnauthorized)
	ada.signIn("ada@example.com", fresh).want(http.StatusOK)
	ada.get("/api/notes/" + id).want(http.StatusOK)

	byHand(func() {
		p.check(
			command{args: "user delete ada@example.com", says: "deleted ada@example.com"},
			command{args: "user delete ada@example.com", code: 1, says: "no account has the address"},
		)
		if list := p.must("", "user", "list"); strings.Contains(list, "ada@") || !strings.Contains(list, "grace@") {
			t.Errorf("user list after the deletion:\n%s", list)
		}
	})
	ada.get("/api/auth/me").want(http.StatusUnauthorized)
	ada.get("/api/notes").want(http.StatusUnauthorized)
	ada.signIn("ada@example.com", fresh).want(http.StatusUnauthorized)
	grace.get("/api/auth/me").want(http.StatusOK)
}

// madePassword is the password that a command has made and printed.
func madePassword(t *testing.T, out string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^password: (\S{16,})$`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no password in %q", out)
	}
	return m[1]
}

// On SQLite, commands find the database whatever its server does: it was killed and has left its
// socket, it is replaced by a new process, or another server has the same DATA_DIR.
func TestUserCommandsFindTheServer(t *testing.T) {
	p := upgradable(t, secret)
	socket := p.data(admin.SocketName)
	list := func(when string) {
		t.Helper()
		if out := p.must("", "user", "list"); !strings.Contains(out, "ada@example.com") {
			t.Errorf("user list %s:\n%s", when, out)
		}
	}
	p.start()
	p.awaitReady()
	madePassword(t, p.must("", "user", "add", "ada@example.com"))
	p.kill()
	if _, err := os.Lstat(socket); err != nil {
		t.Errorf("the socket of a killed server: %v", err)
	}
	list("after the server was killed")

	p.start()
	p.awaitReady()
	list("of the next server")
	var running sync.WaitGroup
	upgraded := make(chan struct{})
	running.Go(func() {
		for done := false; !done; {
			select {
			case <-upgraded:
				done = true
			default:
			}
			list("during an upgrade")
		}
	})
	p.upgrade()
	p.awaitReady()
	close(upgraded)
	running.Wait()

	// A command for another database does not get this one, though DATA_DIR is the same.
	other := p.command("user", "add", "grace@example.com")
	other.Env = append(other.Env, "DATABASE_URL="+filepath.Join(t.TempDir(), "other.db"))
	if out, err := other.CombinedOutput(); err != nil || !strings.Contains(string(out), "made a new, empty database") {
		t.Errorf("user add for another database: %v\n%s", err, out)
	}
	if out := p.must("", "user", "list"); strings.Contains(out, "grace@") {
		t.Errorf("the account is in the wrong database:\n%s", out)
	}

	// Another server on the same DATA_DIR leaves the socket alone.
	second := newProcess(t, "DATA_DIR="+p.data(""), "DATABASE_URL="+filepath.Join(t.TempDir(), "second.db"), secret)
	second.start()
	second.awaitReady()
	second.awaitLog("another process answers on the socket for operators: this one waits until it ends")
	list("beside another server")
	p.stop()
	second.await("the socket", func() bool {
		_, err := os.Lstat(socket)
		return err == nil
	})
	second.stop()
	if _, err := os.Lstat(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket after the servers: %v, want none", err)
	}
	list("without a server")
	for _, line := range p.log.With("accounts can't be managed by way of the running server: there is no socket") {
		t.Errorf("logged %v", line)
	}
}
