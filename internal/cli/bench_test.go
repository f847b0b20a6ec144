package cli

import (
	"bytes"
	"errors"
	"flag"
	"strings"
	"testing"

	"notesd/bench"
)

func TestBenchArguments(t *testing.T) {
	var out bytes.Buffer
	if err := Bench(t.Context(), Process{Out: &out}, []string{"-h"}); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("bench -h = %v, want flag.ErrHelp: it is no failure", err)
	}
	if !strings.Contains(out.String(), "Scenarios:") {
		t.Errorf("bench -h says %q", out.String())
	}
	if err := Bench(t.Context(), Process{}, []string{"open"}); !errors.Is(err, bench.ErrUsage) {
		t.Errorf("bench open, without a rate = %v, want an ErrUsage", err)
	}
}
