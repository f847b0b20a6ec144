package e2e

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

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
	p := newProcess(t)
	p.check(
		command{args: "version", says: "notesd "},
		command{args: "help", says: "notesd user add EMAIL"},
		command{args: "-h", says: "notesd user add EMAIL"},
		command{args: "user add -h", says: "-password-stdin"},
		command{args: "brew", code: 2, says: `no command "brew"`},
		command{args: "serve now", code: 2, says: "takes no arguments"},
		command{args: "migrate now", code: 2, says: "takes no arguments"},
		command{args: "healthcheck now", code: 2, says: "takes no arguments"},
		command{args: "user", code: 2, says: "see notesd help"},
		command{args: "user rename ada@example.com", code: 2, says: "see notesd help"},
		command{args: "user add", code: 2, says: "see notesd help"},
		command{args: "user add -loud ada@example.com", code: 2, says: "-loud"},
		command{args: "user list ada@example.com", code: 2, says: "takes no arguments"},
		command{args: "healthcheck", code: 1, says: "connection refused"},
	)
}

// healthcheck is what a container runs: 0 only when the server is ready.
func TestHealthcheck(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.check(command{args: "healthcheck", says: "ready"})
	p.stop()
	p.check(command{args: "healthcheck", code: 1, says: "connection refused"})

	postgres := storetest.NewPostgres(t)
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

	postgres := newProcess(t, "DATABASE_URL="+storetest.EmptyPostgres(t), secret)
	postgres.check(command{args: "migrate", says: "PostgreSQL schema"})
	postgres.start()
	postgres.awaitReady()
	postgres.check(command{args: "migrate", says: "up to date"})
}

// Accounts made, reset, listed and deleted by hand, where registration is
// closed. On SQLite one process owns the data, so the server rests meanwhile.
func TestUserCommands(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name     string
		settings func(t *testing.T) []string
		rests    bool
	}{
		{"SQLite", func(t *testing.T) []string { return nil }, true},
		{"PostgreSQL", func(t *testing.T) []string {
			return []string{"DATABASE_URL=" + storetest.Postgres(t), secret}
		}, false},
		{"PostgreSQL and Redis", func(t *testing.T) []string {
			return []string{"DATABASE_URL=" + storetest.Postgres(t), "REDIS_URL=" + storetest.Redis(t), secret}
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
