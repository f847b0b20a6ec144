package check

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Our own compose files are read as compose reads them.
func TestParseCompose(t *testing.T) {
	text, err := os.ReadFile("../../compose.prod.yaml")
	if err != nil {
		t.Fatal(err)
	}
	services, err := parseCompose(text, map[string]string{"NOTESD_CPUS": "4", "MAX_WORKERS": "3", "GOMEMLIMIT": "300MiB"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	byName := map[string]Service{}
	for _, s := range services {
		byName[s.Name] = s
		names = append(names, s.Name)
		if s.Restart != "unless-stopped" || s.LogSize != "10m" || !s.Health || !s.ReadOnly || !pinned(s) || s.Memory < 64*mib || s.Cores == 0 {
			t.Errorf("%+v, want all that production has", s)
		}
	}
	if want := []string{"blackbox", "caddy", "notesd", "notesd-2", "postgres", "prometheus", "redis"}; !slices.Equal(names, want) {
		t.Fatalf("services %q, want %q", names, want)
	}
	if want := []Port{{"", "80"}, {"", "443"}, {"", "443"}}; !slices.Equal(byName["caddy"].Ports, want) {
		t.Errorf("caddy's ports %v, want %v", byName["caddy"].Ports, want)
	}
	want := Service{Name: "notesd", Image: "notesd", Built: true, Restart: "unless-stopped", LogSize: "10m", Health: true, Grace: 30 * time.Second,
		Cores: 4, Memory: 512 * mib, ReadOnly: true, Production: true, MaxWorkers: 3, Heap: 300 * mib, Drain: 15 * time.Second}
	if diff := cmp.Diff(want, byName["notesd"]); diff != "" {
		t.Errorf("notesd: -want +got\n%s", diff)
	}
}

// Everything that a file may write in several ways.
func TestParseComposeForms(t *testing.T) {
	const text = `
services:
  db:
    image: host:5000/library/postgres:17
    ports: ["5432", "5433:5432", "127.0.0.1:5434:5432/tcp", "[::1]:5435:5432", {target: 5432, published: "5436", host_ip: 192.0.2.1}]
    healthcheck: { disable: true }
    logging: { driver: syslog }
    mem_limit: 1.5g
    cpus: 0.5
  notesd:
    environment: [APP_ENV=development, MAX_OLD_SPACE_SIZE=100, "SHUTDOWN_TIMEOUT=${T:-3s}"]
`
	services, err := parseCompose([]byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	db, notesd := services[0], services[1]
	want := []Port{{"", "a random port"}, {"", "5433"}, {"127.0.0.1", "5434"}, {"::1", "5435"}, {"192.0.2.1", "5436"}}
	if diff := cmp.Diff(want, db.Ports); diff != "" {
		t.Errorf("ports: -want +got\n%s", diff)
	}
	if db.kind() != "postgres" || db.Health || db.LogSize != "syslog" || db.Memory != 1<<30 || db.Cores != 0.5 || db.Grace != 10*time.Second {
		t.Errorf("%+v", db)
	}
	if notesd.Production || notesd.Heap != 100*mib || notesd.Drain != 3*time.Second || !notesd.Health {
		t.Errorf("%+v", notesd)
	}
}

func TestInterpolate(t *testing.T) {
	values := map[string]string{"A": "a", "EMPTY": ""}
	for text, want := range map[string]string{
		"$A ${A} ${A:-x} ${A-x} ${A:?must}": "a a a a a", "${B:-x}${EMPTY:-y}": "xy", "${B:?must be set}": "", "${A:+yes}${B:+no}": "yes",
		"$$A": "$A", "100%": "100%", "${": "${",
	} {
		if got := interpolate(text, values); got != want {
			t.Errorf("interpolate(%q) = %q, want %q", text, got, want)
		}
	}
}

// What is no compose file is an error that quotes nothing.
func TestNoCompose(t *testing.T) {
	for _, text := range []string{"", "[", "a: b", "services: geheim", "services: {a: {ports: geheim}}", "services: {a: {deploy: geheim}}"} {
		if s, err := parseCompose([]byte(text), nil); err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("parseCompose(%q) = %v, %v, want an error that does not quote it", text, s, err)
		}
	}
}

func FuzzParseCompose(f *testing.F) {
	for _, name := range []string{"../../compose.yaml", "../../compose.prod.yaml"} {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"services":{"notesd":{"ports":[{"published":"1"}],"environment":{"A":null},"deploy":{"resources":{"limits":{"cpus":2,"memory":"536870912"}}}}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		services, err := parseCompose(text, map[string]string{"A": "$A"})
		if (err == nil) == (len(services) == 0) {
			t.Fatalf("%d services and %v", len(services), err)
		}
		facts := good()
		facts.Compose = &Compose{File: "fuzzed", Services: services}
		for _, s := range services {
			if s.Memory < 0 {
				t.Errorf("%+v", s)
			}
		}
		Evaluate(facts)
	})
}

func FuzzParseRuntime(f *testing.F) {
	f.Add([]byte(`{"started":"2026-01-01T00:00:00Z","timestamp":"2026-01-02T00:00:00Z","pool":{"done":5},"memoryStages":{"stage":"calm","limit":1}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseRuntime(text)
		if (r == nil) == (err == nil) {
			t.Fatalf("%v and %v", r, err)
		}
		downIn(text)
		cpuIn(string(text))
		if err == nil {
			facts := good()
			facts.Server.Runtime = r
			Evaluate(facts)
		}
	})
}

// A machine as its files describe it.
func TestReadMachine(t *testing.T) {
	root := fstest.MapFS{
		"proc/meminfo":                                                {Data: []byte("MemTotal:  2048 kB\nMemFree: 1 kB\n")},
		"proc/sys/vm/overcommit_memory":                               {Data: []byte("2\n")},
		"sys/kernel/mm/transparent_hugepage/enabled":                  {Data: []byte("always [madvise] never\n")},
		"sys/kernel/mm/transparent_hugepage/khugepaged/max_ptes_none": {Data: []byte("511\n")},
		"proc/self/mountinfo":                                         {Data: []byte("1 0 0:1 / / rw - overlay overlay rw\n2 1 0:2 / " + os.TempDir() + " rw shared:1 - nfs4 h:/x rw\nnonsense\n")},
	}
	m := readMachine(root, filepath.Join(os.TempDir(), "none", "such"))
	if m.Memory != 2<<20 || m.Overcommit != 2 || m.HugePages != "madvise" || m.HugeMost != 511 || m.FileSystem != "nfs4" || !m.InContainer ||
		m.OpenFiles == 0 || m.DiskFree == 0 || m.Cores == 0 {
		t.Errorf("readMachine() = %+v", m)
	}
	if m := readMachine(fstest.MapFS{}, "/"); m.InContainer || m.Memory != 0 || m.FileSystem != "" {
		t.Errorf("readMachine() of nothing = %+v", m)
	}
}

// Secrets that lie open, here and in git, are named; their values are not.
func TestReadFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	write("data/session-secret", "x", 0o644)
	write("data/notes.db", "x", 0o640)
	write(".env", "PORT=1\nexport ADMIN_TOKEN='geheim'\nDATABASE_URL=postgres://u:geheim@h/n\nSESSION_SECRET=change-me\nREDIS_PASSWORD=\n", 0o604)
	write("env/production.env", "SESSION_SECRET=change-me\n#ADMIN_TOKEN=x\n", 0o644)
	write("env/production.local.env", "ADMIN_TOKEN=geheim\n", 0o600)
	c := Config{Dir: dir, Settings: Settings{DataDir: filepath.Join(dir, "data")}, Placeholder: func(s string) bool { return s == "change-me" }}

	want := Files{Open: []string{filepath.Join(dir, "data/session-secret"), filepath.Join(dir, ".env")}}
	if diff := cmp.Diff(want, readFiles(t.Context(), c)); diff != "" {
		t.Errorf("without git: -want +got\n%s", diff)
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}} {
		if out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	want.Git, want.Committed = true, []string{".env: ADMIN_TOKEN", ".env: DATABASE_URL", "env/production.local.env: ADMIN_TOKEN"}
	if diff := cmp.Diff(want, readFiles(t.Context(), c)); diff != "" {
		t.Errorf("with git: -want +got\n%s", diff)
	}
}

// A server is asked as its administrators do, twice, and what it answers is bounded.
func TestAskServer(t *testing.T) {
	looks := 0
	handler := http.NewServeMux()
	handler.HandleFunc("/api/health", func(http.ResponseWriter, *http.Request) {})
	handler.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(`{"checks":[{"name":"process","status":"up"},{"name":"database","status":"down"}]}`))
	})
	handler.HandleFunc("/api/runtime", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer token" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		looks++
		_, _ = w.Write([]byte([]string{
			`{"started":"2026-01-01T00:00:00Z","timestamp":"2026-01-01T00:00:10Z","pool":{"done":5},"database":{"a":{"waitCount":1}}}`,
			`{"started":"2026-01-01T00:00:00Z","timestamp":"2026-01-01T00:00:12Z","pool":{"done":9},"database":{"a":{"waitCount":3}}}`}[looks-1]))
	})
	handler.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("# HELP x\nprocess_cpu_seconds_total " + []string{"1.5", "2.5"}[looks-1] + "\n"))
	})
	server := httptest.NewServer(handler)
	defer server.Close()
	s := inspectServer(t.Context(), Config{Server: server.URL, AdminToken: "token", Measure: time.Millisecond})
	if !s.Alive || s.Ready || !slices.Equal(s.Down, []string{"database down"}) || s.Runtime == nil {
		t.Fatalf("askServer() = %+v", s)
	}
	if want := (Recent{Over: 2 * time.Second, CPU: 1, Requests: 4, Waits: 2}); *s.Recent != want || s.Runtime.Pool.Done != 9 || s.CPU != 2.5 {
		t.Errorf("askServer() measures %+v, %v s of CPU, want %+v", s.Recent, s.CPU, want)
	}
	if s := inspectServer(t.Context(), Config{Server: server.URL, AdminToken: "wrong"}); s.Runtime != nil || !strings.Contains(s.RuntimeErr, "401") {
		t.Errorf("with a wrong token: %+v", s)
	}
	if s := inspectServer(t.Context(), Config{Server: "http://127.0.0.1:1"}); s.Err == "" {
		t.Errorf("where nobody is: %+v", s)
	}
}

// Gather looks at all there is, and what can't be asked is named.
func TestGather(t *testing.T) {
	dir := t.TempDir()
	c := Config{Version: "1", Dir: dir, Settings: Settings{DataDir: dir}, RedisURL: "redis://:geheim@127.0.0.1:1", Server: "http://127.0.0.1:1",
		Database:    func(context.Context) (Database, error) { return Database{}, errors.New("nobody\nthere") },
		Compose:     "-",
		In:          strings.NewReader("services: {notesd: {image: notesd}}"),
		Placeholder: func(string) bool { return false }}
	f := Gather(t.Context(), c)
	if f.Database.Err != "nobody there" || f.Redis.Err == "" || strings.Contains(f.Redis.Err, "geheim") || f.Server.Err == "" || f.Replicas != 1 ||
		len(f.Compose.Services) != 1 {
		t.Errorf("Gather() = %+v", f)
	}
	c.Compose = "none.yaml"
	if got := readCompose(c); got == nil || got.Err == "" || got.File != "none.yaml" {
		t.Errorf("a compose file that is named and not there: %+v", got)
	}
	c.Compose = ""
	if got := readCompose(c); got != nil {
		t.Errorf("no compose file: %+v", got)
	}
}
