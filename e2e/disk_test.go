package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"notesd/internal/testkit"
	"notesd/internal/testserver"
)

// smallDisk mounts an empty file system of so many KiB on p's data directory.
func smallDisk(t *testing.T, p *process, kib int) {
	t.Helper()
	dir := p.data("")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	mount(t, dir, kib)
	t.Cleanup(p.kill)
}

// mount makes dir an empty file system of so many KiB until the test ends.
func mount(t *testing.T, dir string, kib int) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dk", kib)); err != nil {
		t.Skipf("needs the right to mount a file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
}

// fill writes a file until dir's disk is full; the function it returns removes it.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	name := filepath.Join(dir, "filler")
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

// A disk that fills up: writes are turned away with a reason, soon, reads go
// on, readiness tells, nothing acknowledged is lost or half-written, and writes
// go on by themselves when there is space again.
func TestDiskFull(t *testing.T) {
	for _, row := range []struct {
		name string
		make func(t *testing.T) (p *process, disk string)
	}{
		{"SQLite", func(t *testing.T) (*process, string) {
			p := newProcess(t)
			smallDisk(t, p, 16<<10)
			return p, p.data("")
		}},
		{"PostgreSQL", func(t *testing.T) (*process, string) {
			url, disk := smallPostgres(t, 40<<10)
			return newProcess(t, "DATABASE_URL="+url, secret), disk
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p, disk := row.make(t)
			testDiskFull(t, p, disk)
		})
	}
}

func testDiskFull(t *testing.T, p *process, disk string) {
	p.start()
	p.awaitReady()
	ada := p.member("ada@example.com")
	content := longText(64 << 10) // more than a page that happens to be there already
	kept := map[string]bool{}
	for i := range 5 {
		title := fmt.Sprintf("before %d", i)
		ada.create(title, content)
		kept[title] = true
	}
	writes := func() string { return p.readiness()["writes"] }
	if got := writes(); got != "up" {
		t.Errorf("readiness says that writes are %q at first, want up", got)
	}

	free := fill(t, disk)
	refused := 0
	var longest time.Duration
	for i := range 200 {
		title := fmt.Sprintf("full %d", i)
		began := time.Now()
		r := ada.post("/api/notes", note{Title: title, Content: content})
		longest = max(longest, time.Since(began))
		if r.status == http.StatusCreated && refused == 0 { // there was room left in files that the engine has
			kept[title] = true
			continue
		}
		if wrong := r.unavailable("dependency_down"); wrong != "" {
			t.Fatalf("on a full disk: %s", wrong)
		}
		if refused++; refused == 20 {
			break
		}
	}
	if refused < 20 || testkit.TooLong(longest, time.Second, noAnswerAfter-time.Second) {
		t.Errorf("on a full disk %d of 20 writes were refused, within %v; want all, in a second", refused, longest)
	}
	compareTitles(t, "on a full disk", ada.titles(), kept)
	p.await("log of a full disk", func() bool { return containsAny(p.log.String(), "disk full|No space left") })
	p.await("a readiness that tells of writes", func() bool { return writes() == "down" })
	p.wantMetrics(t, `notesd_dependency_up{name="writes"} 0`)
	if status := p.probe("/readyz"); status != http.StatusOK {
		t.Errorf("readiness on a full disk = %d, want 200: reads go on", status)
	}

	free()
	ada.create("after", content)
	kept["after"] = true
	compareTitles(t, "with space again", ada.titles(), kept)
	p.await("a readiness that tells of writes again", func() bool { return writes() == "up" })
	p.awaitLog("dependency is back")
	for _, message := range []string{"dependency is down", "dependency is back"} {
		if n := len(p.log.With(message)); n != 1 {
			t.Errorf("%q is in the log %d times, want once", message, n)
		}
	}
	p.kill()
	p.start()
	p.awaitReady()
	compareTitles(t, "after kill -9", ada.titles(), kept)
}

// longText is a text of so many bytes that can't be compressed much: PostgreSQL would.
func longText(size int) string {
	random := rand.New(rand.NewPCG(1, 2))
	text := make([]byte, size)
	for i := range text {
		text[i] = byte('a' + random.IntN(26))
	}
	return string(text)
}

// smallPostgres returns the URL of a database whose tables are on a disk of so
// many KiB. The server's log of writes is elsewhere: without room for that the
// server ends, and is away like any other that is.
func smallPostgres(t *testing.T, kib int) (url, disk string) {
	t.Helper()
	disk = t.TempDir()
	if err := os.Chmod(filepath.Dir(disk), 0o711); err != nil { // the server is another user
		t.Fatal(err)
	}
	mount(t, disk, kib)
	return testserver.NewPostgres(t).DatabaseIn(t, disk), disk
}

// readiness is the status of each row of the readiness answer.
func (p *process) readiness() map[string]string {
	p.t.Helper()
	var in struct {
		Checks []struct{ Name, Status string }
	}
	p.visitor().get("/readyz").decode(&in)
	rows := map[string]string{}
	for _, row := range in.Checks {
		rows[row.Name] = row.Status
	}
	return rows
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
		{"disk full", func(t *testing.T, p *process) { smallDisk(t, p, 64); fill(t, p.data("")) },
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
