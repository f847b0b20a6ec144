package main

import (
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"notesd/bench"
)

// Every proof is there: the scenario with its arguments, the test, or the module.
func TestProofsExist(t *testing.T) {
	files, err := filepath.Glob("../../../e2e/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var tests strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		tests.WriteString(string(text))
	}
	seen := map[string]bool{}
	for _, p := range proofs {
		if seen[p.name] {
			t.Errorf("%s is there twice", p.name)
		}
		seen[p.name] = true
		switch {
		case p.bench != "":
			if _, err := bench.Parse(strings.Fields(p.bench), io.Discard); err != nil {
				t.Errorf("%s: %v", p.name, err)
			}
		case p.test != "":
			if !strings.Contains(tests.String(), "\nfunc "+p.test+"(t *testing.T) {") {
				t.Errorf("%s: there is no %s in e2e", p.name, p.test)
			}
		default:
			if _, err := os.Stat("../../../" + p.module + "/go.mod"); err != nil {
				t.Errorf("%s: %v", p.name, err)
			}
		}
	}
}

// The last command of a proof measures, and writes to its page.
func TestCommands(t *testing.T) {
	t.Setenv("KILLED", "5s")
	t.Setenv("KILLS", "")
	t.Setenv("VERSION", "1.2")
	root, err := filepath.Abs("docs/results")
	if err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"pool":                 "go -C bench/pools run . -markdown ../../docs/results/pool.md",
		"-into /tmp/R.md pool": "go -C bench/pools run . -markdown /tmp/R.md",
		"cost":                 "dist/notesd-faults bench cost -markdown docs/results/cost.md -svg docs/results/plots",
		"scale":                "dist/notesd-faults bench scale -markdown docs/BENCHMARKS.md -svg docs/plots",
		"-strict -into /tmp/R.md -bench -d=1s storm": "dist/notesd-faults bench storm -markdown /tmp/R.md -svg /tmp/plots " +
			"-strict -d=1s",
		"kill": "PROOFS=" + root + "/kill.md KILLS=100 go test ./e2e -run ^TestKills$ -count=1 -v -timeout 1h",
		"replicas": "PROOFS=" + root + "/replicas.md go test ./e2e -run ^TestReplicasKilled$ -count=1 -v " +
			"-timeout 1h",
	} {
		o, chosen, err := parse(strings.Fields(args), io.Discard)
		if err != nil || len(chosen) != 1 {
			t.Fatalf("parse(%s) = %v, %v", args, chosen, err)
		}
		all := chosen[0].commands(o)
		if got := all[len(all)-1].line(); got != want {
			t.Errorf("%s runs\n%s\nwant\n%s", args, got, want)
		}
	}
	if got := build().line(); !strings.Contains(got, "main.version=1.2 ") {
		t.Errorf("it is built by %s", got)
	}
}

// Without a name all proofs run but those that take too long beside the others.
func TestParse(t *testing.T) {
	_, chosen, err := parse(nil, io.Discard)
	if err != nil || len(chosen) != 15 || chosen[0].name != "pool" || chosen[14].name != "scale" {
		t.Errorf("parse() = %d proofs, %v: %v", len(chosen), chosen, err)
	}
	if _, _, err := parse([]string{"kill", "nonsense"}, io.Discard); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("parse(nonsense) = %v", err)
	}
	var out strings.Builder
	if _, _, err := parse([]string{"help"}, &out); !errors.Is(err, flag.ErrHelp) || !strings.Contains(out.String(), "  growth ") {
		t.Errorf("parse(help) = %v, and prints\n%s", err, &out)
	}
}
