package e2e

import (
	"database/sql"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomodule/redigo/redis"

	"notesd/internal/check"
	"notesd/internal/testserver"
	"notesd/store/storetest"
)

// badCompose publishes the database, and gives the heap more than the container has.
const badCompose = `services:
  notesd:
    image: notesd
    environment: { APP_ENV: production, MAX_OLD_SPACE_SIZE: "1024" }
    stop_grace_period: 30s
    deploy: { resources: { limits: { cpus: "1", memory: 512M } } }
  postgres:
    image: postgres:17
    ports: ["5432:5432"]
`

// Each trouble of a bad set-up is named, with what to set, and no secret is.
func TestCheckBad(t *testing.T) {
	t.Parallel()
	database := strings.Replace(storetest.Postgres(t), "notes@", "notes:geheim-geheim@", 1)
	spoil(t, database)
	const placeholder = "change-me-geheim-geheim-geheim-geheim"
	p := newUnraced(t, "APP_ENV=production", "SESSION_SECRET="+placeholder, "ADMIN_TOKEN=geheim-geheim-geheim-geheim-geheim",
		"CORS_ORIGIN=http://notes.example.com", "DATABASE_URL="+database, "REDIS_URL="+cache(t),
		"MAX_WORKERS=1000", "MAX_OLD_SPACE_SIZE=16000000")
	if err := os.WriteFile(filepath.Join(p.dir, "compose.prod.yaml"), []byte(badCompose), 0o600); err != nil {
		t.Fatal(err)
	}
	want := []struct {
		row     string
		verdict check.Verdict
		fix     string
	}{
		{"session-secret", check.Fail, "SESSION_SECRET=$(openssl rand -hex 32)"},
		{"heap", check.Fail, "GOMEMLIMIT="},
		{"limits-fit", check.Fail, "GOMEMLIMIT=460MiB"},
		{"workers", check.Warn, "MAX_WORKERS="},
		{"published", check.Fail, "bind them to 127.0.0.1"},
		{"tls", check.Fail, "CORS_ORIGIN=https://notes.example.com"},
		{"schema", check.Fail, "notesd migrate"},
		{"database-clock", check.Fail, "NTP"},
		{"connections", check.Fail, "max_connections="},
		{"durability", check.Fail, "fsync=on"},
		{"redis-password", check.Fail, "requirepass"},
		{"eviction", check.Fail, "maxmemory-policy noeviction"},
		{"redis-memory", check.Warn, "maxmemory 128mb"},
	}
	report := p.checked(3, "-replicas", "100")
	for _, w := range want {
		if f := found(t, report, w.row); f.Verdict != w.verdict || !strings.Contains(f.Fix, w.fix) {
			t.Errorf("%s: %s, %q, fix %q, want %s with %q", f.ID, f.Verdict, f.Seen, f.Fix, w.verdict, w.fix)
		}
	}
	for _, args := range [][]string{{"check"}, {"check", "-json"}} {
		if out, code := p.run("", args...); code != 3 || strings.Contains(out, "geheim") {
			t.Errorf("notesd %v = exit %d, want 3 and no secret:\n%s", args, code, out)
		}
	}
}

// cache is a Redis that would put out sessions to make room.
func cache(t *testing.T) (url string) {
	t.Helper()
	url = testserver.NewRedis(t).URL()
	conn, err := redis.DialURL(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru"); err != nil {
		t.Fatal(err)
	}
	return url
}

// spoil makes a database old, and its clock wrong.
func spoil(t *testing.T, url string) {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range []string{
		"UPDATE goose_db_version SET is_applied = false WHERE version_id = (SELECT max(version_id) FROM goose_db_version)",
		"CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT pg_catalog.clock_timestamp() + interval ''1 hour'''",
		"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database()); END $$",
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
}

// checked runs notesd check, which must exit with code.
func (p *process) checked(code int, args ...string) check.Report {
	p.t.Helper()
	out, got := p.run("", append([]string{"check", "-json"}, args...)...)
	if got != code {
		p.t.Fatalf("notesd check %v = exit %d, want %d:\n%s", args, got, code, out)
	}
	return reported(p.t, out)
}

func reported(t testing.TB, text string) check.Report {
	t.Helper()
	var report check.Report
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	return report
}

func found(t testing.TB, r check.Report, id string) check.Finding {
	t.Helper()
	i := slices.IndexFunc(r.Rows, func(f check.Finding) bool { return f.ID == id })
	if i < 0 {
		t.Fatalf("there is no row %s", id)
	}
	return r.Rows[i]
}

// A server in development with what it needs has nothing to be mended, and the check sees it run.
func TestCheckRunning(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string][]string{
		"SQLite":     nil,
		"PostgreSQL": {"DATABASE_URL=" + testserver.NewPostgres(t).URL(), "REDIS_URL=" + testserver.NewRedis(t).URL(), secret},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, settings...)
			p.program = unraced(t) // of the commands
			report := p.checked(0, "-measure", "100ms")
			for id, want := range map[string]check.Verdict{"ready": check.OK, "same-version": check.OK, "restarts": check.OK, "schema": check.OK,
				"durability": check.OK, "load-connections": check.OK, "load-workers": check.NotApplicable} {
				if f := found(t, report, id); f.Verdict != want {
					t.Errorf("%s: %s, %q, want %s", id, f.Verdict, f.Seen, want)
				}
			}
			p.check(command{args: "check -url " + p.url, says: "ready"})
			other := newUnraced(t, append(settings, "ADMIN_TOKEN=another")...)
			if f := found(t, other.checked(0, "-url", p.url), "restarts"); name == "SQLite" && f.Verdict == check.Fail {
				t.Errorf("of another's server: %+v", f)
			}
			if name == "PostgreSQL" {
				p.settings = append(p.settings, "MAX_WORKERS=1000")
				if f := found(t, p.checked(0), "workers"); f.Verdict != check.Warn {
					t.Errorf("workers: %s, want a warning", f.Verdict)
				}
				p.checked(3, "-strict")
			}
		})
	}
}

// Wrong arguments are said to be.
func TestCheckArguments(t *testing.T) {
	t.Parallel()
	p := newUnraced(t)
	p.check(
		command{args: "check -h", says: "-strict"},
		command{args: "check now", code: 2, says: "takes no arguments"},
		command{args: "check -loud", code: 2, says: "-loud"},
		command{args: "check -replicas 0", code: 2, says: "see notesd help"},
	)
}

// Inside a container its own limits count.
func TestCheckContainer(t *testing.T) {
	needEngine(t)
	_, id := startContainer(t, "--memory", "128m", "--cpus", "1", "-e", "MAX_OLD_SPACE_SIZE=1024", "-e", "MAX_WORKERS=8")
	out, err := exec.Command("docker", "exec", id, "/notesd", "check", "-json").Output()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 3 {
		t.Fatalf("notesd check = %v, want exit 3:\n%s", err, out)
	}
	report := reported(t, string(out))
	for id, want := range map[string]struct {
		verdict check.Verdict
		fix     string
	}{
		"heap":    {check.Fail, "GOMEMLIMIT=115MiB"},
		"workers": {check.Warn, "MAX_WORKERS=1"},
		"ready":   {check.OK, ""},
		"user":    {check.OK, ""},
	} {
		if f := found(t, report, id); f.Verdict != want.verdict || !strings.Contains(f.Fix, want.fix) {
			t.Errorf("%s: %+v, want %s with %q", id, f, want.verdict, want.fix)
		}
	}
}

// isAllGreen judges the stack as people do. CHECK_REPORT names a file for the report: make checklist.
func (s *stack) isAllGreen() {
	s.t.Helper()
	cmd := exec.Command("make", "--silent", "check-setup", "CHECK=-json -strict")
	cmd.Dir, cmd.Env = "..", append(os.Environ(), s.environ...)
	out, err := cmd.Output()
	var report check.Report
	if bad := json.Unmarshal(out, &report); bad != nil {
		s.t.Fatalf("make check-setup = %v:\n%s", err, out)
	}
	for _, f := range report.Rows {
		if f.Verdict != check.OK && f.Verdict != check.NotApplicable {
			s.t.Errorf("%s: %s, %q, fix: %s", f.ID, f.Verdict, f.Seen, f.Fix)
		}
	}
	if err != nil && !s.t.Failed() {
		s.t.Errorf("make check-setup = %v", err)
	}
	s.t.Logf("notesd check: %v", report.Counts)
	if name := os.Getenv("CHECK_REPORT"); name != "" {
		if err := os.WriteFile(name, out, 0o600); err != nil {
			s.t.Error(err)
		}
	}
}
