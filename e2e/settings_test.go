package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"notesd/internal/testkit"
	"notesd/store/storetest"
)

// Wrong settings: nothing starts, every mistake is named at once with what is
// allowed, and no secret is printed.
func TestWrongSettings(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name     string
		settings []string
		says     []string // each of a mistake of its own
		hides    []string
	}{{
		"development",
		[]string{"BACKEND_PORT=70000", "CLUSTER_MODE=yes", "MAX_WORKERS=0", "QUEUE_TIMEOUT=soon", "LOG_LEVEL=loud",
			"BODY_PARSER_LIMIT=large", "CORS_ORIGIN=localhost:3000", "TRUSTED_PROXIES=10.0.0.0/33", "REGISTRATION=perhaps",
			"DATABASE_URL=mysql://notes:hunter2hunter2@db/notes", "REDIS_URL=http://:swordfish99@cache"},
		[]string{`BACKEND_PORT="70000"`, `CLUSTER_MODE="yes"`, `MAX_WORKERS="0"`, `QUEUE_TIMEOUT="soon"`, `LOG_LEVEL="loud"`,
			`BODY_PARSER_LIMIT="large"`, `CORS_ORIGIN="localhost:3000"`, `TRUSTED_PROXIES="10.0.0.0/33"`,
			`REGISTRATION="perhaps"`, "DATABASE_URL=REDACTED", "REDIS_URL=REDACTED"},
		[]string{"hunter2hunter2", "swordfish99"},
	}, {
		"production",
		[]string{"APP_ENV=production", "SESSION_SECRET=tooshort1", "DATABASE_URL=postgres://notes:s3cr3t@db/notes",
			"DATABASE_PASSWORD=0ther", "ADMIN_TOKEN_FILE=/nowhere/token"},
		[]string{"SESSION_SECRET=REDACTED", "CORS_ORIGIN is not set", "DATABASE_PASSWORD=REDACTED", "/nowhere/token"},
		[]string{"tooshort1", "s3cr3t", "0ther"},
	}, {
		"workers and connections",
		[]string{"WORKERS_PER_SHARD=50", "DATABASE_MAX_CONNS=10"},
		[]string{"DATABASE_MAX_CONNS=10 is too few for WORKERS_PER_SHARD=50"},
		nil,
	}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p := bareProcess(t, freePort(t))
			p.settings = append(p.settings, row.settings...)
			said := p.fails()
			for _, want := range row.says {
				if lines := linesWith(said, want); lines != 1 {
					t.Errorf("%d lines say %s, want 1", lines, want)
				}
			}
			for _, hidden := range row.hides {
				if strings.Contains(said, hidden) {
					t.Errorf("it prints the secret %s", hidden)
				}
			}
			if got := len(strings.Split(strings.TrimSpace(said), "\n")); got != len(row.says) || t.Failed() {
				t.Errorf("it says %d lines, want %d:\n%s", got, len(row.says), said)
			}
		})
	}
}

// linesWith counts the lines of text that have want in them.
func linesWith(text, want string) (n int) {
	for line := range strings.Lines(text) {
		if strings.Contains(line, want) {
			n++
		}
	}
	return n
}

// What is set is what is in force, as /api/runtime shows it.
func TestRuntimeSettings(t *testing.T) {
	t.Parallel()
	plain := start(t).runtime()
	cores := plain.Limits.Cores
	if got := len(plain.Pool.Shards); got != cores || plain.Limits.GOMAXPROCS < cores {
		t.Errorf("by default %d shards and GOMAXPROCS %d, want one a core of %d", got, plain.Limits.GOMAXPROCS, cores)
	}
	for _, row := range []struct {
		settings     []string
		wrap         []string
		shards, proc int
		workers      int // a shard; 0: any
		conns        int // readers; 0: two more than workers
		memory       int64
		warns        string
	}{
		{settings: []string{"CLUSTER_MODE=false"}, shards: 1, proc: 1},
		{settings: []string{"CLUSTER_MODE=0", "MAX_WORKERS=4"}, shards: 1, proc: 1, warns: "MAX_WORKERS=4 has no effect"},
		{settings: []string{"MAX_WORKERS=1"}, shards: 1, proc: 1},
		{settings: []string{"MAX_WORKERS=4096"}, shards: cores, proc: cores,
			warns: fmt.Sprintf("MAX_WORKERS=4096 is above the %d core", cores)},
		{settings: []string{"GOMAXPROCS=1"}, shards: 1, proc: 1},
		{settings: []string{"MAX_WORKERS=1", "WORKERS_PER_SHARD=3"}, shards: 1, proc: 1, workers: 3, conns: 5},
		{settings: []string{"MAX_WORKERS=1", "DATABASE_MAX_CONNS=12"}, shards: 1, proc: 1, workers: 10, conns: 12},
		{settings: []string{"MAX_WORKERS=1", "DATABASE_MAX_CONNS=12", "WORKERS_PER_SHARD=4"}, shards: 1, proc: 1, workers: 4,
			conns: 12},
		{settings: []string{"MAX_WORKERS=1", "GOMEMLIMIT=96MiB"}, shards: 1, proc: 1, memory: 96 << 20},
		{settings: []string{"MAX_WORKERS=1", "MAX_OLD_SPACE_SIZE=128"}, shards: 1, proc: 1, memory: 128 << 20},
		{wrap: []string{"taskset", "-c", "0"}, shards: 1, proc: 1},
	} {
		t.Run(strings.Join(append(row.wrap, row.settings...), " "), func(t *testing.T) {
			if len(row.wrap) > 0 {
				if _, err := exec.LookPath(row.wrap[0]); err != nil {
					t.Skip(err)
				}
			}
			p := newUnraced(t, row.settings...)
			p.wrap = row.wrap
			p.start()
			p.awaitReady()
			got := p.runtime()
			workers := len(got.Pool.Shards[0].Workers)
			if len(got.Pool.Shards) != row.shards || got.Limits.GOMAXPROCS != row.proc {
				t.Errorf("%d shards and GOMAXPROCS %d, want %d and %d", len(got.Pool.Shards), got.Limits.GOMAXPROCS, row.shards, row.proc)
			}
			if row.workers != 0 && workers != row.workers {
				t.Errorf("%d workers a shard, want %d", workers, row.workers)
			}
			if want := max(row.conns, got.Pool.Workers+2); got.Database["reader"].Most != want {
				t.Errorf("%d connections for %d workers, want %d", got.Database["reader"].Most, got.Pool.Workers, want)
			}
			if row.memory != 0 && got.Limits.GOMEMLIMIT != row.memory {
				t.Errorf("GOMEMLIMIT %d, want %d", got.Limits.GOMEMLIMIT, row.memory)
			}
			if warned := p.log.String(); !strings.Contains(warned, row.warns) || row.warns == "" && len(warnings(p.log)) > 0 {
				t.Errorf("warnings %v, want %q", warnings(p.log), row.warns)
			}
		})
	}
}

// warnings returns the log's entries of level WARN.
func warnings(log *testkit.LogBuffer) (found []testkit.Entry) {
	for _, e := range log.Entries() {
		if e.Text("level") == "WARN" {
			found = append(found, e)
		}
	}
	return found
}

// Every worker of a shard can have a connection to PostgreSQL: nobody waits inside database/sql.
func TestConnectionsForWorkers(t *testing.T) {
	t.Parallel()
	p := start(t, "DATABASE_URL="+storetest.Postgres(t), secret)
	got := p.runtime()
	if most := got.Database["database"].Most; most < got.Pool.Workers+2 {
		t.Errorf("%d connections for %d workers, want 2 more at least", most, got.Pool.Workers)
	}
}

// What is for administrators is theirs alone, and the token is asked for on this machine, too: a token that is set, and
// one that the server has made.
func TestAdministrators(t *testing.T) {
	t.Parallel()
	p := start(t, "ADMIN_TOKEN=0123456789abcdef0123456789abcdef")
	c := p.visitor()
	for _, path := range []string{"/api/runtime", "/api/metrics", "/api/metrics/system", "/metrics"} {
		c.get(path).want(401)
		c.call("GET", path, nil, "Authorization", "Bearer wrong").want(401)
		c.call("GET", path, nil, "Authorization", "Bearer 0123456789abcdef0123456789abcdef").want(200)
	}
	if strings.Contains(p.log.String(), "0123456789abcdef") {
		t.Error("the log has the token")
	}
}

// Production with placeholders for secrets, or one of them, or one left out, or without the template's files,
// does not start, and says which; with all of them changed it does.
func TestProductionTemplate(t *testing.T) {
	t.Parallel()
	const placeholder, own = "change-me-with-openssl-rand-hex-32", "0123456789abcdef0123456789abcdef"
	postgres := strings.Replace(storetest.Postgres(t), "notes@", "notes:d"+own+"@", 1)
	good := map[string]string{"APP_ENV": "production", "SESSION_SECRET": own, "ADMIN_TOKEN": "a" + own, "CORS_ORIGIN": "https://notes.example.com",
		"DATABASE_URL": postgres}
	for _, row := range []struct{ name, value, says string }{
		{"SESSION_SECRET", placeholder, "SESSION_SECRET=REDACTED is not"},
		{"SESSION_SECRET", own[1:], "SESSION_SECRET=REDACTED is not"}, // a character too short
		{"SESSION_SECRET", "", "SESSION_SECRET is not set"},
		{"ADMIN_TOKEN", placeholder, "ADMIN_TOKEN=REDACTED is not"},
		{"ADMIN_TOKEN", own[1:], "ADMIN_TOKEN=REDACTED is not"},
		{"ADMIN_TOKEN", "", "ADMIN_TOKEN is not set"},
		{"CORS_ORIGIN", "", "CORS_ORIGIN is not set"},
		{"CORS_ORIGIN", "*", `CORS_ORIGIN="*" is not`},
		{"DATABASE_URL", strings.Replace(postgres, "d"+own, placeholder, 1), "DATABASE_URL=REDACTED holds a placeholder"},
		{"REDIS_URL", "redis://:" + placeholder + "@127.0.0.1:6379/0", "REDIS_URL=REDACTED is not"},
		{"", "", ""},
	} {
		t.Run(row.name+"="+row.value, func(t *testing.T) {
			t.Parallel()
			p := newProcess(t)
			for name, value := range good {
				p.settings = append(p.settings, name+"="+value)
			}
			p.settings = append(p.settings, row.name+"="+row.value) // the last one counts
			if row.says == "" {
				p.start()
				p.awaitReady()
				return
			}
			said := p.fails()
			if linesWith(said, row.says) != 1 || strings.Count(strings.TrimSpace(said), "\n") != 0 || strings.Contains(said, own) {
				t.Errorf("it says %q, want %q alone, and no secret", said, row.says)
			}
		})
	}
	t.Run("the template as it is", func(t *testing.T) {
		t.Parallel()
		p := bareProcess(t, freePort(t), "APP_ENV=production")
		p.wrap = []string{absolute(t, "../deploy/with-env"), absolute(t, "../env/production.env")}
		said := p.fails()
		for _, name := range []string{"SESSION_SECRET", "ADMIN_TOKEN"} {
			if linesWith(said, name+"_FILE=\"secrets/"+strings.ToLower(name)+"\" is not a file with the secret") != 1 {
				t.Errorf("it does not name %s:\n%s", name, said)
			}
		}
	})
}
