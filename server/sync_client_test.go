package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// syncer is a folder that the client of docs/SYNC.md keeps, and what its user has written there.
type syncer struct {
	t            *testing.T
	url, dir     string
	name         string
	n            int
	random       *rand.Rand
	kept         map[string]bool // words of all devices that none has removed
	changed      map[string]bool // words in lines that somebody went on with: a clash may double them
	interruption int             // runs that were cut
}

// run runs the client once. If cut is set, it is killed at some time, wherever it is.
func (s *syncer) run(cut bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	if cut {
		ctx, cancel = context.WithTimeout(ctx, 150*time.Millisecond+time.Duration(s.random.IntN(300))*time.Millisecond)
		defer cancel()
	}
	cmd := exec.CommandContext(ctx, "python3", "../docs/sync.py", s.url, "ada@example.com", s.dir)
	cmd.Env = append(os.Environ(), "NOTES_PASSWORD=correct horse")
	out, err := cmd.CombinedOutput()
	switch {
	case cut && ctx.Err() != nil && errors.As(err, new(*exec.ExitError)):
		s.interruption++
	case err != nil || len(out) > 0:
		s.t.Fatalf("%s's client: %v\n%s", s.name, err, out)
	}
}

func (s *syncer) files() []string {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.dir, "*.txt"))
	if err != nil {
		s.t.Fatal(err)
	}
	return files
}

func (s *syncer) read(file string) []string {
	s.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// edit does what people do to a file: it writes a line somewhere, or goes on with one, and at times
// removes one, or begins a note. What it writes is a word that is there once.
func (s *syncer) edit() {
	s.t.Helper()
	s.n++
	word := fmt.Sprintf("%s-%d", s.name, s.n)
	s.kept[word] = true
	files := s.files()
	file := filepath.Join(s.dir, fmt.Sprintf("new note %d.txt", s.n))
	lines := []string{"A note of the " + s.name}
	if len(files) > 0 && s.random.IntN(8) > 0 {
		file = files[s.random.IntN(len(files))]
		lines = s.read(file)
	}
	at := 1 + s.random.IntN(len(lines))
	switch what := s.random.IntN(8); {
	case at == len(lines) || what > 3:
		lines = slices.Insert(lines, at, word)
	case what > 1:
		s.changed[strings.Fields(lines[at])[0]], s.changed[word] = true, true
		lines[at] += " " + word
	default:
		for gone := range strings.FieldsSeq(lines[at]) {
			delete(s.kept, gone)
		}
		lines[at] = word
	}
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// The client of docs/SYNC.md on three devices, of which any may be away for long or be cut at any
// time, loses no line that nobody removed, and has none twice.
func TestSyncClient(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("needs python3 (Debian: apt-get install python3)")
	}
	eachSite(t, func(t *testing.T, s *site) {
		s.member("ada@example.com")
		random := rand.New(rand.NewPCG(1, 2))
		kept, changed := map[string]bool{}, map[string]bool{}
		var devices []*syncer
		for _, name := range []string{"laptop", "phone", "tablet"} {
			devices = append(devices, &syncer{t: t, url: s.url, dir: filepath.Join(t.TempDir(), name), name: name,
				random: random, kept: kept, changed: changed})
		}
		for _, d := range devices {
			d.run(false)
		}
		for range 25 {
			d := devices[random.IntN(len(devices))]
			for range 1 + random.IntN(3) {
				d.edit()
			}
			if random.IntN(3) > 0 {
				d.run(random.IntN(3) == 0)
			}
		}
		for range 2 {
			for _, d := range devices {
				d.run(false)
			}
		}
		cut := 0
		for _, d := range devices {
			counts := map[string]int{}
			for _, file := range d.files() {
				for _, line := range d.read(file)[1:] {
					for word := range strings.FieldsSeq(line) {
						counts[word]++
					}
				}
			}
			for word := range kept {
				if n := counts[word]; n == 0 || n > 1 && !changed[word] {
					t.Errorf("%s has %q %d times", d.name, word, n)
				}
			}
			cut += d.interruption
			if !slices.Equal(names(d.files()), names(devices[0].files())) {
				t.Errorf("%s has the files %v, want %v", d.name, names(d.files()), names(devices[0].files()))
			}
		}
		if cut == 0 {
			t.Error("no run was cut")
		}
		testSyncRemoval(t, s, devices)
	})
}

func names(files []string) (all []string) {
	for _, file := range files {
		all = append(all, filepath.Base(file))
	}
	return all
}

// testSyncRemoval removes a note on one device, and another for good while the second device is away
// for longer than the server remembers. Both go everywhere, and what was edited meanwhile stays.
func testSyncRemoval(t *testing.T, s *site, devices []*syncer) {
	t.Helper()
	c, first, second := s.visitor(), devices[0], devices[1]
	c.post("/api/auth/login", map[string]any{"email": "ada@example.com", "password": "correct horse"}).want(http.StatusOK)
	files := first.files()
	if len(files) < 3 {
		t.Fatalf("%d files, want 3 at least", len(files))
	}
	id := func(file string) string { return strings.TrimSuffix(filepath.Base(file), ".txt") }
	trashed, deleted, edited := files[0], files[1], files[2]
	if err := os.Remove(trashed); err != nil {
		t.Fatal(err)
	}
	first.run(false)
	if n := c.get("/api/notes/" + id(trashed)).want(http.StatusOK).note(); !n.IsTrashed {
		t.Errorf("the note is %+v, want it in the trash", n)
	}
	c.delete("/api/notes/" + id(deleted)).want(http.StatusOK)
	c.delete("/api/notes/" + id(edited)).want(http.StatusOK)
	state, text := filepath.Join(second.dir, ".sync.json"), "A note\nedited on the "+second.name+"\n"
	if err := os.WriteFile(filepath.Join(second.dir, filepath.Base(edited)), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	ahead := regexp.MustCompile(`"since": \d+`).ReplaceAll(kept, []byte(`"since": 9000000`)) // which is 410
	if err := os.WriteFile(state, ahead, 0o600); err != nil {
		t.Fatal(err)
	}
	second.run(false)
	left := names(second.files())
	for _, file := range []string{trashed, deleted, edited} {
		if slices.Contains(left, filepath.Base(file)) {
			t.Errorf("%s still has %s", second.name, file)
		}
	}
	found := c.get("/api/notes?search=" + url.QueryEscape("edited on the "+second.name)).want(http.StatusOK).notes()
	if len(found) != 1 {
		t.Errorf("%d notes have what was edited, want 1", len(found))
	}
}
