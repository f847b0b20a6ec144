package cli

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"notesd/internal/logging"
)

// isTerminal reports whether f is a terminal, where users read the output as it is written.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}

// shownError returns the text of an error for people to read, without characters that a terminal
// would obey. Other servers may have written a part of the text.
func shownError(err error) string {
	var out strings.Builder
	text := err.Error()
	for i, r := range text {
		switch {
		case r == '\n' || unicode.IsPrint(r) && r != utf8.RuneError:
			out.WriteRune(r)
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], string(r)): // a byte that is not UTF-8
			fmt.Fprintf(&out, `\x%02x`, text[i])
		default:
			out.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return out.String()
}

// shownAddress returns an e-mail address for people to read. Letters beyond ASCII may look like
// others, so that an address with such letters is followed by one with their code points.
func shownAddress(email string) string {
	shown, ascii := logging.Printable(email), strconv.QuoteToASCII(email)
	if shown != email || ascii == strconv.Quote(email) && len(email) == utf8.RuneCountInString(email) {
		return shown
	}
	return shown + " " + ascii
}
