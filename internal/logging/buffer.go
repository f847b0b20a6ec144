package logging

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	logDelay = 20 * time.Millisecond // how late a line may be written; one of a warning never is
	logBytes = 32 << 10              // of lines that wait, at most
)

// lines gathers what is logged, line by line, so that lines that come at the same
// time are written together: a write costs more than all else about a line.
type lines struct {
	out io.Writer

	mu      sync.Mutex // guards what follows, and writes to out
	waiting bytes.Buffer
	due     bool // a flush is on its way
}

// Write takes one line. Its error is that of an earlier write.
func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting.Write(line)
	if l.waiting.Len() >= logBytes {
		return len(line), l.flushLocked()
	}
	if !l.due {
		l.due = true
		time.AfterFunc(logDelay, func() { _ = l.flush() })
	}
	return len(line), nil
}

// flush writes what waits.
func (l *lines) flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.due = false
	return l.flushLocked()
}

func (l *lines) flushLocked() error {
	_, err := l.waiting.WriteTo(l.out)
	l.waiting.Reset()
	return err
}

// promptly is a handler whose warnings, with all that was logged before them, are written at once.
type promptly struct {
	slog.Handler
	lines *lines
}

func (h promptly) Handle(ctx context.Context, r slog.Record) error {
	err := h.Handler.Handle(ctx, r)
	if err == nil && r.Level >= slog.LevelWarn {
		err = h.lines.flush()
	}
	return err
}

func (h promptly) WithAttrs(attrs []slog.Attr) slog.Handler {
	return promptly{h.Handler.WithAttrs(attrs), h.lines}
}

func (h promptly) WithGroup(name string) slog.Handler {
	return promptly{h.Handler.WithGroup(name), h.lines}
}
