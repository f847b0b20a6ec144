package check

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// JSON writes the report for programs.
func (r Report) JSON(out io.Writer) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

var colours = map[Verdict]string{OK: "32", Warn: "33", Unknown: "35", Fail: "31", NotApplicable: "90"}

// Table writes the report for people, with colours if colour is true.
func (r Report) Table(out io.Writer, colour bool) error {
	var b strings.Builder
	part := ""
	for _, f := range r.Rows {
		if f.Part != part {
			part = f.Part
			fmt.Fprintf(&b, "\n%s\n", part)
		}
		verdict := fmt.Sprintf("%-7s", f.Verdict)
		if colour {
			verdict = "\x1b[" + colours[f.Verdict] + "m" + verdict + "\x1b[0m"
		}
		fmt.Fprintf(&b, "  %s  %-18s  %s\n", verdict, f.ID, Printable(f.Seen))
		if f.Fix != "" {
			fmt.Fprintf(&b, "  %-7s  %-18s  fix: %s\n", "", "", Printable(f.Fix))
		}
	}
	fmt.Fprintf(&b, "\n%s: %d ok, %d to mend, %d to look at, %d not known, %d not applicable\n", r.Version,
		r.Counts[OK], r.Counts[Fail],
		r.Counts[Warn], r.Counts[Unknown], r.Counts[NotApplicable])
	_, err := io.WriteString(out, strings.TrimPrefix(b.String(), "\n"))
	return err
}

// Printable replaces control characters by blanks, so that text from outside cannot move the cursor.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}
