package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"notesd/bench"
	"notesd/internal/testserver"
)

// The web app of the production stack: the newcomer's walk, Lighthouse as on a phone, LOOKS times
// for each page, and axe on every view. It needs the ports 80 and 443, and some minutes:
// `make prove NAME=webapp` has them.
func TestWebAppProduction(t *testing.T) {
	if os.Getenv("LOOKS") == "" {
		t.Skip("LOOKS is not set: see make prove NAME=webapp")
	}
	needEngine(t)
	for _, port := range []int{80, 443} {
		if !isFree(port) {
			t.Skipf("port %d, which the proxy publishes, is taken", port)
		}
	}
	looks := numberOf(t, "LOOKS", 1)
	proof := newProof(t, "web app", fmt.Sprintf("LOOKS=%d", looks))
	dir := t.TempDir()
	env := filepath.Join(dir, "production.env")
	s := &stack{t: t, compose: []string{"compose", "--env-file", env, "-f", "compose.prod.yaml"},
		environ: []string{"COMPOSE_PROJECT_NAME=notesd-e2e-webapp", "ENV_FILE=" + env,
			"SECRETS_DIR=" + filepath.Join(dir, "secrets"), "REGISTRATION=open", "RATE_LIMIT_MAX_REQUESTS=0"}}
	t.Cleanup(func() { s.docker("down", "--volumes", "--timeout", "20") })
	tool(t, s.environ, "./quick-start.sh", "docker-production")
	p := outside(t, "https://localhost:443")
	member := func(email string) *client {
		c := p.visitor()
		c.http.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // Caddy's own authority
		c.awaitAnswer("/readyz")
		c.post("/api/auth/register", credentials(email, password)).want(http.StatusCreated)
		return c
	}
	inProduction := func() *browser {
		// The protocol's Security.setIgnoreCertificateErrors leaves out the scripts of service workers.
		in := openTabOf(t, t.TempDir(), chromedp.Flag("ignore-certificate-errors", true))
		network := testserver.NewProxy(t, p.url)
		base := strings.Replace(network.URL(), "127.0.0.1", "localhost", 1) // Caddy knows no other name
		b := &browser{in, page{driver: in, network: network, base: base}}
		b.look("light", 1200)
		b.open("/")
		b.shows("form")
		return b
	}

	looker := member("looker@example.com")
	id := ""
	for i := range 100 {
		id = looker.create(fmt.Sprintf("Note %d", i), "# One\n\n- [ ] two\n- [x] three\n\n[four](https://example.com)")
	}
	lighthouse := newLighthouse(t, looker)
	for _, page := range []struct {
		name, path string
		signedIn   bool
	}{{"signing in", "/", false}, {"the list of 100 notes", "/", true}, {"a note", "/n/" + id, true}} {
		table := lighthouse.judge(proof, page.name, "https://localhost"+page.path, page.signedIn, looks)
		proof.Tables = append(proof.Tables, table)
	}

	one, two := inProduction(), inProduction()
	first, old := walk(&one.page, &two.page, func(*page, string) {})
	proof.Promise("a newcomer's first note", "≤ 20 s", first.String(), first.total() <= 20*time.Second)
	proof.Promise("an older version brought back", "≤ 60 s", old.String(), old.total() <= time.Minute)

	viewer := inProduction()
	viewer.email = "grace@example.com"
	found, views := viewer.findings(member(viewer.email))
	proof.Promise("what axe finds on all views, light and dark, 320 and 1200 pixels wide", "0",
		fmt.Sprintf("%d in %d looks", len(found), views), len(found) == 0)
	proof.Notes = append(proof.Notes, found...)
	proof.Notes = append(proof.Notes,
		"Real containers by compose.prod.yaml: Caddy with HTTPS, two replicas, PostgreSQL and Redis. Lighthouse 13.5 "+
			"as it comes: a phone with a slow network and a CPU slowed four times, with nothing kept. Scores are medians.",
		fmt.Sprintf("The walk takes what app and server took, and a person's time by the keystroke-level model: "+
			"%v a key, %v a click, %v a thought.", keyTime, clickTime, thoughtTime))
	publish(t, proof)
	if err := proof.Judge(true); err != nil {
		t.Error(err)
	}
}

// A lighthouse judges pages as somebody who is signed in, and as a stranger.
type lighthouse struct {
	t   *testing.T
	dir string
	url string // of the server
}

// newLighthouse installs the version that testdata/lighthouse pins.
func newLighthouse(t *testing.T, c *client) *lighthouse {
	t.Helper()
	l := &lighthouse{t: t, dir: t.TempDir(), url: c.url}
	for _, name := range []string{"package.json", "package-lock.json"} {
		write(t, filepath.Join(l.dir, name), readFile(t, "testdata/lighthouse/"+name))
	}
	tool(t, nil, "npm", "ci", "--prefix", l.dir, "--no-audit", "--no-fund")
	r, err := http.NewRequest(http.MethodGet, c.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	var cookies []string
	for _, cookie := range c.http.Jar.Cookies(r.URL) {
		cookies = append(cookies, cookie.Name+"="+cookie.Value)
	}
	headers, err := json.Marshal(map[string]string{"Cookie": strings.Join(cookies, "; ")})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(l.dir, "headers.json"), string(headers))
	return l
}

// A lighthouseReport is what we read of Lighthouse's.
type lighthouseReport struct {
	RuntimeError *struct{ Message string }
	Categories   map[string]struct{ Score float64 }
	Audits       map[string]struct {
		NumericValue float64
		Details      json.RawMessage
	}
}

var (
	categories = []string{"performance", "accessibility", "best-practices"}
	paints     = []string{"first-contentful-paint", "largest-contentful-paint", "total-blocking-time", "total-byte-weight"}
)

// judge looks at a page so many times, promises its scores, and returns what it took.
func (l *lighthouse) judge(proof *bench.Report, name, url string, signedIn bool, looks int) bench.Table {
	l.t.Helper()
	scores, figures := map[string][]float64{}, map[string][]float64{}
	for range looks {
		report := l.look(url, signedIn)
		asked := strings.Contains(string(report.Audits["network-requests"].Details), "https://localhost/api/changes")
		if asked != signedIn {
			l.t.Errorf("%s: the app asked for the account's notes: %v, want %v", name, asked, signedIn)
		}
		for _, c := range categories {
			scores[c] = append(scores[c], report.Categories[c].Score*100)
		}
		for _, p := range paints {
			figures[p] = append(figures[p], report.Audits[p].NumericValue)
		}
	}
	median := func(values []float64) float64 {
		slices.Sort(values)
		return values[len(values)/2]
	}
	for _, c := range categories {
		score := median(scores[c])
		proof.Promise(name+": "+strings.ReplaceAll(c, "-", " "), "≥ 95", fmt.Sprintf("%.0f", score), score >= 95)
	}
	var row []string
	for _, p := range paints {
		unit, by := "ms", 1.0
		if p == "total-byte-weight" {
			unit, by = "KB", 1024
		}
		row = append(row, fmt.Sprintf("%.0f %s", median(figures[p])/by, unit))
	}
	return bench.Table{Title: strings.ToUpper(name[:1]) + name[1:],
		Head: []string{"first paint", "largest paint", "blocked", "fetched"}, Rows: [][]string{row}}
}

func (l *lighthouse) look(url string, signedIn bool) (report lighthouseReport) {
	l.t.Helper()
	file := filepath.Join(l.dir, "report.json")
	args := []string{filepath.Join(l.dir, "node_modules/lighthouse/cli/index.js"), url, "--quiet",
		"--output=json", "--output-path=" + file, "--only-categories=" + strings.Join(categories, ","),
		"--chrome-flags=--headless=new --no-sandbox --ignore-certificate-errors"}
	if signedIn {
		args = append(args, "--extra-headers="+filepath.Join(l.dir, "headers.json"))
	}
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		l.t.Fatal(err)
	}
	for range 3 { // on a busy machine it loses the trace of a page now and then, and says so
		report = lighthouseReport{}
		cmd := exec.Command("node", args...)
		cmd.Env = append(os.Environ(), "CHROME_PATH="+chromium)
		out, err := cmd.CombinedOutput() // it fails for an error in the report, too
		if _, missing := os.Stat(file); missing != nil {
			l.t.Fatalf("Lighthouse: %v\n%s", err, out)
		}
		if err := json.Unmarshal([]byte(readFile(l.t, file)), &report); err != nil {
			l.t.Fatal(err)
		}
		if report.RuntimeError == nil {
			return report
		}
	}
	l.t.Fatalf("Lighthouse: %s", report.RuntimeError.Message)
	return report
}
