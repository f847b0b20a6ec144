package e2e

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"notesd/store/storetest"
)

const rulesFile = "../deploy/prometheus/rules.yml"

// A prometheus is the real one, with the rules of deploy/prometheus at another
// pace: it looks every second, and where a rule says minutes it takes seconds.
type prometheus struct {
	t       *testing.T
	url     string
	targets string // a directory: what to scrape
}

// newPrometheus starts one, and skips the test where there is none.
func newPrometheus(t *testing.T, blackbox string) *prometheus {
	t.Helper()
	long(t, "Prometheus")
	need(t, "prometheus")
	dir := t.TempDir()
	targets := filepath.Join(dir, "targets")
	if err := os.Mkdir(targets, 0o755); err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "rules.yml"), hasten(string(rules)))
	write(t, filepath.Join(dir, "prometheus.yml"), fmt.Sprintf(`
global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }
rule_files: [rules.yml]
scrape_configs:
  - job_name: notesd
    authorization: { credentials: "%s" }
    file_sd_configs: [{ files: [targets/server-*.json], refresh_interval: 1s }]
  - job_name: certificate
    metrics_path: /probe
    params: { module: [tls] }
    file_sd_configs: [{ files: [targets/site-*.json], refresh_interval: 1s }]
    relabel_configs:
      - { source_labels: [__address__], target_label: __param_target }
      - { source_labels: [__param_target], target_label: instance }
      - { target_label: __address__, replacement: "%s" }
`, adminToken, cmp.Or(blackbox, "127.0.0.1:1")))
	port := freePort(t)
	p := &prometheus{t: t, url: fmt.Sprintf("http://127.0.0.1:%d", port), targets: targets}
	runBeside(t, exec.Command("prometheus", "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		fmt.Sprintf("--web.listen-address=127.0.0.1:%d", port), "--log.level=error"), p.url+"/-/ready")
	return p
}

// hasten makes a rule's minutes seconds: what it waits for, and what it looks back on.
func hasten(rules string) string {
	rules = regexp.MustCompile(`for: \d+[sm]`).ReplaceAllString(rules, "for: 1s")
	return regexp.MustCompile(`\[\d+m\]`).ReplaceAllString(rules, "[6s]")
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

// scrape has it look at addr from now on: file is server-*.json, or site-*.json for a certificate alone.
func (m *prometheus) scrape(t *testing.T, file, addr string) {
	t.Helper()
	hidden := filepath.Join(m.targets, "."+file)
	write(t, hidden, fmt.Sprintf(`[{"targets":[%q]}]`, addr))
	if err := os.Rename(hidden, filepath.Join(m.targets, file)); err != nil {
		t.Fatal(err)
	}
}

// awaitSamples returns once addr has been looked at a few times.
func (m *prometheus) awaitSamples(t *testing.T, addr string) {
	t.Helper()
	const few = 3
	query := url.Values{"query": {fmt.Sprintf(`count_over_time(up{instance=%q}[1m]) >= %d`, addr, few)}}
	for deadline := time.Now().Add(2 * patience); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		var in struct{ Data struct{ Result []any } }
		m.ask(t, "/api/v1/query?"+query.Encode(), &in)
		if len(in.Data.Result) > 0 {
			return
		}
	}
	t.Fatalf("Prometheus has not looked at %s %d times in %v", addr, few, 2*patience)
}

// ask reads what Prometheus answers to a GET of path.
func (m *prometheus) ask(t *testing.T, path string, into any) {
	t.Helper()
	answer, err := http.Get(m.url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}

// firing are the names of the alerts that fire for addr.
func (m *prometheus) firing(t *testing.T, addr string) (names []string) {
	t.Helper()
	var in struct {
		Data struct {
			Alerts []struct {
				State  string
				Labels map[string]string
			}
		}
	}
	m.ask(t, "/api/v1/alerts", &in)
	for _, a := range in.Data.Alerts {
		if a.State == "firing" && a.Labels["instance"] == addr {
			names = append(names, a.Labels["alertname"])
		}
	}
	return names
}

// await returns once all of names fire for addr, or with fires false none of them.
func (m *prometheus) await(t *testing.T, addr string, fires bool, names ...string) {
	t.Helper()
	began := time.Now()
	var now []string
	for time.Since(began) < 2*patience {
		now = m.firing(t, addr)
		n := 0
		for _, name := range names {
			if slices.Contains(now, name) == fires {
				n++
			}
		}
		if n == len(names) {
			t.Logf("%v firing: %v after %v", names, fires, time.Since(began).Round(time.Second))
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	t.Fatalf("after %v %v fire, want %v firing: %v", 2*patience, now, names, fires)
}

// A mishap is caused, and ended, in a real process that a real Prometheus watches.
type mishap struct {
	alerts   []string
	settings []string
	prepare  func(t *testing.T, p *process) // before it starts; nil: nothing
	cause    func(t *testing.T, p *process) (end func())
}

// mishaps are all that alerts are for but certificates, by what they are called.
// Each of the servers is for one of them.
func mishaps(redis *storetest.Server, postgres string, toPostgres *storetest.Proxy) map[string]mishap {
	return map[string]mishap{
		"the process is gone": {alerts: []string{"NotesdDown"},
			cause: func(t *testing.T, p *process) func() { p.kill(); return func() { p.start() } }},
		"a route panics": {alerts: []string{"NotesdWorkersRestarting"}, settings: []string{"RESTART_THRESHOLD=1000000"},
			cause: func(t *testing.T, p *process) func() {
				return p.repeat("/api/fault/panic")
			}},
		"a route panics too often": {alerts: []string{"NotesdRouteQuarantined", "NotesdIncident"}, settings: []string{"RESTART_THRESHOLD=2"},
			cause: func(t *testing.T, p *process) func() {
				for range 3 {
					p.visitor().get("/api/fault/panic")
				}
				return func() {
					p.await("a release", func() bool { return p.visitor().get("/api/fault/panic?well=true").status == http.StatusOK })
				}
			}},
		"somebody guesses at the administrators' token": {alerts: []string{"NotesdAdminTokenGuessed"},
			cause: func(t *testing.T, p *process) func() {
				p.await("a warning", func() bool {
					p.visitor().as("Authorization", "Bearer wrong").get("/metrics")
					return len(p.log.with("somebody guesses at the administrators' token")) > 0
				})
				return func() {}
			}},
		"the pool is full": {alerts: []string{"NotesdQueueStanding", "NotesdShedding"},
			settings: []string{"MAX_WORKERS=1", "WORKERS_PER_SHARD=2", "QUEUE_LENGTH=8"},
			cause:    func(t *testing.T, p *process) func() { return p.fullPool(40, 300*time.Millisecond) }},
		"requests are slow": {alerts: []string{"NotesdSlow"},
			cause: func(t *testing.T, p *process) func() { return p.repeat("/api/fault/slow?for=1500ms") }},
		"a handler minds nothing": {alerts: []string{"NotesdWorkerStuck"}, settings: []string{"REQUEST_TIMEOUT=1s"},
			cause: func(t *testing.T, p *process) func() { return p.stall(1, 10*time.Second) }},
		"memory is above the threshold": {alerts: []string{"NotesdMemoryAboveThreshold"},
			settings: []string{"MEMORY_THRESHOLD_MB=8", "MEMORY_MONITOR_INTERVAL=1s"},
			cause:    func(t *testing.T, p *process) func() { return p.mend("MEMORY_THRESHOLD_MB=512") }},
		"memory is short": {alerts: []string{"NotesdMemoryStageHigh", "NotesdNearOutOfMemory"}, settings: []string{"GOMEMLIMIT=64MiB"},
			cause: func(t *testing.T, p *process) func() { return p.ask(1, "/api/fault/keep?bytes=67000000&for=10s") }},
		"more handlers than connections": {alerts: []string{"NotesdConnectionWaits"},
			settings: []string{"FAULT_ADMISSION=off", "DATABASE_MAX_CONNS=4", "CACHE_SIZE_MB=0"},
			cause: func(t *testing.T, p *process) func() {
				ada := p.member("ada@example.com")
				l := startLoad(ada, 40, func(int, int) request { return request{http.MethodGet, "/api/notes?search=x", ""} })
				return func() { l.stop() }
			}},
		"Redis is stopped": {alerts: []string{"NotesdDependencyDown"}, settings: []string{"REDIS_URL=" + redis.URL()},
			cause: func(t *testing.T, p *process) func() {
				redis.Stop(t)
				return func() { redis.Start(t) }
			}},
		"the channel between replicas is cut": {alerts: []string{"NotesdCacheUntrusted"},
			settings: []string{"DATABASE_URL=" + postgres, "DATABASE_CHANNEL_URL=" + toPostgres.URL(), secret},
			cause:    cut(toPostgres, "notesd_cache_trusted")},
		"a database file is moved": {alerts: []string{"NotesdFilesReplaced"},
			cause: func(t *testing.T, p *process) func() {
				move := func(from, to string) {
					if err := os.Rename(p.data(from), p.data(to)); err != nil {
						t.Error(err)
					}
				}
				move("notes.db", "away")
				return func() { move("away", "notes.db") }
			}},
		"the disk is full": {alerts: []string{"NotesdDiskFilling", "NotesdWritesRefused"},
			prepare: func(t *testing.T, p *process) { smallDisk(t, p, 16<<10) },
			cause: func(t *testing.T, p *process) func() {
				ada := p.member("ada@example.com")
				free := fill(t, p.data(""))
				p.await("a readiness that tells of writes", func() bool {
					ada.post("/api/notes", note{Title: "full", Content: longText(64 << 10)})
					return p.readiness()["writes"] == "down"
				})
				return func() { free(); ada.create("after", "") }
			}},
	}
}

// cut has a proxy refuse everything, once what is behind it has made a gauge 1.
func cut(proxy *storetest.Proxy, gauge string) func(t *testing.T, p *process) (end func()) {
	return func(_ *testing.T, p *process) func() {
		p.await(gauge, func() bool {
			return strings.Contains(string(p.administrator().get("/metrics").text), "\n"+gauge+" 1\n")
		})
		proxy.Set(storetest.Refuse)
		return func() { proxy.Set(storetest.Pass) }
	}
}

// Every alert fires when its trouble is caused, and no longer when that has ended.
func TestAlertsFire(t *testing.T) {
	m := newPrometheus(t, "")
	tried := []string{certificateEnding, certificateUnseen} // TestCertificateAlerts
	postgres := storetest.NewPostgres(t).URL()
	for name, it := range mishaps(storetest.NewRedis(t), postgres, storetest.NewProxy(t, postgres)) {
		tried = append(tried, it.alerts...)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProcess(t, it.settings...)
			if it.prepare != nil {
				it.prepare(t, p)
			}
			p.start()
			p.await("health", func() bool { return p.probe("/healthz") == http.StatusOK })
			m.scrape(t, fmt.Sprintf("server-%d.json", p.port), p.addr())
			m.awaitSamples(t, p.addr()) // of it being well: an increase begins somewhere
			end := it.cause(t, p)
			m.await(t, p.addr(), true, it.alerts...)
			end()
			m.await(t, p.addr(), false, it.alerts...)
		})
	}
	for _, name := range alertNames(t) {
		if !slices.Contains(tried, name) {
			t.Errorf("no mishap makes %s fire", name)
		}
	}
}

// alertNames are those of the rules.
func alertNames(t *testing.T) (names []string) {
	t.Helper()
	text, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)- alert: (\w+)`).FindAllStringSubmatch(string(text), -1) {
		names = append(names, m[1])
	}
	return names
}

// repeat asks for path over and over until the function it returns is called.
func (p *process) repeat(path string) (stop func()) {
	l := startLoad(p.visitor(), 2, func(int, int) request { return request{http.MethodGet, path, ""} })
	return func() { l.stop() }
}

// mend returns a function that starts the process again, with another setting.
func (p *process) mend(setting string) func() {
	return func() {
		p.kill()
		p.settings = append(p.settings, setting) // the last one counts
		p.start()
	}
}

// What TestCertificateAlerts makes fire.
const certificateEnding, certificateUnseen = "NotesdCertificateEnding", "NotesdCertificateUnseen"

// A certificate that ends soon is told of, as is one that is not shown, by
// blackbox_exporter's look at it.
func TestCertificateAlerts(t *testing.T) {
	t.Parallel()
	long(t, "Prometheus")
	need(t, "prometheus-blackbox-exporter")
	port := freePort(t)
	blackbox := fmt.Sprintf("127.0.0.1:%d", port)
	runBeside(t, exec.Command("prometheus-blackbox-exporter", "--config.file=../deploy/prometheus/blackbox.yml",
		"--web.listen-address="+blackbox), "http://"+blackbox+"/-/healthy")
	m := newPrometheus(t, blackbox)

	var shown atomic.Pointer[tls.Certificate]
	shown.Store(certificate(t, 30*24*time.Hour))
	site := httptest.NewUnstartedServer(http.NotFoundHandler())
	site.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		if c := shown.Load(); c != nil {
			return &tls.Config{Certificates: []tls.Certificate{*c}}, nil
		}
		return nil, fmt.Errorf("none")
	}}
	site.StartTLS()
	t.Cleanup(site.Close)
	addr := site.Listener.Addr().String()
	m.scrape(t, "site-caddy.json", addr)
	m.awaitSamples(t, addr)
	if names := m.firing(t, addr); len(names) != 0 {
		t.Errorf("with 30 days left %v fire", names)
	}
	shown.Store(certificate(t, 6*24*time.Hour))
	m.await(t, addr, true, certificateEnding)
	shown.Store(nil)
	m.await(t, addr, true, certificateUnseen)
	shown.Store(certificate(t, 30*24*time.Hour))
	m.await(t, addr, false, certificateEnding, certificateUnseen)
}

// certificate is one of our own that ends after d.
func certificate(t *testing.T, d time.Duration) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(d),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
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

// docs/ALERTS.md's way to check a delivery of the webhook takes what a real
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
	page, err := os.ReadFile("../docs/ALERTS.md")
	if err != nil {
		t.Fatal(err)
	}
	script := regexp.MustCompile("(?s)<!-- a test sends this script.*?```sh\n(.*?)```").FindSubmatch(page)
	if script == nil {
		t.Fatal("docs/ALERTS.md has no script for the webhook")
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
