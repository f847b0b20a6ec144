package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// When the database file is removed under a server, it acknowledges nothing more,
// says so, and what it has acknowledged can be rescued as docs/OPERATIONS.md says.
func TestFilesRemoved(t *testing.T) {
	t.Parallel()
	url, alerts := receive(t)
	p := start(t, "ALERT_WEBHOOK_URL="+url)
	ada := p.member("ada@example.com")
	kept := map[string]bool{}
	for i := range 20 {
		title := fmt.Sprintf("before %d", i)
		ada.create(title, longText(10<<10))
		kept[title] = true
	}
	for _, name := range []string{"notes.db", "notes.db-wal", "notes.db-shm"} {
		if err := os.Remove(p.data(name)); err != nil {
			t.Fatal(err)
		}
	}
	if wrong := ada.post("/api/notes", note{Title: "after", Content: "lost"}).unavailable("dependency_down"); wrong != "" {
		t.Errorf("a write: %s", wrong)
	}
	p.await("readiness red", func() bool { return p.probe("/readyz") == http.StatusServiceUnavailable })
	if got := p.readiness()["files"]; got != "down" {
		t.Errorf("readiness says that files are %q, want down", got)
	}
	p.await("no trust in copies", func() bool { return !p.cache().Trusted })
	p.wantMetrics(t, `notesd_dependency_up{name="files"} 0`, "notesd_cache_trusted 0")
	down := p.awaitLog("dependency is down")
	if !strings.Contains(down.Text("error"), "notes.db was removed or replaced") || !strings.HasPrefix(down.Text("error"), "database unavailable: "+p.dir) {
		t.Errorf("the log has %v, want the file's path", down)
	}
	select {
	case a := <-alerts:
		if a.Event != "dependency_down" || a.Subject != "files" {
			t.Errorf("told %+v, want that the files are down", a)
		}
	case <-time.After(patience):
		t.Error("nobody is told")
	}
	if got := ada.titles(); len(got) != len(kept) {
		t.Errorf("reads show %d notes, want all %d", len(got), len(kept))
	}

	page, err := os.ReadFile("../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(page), "<!-- a test runs this on a process whose files were removed -->\n```bash\n")
	script, _, found := strings.Cut(after, "```")
	if !found {
		t.Fatal("docs/OPERATIONS.md has no script")
	}
	cmd := exec.Command("bash", "-e", "-c", script)
	cmd.Dir, cmd.Env = t.TempDir(), append(os.Environ(), fmt.Sprintf("PID=%d", p.cmd.Process.Pid))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p.signal(syscall.SIGTERM)
	p.wait(patience)
	for _, name := range []string{"notes.db", "notes.db-wal"} {
		if err := os.Rename(filepath.Join(cmd.Dir, "rescued", name), p.data(name)); err != nil {
			t.Fatal(err)
		}
	}
	p.start()
	p.awaitReady()
	there := ada.titles()
	for title := range kept {
		if !there[title] {
			t.Errorf("note %q, which was acknowledged, is gone", title)
		}
	}
}

// Without its lock a server does not write beside a second one, nor answer from
// memory what that has changed.
func TestLockRemoved(t *testing.T) {
	t.Parallel()
	first := start(t)
	ada := first.member("ada@example.com")
	id := ada.create("before", "text")
	second := newProcess(t)
	second.dir = first.dir
	second.start()
	if state := second.wait(patience); state.ExitCode() != 1 {
		t.Fatalf("a second server on the directory: %v, want exit status 1", state)
	}
	if err := os.Remove(first.data("notesd.lock")); err != nil {
		t.Fatal(err)
	}
	second.start()
	second.awaitReady()
	if wrong := ada.post("/api/notes", note{Title: "after", Content: "text"}).unavailable("dependency_down"); wrong != "" {
		t.Errorf("a write on the first: %s", wrong)
	}
	ada.on(second).call(http.MethodPatch, "/api/notes/"+id, note{Title: "changed", Content: "text"}).want(http.StatusOK)
	first.await("the change", func() bool { return ada.get("/api/notes/"+id).note().Title == "changed" })
	first.await("readiness that is red", func() bool { return first.probe("/readyz") == http.StatusServiceUnavailable })
}
