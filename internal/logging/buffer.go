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
	maxDelay  = 20 * time.Millisecond // how late a line may be written; a warning is written at once
	maxBuffer = 32 << 10              // bytes of buffered lines
)

// A bufferedWriter collects log lines, so that the lines of one moment are written together. A
// write costs more than everything else about a line.
type bufferedWriter struct {
	out io.Writer

	mu      sync.Mutex // guards what follows, and writes to out
	waiting bytes.Buffer
	due     bool // a flush is scheduled
}

// Write takes one line. Its error is the error of an earlier write.
func (w *bufferedWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting.Write(line)
	if w.waiting.Len() >= maxBuffer {
		return len(line), w.flushLocked()
	}
	if !w.due {
		w.due = true
		time.AfterFunc(maxDelay, func() { _ = w.flush() })
	}
	return len(line), nil
}

// flush writes the buffered lines.
func (w *bufferedWriter) flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.due = false
	return w.flushLocked()
}

func (w *bufferedWriter) flushLocked() error {
	_, err := w.waiting.WriteTo(w.out)
	w.waiting.Reset()
	return err
}

// flushOnWarn is a handler that writes a warning at once, with everything that was logged before
// it.
type flushOnWarn struct {
	slog.Handler
	buffer *bufferedWriter
}

func (h flushOnWarn) Handle(ctx context.Context, r slog.Record) error {
	err := h.Handler.Handle(ctx, r)
	if err == nil && r.Level >= slog.LevelWarn {
		err = h.buffer.flush()
	}
	return err
}

func (h flushOnWarn) WithAttrs(attrs []slog.Attr) slog.Handler {
	return flushOnWarn{h.Handler.WithAttrs(attrs), h.buffer}
}

func (h flushOnWarn) WithGroup(name string) slog.Handler {
	return flushOnWarn{h.Handler.WithGroup(name), h.buffer}
}
