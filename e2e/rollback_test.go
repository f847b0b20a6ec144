package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"notesd/store/storetest"
)

// Releases to come, made up: the first adds to the schema what this one does
// not know; the second takes away what this one needs, and says so in min_binary.
var (
	expanding = sync.OnceValues(func() (string, error) {
		return buildRelease("expanding", 1, `ALTER TABLE notes ADD COLUMN colour text NOT NULL DEFAULT 'white';`)
	})
	contracting = sync.OnceValues(func() (string, error) {
		return buildRelease("contracting", 2, `ALTER TABLE notes ADD COLUMN colour text NOT NULL DEFAULT 'white';`,
			`UPDATE schema_info SET min_binary = 2;`)
	})
)

// buildRelease builds this tree as it may be one day: of a later binary number
// and with more migrations, laid over the sources.
func buildRelease(name string, number int, migrations ...string) (string, error) {
	root, err := filepath.Abs("..")
	if err != nil {
		return "", err
	}
	dir := filepath.Join(filepath.Dir(binary), name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	over := struct{ Replace map[string]string }{map[string]string{}}
	lay := func(path, text string) error {
		file := filepath.Join(dir, strings.ReplaceAll(path, "/", "_"))
		over.Replace[filepath.Join(root, path)] = file
		return os.WriteFile(file, []byte(text), 0o644)
	}
	source, err := os.ReadFile("../store/engine/migrate.go")
	if err != nil {
		return "", err
	}
	later := strings.Replace(string(source), "binary = 1\n", fmt.Sprintf("binary = %d\n", number), 1)
	if err := lay("store/engine/migrate.go", later); err != nil {
		return "", err
	}
	for n, sql := range migrations {
		for _, engine := range []string{"sqlite", "postgres"} {
			if err := lay(fmt.Sprintf("store/migrations/%s/%05d_later.sql", engine, 90000+n), "-- +goose Up\n"+sql+"\n"); err != nil {
				return "", err
			}
		}
	}
	text, err := json.Marshal(over)
	if err != nil {
		return "", err
	}
	overlay, out := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "notesd")
	if err := os.WriteFile(overlay, text, 0o644); err != nil {
		return "", err
	}
	return out, goBuild("-overlay", overlay, "-o", out, faulty)
}

// release is a program that has to be there.
func release(t *testing.T, build func() (string, error)) string {
	t.Helper()
	program, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// engines are settings for both, each with a database of its own.
func engines(t *testing.T) map[string][]string {
	t.Helper()
	return map[string][]string{"SQLite": {secret}, "PostgreSQL": {secret, "DATABASE_URL=" + storetest.Postgres(t)}}
}

// A release that only adds to the schema can be taken back: this binary takes
// over from it again, under load, and serves the wider schema.
func TestRollback(t *testing.T) {
	long(t, "it builds other releases")
	later := release(t, expanding)
	for engine, settings := range engines(t) {
		t.Run(engine, func(t *testing.T) {
			p := upgradable(t, settings...)
			p.start()
			p.awaitReady()
			company := startCompany(p)
			time.Sleep(upgradePause)
			p.install(later)
			p.upgrade()
			p.checkSchema(t, later, 90000)
			time.Sleep(upgradePause)
			p.install(binary)
			p.upgrade()
			p.checkSchema(t, binary, 90000)
			time.Sleep(upgradePause)
			company.stop(t).check(t, 20)
		})
	}
}

// checkSchema: program is what serves, and the database has that schema.
func (p *process) checkSchema(t *testing.T, program string, schema int64) {
	t.Helper()
	p.awaitReady()
	runs, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.cmd.Process.Pid))
	if err != nil || runs != program {
		t.Errorf("%s runs (%v), want %s", runs, err, program)
	}
	if migrated := p.log.With("schema migrated"); migrated[len(migrated)-1].Number("version") != float64(schema) {
		t.Errorf("the schema was migrated as %v say, want to %d", migrated, schema)
	}
}

// The two of them serve side by side what the newer one has made of the schema.
func TestTwoReleases(t *testing.T) {
	long(t, "it builds other releases")
	settings := []string{secret, "DATABASE_URL=" + storetest.Postgres(t)}
	older := start(t, settings...)
	ada := older.member("ada@example.com")
	before := ada.create("before", "by the older")
	newer := newProcess(t, settings...)
	newer.program = release(t, expanding)
	newer.start()
	newer.awaitReady()

	byNewer := ada.on(newer).create("after", "by the newer")
	byOlder := ada.create("after", "by the older")
	for _, p := range []*process{older, newer} {
		for _, id := range []string{before, byNewer, byOlder} {
			ada.on(p).get("/api/notes/" + id).want(http.StatusOK)
		}
		ada.on(p).call(http.MethodPatch, "/api/notes/"+before, note{Title: "changed"}).want(http.StatusOK)
	}
	older.stop()
	older.start() // again, on a schema newer than itself
	older.awaitReady()
	ada.get("/api/notes/" + byNewer).want(http.StatusOK)
}

// A release that takes something away says so: this binary refuses its schema
// before it has touched anything, and the newer one serves on.
func TestNoRollback(t *testing.T) {
	long(t, "it builds other releases")
	later := release(t, contracting)
	const says = "schema 90001 serves binaries from 2 on and this one is 1, use a newer notesd"
	for engine, settings := range engines(t) {
		t.Run(engine, func(t *testing.T) {
			p := upgradable(t, settings...)
			p.install(later)
			p.start()
			p.awaitReady()
			company := startCompany(p)
			time.Sleep(upgradePause)
			p.install(binary)
			p.signal(syscall.SIGUSR2)
			p.awaitLog("upgrade: failed, serving on")
			if !strings.Contains(p.log.String(), says) {
				t.Errorf("nobody says %q", says)
			}
			time.Sleep(upgradePause)
			company.stop(t).check(t, 20)
			p.checkSchema(t, later, 90001)
			p.stop()
			if out, code := p.run("", "migrate"); code != 1 || !strings.Contains(out, says) {
				t.Errorf("notesd migrate = exit %d, %s, want 1 and %q", code, out, says)
			}
		})
	}
}
