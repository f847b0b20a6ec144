// Package logging makes the log of the server. Lines are buffered and written together, but never
// late. A line is JSON, text, or on a terminal short and coloured. It contains no character that a
// terminal would obey.
package logging

import (
	"io"
	"log/slog"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Options define the format of the lines of a log.
type Options struct {
	Level    slog.Leveler // the lowest level that is logged; nil: info
	JSON     bool         // each line is a JSON object
	Terminal bool         // people read the lines as they are written; ignored for JSON
	Coloured bool         // the lines are coloured on a terminal
}

// New returns a log that writes to out. The function flush writes the lines that are still
// buffered.
func New(out io.Writer, o Options) (log *slog.Logger, flush func() error) {
	buffer := &bufferedWriter{out: out}
	options := &slog.HandlerOptions{Level: o.Level}
	var handler slog.Handler
	switch {
	case o.JSON:
		handler = slog.NewJSONHandler(escapingWriter{buffer}, options)
	case o.Terminal:
		handler = newTerminalHandler(buffer, o.Level, o.Coloured)
	default:
		handler = slog.NewTextHandler(buffer, options)
	}
	return slog.New(flushOnWarn{handler, buffer}), buffer.flush
}

// Printable returns a text of unknown origin in a form for people to read. It quotes the text if
// that contains characters that a terminal would obey instead of printing.
func Printable(s string) string {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}
