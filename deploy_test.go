package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"notesd/internal/check"
	"notesd/internal/cli"
)

func readText(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// submatches returns the first group of every match, sorted, each once.
func submatches(pattern, text string) []string {
	var found []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// services splits a compose file into the text of each of its services, without comments.
func services(t *testing.T, file string) map[string]string {
	t.Helper()
	text := regexp.MustCompile(`(?m)(^|\s)#.*$`).ReplaceAllString(readText(t, file), "")
	_, text, _ = strings.Cut(text, "\nservices:\n")
	text = regexp.MustCompile(`(?m)^\S`).Split(text, 2)[0]
	found := map[string]string{}
	name := ""
	for line := range strings.Lines(text) {
		if m := regexp.MustCompile(`^  ([\w-]+):(?: &[\w-]+)?\s*$`).FindStringSubmatch(line); m != nil {
			name = m[1]
			continue
		}
		found[name] += line
	}
	if len(found) < 3 {
		t.Fatalf("%s: found only the services %v", file, slices.Collect(maps.Keys(found)))
	}
	return found
}

// What compose demands is what the template holds, and what it passes on is what the template offers.
func TestProductionSettings(t *testing.T) {
	compose, template := readText(t, "compose.prod.yaml"), readText(t, "env/production.env")
	demanded, set := submatches(`\$\{(\w+):\?`, compose), submatches(`(?m)^(\w+)=`, template)
	set = slices.DeleteFunc(set, func(name string) bool {
		return name == "REGISTRATION" || strings.HasSuffix(name, "_FILE") // files from before are in use; compose mounts its own
	})
	if !slices.Equal(demanded, set) {
		t.Errorf("compose.prod.yaml demands %v, env/production.env sets %v", demanded, set)
	}
	passed := submatches(`\$\{(\w+):-`, compose)
	decided := append(submatches(`(?m)^      (\w+): [^$\s]`, services(t, "compose.prod.yaml")["notesd"]),
		"DATABASE_PASSWORD", "REDIS_URL", "ALERT_WEBHOOK_SECRET", // from files
		"DATA_DIR", // the image's
		"NODE_ENV") // APP_ENV's other name
	for _, name := range submatches(`(?m)^# ?(\w+)=`, template) {
		if !slices.Contains(passed, name) && !slices.Contains(decided, name) {
			t.Errorf("env/production.env offers %s, and compose.prod.yaml does not pass it on", name)
		}
	}
	for _, name := range passed {
		if !strings.Contains(template, name+"=") {
			t.Errorf("compose.prod.yaml passes %s on, and env/production.env does not offer it", name)
		}
	}
	if strings.Contains(compose, "env_file") {
		t.Error("compose.prod.yaml has an env_file: a second place for settings")
	}
}

// Nothing but the proxy is reached from outside in production, nor anything from another machine in development.
func TestPublishedPorts(t *testing.T) {
	for name, text := range services(t, "compose.prod.yaml") {
		if name != "caddy" && strings.Contains(text, "ports:") {
			t.Errorf("compose.prod.yaml publishes ports of %s", name)
		}
	}
	for name, text := range services(t, "compose.yaml") {
		for _, port := range submatches(`ports: (.*)`, text) {
			if !strings.HasPrefix(port, `["127.0.0.1:`) || strings.Contains(port, ",") {
				t.Errorf("compose.yaml publishes %s of %s, not on loopback alone", port, name)
			}
		}
	}
}

// Every container can be stopped, restarted and kept small without anyone's doing.
func TestProductionServices(t *testing.T) {
	all := services(t, "compose.prod.yaml")
	if !strings.Contains(all["notesd-2"], "<<: *notesd") {
		t.Error("compose.prod.yaml: notesd-2 is no replica of notesd")
	}
	delete(all, "notesd-2")
	for name, text := range all {
		for _, want := range []string{"<<: *service", "limits: { cpus: ", "reservations: { memory: ", "networks:"} {
			if !strings.Contains(text, want) {
				t.Errorf("compose.prod.yaml: %s has no %q", name, want)
			}
		}
		if name != "notesd" && !strings.Contains(text, "healthcheck:") { // notesd's is the image's
			t.Errorf("compose.prod.yaml: %s has no health check", name)
		}
	}
	if !strings.Contains(readText(t, "Dockerfile"), "HEALTHCHECK") {
		t.Error("Dockerfile has no HEALTHCHECK")
	}
}

// Who must know every replica knows every one: the proxy, what replaces them in turn, and what watches them.
func TestReplicasKnown(t *testing.T) {
	for name, text := range services(t, "compose.prod.yaml") {
		if name != "notesd" && !strings.Contains(text, "<<: *notesd") {
			continue
		}
		for file, pattern := range map[string]string{
			"deploy/Caddyfile":                 `(?s)reverse_proxy [^\n]*\b%[1]s:3001.*reverse_proxy @noReplica [^\n]*\b%[1]s:3001`,
			"deploy/rolling":                   `(?m)^for replica in .*\b%s(;| )`,
			"deploy/prometheus/prometheus.yml": `names: \[[^]]*\b%s[],]`,
		} {
			if !regexp.MustCompile(fmt.Sprintf(pattern, name)).MatchString(readText(t, file)) {
				t.Errorf("%s does not know the replica %s", file, name)
			}
		}
	}
}

// The root is read-only: what is kept in files needs a volume where the image says DATA_DIR is.
func TestDataVolume(t *testing.T) {
	dirs := submatches(`DATA_DIR=(\S+)`, readText(t, "Dockerfile"))
	for _, file := range []string{"compose.yaml", "compose.prod.yaml"} {
		if text := services(t, file)["notesd"]; len(dirs) != 1 || !strings.Contains(text, "volumes: [notesd-data:"+dirs[0]+"]") {
			t.Errorf("%s: notesd has no volume on %v", file, dirs)
		}
	}
}

// A replica that leaves must be let alone in time: Caddy asks more often than
// the replica waits, and keeps no connection idle for as long.
func TestProxyLetsGo(t *testing.T) {
	caddyfile := readText(t, "deploy/Caddyfile")
	only := func(pattern, text string) time.Duration {
		t.Helper()
		found := submatches(pattern, text)
		if len(found) != 1 {
			t.Fatalf("%s matches %v, want one", pattern, found)
		}
		d, err := time.ParseDuration(found[0])
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	delay := only(`\$\{SHUTDOWN_DELAY:-(\w+)\}`, services(t, "compose.prod.yaml")["notesd"])
	noticed := only(`health_interval (\w+)`, caddyfile) + only(`health_timeout (\w+)`, caddyfile)
	if idle := only(`keepalive (\w+)`, caddyfile); noticed >= delay || idle >= delay {
		t.Errorf("Caddy notices within %v and keeps idle connections for %v, and SHUTDOWN_DELAY is %v", noticed, idle, delay)
	}
}

// The one proxy that is believed is Caddy, whose address nobody else can be given.
func TestTrustedProxy(t *testing.T) {
	text := readText(t, "compose.prod.yaml")
	value := func(pattern string) string {
		t.Helper()
		found := submatches(pattern, text)
		if len(found) != 1 {
			t.Fatalf("compose.prod.yaml: %s matches %v, want one", pattern, found)
		}
		return found[0]
	}
	caddy := netip.MustParseAddr(value(`ipv4_address: (\S+)`))
	if trusted := netip.MustParsePrefix(value(`TRUSTED_PROXIES: (\S+)`)); trusted != netip.PrefixFrom(caddy, 32) {
		t.Errorf("TRUSTED_PROXIES is %v, and Caddy is %v", trusted, caddy)
	}
	if subnet := netip.MustParsePrefix(value(`subnet: ([^,\s]+)`)); !subnet.Contains(caddy) {
		t.Errorf("Caddy is %v, outside its network %v", caddy, subnet)
	}
	if given := netip.MustParsePrefix(value(`ip_range: ([^,\s]+)`)); given.Contains(caddy) {
		t.Errorf("Caddy is %v, among those given to other containers, %v", caddy, given)
	}
}

// systemd finds nothing wrong with the units, and the services little that they could still do without.
func TestUnits(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("needs systemd-analyze (Debian's package systemd)")
	}
	units, err := filepath.Glob("deploy/notesd*.*")
	if err != nil || len(units) != 4 {
		t.Fatalf("units %v, %v, want 4", units, err)
	}
	dir := t.TempDir() // where the program is one that is there
	for i, unit := range units {
		text := strings.ReplaceAll(readText(t, unit), "/usr/local/bin/notesd", "/bin/true")
		units[i] = filepath.Join(dir, filepath.Base(unit))
		if err := os.WriteFile(units[i], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, code := runScript(t, nil, "", "systemd-analyze", append([]string{"verify", "--man=false"}, units...)...); code != 0 || out != "" {
		t.Errorf("systemd-analyze verify: exit %d\n%s", code, out)
	}
	const exposure = "--threshold=20" // tenths, of 10.0
	for _, unit := range units {
		if !strings.HasSuffix(unit, ".service") {
			continue
		}
		if out, code := runScript(t, nil, "", "systemd-analyze", "security", "--offline=true", exposure, unit); code != 0 {
			t.Errorf("%s is too exposed:\n%s", unit, out)
		}
	}
}

// runScript runs a script of ours, and returns what it printed and its exit code.
func runScript(t *testing.T, environ []string, stdin string, name string, args ...string) (out string, code int) {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Env, c.Stdin = append(os.Environ(), environ...), strings.NewReader(stdin)
	text, err := c.CombinedOutput()
	if c.ProcessState == nil {
		t.Fatal(err)
	}
	return string(text), c.ProcessState.ExitCode()
}

func TestMakeHelp(t *testing.T) {
	help, code := runScript(t, nil, "", "make", "--no-print-directory", "help")
	if code != 0 {
		t.Fatalf("make help: exit %d\n%s", code, help)
	}
	if bare, _ := runScript(t, nil, "", "make", "--no-print-directory"); bare != help {
		t.Errorf("make prints\n%s\nand make help\n%s", bare, help)
	}
	want := submatches(`(?m)^([a-z0-9-]+):`, readText(t, "Makefile"))
	if got := submatches(`(?m)^  ([a-z0-9-]+) .*\w`, help); !slices.Equal(got, want) {
		t.Errorf("make help lists\n%v\nof\n%v", got, want)
	}
	for _, name := range []string{"dev", "dev-cluster", "build", "start", "start-cluster", "test", "check", "bench", "e2e", "checklist",
		"docker-build", "docker-up", "docker-down", "docker-logs",
		"docker-prod-build", "docker-prod-up", "docker-prod-down", "docker-prod-logs", "docker-prod-upgrade", "docker-prod-rollback"} {
		if !slices.Contains(want, name) {
			t.Errorf("Makefile has no target %s", name)
		}
	}
}

// Production does not start on settings that nobody made.
func TestMakeWithoutSettings(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.env")
	for _, target := range []string{"start", "start-cluster", "docker-prod-up", "docker-prod-down", "docker-prod-logs", "docker-prod-upgrade",
		"docker-prod-rollback"} {
		out, code := runScript(t, nil, "", "make", "ENV_FILE="+missing, target)
		if code == 0 || !strings.Contains(out, "There is no "+missing) {
			t.Errorf("make %s without settings: exit %d, %q", target, code, out)
		}
	}
}

// stubs puts programs on a PATH of their own that only print what they are asked.
func stubs(t *testing.T, names ...string) (path string) {
	t.Helper()
	path = t.TempDir()
	for _, name := range names {
		script := "#!/bin/sh\necho \"" + name + ": $*\"\n"
		if err := os.WriteFile(filepath.Join(path, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// withOnly is a PATH with the stubs and the plain tools that the script itself uses.
func withOnly(t *testing.T, names ...string) string {
	t.Helper()
	path := stubs(t, names...)
	for _, tool := range []string{"bash", "cat", "chmod", "dirname", "env", "grep", "ln", "mkdir", "mktemp", "mv", "od", "rm", "tr"} {
		found, err := exec.LookPath(tool)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(found, filepath.Join(path, tool)); err != nil {
			t.Fatal(err)
		}
	}
	return "PATH=" + path
}

func TestQuickStart(t *testing.T) {
	tests := []struct {
		number, name, target string
		settings             bool
	}{
		{"1", "development-single", "dev", false},
		{"2", "development-cluster", "dev-cluster", false},
		{"3", "production-single", "start", true},
		{"4", "production-cluster", "start-cluster", true},
		{"5", "docker-development", "docker-up", false},
		{"6", "docker-production", "docker-prod-up", true},
		{"7", "exit", "", false},
	}
	// notesd check must judge the settings that make gives the server.
	startedWith := map[string]string{}
	rules := regexp.MustCompile(`(?m)^(start[a-z-]*):.*\n\t\S+ (env CLUSTER_MODE=\w+ ./notesd)$`)
	for _, rule := range rules.FindAllStringSubmatch(readText(t, "Makefile"), -1) {
		startedWith[rule[1]] = rule[2]
	}
	if len(startedWith) != 2 {
		t.Fatalf("make starts notesd with %q", startedWith)
	}
	path := withOnly(t, "go", "docker", "make")
	for _, test := range tests {
		for how, args := range map[string][]string{
			"number": {test.number}, "name": {test.name}, "menu": nil,
		} {
			t.Run(test.name+" by "+how, func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "made.env")
				out, code := runScript(t, []string{path, "ENV_FILE=" + file, "SECRETS_DIR=" + t.TempDir()}, "nonsense\n"+test.number+"\n", "./quick-start.sh", args...)
				if code != 0 {
					t.Fatalf("exit %d\n%s", code, out)
				}
				ran := strings.Join(submatches(`(?m)^make: --no-print-directory (.*)$`, out), ",")
				if ran != test.target {
					t.Errorf("it ran %q, want %q\n%s", ran, test.target, out)
				}
				if _, err := os.Stat(file); (err == nil) != test.settings {
					t.Errorf("settings made: %v, want %v", err == nil, test.settings)
				}
				for _, want := range []string{`(?m)^  Address  https?://localhost`, `(?m)^  Token    \S`, `(?m)^  1\. \S.*\n  2\. \S.*\n  3\. \S`} {
					if regexp.MustCompile(want).MatchString(out) != (test.target != "") {
						t.Errorf("it says %s: %v\n%s", want, test.target == "", out)
					}
				}
				if started := startedWith[test.target]; started != "" && !strings.Contains(out, started+" check\n") {
					t.Errorf("the check it names is not of %q\n%s", started, out)
				}
				if regexp.MustCompile(`[0-9a-f]{64}`).MatchString(out) {
					t.Errorf("it prints a secret:\n%s", out)
				}
			})
		}
	}
}

func TestQuickStartRefuses(t *testing.T) {
	tests := []struct {
		name, choice, want string
		tools              []string
		code               int
	}{
		{"an unknown choice", "8", `there is no choice "8"`, []string{"go", "docker", "make"}, 2},
		{"no choice", "", "no choice made", []string{"go", "docker", "make"}, 1},
		{"Go missing", "1", "go was not found: install Go", []string{"docker", "make"}, 1},
		{"Docker missing", "6", "docker was not found: install Docker", []string{"go", "make"}, 1},
		{"make missing", "3", "make was not found: install it", []string{"go", "docker"}, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "made.env")
			out, code := runScript(t, []string{withOnly(t, test.tools...), "ENV_FILE=" + file}, "", "./quick-start.sh", test.choice)
			if code != test.code || !strings.Contains(out, test.want) {
				t.Errorf("exit %d, want %d with %q\n%s", code, test.code, test.want, out)
			}
			if _, err := os.Stat(file); err == nil {
				t.Error("it made settings all the same")
			}
		})
	}
}

// modes are those of files, which must be there.
func modes(t *testing.T, names ...string) (all []fs.FileMode) {
	t.Helper()
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, info.Mode().Perm())
	}
	return all
}

// readSecrets are the files of a directory of secrets.
func readSecrets(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range names {
		all[e.Name()] = strings.TrimSuffix(readText(t, filepath.Join(dir, e.Name())), "\n")
	}
	return all
}

// quick-start makes settings without a secret in them, and the secrets beside, for their owner's eyes, once.
func TestQuickStartSettings(t *testing.T) {
	path, file := withOnly(t, "go", "make"), filepath.Join(t.TempDir(), "made.env")
	dir := filepath.Join(t.TempDir(), "secrets")
	start := func(file string, more ...string) string {
		t.Helper()
		environ := append([]string{path, "ENV_FILE=" + file, "SECRETS_DIR=" + dir}, more...)
		if out, code := runScript(t, environ, "", "./quick-start.sh", "3"); code != 0 {
			t.Fatalf("exit %d\n%s", code, out)
		}
		return readText(t, file)
	}
	made := start(file)
	if got, want := modes(t, file, dir, filepath.Join(dir, "admin_token")), []fs.FileMode{0o600, 0o700, 0o444}; !slices.Equal(got, want) {
		t.Errorf("modes of the settings, the directory and a secret: %v, want %v", got, want)
	}
	secrets := readSecrets(t, dir)
	different := map[string]bool{}
	for _, name := range []string{"session_secret", "admin_token", "alert_webhook_secret", "postgres_password", "redis_password"} {
		if different[secrets[name]] = true; !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(secrets[name]) {
			t.Errorf("%s is %q, want 64 hexadecimal digits", name, secrets[name])
		}
		if strings.Contains(made, secrets[name]) {
			t.Errorf("the settings hold %s", name)
		}
	}
	if url := "redis://:" + secrets["redis_password"] + "@redis:6379/0"; len(secrets) != 6 || len(different) != 5 || secrets["redis_url"] != url {
		t.Errorf("the secrets are %v", secrets)
	}
	if !strings.Contains(made, "\nREGISTRATION=closed\n") || !strings.Contains(made, "\nSESSION_SECRET_FILE="+dir+"/session_secret\n") {
		t.Errorf("anybody may make an account, or the secret is elsewhere\n%s", made)
	}
	blank := regexp.MustCompile(`(?m)^([A-Z_]+)=.*$`)
	if template := readText(t, "env/production.env"); blank.ReplaceAllString(made, "$1") != blank.ReplaceAllString(template, "$1") {
		t.Errorf("but for values it should be the template\n%s", made)
	}
	named := start(filepath.Join(t.TempDir(), "named.env"), "SITE_ADDRESS=notes.example.com")
	for _, want := range []string{"\nSITE_ADDRESS=notes.example.com\n", "\nCORS_ORIGIN=https://notes.example.com\n"} {
		if !strings.Contains(named, want) {
			t.Errorf("with SITE_ADDRESS the settings have no %s:\n%s", strings.TrimSpace(want), named)
		}
	}
	if again := start(file); again != made || !maps.Equal(readSecrets(t, dir), secrets) {
		t.Errorf("a second run changed the settings or the secrets\n%s", again)
	}
	if left, _ := filepath.Glob(file + ".*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// An env file from before secrets had files of their own is taken over: the same values, and none stays in it. Run again,
// it changes nothing. Where file and settings contradict each other, it says so and touches neither.
func TestSecretsFromBefore(t *testing.T) {
	const before = "# of my own\nSESSION_SECRET='new one,old'\nADMIN_TOKEN=token\nALERT_WEBHOOK_SECRET=hook\nPOSTGRES_PASSWORD=\"p w\"\nREDIS_PASSWORD=change-me-now\nCORS_ORIGIN=https://a\n"
	file, dir := filepath.Join(t.TempDir(), "old.env"), filepath.Join(t.TempDir(), "secrets")
	environ := []string{"ENV_FILE=" + file, "SECRETS_DIR=" + dir}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(before)
	var secrets map[string]string
	for range 2 {
		if out, code := runScript(t, environ, "", "deploy/secrets"); code != 0 || strings.Contains(out, "old'") {
			t.Fatalf("exit %d\n%s", code, out)
		}
		want := "# of my own\nSESSION_SECRET_FILE=" + dir + "/session_secret\nADMIN_TOKEN_FILE=" + dir + "/admin_token\n" +
			"ALERT_WEBHOOK_SECRET_FILE=" + dir + "/alert_webhook_secret\nCORS_ORIGIN=https://a\n"
		if got := readText(t, file); got != want {
			t.Errorf("the settings are\n%s\nwant\n%s", got, want)
		}
		secrets = readSecrets(t, dir)
		if secrets["session_secret"] != "new one,old" || secrets["admin_token"] != "token" || secrets["alert_webhook_secret"] != "hook" || secrets["postgres_password"] != "p w" ||
			len(secrets["redis_password"]) != 64 {
			t.Errorf("the secrets are %v", secrets)
		}
	}
	if got := modes(t, file); got[0] != 0o600 {
		t.Errorf("the settings have mode %v", got[0])
	}
	write("ADMIN_TOKEN=another\n")
	if out, code := runScript(t, environ, "", "deploy/secrets"); code != 1 || !strings.Contains(out, "ADMIN_TOKEN in "+file+" differs") || strings.Contains(out, "another") {
		t.Errorf("two tokens: exit %d\n%s", code, out)
	}
	if got := readText(t, file); got != "ADMIN_TOKEN=another\n" || !maps.Equal(readSecrets(t, dir), secrets) {
		t.Errorf("two tokens: it changed something\n%s", got)
	}
}

// No container of production has a secret in its environment or on its command line, and Prometheus has no network with Caddy.
func TestSecretsAndNetworks(t *testing.T) {
	networks := map[string][]string{}
	for name, text := range services(t, "compose.prod.yaml") {
		for _, line := range regexp.MustCompile(`(?m)^.*(?:PASSWORD|SECRET|TOKEN|REDIS_URL).*$`).FindAllString(text, -1) {
			if !regexp.MustCompile(`^ +[A-Z_]+_FILE: /run/secrets/[a-z_]+$`).MatchString(line) {
				t.Errorf("compose.prod.yaml: %s has %s", name, strings.TrimSpace(line))
			}
		}
		for _, file := range submatches(`/run/secrets/(\w+)`, text) {
			if mounted := submatches(`secrets: \[(.*)\]`, text); len(mounted) != 1 || !strings.Contains(", "+mounted[0]+",", ", "+file+",") {
				t.Errorf("compose.prod.yaml: %s reads the secret %s, and has %v", name, file, mounted)
			}
		}
		for _, list := range submatches(`networks: \[([^\]]*)\]`, text) {
			networks[name] = strings.Split(list, ", ")
		}
	}
	if got := networks["prometheus"]; !slices.Equal(got, []string{"monitoring"}) || slices.Contains(networks["caddy"], "monitoring") {
		t.Errorf("Prometheus is in %v, Caddy in %v", got, networks["caddy"])
	}
}

// with-env reads a file of settings as docker compose does, and runs nothing in it.
func TestWithEnv(t *testing.T) {
	file := filepath.Join(t.TempDir(), "some.env")
	const text = "# comment\n\nA=1\nB=\"x y\" # comment\nC='a\"b$(c)'\r\nD=a b # comment\nE=a#b&c\nF=\nG=$(touch hacked)"
	const want = "1|x y|a\"b$(c)|a b|a#b&c||$(touch hacked)"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, code := runScript(t, nil, "", "deploy/with-env", file, "sh", "-c", `echo "$A|$B|$C|$D|$E|$F|$G"; exit 3`)
	if code != 3 || strings.TrimSpace(out) != want {
		t.Errorf("with-env: exit %d and %q, want 3 and %q", code, out, want)
	}
	if err := os.WriteFile(file, []byte("A=1\nexport B\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, code := runScript(t, nil, "", "deploy/with-env", file, "true"); code != 1 || !strings.Contains(out, "line 2: not a NAME=value") {
		t.Errorf("with-env on a broken file: exit %d and %q", code, out)
	}
}

// The image is built from what .dockerignore lets through: every Go file and every embedded file of the program.
func TestBuildContext(t *testing.T) {
	const files = `{{$dir := .ImportPath}}{{range .GoFiles}}{{$dir}}/{{.}}{{"\n"}}{{end}}{{range .EmbedFiles}}{{$dir}}/{{.}}{{"\n"}}{{end}}`
	out, err := exec.Command("go", "list", "-deps", "-f", files, ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	type rule struct {
		pattern *regexp.Regexp
		ignored bool
	}
	var rules []rule
	for line := range strings.Lines(readText(t, ".dockerignore")) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		pattern, taken := strings.CutPrefix(line, "!")
		pattern = strings.NewReplacer(`\*\*/`, `(.*/)?`, `\*\*`, `.*`, `\*`, `[^/]*`).Replace(regexp.QuoteMeta(pattern))
		rules = append(rules, rule{regexp.MustCompile(`^` + pattern + `(/.*)?$`), !taken})
	}
	seen := 0
	for file := range strings.Lines(string(out)) {
		file, ours := strings.CutPrefix(strings.TrimSpace(file), "notesd/")
		if !ours {
			continue
		}
		seen++
		ignored := false
		for _, r := range rules {
			if r.pattern.MatchString(file) {
				ignored = r.ignored
			}
		}
		if ignored {
			t.Errorf(".dockerignore keeps %s from the build of the image", file)
		}
	}
	if seen < 100 {
		t.Errorf("the program has %d files: nothing was compared", seen)
	}
}

// Whatever compiles the program for use does so with the same flags, or Go would compile every package once for each
// set of them. Other flags than these only link.
func TestBuildFlags(t *testing.T) {
	command := regexp.MustCompile(`(?m)^.*\bgo (?:build|run) .*$`)
	for file, want := range map[string]int{"Makefile": 5, "Dockerfile": 1, "README.md": 1} {
		lines := command.FindAllString(readText(t, file), -1)
		lines = slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, "go -C bench/pools") })
		if len(lines) != want {
			t.Errorf("%s compiles in %d places, want %d: %q", file, len(lines), want, lines)
		}
		for _, line := range lines {
			if !strings.Contains(line, "CGO_ENABLED=0 go ") || strings.Contains(line, "-trimpath") || strings.Contains(line, "-gcflags") {
				t.Errorf("%s: %s\nwant CGO_ENABLED=0 and no flag of the compiler", file, line)
			}
		}
	}
}

// What we ship is judged good as far as it can be without running: the compose file, and what git has.
func TestShipped(t *testing.T) {
	secret := strings.Repeat("0123456789abcdef", 2)
	var out bytes.Buffer
	p := cli.Process{
		Environ: []string{"APP_ENV=production", "SESSION_SECRET=" + secret, "ADMIN_TOKEN=x" + secret, "CORS_ORIGIN=https://localhost"},
		Out:     &out,
	}
	if err := cli.Check(t.Context(), p, []string{"-json", "-measure=1ms", "-url=http://127.0.0.1:1"}); err == nil {
		t.Error("notesd check finds nothing wrong with a server that is not there")
	}
	var report check.Report
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Rows {
		shipped := f.Part == "Containers" || slices.Contains([]string{"published", "env-files", "log-rotation"}, f.ID)
		allowed := []check.Verdict{check.OK}
		switch f.ID {
		case "env-files":
			allowed = append(allowed, check.NotApplicable) // an archive without git
		case "limits-fit":
			allowed = append(allowed, check.Warn) // a machine that is smaller
		}
		if shipped && !slices.Contains(allowed, f.Verdict) {
			t.Errorf("%s: %s, %q, fix: %s", f.ID, f.Verdict, f.Seen, f.Fix)
		}
	}
}
