package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"notesd/store/storetest"
)

const rulesFile = "../deploy/prometheus/rules.yml"

// startPrometheus starts a real one that watches addr, with the rules of deploy/prometheus at another
// pace: it looks every second, and where a rule says minutes it takes seconds.
func startPrometheus(t *testing.T, addr string) string {
	t.Helper()
	long(t, "Prometheus")
	need(t, "prometheus")
	dir := t.TempDir()
	rules := regexp.MustCompile(`for: \d+[sm]`).ReplaceAllString(readFile(t, rulesFile), "for: 1s")
	write(t, filepath.Join(dir, "rules.yml"), regexp.MustCompile(`\[\d+m\]`).ReplaceAllString(rules, "[6s]"))
	write(t, filepath.Join(dir, "prometheus.yml"), fmt.Sprintf(`
global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }
rule_files: [rules.yml]
scrape_configs:
  - job_name: notesd
    authorization: { credentials: %q }
    static_configs: [{ targets: [%q] }]
`, adminToken, addr))
	listen := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	runBeside(t, exec.Command("prometheus", "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+listen, "--log.level=error"), "http://"+listen+"/-/ready")
	return "http://" + listen
}

// need skips the test where a program is missing that setup.sh installs.
func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("needs %s (bash .ci/setup.sh e2e installs it on Debian)", program)
	}
}

// runBeside runs a program until the test ends, and returns when url answers.
func runBeside(t *testing.T, cmd *exec.Cmd, url string) {
	t.Helper()
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", cmd.Path, said.String())
		}
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if answer, err := http.Get(url); err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s did not answer in %v", url, patience)
		}
	}
}

// An alert fires when its trouble is caused in a real process, and no longer when that has ended. What
// each rule makes of its metrics, promtool proves with rules_test.yml; TestMetricsThere has their names.
func TestAlertFires(t *testing.T) {
	t.Parallel()
	const alert = "NotesdRouteQuarantined"
	p := start(t, "RESTART_THRESHOLD=2")
	prometheus := startPrometheus(t, p.addr())
	fires := func() bool {
		query := url.QueryEscape(fmt.Sprintf("ALERTS{alertname=%q, alertstate=\"firing\"}", alert))
		answer, err := http.Get(prometheus + "/api/v1/query?query=" + query)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(text, []byte(`"status":"success"`)) {
			t.Fatalf("Prometheus says %s", text)
		}
		return bytes.Contains(text, []byte(alert))
	}
	for range 3 {
		p.visitor().get("/api/fault/panic")
	}
	p.await(alert, fires)
	p.await("a release", func() bool { return p.visitor().get("/api/fault/panic?well=true").status == http.StatusOK })
	p.await("the end of "+alert, func() bool { return !fires() })
}

// The configuration of blackbox_exporter is one.
func TestBlackbox(t *testing.T) {
	t.Parallel()
	long(t, "blackbox_exporter")
	need(t, "prometheus-blackbox-exporter")
	tool(t, nil, "prometheus-blackbox-exporter", "--config.file=deploy/prometheus/blackbox.yml", "--config.check")
}

// What rules and dashboard ask for is on /metrics of a real server, by name.
func TestMetricsThere(t *testing.T) {
	t.Parallel()
	p := start(t, "GOMEMLIMIT=512MiB", "RESTART_THRESHOLD=2", "QUEUE_LENGTH=0", "WORKERS_PER_SHARD=1", "MAX_WORKERS=1",
		"DATABASE_URL="+storetest.Postgres(t), secret)
	for range 3 {
		p.visitor().get("/api/fault/panic") // for what is told of quarantine alone
	}
	wait := p.stall(1, time.Second)
	p.await("a refusal", func() bool { return p.visitor().get("/api/notes").status == http.StatusServiceUnavailable })
	wait()
	text := string(p.administrator().get("/metrics").want(http.StatusOK).text)
	for _, file := range []string{rulesFile, "../deploy/grafana/notesd.json"} {
		asks, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(`\b(notesd|go|process)_[a-z_]+`).FindAllString(string(asks), -1)
		slices.Sort(names)
		names = slices.Compact(names)
		if len(names) < 10 {
			t.Errorf("%s asks for %v alone", file, names)
		}
		for _, name := range names {
			if !strings.Contains(text, "\n"+name+"{") && !strings.Contains(text, "\n"+name+" ") {
				t.Errorf("%s asks for %s, which is not on /metrics", file, name)
			}
		}
	}
}

// docs/OPERATIONS.md's way to check a delivery of the webhook takes what a real
// process posts for genuine, and nothing else.
func TestWebhookExample(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	type delivery struct {
		header http.Header
		body   []byte
	}
	posted := make(chan delivery, 100)
	in := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		posted <- delivery{r.Header, body}
	}))
	t.Cleanup(in.Close)
	const key = "a-key-of-its-own"
	p := start(t, "ALERT_WEBHOOK_URL="+in.URL, "ALERT_WEBHOOK_SECRET="+key, "ADMIN_TOKEN="+adminToken, "RESTART_THRESHOLD=2")
	for range 3 {
		p.visitor().get("/api/fault/panic")
	}
	var got delivery
	select {
	case got = <-posted:
	case <-time.After(patience):
		t.Fatal("nothing was posted")
	}
	page, err := os.ReadFile("../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	script := regexp.MustCompile("(?s)<!-- a test sends this script.*?```sh\n(.*?)```").FindSubmatch(page)
	if script == nil {
		t.Fatal("docs/OPERATIONS.md has no script for the webhook")
	}
	stamp, signature := got.header.Get("X-Notesd-Timestamp"), got.header.Get("X-Notesd-Signature")
	for _, row := range []struct{ name, body, timestamp, signature, key, want string }{
		{"as posted", string(got.body), stamp, signature, key, "genuine"},
		{"another body", string(got.body) + " ", stamp, signature, key, "forged"},
		{"another time", string(got.body), stamp + "0", signature, key, "forged"},
		{"another key", string(got.body), stamp, signature, "guess", "forged"},
		{"the administrators' token", string(got.body), stamp, signature, adminToken, "forged"},
		{"not signed", string(got.body), stamp, "", key, "forged"},
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "body"), row.body)
		said := bash(t, dir, fmt.Sprintf("timestamp=%s signature=%s ALERT_WEBHOOK_SECRET=%s\n%s", row.timestamp, row.signature, row.key, script[1]))
		if said != row.want+"\n" {
			t.Errorf("%s: the script says %q, want %s", row.name, said, row.want)
		}
	}
}
