package incident

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"notesd/internal/testkit"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// watched is a Recorder that runs until the test ends, on samples that the test sets.
type watched struct {
	*Recorder
	dir string
	log *bytes.Buffer

	mu      sync.Mutex // guards what follows
	now     Sample
	written []File
}

// fullMemory leaves no room for a trace: the runtime's tracer does not live in fake time.
var fullMemory = Sample{MemoryLimit: 1, InUse: 1}

func watch(t *testing.T, dir string) *watched {
	t.Helper()
	w := &watched{dir: dir, log: &bytes.Buffer{}, now: fullMemory}
	r, err := New(Config{Dir: dir, Slow: time.Second, Log: slog.New(slog.NewTextHandler(w.log, nil)), OnWritten: func(f File) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.written = append(w.written, f)
	}})
	if err != nil {
		t.Fatal(err)
	}
	w.Recorder = r
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx, w.read, func() any { return "the state" }) })
	t.Cleanup(func() { stop(); running.Wait() })
	return w
}

func (w *watched) read() Sample {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.now
	s.Time = time.Now()
	return s
}

// set is what the next samples are to be.
func (w *watched) set(s Sample) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = s
	w.now.MemoryLimit, w.now.InUse = fullMemory.MemoryLimit, fullMemory.InUse
}

// files are the reasons of the files there are, the oldest first.
func (w *watched) files(t *testing.T) (reasons []string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	found := files(w.dir)
	if len(found) > len(w.written) {
		t.Errorf("OnWritten was told of %d files of %d", len(w.written), len(found))
	}
	for i := range found {
		reasons = append(reasons, found[len(found)-1-i].Reason)
	}
	return reasons
}

// However often trouble is told of, there is one file a minute, and one in ten
// for the same reason; the moment these have passed there is another.
func TestTriggerRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, t.TempDir())
		check := func(want ...string) {
			t.Helper()
			synctest.Wait()
			if diff := cmp.Diff(want, w.files(t)); diff != "" {
				t.Fatalf("after %v files (-want +got):\n%s", time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)), diff)
			}
		}
		for range 1000 {
			w.Trigger("a", "")
		}
		check("a")
		if got := w.Stats().Suppressed; got != 999 {
			t.Errorf("%d triggers suppressed, want 999", got)
		}
		w.Trigger("b", "")
		time.Sleep(time.Minute - 1)
		w.Trigger("b", "")
		check("a")
		time.Sleep(time.Nanosecond)
		w.Trigger("a", "")
		check("a")
		w.Trigger("b", "")
		check("a", "b")
		time.Sleep(9*time.Minute - 1)
		w.Trigger("a", "")
		check("a", "b")
		time.Sleep(time.Nanosecond)
		w.Trigger("a", "")
		check("a", "b", "a")
	})
}

// The rests hold over restarts: a process that is restarted again and again
// writes no more files than one that is not. A file from the future, which a
// clock that was set back leaves, holds nothing up.
func TestTriggerRestsOverRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		future := filePrefix + time.Now().UTC().Add(time.Hour).Format(fileTime) + "-b" + fileSuffix
		if err := os.WriteFile(filepath.Join(dir, future), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		trigger := func(reason string, want int) {
			t.Helper()
			watch(t, dir).Trigger(reason, "") // a new process
			synctest.Wait()
			if n := len(files(dir)) - 1; n != want {
				t.Fatalf("%d files written after the trigger %s, want %d", n, reason, want)
			}
		}
		trigger("a", 1)
		trigger("b", 1)
		time.Sleep(restOfAll)
		trigger("a", 1)
		trigger("b", 2)
		time.Sleep(restOfReason - restOfAll)
		trigger("a", 3)
	})
}

// Triggers of many goroutines at once bring one file, and none of them waits.
func TestTriggerAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, t.TempDir())
		began := time.Now()
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				for range 20 {
					w.Trigger(fmt.Sprint("reason_", i), "")
				}
			})
		}
		all.Wait()
		if took := time.Since(began); took != 0 {
			t.Errorf("the triggers took %v", took)
		}
		synctest.Wait()
		if got := w.files(t); len(got) != 1 || w.Stats().Suppressed != 999 {
			t.Errorf("files %v and %d suppressed, want one and 999", got, w.Stats().Suppressed)
		}
	})
}

// A standing queue is noticed in the eighth second, and noted once in ten minutes.
func TestOverloadIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, t.TempDir())
		time.Sleep(time.Minute)
		synctest.Wait() // the sample of this moment is taken
		w.set(Sample{Done: 100, Shed: 50})
		time.Sleep(8*time.Second - 1)
		synctest.Wait()
		if got := w.files(t); got != nil {
			t.Fatalf("files %v before the eighth second has ended", got)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if diff := cmp.Diff([]string{reasonOverload}, w.files(t)); diff != "" {
			t.Fatalf("in the eighth second (-want +got):\n%s", diff)
		}
		time.Sleep(10*time.Minute - 1)
		synctest.Wait()
		if got := w.files(t); len(got) != 1 {
			t.Fatalf("files %v within ten minutes", got)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if diff := cmp.Diff([]string{reasonOverload, reasonOverload}, w.files(t)); diff != "" {
			t.Errorf("after ten minutes (-want +got):\n%s", diff)
		}
	})
}

// The history is the last minute, a sample a second, in order.
func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, t.TempDir())
		began := time.Now()
		time.Sleep(90*time.Second + time.Millisecond)
		w.Trigger("a", "why")
		synctest.Wait()
		var got []Sample
		w.open(t).decode(t, "history.json", &got)
		if len(got) != 60 {
			t.Fatalf("%d samples, want 60", len(got))
		}
		for i, s := range got {
			if at := s.Time.Sub(began); at != time.Duration(31+i)*time.Second {
				t.Errorf("sample %d is of %v, want %d s", i, at, 31+i)
			}
		}
	})
}

// Until nothing was sampled, and when the end comes first, a file is written all the same.
func TestTriggerBeforeRunAndAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r, err := New(Config{Dir: dir, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		r.Trigger("early", "")
		ended, stop := context.WithCancel(t.Context())
		stop()
		r.Run(ended, func() Sample { return fullMemory }, func() any { return nil })
		if got := files(dir); len(got) != 1 || got[0].Reason != "early" {
			t.Errorf("files %v, want the one", got)
		}
	})
}

// A nil Recorder is one that is off.
func TestNone(t *testing.T) {
	var r *Recorder
	r.Trigger("a", "")
	r.Run(t.Context(), nil, nil)
}

// archive is a file of evidence, opened.
type archive struct{ *zip.Reader }

// open opens the newest file.
func (w *watched) open(t *testing.T) archive {
	t.Helper()
	found := files(w.dir)
	if len(found) == 0 {
		t.Fatalf("no file; the log:\n%s", w.log)
	}
	text, err := os.ReadFile(filepath.Join(w.dir, found[0].Name))
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(text)) != found[0].Bytes {
		t.Errorf("%s has %d bytes, said to have %d", found[0].Name, len(text), found[0].Bytes)
	}
	r, err := zip.NewReader(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	return archive{r}
}

func (a archive) text(t *testing.T, name string) string {
	t.Helper()
	f, err := a.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (a archive) decode(t *testing.T, name string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.text(t, name)), v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// incident.json as a reader sees it.
type told struct {
	Reason, Detail, Host string
	Time                 time.Time
	SuppressedTriggers   uint64
	Parts                []partReport
	Runtime              any
}

// In real time: a file holds all its parts, the trace is of the last seconds,
// and nothing is traced any more soon after.
func TestFile(t *testing.T) {
	w := watch(t, t.TempDir())
	w.mu.Lock()
	w.now = Sample{Queued: 7} // there is room
	w.mu.Unlock()
	testkit.Eventually(t, "sample with room", w.roomForTrace)
	if w.Stats().Tracing {
		t.Error("it traces though nothing is the matter")
	}
	began := time.Now()
	w.Trigger("a_reason", "why")
	w.Trigger("another", "")
	testkit.Eventually(t, "file", func() bool { return len(w.files(t)) == 1 })
	if took := time.Since(began); took < settle {
		t.Errorf("written after %v: the trace is to have %v", took, settle)
	}
	a := w.open(t)
	var names []string
	for _, f := range a.File {
		names = append(names, f.Name)
		if f.Mode() != 0o600 {
			t.Errorf("%s has mode %v", f.Name, f.Mode())
		}
	}
	if diff := cmp.Diff([]string{"trace.out", "goroutines.txt", "heap.pb.gz", "history.json", "incident.json"}, names); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
	var i told
	a.decode(t, "incident.json", &i)
	if i.Reason != "a_reason" || i.Detail != "why" || i.Host == "" || i.Runtime != "the state" || i.SuppressedTriggers != 1 ||
		i.Time.Before(began.Add(-time.Millisecond)) || i.Time.Sub(began) > settle {
		t.Errorf("incident.json = %+v", i)
	}
	for _, p := range i.Parts {
		if p.Bytes != int64(len(a.text(t, p.Name))) || p.Cut || p.Error != "" {
			t.Errorf("part %+v, and it has %d bytes", p, len(a.text(t, p.Name)))
		}
	}
	if head := a.text(t, "trace.out"); !strings.HasPrefix(head, "go 1.") || !strings.HasPrefix(head[7:], " trace\x00") {
		t.Errorf("trace.out begins with %.16q", head)
	}
	if stacks := a.text(t, "goroutines.txt"); !strings.Contains(stacks, "incident.TestFile") {
		t.Errorf("the stacks lack this test:\n%s", stacks)
	}
	if !strings.Contains(a.text(t, "history.json"), `"queued": 7,`) {
		t.Errorf("history.json = %s", a.text(t, "history.json"))
	}
	testkit.Eventually(t, "end of the trace", func() bool { return !w.Stats().Tracing })
	if info, err := os.Stat(filepath.Join(w.dir, w.Stats().Files[0].Name)); err != nil || info.Mode() != 0o600 {
		t.Errorf("file %v, %v, want mode 0600", info.Mode(), err)
	}
}
