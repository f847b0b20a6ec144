package logging

import (
	"encoding/json"
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
)

// A line on a terminal is short, coloured, and holds nothing that the terminal would obey.
func TestTerminalHandler(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for _, test := range []struct {
		level   slog.Level
		message string
		attrs   []any
		want    string
	}{
		{slog.LevelInfo, "listening", nil, "03:04:05 \x1b[34mINFO \x1b[0m listening\n"},
		{slog.LevelDebug, "x", nil, "03:04:05 \x1b[90mDEBUG\x1b[0m x\n"},
		{slog.LevelWarn, "slow", []any{"ms", 12, "level", "high", "msg", "x"}, "03:04:05 \x1b[33mWARN \x1b[0m slow ms=12 level=high msg=x\n"},
		{slog.LevelError, "bad \x1b[2J", []any{"error", errors.New("two words"), "email", "\x1b]0;x\a"},
			`03:04:05 ` + "\x1b[31mERROR\x1b[0m" + ` "bad \x1b[2J" error="two words" email="\x1b]0;x\a"` + "\n"},
		{slog.LevelWarn, "line\nbreak", []any{slog.Group("g", "level", 1, "\u202e", "a\u202eb")},
			"03:04:05 \x1b[33mWARN \x1b[0m " + `"line\nbreak" g.level=1 "g.\u202e"="a\u202eb"` + "\n"},
	} {
		var out strings.Builder
		r := slog.NewRecord(at, test.level, test.message, 0)
		r.Add(test.attrs...)
		if err := newTerminalHandler(&out, slog.LevelDebug, true).Handle(t.Context(), r); err != nil || out.String() != test.want {
			t.Errorf("%s: %q, %v, want %q", test.message, out.String(), err, test.want)
		}
	}
	var out strings.Builder
	log := slog.New(newTerminalHandler(&out, slog.LevelInfo, false)).With("a", 1).WithGroup("g")
	log.Debug("too low")
	log.Info("plain", "b", 2)
	if got := out.String(); !regexp.MustCompile(`^\d\d:\d\d:\d\d INFO  plain a=1 g\.b=2\n$`).MatchString(got) {
		t.Errorf("without colour: %q", got)
	}
}

// A log of JSON shows a terminal nothing that it would obey either, and says the same.
func TestJSONLogOnTerminal(t *testing.T) {
	const hostile = "\u009b31m \u202egnp \x7f \x1b[2J J\u00fcrgen \U000e0001 \u2028"
	var out strings.Builder
	log, flush := New(&out, Options{JSON: true})
	log.Info(hostile, hostile, "plain", "error", errors.New(hostile))
	if err := flush(); err != nil {
		t.Fatal(err)
	}
	line := strings.TrimSuffix(out.String(), "\n")
	if i := strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
		t.Errorf("logged %q", line)
	}
	var said map[string]any
	if err := json.Unmarshal([]byte(line), &said); err != nil || said["msg"] != hostile || said[hostile] != "plain" || said["error"] != hostile {
		t.Errorf("it says %q, %v, want %q", said, err, hostile)
	}
}
