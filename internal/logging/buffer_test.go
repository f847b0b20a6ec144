package logging

import (
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
)

// writes is what was written, write by write.
type writes struct {
	mu   sync.Mutex
	each []string
}

func (w *writes) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.each = append(w.each, string(p))
	return len(p), nil
}

func (w *writes) counts() (lines []int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, text := range w.each {
		lines = append(lines, strings.Count(text, "\n"))
	}
	return lines
}

// Lines are written together, no later than maxDelay; a warning at once, with what came before it.
func TestLinesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out writes
		log, flush := New(&out, Options{JSON: true})
		want := func(when string, lines ...int) {
			t.Helper()
			synctest.Wait()
			if got := out.counts(); fmt.Sprint(got) != fmt.Sprint(lines) {
				t.Errorf("%s: lines of each write %v, want %v", when, got, lines)
			}
		}
		for range 3 {
			log.Info("request")
		}
		want("at once")
		time.Sleep(maxDelay)
		want("after a while", 3)
		log.With("a", 1).WithGroup("g").Info("request")
		log.With("a", 1).WithGroup("g").Warn("trouble")
		want("at a warning", 3, 2)
		log.Info(strings.Repeat("x", maxBuffer))
		want("when it is much", 3, 2, 1)
		log.Info("last")
		if err := flush(); err != nil {
			t.Fatal(err)
		}
		want("at the end", 3, 2, 1, 1)
		time.Sleep(maxDelay) // flushes on their way have nothing left to write
		want("later", 3, 2, 1, 1)
	})
}

// A line costs less than one write each.
func BenchmarkLog(b *testing.B) {
	file, err := os.Create(filepath.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	for name, out := range map[string]io.Writer{"together": &bufferedWriter{out: file}, "one by one": file} {
		log := slog.New(slog.NewJSONHandler(out, nil))
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				log.Info("request", "request_id", "0123456789abcdef", "method", "GET", "route", "/api/notes/:id", "status", 200)
			}
		})
	}
}
