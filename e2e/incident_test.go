package e2e

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"notesd/store/storetest"
)

// incidentsState is what the tests read of /api/runtime.
type incidentsState struct {
	Incidents *struct {
		Suppressed uint64
		Files      []struct {
			File, Reason string
			Bytes        int
		}
	}
}

// incident reads the one incident file that there is, every part whole.
func (p *process) incident() (name string, parts map[string]string) {
	p.t.Helper()
	found, err := filepath.Glob(p.data("incidents/*"))
	if err != nil || len(found) != 1 {
		p.t.Fatalf("incident files %v, %v, want one", found, err)
	}
	archive, err := zip.OpenReader(found[0])
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = archive.Close() }()
	parts = map[string]string{}
	for _, f := range archive.File {
		in, err := f.Open()
		if err != nil {
			p.t.Fatal(err)
		}
		text, err := io.ReadAll(in)
		if err != nil {
			p.t.Fatalf("%s: %v", f.Name, err)
		}
		parts[f.Name] = string(text)
	}
	heap, err := gzip.NewReader(strings.NewReader(parts["heap.pb.gz"]))
	if err != nil {
		p.t.Fatal(err)
	}
	text, err := io.ReadAll(heap)
	if err != nil {
		p.t.Fatal(err)
	}
	parts["heap.pb"] = string(text)
	return filepath.Base(found[0]), parts
}

// A route that keeps panicking leaves one file of evidence, however often it is
// told of: with a trace that Go's own tool reads, and without a word of what
// people wrote, searched for, or sign in with, and without the settings' secrets.
func TestIncident(t *testing.T) {
	t.Parallel()
	const canary = "kanarienvogel" // part of everything that must not leave
	hook := make(chan string, 100)
	webhook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body) // half a body is no event that is waited for
		hook <- string(text)
	}))
	t.Cleanup(webhook.Close)
	token := "admin-" + canary + "-0123456789abcdef0123456789"
	p := start(t, "SESSION_SECRET=secret-"+canary+"-0123456789abcdef0123456789", "ADMIN_TOKEN="+token, "RESTART_THRESHOLD=1",
		"ALERT_WEBHOOK_URL="+webhook.URL+"/"+canary)

	ada := p.visitor()
	ada.post("/api/auth/register", credentials("ada@example.com", "password of "+canary)).want(http.StatusCreated)
	ada.signIn("ada@example.com", "password of "+canary).want(http.StatusOK)
	id := ada.post("/api/notes", note{Title: "title " + canary, Content: strings.Repeat(canary+" ", 1000), Tags: []string{canary}}).
		want(http.StatusCreated).note().ID
	if n := ada.get("/api/notes?search=" + canary).want(http.StatusOK).notes(); len(n) != 1 {
		t.Fatalf("the search finds %d notes, want one", len(n))
	}
	others := startLoad(ada, 4, func(client, i int) request {
		switch i % 3 {
		case 0:
			return request{http.MethodPost, "/api/notes", fmt.Sprintf("note %d of %d, %s", i, client, canary)}
		case 1:
			return request{http.MethodGet, "/api/notes/" + id + "?" + canary + "=" + canary, ""}
		}
		return request{http.MethodGet, "/api/notes?limit=20&search=" + canary, ""}
	})
	panicking := func() {
		_, _ = ada.try(http.MethodGet, "/api/fault/panic?"+canary, nil, "X-Canary", canary, "Authorization", "Bearer "+canary)
	}
	p.await("incident file", func() bool { panicking(); return len(p.log.With("incident file written")) > 0 })
	p.await("second quarantine", func() bool { panicking(); return len(p.log.With("route quarantined")) > 2 })
	others.allServed(t)

	name, parts := p.incident()
	if line := p.log.With("incident file written")[0]; line.Text("file") != name || line.Text("reason") != "route_quarantined" ||
		line.Text("detail") != "/api/fault/panic" {
		t.Errorf("logged %v for %s", line, name)
	}
	var state incidentsState
	p.visitor().as("Authorization", "Bearer "+token).get("/api/runtime").want(http.StatusOK).decode(&state)
	if i := state.Incidents; i == nil || len(i.Files) != 1 || i.Files[0].File != name || i.Files[0].Reason != "route_quarantined" ||
		i.Files[0].Bytes == 0 || i.Suppressed == 0 {
		t.Errorf("/api/runtime has %+v, want %s, and triggers suppressed", i, name)
	}
	awaitEvent(t, hook, `"event":"incident"`, name)

	for part, text := range parts {
		if at := strings.Index(strings.ToLower(text), canary); at >= 0 {
			t.Errorf("%s holds %q", part, text[max(0, at-100):min(len(text), at+100)])
		}
		for pair := range strings.SplitSeq(ada.cookie(), "; ") {
			if _, value, _ := strings.Cut(pair, "="); strings.Contains(text, value) {
				t.Errorf("%s holds the cookie", part)
			}
		}
	}
	checkEvidence(t, parts)
}

// awaitEvent waits for the event that holds each of the wanted.
func awaitEvent(t *testing.T, events <-chan string, wanted ...string) {
	t.Helper()
	for deadline := time.After(patience); ; {
		select {
		case e := <-events:
			missing := 0
			for _, want := range wanted {
				if !strings.Contains(e, want) {
					missing++
				}
			}
			if missing == 0 {
				return
			}
		case <-deadline:
			t.Fatalf("the webhook was sent no event with %q", wanted)
		}
	}
}

// checkEvidence looks for what must be in the parts.
func checkEvidence(t *testing.T, parts map[string]string) {
	t.Helper()
	var i struct {
		Reason, Detail string
		Parts          []struct {
			Name, Error string
			Cut         bool
		}
		Runtime struct {
			Version string
			Pool    struct{ Quarantine []struct{ Route string } }
			Limits  struct{ Settings map[string]string }
		}
	}
	if err := json.Unmarshal([]byte(parts["incident.json"]), &i); err != nil {
		t.Fatal(err)
	}
	for _, part := range i.Parts {
		if part.Cut || part.Error != "" || parts[part.Name] == "" {
			t.Errorf("part %+v, want it whole", part)
		}
	}
	settings := i.Runtime.Limits.Settings
	if i.Reason != "route_quarantined" || i.Detail != "/api/fault/panic" || i.Runtime.Version == "" || len(i.Runtime.Pool.Quarantine) != 1 ||
		settings["RESTART_THRESHOLD"] != "1" || settings["ADMIN_TOKEN"] != "REDACTED" || settings["ALERT_WEBHOOK_URL"] != "REDACTED" {
		t.Errorf("incident.json = %.2000s", parts["incident.json"])
	}
	var history []struct {
		Done, Panics uint64
		P99Ms        float64
		RSS          int64
	}
	if err := json.Unmarshal([]byte(parts["history.json"]), &history); err != nil {
		t.Fatal(err)
	}
	var done, panics uint64
	for _, s := range history {
		done += s.Done
		panics += s.Panics
	}
	if len(history) < 2 || done == 0 || panics == 0 || history[len(history)-1].P99Ms <= 0 || history[0].RSS == 0 {
		t.Errorf("%d done and %d panics in the history %s", done, panics, parts["history.json"])
	}
	if !strings.Contains(parts["goroutines.txt"], "server.(*Server).Serve") {
		t.Errorf("goroutines.txt = %.2000s", parts["goroutines.txt"])
	}
	checkTrace(t, parts["trace.out"])
}

// checkTrace has Go's own tool read a trace.
func checkTrace(t *testing.T, trace string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "trace.out")
	write(t, name, trace)
	var errs bytes.Buffer
	cmd := exec.Command("go", "tool", "trace", "-d=parsed", name) // prints each event, with its stack: far too much to keep
	cmd.Stderr = &errs
	if err := cmd.Run(); err != nil || errs.Len() > 0 {
		t.Fatalf("go tool trace: %v\n%s", err, errs.String())
	}
	if !strings.Contains(trace, "notesd/server") {
		t.Errorf("the trace of %d bytes knows nothing of requests", len(trace))
	}
}

// Latency and load leave evidence with no event that tells of them.
func TestIncidentOfLatencyAndLoad(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		reason, path string
		clients      int
		settings     []string
	}{
		{"slow", "/api/fault/slow?for=1100ms", 3, nil},
		{"overload", "/api/fault/slow?for=100ms", 8, []string{"MAX_WORKERS=1", "WORKERS_PER_SHARD=1", "QUEUE_LENGTH=1", "QUEUE_TIMEOUT=20ms"}},
	} {
		t.Run(row.reason, func(t *testing.T) {
			t.Parallel()
			p := start(t, row.settings...)
			time.Sleep(2 * time.Second)
			if found, err := os.ReadDir(p.data("incidents")); err != nil || len(found) > 0 {
				t.Fatalf("before any trouble: files %v, %v", found, err)
			}
			l := startLoad(p.visitor(), row.clients, func(int, int) request { return request{http.MethodGet, row.path, ""} })
			line := p.awaitLog("incident file written")
			l.stop()
			if _, parts := p.incident(); line.Text("reason") != row.reason || !strings.Contains(parts["incident.json"], line.Text("detail")) {
				t.Errorf("logged %v, want reason %s", line, row.reason)
			}
		})
	}
}

// On PostgreSQL the server runs where it can write nothing, and says what is missing then.
func TestNoPlaceForIncidents(t *testing.T) {
	t.Parallel()
	p := start(t, "DATABASE_URL="+storetest.Postgres(t), secret, "DATA_DIR=/proc/none", "RESTART_THRESHOLD=1")
	p.awaitLog("no evidence of incidents is kept: DATA_DIR can't be written")
	p.visitor().get("/api/fault/panic").want(http.StatusInternalServerError)
	p.awaitLog("route quarantined")
	var state incidentsState
	p.administrator().get("/api/runtime").want(http.StatusOK).decode(&state)
	if state.Incidents != nil {
		t.Errorf("/api/runtime has incidents %+v", state.Incidents)
	}
	p.stop()
}
