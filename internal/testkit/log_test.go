package testkit

import (
	"io"
	"log/slog"
	"testing"
)

func TestLogBuffer(t *testing.T) {
	b := &LogBuffer{}
	log := slog.New(slog.NewJSONHandler(b, nil))
	log.Info("first", "n", 1, "name", "one")
	log.Info("second")
	log.Info("first", "n", 2)
	_, _ = io.WriteString(b, `{"msg":"fir`) // a buffer takes all

	if n := len(b.Entries()); n != 3 {
		t.Errorf("%d entries, want 3 without the incomplete line", n)
	}
	found := b.With("first")
	if len(found) != 2 || found[0].Text("name") != "one" || found[1].Number("n") != 2 || found[1].Text("name") != "" {
		t.Errorf("With(first) = %v", found)
	}
	if got := b.Tail(1); got != `{"msg":"fir` {
		t.Errorf("Tail(1) = %q", got)
	}
	all := b.String()
	if got := b.Take(); got != all || b.Take() != "" || b.String() != "" {
		t.Errorf("Take() = %q, want %q, and then nothing", got, all)
	}
}
