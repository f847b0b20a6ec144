package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The load tool, as people type it: a report, in a file too, with its plots;
// and mistakes that are told in one line.
func TestBench(t *testing.T) {
	t.Parallel()
	p := newUnraced(t)
	out := p.must("", strings.Fields("bench overload -d 300ms -rounds 1 -people 2 -notes 3 -capacity 100 -loads 0.7,4 "+
		"-arms sharded,unbounded -allow-late -markdown docs/R.md -svg docs/plots -json r.json")...)
	page, err := os.ReadFile(filepath.Join(p.dir, "docs", "R.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"## overload: mix\n\n`notesd bench overload -d 300ms", "### Goals", "sharded: goodput at 4 C",
		"unbounded"} {
		if !strings.Contains(out, want) || !strings.Contains(string(page), want) {
			t.Errorf("no %q in the report:\n%s\nor in its file:\n%s", want, out, page)
		}
	}
	for _, name := range []string{"docs/plots/overload-mix-latency.svg", "docs/plots/overload-mix-goodput.svg", "r.json"} {
		if info, err := os.Stat(filepath.Join(p.dir, name)); err != nil || info.Size() < 1000 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}

	other := start(t)
	for args, want := range map[string]string{
		"open -rate 0":                           "-rate 0",
		"closed -d 876000h":                      "a run takes from 100ms to 1h0m0s",
		"closed -url http://127.0.0.1:1":         "no server answers at http://127.0.0.1:1",
		"closed -url http://192.0.2.1":           "is not on this machine",
		"closed -url " + other.url + "/api":      "is not like http://127.0.0.1:3001",
		"overload -c 40000000":                   "-c 40000000: from 1 to",
		"closed -arms elsewhere":                 `no arm "elsewhere"`,
		"closed -d 100ms -set MAX_WORKERS=none ": "MAX_WORKERS",
	} {
		out, code := p.run("", append([]string{"bench"}, strings.Fields(args)...)...)
		if code == 0 || !strings.Contains(out, want) || strings.Contains(out, "goroutine ") {
			t.Errorf("notesd bench %s = exit %d, %s; want %q", args, code, out, want)
		}
	}
	p.must("", "bench", "closed", "-d", "200ms", "-c", "4", "-people", "1", "-notes", "2", "-url", other.url)
}
