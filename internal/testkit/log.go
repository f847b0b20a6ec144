package testkit

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// Log returns a logger whose warnings and errors are shown with the test's output.
func Log(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// A LogBuffer is a log in memory. A test may read it while it is written to.
type LogBuffer struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (b *LogBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *LogBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// Take returns the text and removes it.
func (b *LogBuffer) Take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.text.Reset()
	return b.text.String()
}

// Tail returns the last n lines.
func (b *LogBuffer) Tail(n int) string {
	lines := strings.SplitAfter(b.String(), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "")
}

// An Entry is one line of a JSON log.
type Entry map[string]any

// Text returns the member name if it is a string. It returns "" otherwise.
func (e Entry) Text(name string) string { s, _ := e[name].(string); return s }

// Number returns the member name if it is a number. It returns 0 otherwise.
func (e Entry) Number(name string) float64 { n, _ := e[name].(float64); return n }

// Entries returns the lines that are JSON. An incomplete last line is left out.
func (b *LogBuffer) Entries() (all []Entry) {
	for line := range strings.Lines(b.String()) {
		var e Entry
		if json.Unmarshal([]byte(line), &e) == nil {
			all = append(all, e)
		}
	}
	return all
}

// With returns the entries with this message.
func (b *LogBuffer) With(message string) (found []Entry) {
	for _, e := range b.Entries() {
		if e.Text(slog.MessageKey) == message {
			found = append(found, e)
		}
	}
	return found
}
