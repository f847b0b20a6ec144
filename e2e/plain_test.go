package e2e

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"notesd/bench/lab"
)

// buildPlain builds the server that notesd is measured against and returns its path.
func buildPlain(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "plain")
	if err := goBuild("-o", file, "./bench/plain"); err != nil {
		t.Fatal(err)
	}
	return file
}

// The plain program answers as notesd does, byte for byte: else it would be
// measured at other work.
func TestPlainAnswers(t *testing.T) {
	long(t, "it builds and compares another server")
	_, _, settings := newDependencies(t)
	p := start(t, settings...)
	plain := newProcess(t, settings...)
	plain.program = buildPlain(t)
	plain.start()
	plain.awaitReady()

	ada := p.member("ada@example.com")
	atPlain := ada.on(plain)
	full := map[string]any{"title": "<b> & \"é\"", "content": "first\n\u2028<script>\\ 😀", "tags": []string{"b", "a", "b"},
		"color": "#fff", "isPinned": true, "isFavorite": true, "isMarkdown": true}
	trashed := ada.create("trashed", "")
	ada.call(http.MethodPatch, "/api/notes/"+trashed+"/trash", nil).want(http.StatusOK)
	bob := p.member("bob@example.com").create("bob's", "not ada's")

	sameAnswers(t, ada, atPlain, "/api/health")
	sameAnswers(t, ada, atPlain, "/api/notes?limit=50") // of nothing
	created := checkCreated(t, ada, atPlain, full)
	checkCreated(t, ada, atPlain, note{Title: "least"})
	for _, path := range []string{"/api/notes/" + created, "/api/notes/" + trashed, "/api/notes?limit=50", "/api/notes?limit=1"} {
		sameAnswers(t, ada, atPlain, path)
	}
	for i := range 55 { // half by either
		[]*client{ada, atPlain}[i%2].create(fmt.Sprint("note ", i), strings.Repeat("text ", 200))
	}
	if r := sameAnswers(t, ada, atPlain, "/api/notes?limit=50"); len(r.notes()) != 50 || r.header.Get("Link") == "" {
		t.Errorf("%s has %d notes and Link %q, want 50 and another page", r.call, len(r.notes()), r.header.Get("Link"))
	}
	for _, path := range []string{"/api/notes/" + bob, "/api/notes?limit=0", "/api/notes?limit=501", "/api/none"} {
		sameStatus(t, path, ada.get(path), atPlain.get(path))
	}
	for _, body := range []any{note{Title: ""}, note{Title: strings.Repeat("ö", 256)}, note{Title: "\x00"}, []byte("{")} {
		sameStatus(t, fmt.Sprintf("POST %v", body), ada.post("/api/notes", body), atPlain.post("/api/notes", body))
	}
	cookie := ada.cookie()
	ada.post("/api/auth/logout", nil).want(http.StatusOK)
	for _, c := range []string{"", "sessionId=none", cookie} {
		sameStatus(t, "signed out", p.visitor().call(http.MethodGet, "/api/notes?limit=50", nil, "Cookie", c),
			plain.visitor().call(http.MethodGet, "/api/notes?limit=50", nil, "Cookie", c))
	}
	plain.stop()
}

// when is what can't be the same in two answers to a health probe.
var when = regexp.MustCompile(`"timestamp":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"`)

// sameAnswers compares the answers to a GET and returns notesd's.
func sameAnswers(t *testing.T, notesd, plain *client, path string) reply {
	t.Helper()
	want, got := asItIs(notesd, path).want(http.StatusOK), asItIs(plain, path)
	sameStatus(t, path, want, got)
	sameHeader(t, path, want, got)
	if w, g := when.ReplaceAll(want.text, nil), when.ReplaceAll(got.text, nil); string(w) != string(g) {
		t.Errorf("GET %s\n   plain: %q\nas notesd: %q", path, g, w)
	}
	return want
}

// asItIs is GET by a client that takes nothing compressed: plain compresses nothing.
func asItIs(c *client, path string) reply {
	c.t.Helper()
	return c.call(http.MethodGet, path, nil, "Accept-Encoding", "identity")
}

func sameStatus(t *testing.T, what string, notesd, plain reply) {
	t.Helper()
	if notesd.status != plain.status {
		t.Errorf("%s: plain %d, notesd %d", what, plain.status, notesd.status)
	}
}

func sameHeader(t *testing.T, what string, notesd, plain reply) {
	t.Helper()
	for _, name := range []string{"Content-Type", "Content-Length", "ETag", "Link"} {
		if name == "ETag" && strings.HasPrefix(what, "/api/notes?") {
			continue // a list of notesd's has one, for browsers that have seen it; plain does without
		}
		if w, g := notesd.header.Get(name), plain.header.Get(name); w != g {
			t.Errorf("%s: %s: plain %q, notesd %q", what, name, g, w)
		}
	}
}

// checkCreated creates a note by the plain program, which must answer as
// notesd does when it reads it, and returns its id. One created by notesd has
// the same members.
func checkCreated(t *testing.T, notesd, plain *client, body any) string {
	t.Helper()
	answer := plain.post("/api/notes", body).want(http.StatusCreated)
	path := answer.header.Get("Location")
	read := asItIs(notesd, path).want(http.StatusOK)
	sameHeader(t, "create "+path, read, answer)
	if string(read.text) != string(answer.text) {
		t.Errorf("plain created\n%s\nand notesd reads\n%s", answer.text, read.text)
	}
	theirs := notesd.post("/api/notes", body).want(http.StatusCreated)
	own := regexp.MustCompile(`"(id|createdAt|updatedAt)":"[^"]+"`)
	if w, g := own.ReplaceAll(theirs.text, nil), own.ReplaceAll(answer.text, nil); string(w) != string(g) {
		t.Errorf("plain created\n%s\nand notesd\n%s", g, w)
	}
	sameHeader(t, "read "+path, asItIs(notesd, path), asItIs(plain, path))
	return answer.note().ID
}

// roundsAndMeasured are what the environment asks a benchmark for.
func roundsAndMeasured(t *testing.T) (rounds int, measured time.Duration) {
	t.Helper()
	rounds, err := strconv.Atoi(cmp.Or(os.Getenv("ROUNDS"), "1"))
	if err != nil || rounds < 1 {
		t.Fatalf("ROUNDS=%s, want a number above 0", os.Getenv("ROUNDS"))
	}
	measured, err = time.ParseDuration(cmp.Or(os.Getenv("MEASURED"), "1s"))
	if err != nil || measured < 100*time.Millisecond {
		t.Fatalf("MEASURED=%s, want a duration like 3s", os.Getenv("MEASURED"))
	}
	return rounds, measured
}

// notesd against the plain program on the same work: `make prove NAME=plain`, with
// ROUNDS of MEASURED each. It publishes the ratios, and fails only if there is
// something that was not measured.
func TestPlain(t *testing.T) {
	long(t, "it measures")
	rounds, measured := roundsAndMeasured(t)
	_, _, settings := newDependencies(t)
	report := newProof(t, "plain", fmt.Sprintf("ROUNDS=%d", rounds), fmt.Sprintf("MEASURED=%v", measured))
	err := lab.Comparison{Notesd: unraced(t), Plain: buildPlain(t), Settings: settings, Rounds: rounds, Duration: measured,
		Progress: t.Output()}.Run(t.Context(), report)
	if err != nil {
		t.Fatal(err)
	}
	publish(t, report)

	page := report.Markdown("")
	for _, work := range []string{"health", "get", "list", "create", "mix"} {
		for _, arm := range []string{"plain", "notesd", "notesd on SQLite"} {
			row := regexp.MustCompile(fmt.Sprintf(`(?m)^\| %s \| %s \| [1-9]\S* \| \d\S* × \| [1-9]\S* µs \| \d\S* × \|.* MB \|`, work, arm))
			if !row.MatchString(page) {
				t.Errorf("no figures of %s by %s", work, arm)
			}
		}
		if !strings.Contains(page, "| "+work+": requests/s | ≥ ") {
			t.Errorf("no goal for %s", work)
		}
	}
	for _, r := range report.Runs {
		if r.Arm == "plain" && r.All.Refused+r.All.Failed+r.All.Errors > 0 {
			t.Errorf("%s: of %d requests plain failed %d, %v", r.Label, r.All.Sent, r.All.Refused+r.All.Failed, r.All.ErrorKinds)
		}
	}
}
