package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What a server that was asked says in an error moves no cursor, and the lines of several errors stay lines.
func TestShownError(t *testing.T) {
	for text, want := range map[string]string{
		"one\ntwo":                              "one\ntwo",
		"no table \"J\u00fcrgen\"":              "no table \"J\u00fcrgen\"",
		"FATAL: \x1b[2J\x1b]0;x\a":              `FATAL: \x1b[2J\x1b]0;x\a`,
		"FATAL: \u009b31m \u202egnp\u202c \x7f": `FATAL: \u009b31m \u202egnp\u202c \x7f`,
		"bad \xff\r":                            `bad \xff\r`,
	} {
		if got := shownError(errors.New(text)); got != want {
			t.Errorf("shownError(%q) = %q, want %q", text, got, want)
		}
	}
}

// An address that looks like another is told apart, and one that a terminal would obey is quoted.
func TestShownAddress(t *testing.T) {
	for email, want := range map[string]string{
		"ada@example.com":         "ada@example.com",
		`a"da@example.com`:        `a"da@example.com`,
		"\u0430da@example.com":    "\u0430da@example.com " + `"\u0430da@example.com"`,
		"j\u00fcrgen@example.com": "j\u00fcrgen@example.com " + `"j\u00fcrgen@example.com"`,
		"a\x1b[2J@example.com":    `"a\x1b[2J@example.com"`,
		"a\u202eb@example.com":    `"a\u202eb@example.com"`,
		"a\u200bda@example.com":   `"a\u200bda@example.com"`,
		"bad\xff@example.com":     `"bad\xff@example.com"`,
	} {
		if got := shownAddress(email); got != want {
			t.Errorf("shownAddress(%q) = %s, want %s", email, got, want)
		}
	}
}

// On a terminal the server shows the settings that differ from the default, and short lines in colour.
func TestServeOnTerminal(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	screen, tty := terminal(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() {
		err := Serve(ctx, Process{Environ: []string{"BACKEND_PORT=0", "RATE_LIMIT_MAX_REQUESTS=1000", "ADMIN_TOKEN=hunter2", "LOG_LEVELS=x"}, Out: tty}, nil)
		ended <- errors.Join(err, tty.Close()) // then nothing more comes
	}()
	var shown strings.Builder
	buffer := make([]byte, 1024)
	for {
		n, err := screen.Read(buffer) // EIO when the other end is closed
		shown.Write(buffer[:n])
		if strings.Contains(shown.String(), "Listening on") {
			stop()
		}
		if err != nil {
			break
		}
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve() = %v", err)
	}
	text := strings.ReplaceAll(shown.String(), "\r\n", "\n")
	for _, want := range []string{
		`(?m)^  BACKEND_PORT +0 +environment$`, `(?m)^  ADMIN_TOKEN +REDACTED +environment$`,
		`(?m)^\d\d:\d\d:\d\d \x1b\[33mWARN \x1b\[0m LOG_LEVELS is not a setting: is LOG_LEVEL meant\?$`,
		`(?m)^\d\d:\d\d:\d\d \x1b\[34mINFO \x1b\[0m schema migrated version=\d+ migrations=\d+ ms=\d+$`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("the terminal shows nothing like %s:\n%s", want, text)
		}
	}
	if n := len(regexp.MustCompile(`(?m)^  [A-Z_]+ `).FindAllString(text, -1)); n != 2 {
		t.Errorf("%d settings are shown, want the 2 that differ from the default:\n%s", n, text)
	}
}

// terminal makes a pseudo-terminal: what is written to tty can be read from screen.
func terminal(t *testing.T) (screen io.Reader, tty *os.File) {
	t.Helper()
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.TIOCSPTLCK, 0); err != nil { // unlock it
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f, tty
}
