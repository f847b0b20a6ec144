package logging

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// A terminalHandler writes a record as one short line: the time of day, the level in colour, the
// message and its attributes. The attributes are written by slog's TextHandler, which quotes the
// escape sequences in a value; other libraries for coloured logs write them as they are.
type terminalHandler struct {
	slog.Handler
	line     *prefixWriter
	coloured bool
}

func newTerminalHandler(out io.Writer, level slog.Leveler, coloured bool) terminalHandler {
	line := &prefixWriter{out: out}
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		_, isLevel := a.Value.Any().(slog.Level)
		if len(groups) == 0 &&
			(a.Key == slog.LevelKey && isLevel || a.Key == slog.MessageKey && a.Value.String() == "") {
			return slog.Attr{} // the prefix has the level
		}
		return a
	}}
	return terminalHandler{slog.NewTextHandler(line, options), line, coloured}
}

func (h terminalHandler) Handle(ctx context.Context, r slog.Record) error {
	h.line.mu.Lock()
	defer h.line.mu.Unlock()
	h.line.prefix = r.Time.Format(time.TimeOnly) + " " + h.level(r.Level) + " " + Printable(r.Message)
	r.Time, r.Message = time.Time{}, "" // TextHandler leaves out a zero time
	return h.Handler.Handle(ctx, r)
}

// level returns a level in five columns.
func (h terminalHandler) level(l slog.Level) string {
	name := l.String()
	name += strings.Repeat(" ", max(0, len("ERROR")-len(name)))
	if !h.coloured {
		return name
	}
	const red, yellow, blue, grey = "31", "33", "34", "90"
	colour := grey
	switch {
	case l >= slog.LevelError:
		colour = red
	case l >= slog.LevelWarn:
		colour = yellow
	case l >= slog.LevelInfo:
		colour = blue
	}
	return "\x1b[" + colour + "m" + name + "\x1b[0m"
}

func (h terminalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return terminalHandler{h.Handler.WithAttrs(attrs), h.line, h.coloured}
}

func (h terminalHandler) WithGroup(name string) slog.Handler {
	return terminalHandler{h.Handler.WithGroup(name), h.line, h.coloured}
}

// A prefixWriter writes its prefix before the attributes of a record.
type prefixWriter struct {
	mu     sync.Mutex // guards prefix; a handler holds it for one record
	prefix string
	out    io.Writer
}

func (w *prefixWriter) Write(attrs []byte) (int, error) {
	line := w.prefix
	if len(attrs) > 1 { // more than the newline
		line += " "
	}
	if _, err := io.WriteString(w.out, line+string(attrs)); err != nil {
		return 0, err
	}
	return len(attrs), nil
}
