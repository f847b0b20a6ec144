package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"notesd/internal/testkit"
)

const (
	image      = "notesd"
	maxImage   = 30_000_000 // bytes
	buildTime  = 15 * time.Minute
	adminToken = "a-token-for-the-administrators-of-this-test"
)

// needEngine skips the test where there is no Docker engine.
func needEngine(t *testing.T) {
	t.Helper()
	long(t, "containers")
	if err := engine(); err != nil {
		t.Skipf("no Docker engine with compose: %v", err)
	}
	if err := builtImage(); err != nil {
		t.Fatal(err)
	}
}

// engine is an error where there is none.
var engine = sync.OnceValue(func() error { return exec.Command("sh", "-c", "docker info && docker compose version").Run() })

// builtImage makes the image as people do.
var builtImage = sync.OnceValue(func() error {
	ctx, cancel := context.WithTimeout(context.Background(), buildTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "make", "docker-build")
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make docker-build: %w\n%s", err, out)
	}
	return nil
})

// tool runs a program in the project's directory and returns what it printed.
func tool(t testing.TB, environ []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), environ...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out.String(), errs.String())
	}
	return strings.TrimSpace(out.String())
}

// inspected is what docker inspect says of a container that we ask about.
type inspected struct {
	Name         string
	RestartCount int
	Config       struct{ User string }
	HostConfig   struct {
		NanoCpus       int64
		Memory         int64
		ReadonlyRootfs bool
		PortBindings   map[string][]struct{ HostIP, HostPort string }
		RestartPolicy  struct{ Name string }
		LogConfig      struct{ Config map[string]string }
	}
	State struct {
		Running   bool
		OOMKilled bool
		Pid       int
		Health    struct{ Status string }
	}
}

func inspect(t *testing.T, containers ...string) (all []inspected) {
	t.Helper()
	text := tool(t, nil, "docker", append([]string{"inspect"}, containers...)...)
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestImage(t *testing.T) {
	needEngine(t)
	var found []struct {
		Size   int64
		Config struct {
			User, StopSignal string
			Healthcheck      struct{ Test []string }
		}
	}
	if err := json.Unmarshal([]byte(tool(t, nil, "docker", "image", "inspect", image)), &found); err != nil {
		t.Fatal(err)
	}
	it := found[0]
	t.Logf("the image has %.1f MB", float64(it.Size)/1e6)
	if it.Size > maxImage {
		t.Errorf("image has %d bytes, want at most %d", it.Size, maxImage)
	}
	if it.Config.User == "" || strings.HasPrefix(it.Config.User, "0") || it.Config.User == "root" {
		t.Errorf("image runs as %q, want no root", it.Config.User)
	}
	if want := []string{"CMD", "/notesd", "healthcheck"}; !slices.Equal(it.Config.Healthcheck.Test, want) {
		t.Errorf("health check %q, want %q", it.Config.Healthcheck.Test, want)
	}
	_, id := startContainer(t) // its root is read-only
	outside(t, "").await("health", func() bool { return inspect(t, id)[0].State.Health.Status == "healthy" })
	program := filepath.Join(t.TempDir(), "notesd")
	tool(t, nil, "docker", "cp", "--quiet", id+":/notesd", program)
	checkStatic(t, program)
	for _, name := range []string{"sh", "curl"} {
		if out, err := exec.Command("docker", "exec", id, name).CombinedOutput(); err == nil || !strings.Contains(string(out), "not found") {
			t.Errorf("%s in the container = %v, %s, want it not to be there", name, err, out)
		}
	}
}

// The settings follow the container's limits, as /api/runtime shows them from inside.
func TestContainerLimits(t *testing.T) {
	needEngine(t)
	const mib = 1 << 20
	tests := []struct {
		name       string
		flags      []string
		shards     int
		gomaxprocs int   // of a machine with two cores or more
		gomemlimit int64 // 0: none
	}{
		{"one core of quota", []string{"--cpus", "1"}, 1, 2, 0}, // Go keeps two for itself below a quota of two
		{"one core of affinity", []string{"--cpuset-cpus", "0"}, 1, 1, 0},
		{"half a core, 64 MiB", []string{"--cpus", "0.5", "--memory", "64m"}, 1, 2, 64 * mib * 9 / 10},
		{"two cores, 256 MiB", []string{"--cpus", "2", "--memory", "256m"}, 2, 2, 256 * mib * 9 / 10},
		{"workers given", []string{"--cpus", "2", "-e", "MAX_WORKERS=1"}, 1, 1, 0},
		{"single", []string{"--cpus", "2", "-e", "CLUSTER_MODE=false"}, 1, 1, 0},
		{"workers capped", []string{"--cpus", "1", "-e", "MAX_WORKERS=8"}, 1, 1, 0},
		{"heap given", []string{"--memory", "256m", "-e", "MAX_OLD_SPACE_SIZE=100"}, 2, 2, 100 * mib},
		{"heap off", []string{"--memory", "256m", "-e", "GOMEMLIMIT=off"}, 2, 2, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := runContainer(t, tt.flags...)
			var got struct {
				Pool   struct{ Shards []any }
				Limits struct {
					GOMAXPROCS int
					GOMEMLIMIT int64
				}
			}
			c.as("Authorization", "Bearer "+adminToken).call(http.MethodGet, "/api/runtime", nil).want(http.StatusOK).decode(&got)
			if len(got.Pool.Shards) != tt.shards || got.Limits.GOMAXPROCS != tt.gomaxprocs {
				t.Errorf("%d shards, GOMAXPROCS %d, want %d and %d", len(got.Pool.Shards), got.Limits.GOMAXPROCS, tt.shards, tt.gomaxprocs)
			}
			if off := got.Limits.GOMEMLIMIT - tt.gomemlimit; off < -4096 || off > 4096 { // the kernel counts in pages
				t.Errorf("GOMEMLIMIT %d, want %d", got.Limits.GOMEMLIMIT, tt.gomemlimit)
			}
		})
	}
}

// runContainer starts the image read-only with a data volume, and waits until it is ready.
func runContainer(t *testing.T, flags ...string) *client {
	t.Helper()
	c, _ := startContainer(t, flags...)
	return c
}

// startContainer is runContainer for those who want to know the container's id, too.
func startContainer(t *testing.T, flags ...string) (c *client, id string) {
	t.Helper()
	port := freePort(t)
	args := append([]string{"run", "--detach", "--read-only", "--tmpfs", "/tmp", "--volume", "/data",
		"--publish", fmt.Sprintf("127.0.0.1:%d:3001", port), "-e", "APP_ENV=development", "-e", "HOST=0.0.0.0",
		"-e", "ADMIN_TOKEN=" + adminToken}, flags...)
	id = tool(t, nil, "docker", append(args, image)...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(tool(t, nil, "sh", "-c", "docker logs "+id+" 2>&1"))
		}
		tool(t, nil, "docker", "rm", "--force", "--volumes", id)
	})
	c = outside(t, fmt.Sprintf("http://127.0.0.1:%d", port)).visitor()
	c.awaitAnswer("/readyz")
	return c, id
}

// outside is a server that runs in containers, as a client sees it.
func outside(t *testing.T, url string) *process {
	return &process{t: t, url: url, log: &testkit.LogBuffer{}}
}

// awaitAnswer returns once GET path says 200. The engine takes connections
// before the container does, and may never answer those: each gets a second.
func (c *client) awaitAnswer(path string) {
	c.t.Helper()
	quick := &client{t: c.t, url: c.url, http: &http.Client{Jar: c.http.Jar, Transport: c.http.Transport, Timeout: time.Second}}
	outside(c.t.(*testing.T), c.url).await("answer from the container", func() bool {
		answer, err := quick.try(http.MethodGet, path, nil)
		return err == nil && answer.status == http.StatusOK
	})
}

// as returns a client that sends the header with every request.
func (c *client) as(name, value string) *client {
	next := c.http.Transport
	own := *c.http
	own.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		r.Header.Set(name, value)
		return next.RoundTrip(r)
	})
	return &client{t: c.t, url: c.url, http: &own}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// stack is one of the compose stacks, brought up by the command that people use.
type stack struct {
	t       *testing.T
	environ []string
	compose []string // docker's arguments for it
	client  *client
}

func (s *stack) docker(args ...string) string {
	s.t.Helper()
	return tool(s.t, s.environ, "docker", append(slices.Clone(s.compose), args...)...)
}

// The development stack, by quick-start.sh's menu.
func TestComposeDevelopment(t *testing.T) {
	needEngine(t)
	port := freePort(t)
	s := &stack{t: t, environ: []string{"COMPOSE_PROJECT_NAME=notesd-e2e-development", fmt.Sprintf("BACKEND_PORT=%d", port)},
		compose: []string{"compose"}}
	t.Cleanup(func() { s.docker("down", "--volumes", "--timeout", "20") })
	tool(t, s.environ, "bash", "-c", "./quick-start.sh <<<5") // which is make docker-up
	s.client = outside(t, fmt.Sprintf("http://127.0.0.1:%d", port)).visitor()

	s.statusOpens()
	s.survivesRestart()
	s.isConfined(1)
	s.followsLogs("docker-logs")
	tool(t, s.environ, "make", "docker-down")
}

// statusOpens asks for the figures of the status page with the token that the server has made, got as quick-start.sh says.
func (s *stack) statusOpens() {
	s.t.Helper()
	m := regexp.MustCompile(`printed by: (.*)`).FindStringSubmatch(readFile(s.t, "../quick-start.sh"))
	command, _, _ := strings.Cut(m[1], "'")
	token := strings.TrimSpace(tool(s.t, s.environ, "bash", "-c", command))
	s.client.as("Authorization", "Bearer "+token).get("/api/runtime").want(http.StatusOK)
	s.client.get("/api/runtime").want(http.StatusUnauthorized)
}

// The production stack, by quick-start.sh: it makes the settings too. It needs the ports 80 and 443.
func TestComposeProduction(t *testing.T) {
	needEngine(t)
	for _, port := range []int{80, 443} {
		if !isFree(port) {
			t.Skipf("port %d, which the proxy publishes, is taken", port)
		}
	}
	dir := t.TempDir()
	env := filepath.Join(dir, "production.env")
	s := &stack{t: t, environ: []string{"COMPOSE_PROJECT_NAME=notesd-e2e-production", "ENV_FILE=" + env, "SECRETS_DIR=" + filepath.Join(dir, "secrets")},
		compose: []string{"compose", "--env-file", env, "-f", "compose.prod.yaml"}}
	t.Cleanup(func() { s.docker("down", "--volumes", "--timeout", "20") })
	tool(t, s.environ, "./quick-start.sh", "docker-production")
	s.client = outside(t, "https://localhost").visitor()
	s.client.http.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // Caddy's own authority

	answer := s.client.get("/api/health").want(http.StatusOK)
	if answer.header.Get("Strict-Transport-Security") == "" || answer.header.Get("Server") != "" {
		t.Errorf("headers %v, want HSTS and no server's name", answer.header)
	}
	if got := s.client.get("/api/runtime"); got.status != http.StatusUnauthorized {
		t.Errorf("GET /api/runtime by a stranger = %d, want 401", got.status)
	}
	s.client.post("/api/auth/register", credentials("eve@example.com", password)).want(http.StatusForbidden)
	s.hidesSecrets(filepath.Join(dir, "secrets"))
	s.isAllGreen()
	s.survivesRestart()
	s.isConfined(4)
	s.followsLogs("docker-prod-logs")
	tool(t, s.environ, "make", "docker-prod-down")
}

// hidesSecrets looks for the files' contents where everybody may look who may ask the engine or list processes.
func (s *stack) hidesSecrets(dir string) {
	s.t.Helper()
	shown := tool(s.t, s.environ, "docker", append([]string{"inspect"}, strings.Fields(s.docker("ps", "--quiet"))...)...) + s.docker("top") + s.docker("config")
	for _, name := range []string{"session_secret", "admin_token", "alert_webhook_secret", "postgres_password", "redis_password"} {
		if secret := strings.TrimSpace(readFile(s.t, filepath.Join(dir, name))); len(secret) < 32 || strings.Contains(shown, secret) {
			s.t.Errorf("docker inspect, top or compose config shows %s", name)
		}
	}
}

// survivesRestart keeps a note and a session over a restart of everything.
func (s *stack) survivesRestart() {
	s.t.Helper()
	said := s.docker("exec", "-T", "notesd", "/notesd", "user", "add", "ada@example.com") // production's settings let nobody sign up
	_, made, _ := strings.Cut(said, "password: ")
	s.client.post("/api/auth/login", credentials("ada@example.com", strings.TrimSpace(made))).want(http.StatusOK)
	id := s.client.create("kept", "over a restart")
	s.docker("restart", "--timeout", "20")
	s.docker("up", "--detach", "--no-build", "--wait") // starts nothing again, but waits for health
	s.client.awaitAnswer("/api/notes/" + id)
	s.client.get("/api/auth/me").want(http.StatusOK)
}

// isConfined holds the containers to what the compose file says, by docker inspect.
func (s *stack) isConfined(most int) {
	s.t.Helper()
	all := inspect(s.t, strings.Fields(s.docker("ps", "--quiet"))...)
	if len(all) < 3 {
		s.t.Fatalf("%d containers, want notesd and what it needs", len(all))
	}
	production := most > 1
	for _, c := range all {
		isNotesd, isProxy := strings.Contains(c.Name, "-notesd-"), strings.Contains(c.Name, "-caddy-")
		if c.HostConfig.NanoCpus == 0 || c.HostConfig.Memory == 0 || c.State.OOMKilled || c.State.Health.Status != "healthy" {
			s.t.Errorf("%s: %+v, want limits and health", c.Name, c)
		}
		if (isNotesd || production) && !c.HostConfig.ReadonlyRootfs {
			s.t.Errorf("%s: its root is not read-only", c.Name)
		}
		if isNotesd && (c.Config.User == "" || strings.HasPrefix(c.Config.User, "0:")) {
			s.t.Errorf("%s runs as %q, want no root", c.Name, c.Config.User)
		}
		if production && (c.HostConfig.RestartPolicy.Name != "unless-stopped" || c.HostConfig.LogConfig.Config["max-size"] == "") {
			s.t.Errorf("%s: %+v, want a restart policy and log rotation", c.Name, c.HostConfig)
		}
		if production && !isProxy && len(c.HostConfig.PortBindings) > 0 {
			s.t.Errorf("%s publishes %v, want only the proxy to", c.Name, c.HostConfig.PortBindings)
		}
	}
}

// followsLogs runs a target that never ends, and sees notesd's lines in it.
func (s *stack) followsLogs(target string) {
	s.t.Helper()
	runUntil(s.t, s.environ, "listening", "make", target)
}

// runUntil runs a program, returns when it has printed text, case aside, and ends it with the test.
func runUntil(t *testing.T, environ []string, text, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = "..", append(os.Environ(), environ...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what it starts ends with it
	out := &testkit.LogBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			t.Errorf("%s %v did not end", name, args)
		}
	})
	for deadline := time.Now().Add(5 * time.Minute); !strings.Contains(strings.ToLower(out.String()), text); {
		if time.Now().After(deadline) {
			t.Fatalf("%s %v never printed %q:\n%s", name, args, text, out.Tail(40))
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s %v ended: %v\n%s", name, args, err, out.Tail(40))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// anyNetwork takes back Caddy's fixed address: another production stack may have that network.
const anyNetwork = `
services: { caddy: { networks: !override { edge: {} } } }
networks: { edge: !override {} }
`

// The profile `monitoring` of the production stack: Prometheus finds notesd,
// is let in, and has the rules. Without Caddy, whose ports may be taken.
func TestComposeMonitoring(t *testing.T) {
	needEngine(t)
	if out := tool(t, nil, "docker", "image", "ls", "--quiet", "prom/prometheus:v3"); out == "" {
		t.Skip("needs the image prom/prometheus:v3")
	}
	dir := t.TempDir()
	env, override := filepath.Join(dir, "production.env"), filepath.Join(dir, "override.yaml")
	// As it was before secrets had files of their own: deploy/secrets takes it over.
	settings := []string{"SITE_ADDRESS=localhost", "POSTGRES_PASSWORD=p", "REDIS_PASSWORD=r", "SESSION_SECRET=0123456789abcdef0123456789abcdef",
		"ADMIN_TOKEN=" + adminToken, "CORS_ORIGIN=https://localhost"}
	write(t, env, strings.Join(settings, "\n")+"\n")
	write(t, override, anyNetwork)
	s := &stack{t: t, environ: []string{"COMPOSE_PROJECT_NAME=notesd-e2e-monitoring", "ENV_FILE=" + env, "SECRETS_DIR=" + filepath.Join(dir, "secrets")},
		compose: []string{"compose", "--env-file", env, "-f", "compose.prod.yaml", "-f", override, "--profile", "monitoring"}}
	t.Cleanup(func() { s.docker("down", "--volumes", "--timeout", "20") })
	tool(t, s.environ, "make", "secrets")
	s.docker("up", "--detach", "--no-build", "--wait", "prometheus")
	ask := func(query string) string {
		return s.docker("exec", "-T", "prometheus", "promtool", "query", "instant", "http://127.0.0.1:9090", query)
	}
	outside(t, "").await("a scrape", func() bool { return strings.Contains(ask(`up{job="notesd"}`), "=> 1 @") })
	if out := ask("notesd_pool_workers"); !strings.Contains(out, "shard=") {
		t.Errorf("Prometheus has %q of notesd_pool_workers", out)
	}
	found := fmt.Sprintf("%d rules found", strings.Count(readFile(t, rulesFile), "- alert: "))
	if out := s.docker("exec", "-T", "prometheus", "promtool", "check", "config", "/etc/prometheus/prometheus.yml"); !strings.Contains(out, found) {
		t.Errorf("in the container promtool says %s", out)
	}
}
