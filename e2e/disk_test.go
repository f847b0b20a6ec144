package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// smallDisk mounts an empty file system of so many KiB on p's data directory.
func smallDisk(t *testing.T, p *process, kib int) {
	t.Helper()
	dir := p.data("")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dk", kib)); err != nil {
		t.Skipf("needs the right to mount a file system: %v", err)
	}
	t.Cleanup(func() {
		p.kill()
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
}

// fill writes a file until the disk is full; the function it returns removes it.
func fill(t *testing.T, p *process) (free func()) {
	t.Helper()
	name := p.data("filler")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 64 << 10; size > 0; {
		_, err := f.Write(make([]byte, size))
		if errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		t.Helper()
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// A disk that fills up: writes are turned away with a reason, reads go on,
// nothing is half-written, and writes go on when there is space again.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	smallDisk(t, p, 16<<10)
	p.start()
	p.awaitReady()
	ada := p.member("ada@example.com")
	content := strings.Repeat("words ", 8<<10) // more than a page that happens to be there already
	kept := map[string]bool{}
	for i := range 5 {
		title := fmt.Sprintf("before %d", i)
		ada.create(title, content)
		kept[title] = true
	}

	free := fill(t, p)
	for i := range 20 {
		title := fmt.Sprintf("full %d", i)
		r := ada.post("/api/notes", note{Title: title, Content: content})
		if r.status == http.StatusCreated && i < 10 { // the log had room left
			kept[title] = true
			continue
		}
		if wrong := r.unavailable("dependency_down"); wrong != "" {
			t.Fatalf("on a full disk: %s", wrong)
		}
	}
	if wrong := p.visitor().signUp("late@example.com").unavailable("dependency_down"); wrong != "" {
		t.Errorf("sign-up on a full disk: %s", wrong)
	}
	compareTitles(t, "on a full disk", ada.titles(), kept)
	if !strings.Contains(p.log.String(), "full") {
		t.Error("the log does not say that the disk is full")
	}

	free()
	ada.create("after", content)
	kept["after"] = true
	compareTitles(t, "with space again", ada.titles(), kept)
	p.kill()
	p.start()
	p.awaitReady()
	compareTitles(t, "after kill -9", ada.titles(), kept)
}

func compareTitles(t *testing.T, when string, got, want map[string]bool) {
	t.Helper()
	for title := range want {
		if !got[title] {
			t.Errorf("%s: %q is gone", when, title)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d notes, want %d", when, len(got), len(want))
	}
}

// Where it can't keep anything it does not start, and says what is wrong.
func TestNoStart(t *testing.T) {
	for _, row := range []struct {
		name    string
		prepare func(t *testing.T, p *process)
		says    []string
	}{
		{"disk full", func(t *testing.T, p *process) { smallDisk(t, p, 64); fill(t, p) },
			[]string{"data", "no space left|disk full|disk is full"}},
		{"disk almost full", func(t *testing.T, p *process) { smallDisk(t, p, 48) },
			[]string{"data/notes.db", "disk full|disk is full"}},
		{"directory not writable", notWritable, []string{"data", "permission denied"}},
		{"file system read-only", readOnly, []string{"data", "read-only|readonly"}},
		{"a file in place of the directory", func(t *testing.T, p *process) { write(t, p.data(""), "a file") },
			[]string{"data", "not a directory"}},
		{"not a database", func(t *testing.T, p *process) {
			if err := os.Mkdir(p.data(""), 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, p.data("notes.db"), strings.Repeat("shopping list\n", 100))
		}, []string{"data/notes.db", "not a SQLite database|not a database"}},
		{"data directory in use", inUse, []string{"data", "in use by notesd"}},
		{"port taken", portTaken, []string{"address already in use", "BACKEND_PORT"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p := newProcess(t)
			row.prepare(t, p)
			began := time.Now()
			said := p.fails()
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("gave up after %v", took)
			}
			if !strings.Contains(said, "notesd: ") || strings.Contains(said, "goroutine ") {
				t.Errorf("said %q, want one clear error", said)
			}
			for _, want := range row.says {
				if !containsAny(said, want) {
					t.Errorf("said %q, want something of %s", said, want)
				}
			}
		})
	}
}

// containsAny reports whether text has one of the wanted, which | separates.
func containsAny(text, wanted string) bool {
	for want := range strings.SplitSeq(wanted, "|") {
		if strings.Contains(text, want) {
			return true
		}
	}
	return false
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Clean(name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// notWritable has p run in a directory where its user may write nothing.
func notWritable(t *testing.T, p *process) {
	if os.Geteuid() == 0 { // whom no mode keeps out
		const nobody = 65534
		p.user = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	for _, dir := range []string{p.dir, filepath.Dir(p.dir)} { // the second is 0700
		if err := os.Chmod(dir, 0o555); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Chmod(dir, 0o755) }) // else it can't be removed
	}
}

// readOnly gives p a data directory that was in use and is read-only now.
func readOnly(t *testing.T, p *process) {
	smallDisk(t, p, 8<<10)
	p.start()
	p.awaitReady()
	p.stop()
	if err := syscall.Mount("", p.data(""), "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Skipf("can't mount read-only: %v", err)
	}
}

// inUse has another process use p's data directory.
func inUse(t *testing.T, p *process) {
	other := newProcess(t)
	other.dir = p.dir
	other.start()
	other.awaitReady()
	t.Cleanup(func() {
		if want := fmt.Sprintf("(pid %d on ", other.cmd.Process.Pid); !strings.Contains(p.log.String(), want) {
			t.Errorf("it does not say %q: which process has the directory", want)
		}
	})
}

// portTaken has another process listen on p's port.
func portTaken(t *testing.T, p *process) {
	other := newProcess(t)
	other.settings = append(other.settings, fmt.Sprintf("BACKEND_PORT=%d", p.port))
	other.port, other.url = p.port, p.url
	other.start()
	other.awaitReady()
}
