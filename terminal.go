package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// isTerminal tells whether people look at f as it is written.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}

// printable is a text of somebody else for people to read: quoted if it holds
// what a terminal would not print, but obey.
func printable(s string) string {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// shownError is an error's text for people to read. Servers that were asked may have
// written a part of it.
func shownError(err error) string {
	var out strings.Builder
	text := err.Error()
	for i, r := range text {
		switch {
		case r == '\n' || unicode.IsPrint(r) && r != utf8.RuneError:
			out.WriteRune(r)
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], string(r)): // a byte of no letter
			fmt.Fprintf(&out, `\x%02x`, text[i])
		default:
			out.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return out.String()
}

// A plainJSON hands lines of JSON on, with an escape for whatever a terminal would not
// print but obey. slog escapes only what JSON asks for.
type plainJSON struct{ out io.Writer }

func (w plainJSON) Write(line []byte) (int, error) {
	if !bytes.ContainsFunc(line, mustEscape) {
		return w.out.Write(line)
	}
	var plain bytes.Buffer
	for _, r := range string(line) {
		if !mustEscape(r) {
			plain.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&plain, `\u%04x`, unit)
		}
	}
	if _, err := w.out.Write(plain.Bytes()); err != nil {
		return 0, err
	}
	return len(line), nil
}

func mustEscape(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }

// shownAddress is an e-mail address for people to read. One with letters beyond
// ASCII, which may look like others, is followed by their numbers.
func shownAddress(email string) string {
	shown, ascii := printable(email), strconv.QuoteToASCII(email)
	if shown != email || ascii == strconv.Quote(email) && len(email) == utf8.RuneCountInString(email) {
		return shown
	}
	return shown + " " + ascii
}

// A terminalHandler writes a record as one short line: the time of day, the
// level in colour, the message and what belongs to it. Libraries that do so
// write escape sequences that a value holds as they are; slog's TextHandler,
// which writes the attributes here, quotes them.
type terminalHandler struct {
	slog.Handler
	line     *prefixWriter
	coloured bool
}

func newTerminalHandler(out io.Writer, level slog.Leveler, coloured bool) terminalHandler {
	line := &prefixWriter{out: out}
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		_, isLevel := a.Value.Any().(slog.Level)
		if len(groups) == 0 && (a.Key == slog.LevelKey && isLevel || a.Key == slog.MessageKey && a.Value.String() == "") {
			return slog.Attr{} // the prefix has it
		}
		return a
	}}
	return terminalHandler{slog.NewTextHandler(line, options), line, coloured}
}

func (h terminalHandler) Handle(ctx context.Context, r slog.Record) error {
	h.line.mu.Lock()
	defer h.line.mu.Unlock()
	h.line.prefix = r.Time.Format(time.TimeOnly) + " " + h.level(r.Level) + " " + printable(r.Message)
	r.Time, r.Message = time.Time{}, "" // TextHandler leaves the time out
	return h.Handler.Handle(ctx, r)
}

// level is a level in five columns.
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

// A prefixWriter writes its prefix before what it is given.
type prefixWriter struct {
	mu     sync.Mutex // guards prefix; a handler holds it for one record
	prefix string
	out    io.Writer
}

func (w *prefixWriter) Write(attrs []byte) (int, error) {
	line := w.prefix
	if len(attrs) > 1 { // more than the end of the line
		line += " "
	}
	if _, err := io.WriteString(w.out, line+string(attrs)); err != nil {
		return 0, err
	}
	return len(attrs), nil
}
