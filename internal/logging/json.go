package logging

import (
	"bytes"
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"
)

// An escapingWriter passes on lines of JSON. It escapes each character that a terminal would obey
// instead of printing. slog escapes only what JSON requires.
type escapingWriter struct{ out io.Writer }

func (w escapingWriter) Write(line []byte) (int, error) {
	if !bytes.ContainsFunc(line, mustEscape) {
		return w.out.Write(line)
	}
	var escaped bytes.Buffer
	for _, r := range string(line) {
		if !mustEscape(r) {
			escaped.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&escaped, `\u%04x`, unit)
		}
	}
	if _, err := w.out.Write(escaped.Bytes()); err != nil {
		return 0, err
	}
	return len(line), nil
}

func mustEscape(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }
