package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// Main runs the command that is named, or the first, prints its error and returns its exit status.
func TestExitStatus(t *testing.T) {
	ends := func(err error) func(context.Context, Process, []string) error {
		return func(context.Context, Process, []string) error { return err }
	}
	commands := []Command{
		{Name: "first", Short: "is the default", Run: ends(nil)},
		{Name: "fails", Args: "ARG", Short: "fails", Run: ends(errors.New("a \x1b[2J"))},
		{Name: "misused", Short: "is misused", Run: ends(fmt.Errorf("one ARG? %w", errUsage))},
		{Name: "finds", Short: "has printed what it found", Run: ends(errFindings)},
		{Name: "leaves", Short: "leaves something out", Run: ends(errors.Join(errLeftOut, nil))},
		{Name: "flags", Short: "has flags", Run: func(_ context.Context, p Process, args []string) error {
			return p.noArguments("notesd flags", args)
		}},
	}
	for _, test := range []struct {
		args   string
		status int
		out    string // "": nothing
		err    string
	}{
		{"", 0, "", ""},
		{"first", 0, "", ""},
		{"fails", 1, "", `notesd: a \x1b[2J`},
		{"misused", 2, "", "notesd: one ARG? see notesd help"},
		{"finds", 3, "", ""},
		{"leaves", 3, "", "notesd: something was left out"},
		{"flags -h", 0, "notesd flags\n", ""},
		{"help flags", 0, "notesd flags\n", ""},
		{"flags x", 2, "", `notesd: flags takes no arguments, not ["x"]: see notesd help`},
		{"flags -x", 2, "", "notesd: no flag -x: see notesd help"},
		{"flag", 2, "", `notesd: no command "flag" (did you mean flags?): see notesd help`},
		{"--vesion", 2, "", `notesd: no flag "--vesion" (did you mean --version?): see notesd help`},
		{"-x", 2, "", `notesd: no flag "-x": see notesd help`},
		{"help", 0, "\n  notesd [first]                 is the default\n  notesd fails ARG               fails\n", ""},
		{"fails --version", 0, "notesd 1.2.3\n", ""},
	} {
		var out, err strings.Builder
		p := Process{Version: "1.2.3", Args: strings.Fields(test.args), Out: &out, Err: &err}
		status := Main(t.Context(), p, commands)
		if status != test.status || !said(out.String(), test.out) || !said(err.String(), test.err) {
			t.Errorf("notesd %s: status %d, prints %q and %q, want %d, %q and %q", test.args,
				status, out.String(), err.String(), test.status, test.out, test.err)
		}
	}
}

// said reports whether a text has want in it, or is empty if want is.
func said(text, want string) bool {
	return strings.Contains(text, want) && (text == "") == (want == "")
}
