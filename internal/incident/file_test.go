package incident

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// older puts files of other incidents into a directory: of so many bytes each, the oldest first.
func older(t *testing.T, dir string, sizes ...int64) (names []string) {
	t.Helper()
	for i, size := range sizes {
		at := time.Date(1999, 12, 1, i, 0, 0, 0, time.UTC)
		name := filePrefix + at.Format(fileTime) + "-older" + fileSuffix
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(dir, name), size); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}

// The newest files stay, as many and as large as the bounds allow; what is not ours stays as well.
func TestOldestGo(t *testing.T) {
	const half = (maxTotal - maxFile) / 2
	for _, row := range []struct {
		name  string
		sizes []int64
		stay  int
	}{
		{"few", []int64{1, 1}, 2},
		{"one fewer than may be", make([]int64, keepFiles-1), keepFiles - 1},
		{"as many as may be", make([]int64, keepFiles), keepFiles - 1},
		{"more than may be", make([]int64, keepFiles+5), keepFiles - 1},
		{"as much as may be", []int64{half, half}, 2},
		{"a byte more", []int64{half, half + 1}, 1},
		{"a byte more in the older one", []int64{half + 1, half}, 1},
		{"far too large", []int64{1, maxTotal}, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				foreign := filepath.Join(dir, "incident-of-the-heart.zip")
				if err := os.WriteFile(foreign, nil, 0o600); err != nil {
					t.Fatal(err)
				}
				names := older(t, dir, row.sizes...)
				w := watch(t, dir)
				w.Trigger("new", "")
				synctest.Wait()
				if _, err := os.Stat(foreign); err != nil {
					t.Error(err)
				}
				found := files(dir)
				var got []string
				for i := range found {
					got = append(got, found[len(found)-1-i].Name)
				}
				if len(got) == 0 || found[0].Reason != "new" {
					t.Fatalf("files %v; the log:\n%s", got, w.log)
				}
				if diff := cmp.Diff(names[len(names)-row.stay:], got[:len(got)-1]); diff != "" {
					t.Errorf("older files (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// A recorder makes its directory, for its owner alone, and clears away what was left half written.
func TestNew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "incidents")
	fresh := func() error { _, err := New(Config{Dir: dir, Log: slog.New(slog.DiscardHandler)}); return err }
	if err := fresh(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode() != os.ModeDir|0o700 {
		t.Errorf("directory %v, %v, want mode 0700", info.Mode(), err)
	}
	if err := os.WriteFile(filepath.Join(dir, "partial-123"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := fresh(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left in the directory: %v, %v", left, err)
	}
}

// Where nothing can be written, New says so.
func TestNewFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "incidents"), "/proc/incidents"} {
		if r, err := New(Config{Dir: dir}); err == nil {
			t.Errorf("New() in %s = %v, want an error", dir, r)
		}
	}
}

// A directory or a link that somebody else has put there is not used: evidence would go
// where that user reads it. The operator's own link leads to another disk.
func TestPlantedDirectory(t *testing.T) {
	dir, disk := t.TempDir(), t.TempDir()
	incidents := filepath.Join(dir, "incidents")
	if err := os.Symlink(disk, incidents); err != nil {
		t.Fatal(err)
	}
	r, err := New(Config{Dir: incidents, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatalf("New() in a link of our own = %v", err)
	}
	if r.cfg.Dir != disk {
		t.Errorf("New() in a link of our own writes to %s, want %s", r.cfg.Dir, disk)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	for _, plant := range []func() error{
		func() error { return nil }, // the link
		func() error { return errors.Join(os.Remove(incidents), os.Mkdir(incidents, 0o777)) },
	} {
		if err := errors.Join(plant(), os.Lchown(incidents, 65534, 65534)); err != nil {
			t.Fatal(err)
		}
		if _, err := New(Config{Dir: incidents, Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "somebody else") {
			t.Errorf("New() in what a stranger has put there = %v, want whose it is", err)
		}
	}
}

// What goes wrong on disk is a warning and nothing else: no half file is left,
// and the next trouble is noted again.
func TestDiskTrouble(t *testing.T) {
	for _, row := range []struct {
		name string
		mib  int // of the disk
		say  string
		harm func(dir string) error
	}{
		{"read-only", 512, "read-only file system", func(dir string) error {
			return syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, "")
		}},
		{"little left", minFree>>20 - 1, "is for notes alone", func(string) error { return nil }},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", row.mib)); err != nil {
				t.Skipf("needs the right to mount a file system: %v", err)
			}
			t.Cleanup(func() {
				if err := syscall.Unmount(dir, 0); err != nil {
					t.Error(err)
				}
			})
			synctest.Test(t, func(t *testing.T) {
				w := watch(t, dir)
				if err := row.harm(dir); err != nil {
					t.Skip(err)
				}
				for i := range 3 {
					w.Trigger(fmt.Sprint("reason_", i), "")
					time.Sleep(restOfAll)
				}
				synctest.Wait()
				if got := strings.Count(w.log.String(), "incident file not written"); got != 3 || !strings.Contains(w.log.String(), row.say) {
					t.Errorf("%d warnings, want 3 that say %q:\n%s", got, row.say, w.log)
				}
				if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
					t.Errorf("left on the disk: %v, %v", left, err)
				}
			})
		})
	}
}

// A directory that was deleted is a warning as well.
func TestDirectoryGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, filepath.Join(t.TempDir(), "incidents"))
		if err := os.RemoveAll(w.dir); err != nil {
			t.Fatal(err)
		}
		w.Trigger("a", "")
		synctest.Wait()
		if !strings.Contains(w.log.String(), "incident file not written") || w.Stats().Files == nil {
			t.Errorf("files %v; the log:\n%s", w.Stats().Files, w.log)
		}
	})
}

// Without room in memory there is no trace, and the file says why.
func TestNoRoomForTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, t.TempDir())
		w.set(Sample{Panics: 1}) // a sign of trouble
		time.Sleep(3 * time.Second)
		w.Trigger("a", "")
		synctest.Wait()
		var i told
		w.open(t).decode(t, "incident.json", &i)
		want := partReport{Name: "trace.out", Error: errNoTrace.Error()}
		if len(i.Parts) == 0 || i.Parts[0] != want || w.Stats().Tracing {
			t.Errorf("parts %+v, want first %+v", i.Parts, want)
		}
	})
}

// A part ends where its limit is and says so; the archive stays whole.
func TestPartIsCut(t *testing.T) {
	for _, row := range []struct {
		length int
		want   partReport
	}{
		{99, partReport{Name: "part", Bytes: 99}},
		{100, partReport{Name: "part", Bytes: 100}},
		{101, partReport{Name: "part", Bytes: 100, Cut: true}},
		{1000, partReport{Name: "part", Bytes: 100, Cut: true}},
	} {
		for _, step := range []int{1, 33, 1000} {
			var file bytes.Buffer
			a := zip.NewWriter(&file)
			text := strings.Repeat("x", row.length)
			got, err := writePart(a, part{"part", 100, func(w io.Writer) error {
				for rest := text; len(rest) > 0; rest = rest[min(step, len(rest)):] {
					if _, err := io.WriteString(w, rest[:min(step, len(rest))]); err != nil {
						return err
					}
				}
				return nil
			}}, time.Now())
			if err != nil || got != row.want {
				t.Errorf("%d bytes in steps of %d = %+v, %v, want %+v", row.length, step, got, err, row.want)
			}
			if err := a.Close(); err != nil {
				t.Fatal(err)
			}
			r, err := zip.NewReader(bytes.NewReader(file.Bytes()), int64(file.Len()))
			if err != nil {
				t.Fatal(err)
			}
			if back := (archive{r}).text(t, "part"); back != text[:min(100, len(text))] {
				t.Errorf("read back %d bytes of %d in steps of %d", len(back), row.length, step)
			}
		}
	}
}

// An archive that can't be written is an error, not a part's.
func TestArchiveFails(t *testing.T) {
	_, to := io.Pipe()
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	r := &Recorder{}
	if err := r.writeParts(to, trouble{}, nil); err == nil {
		t.Error("writeParts() to a closed pipe = nil, want an error")
	}
}
