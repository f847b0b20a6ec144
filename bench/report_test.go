package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// aReport is a report with something of everything.
func aReport(scenario, work string) *Report {
	return &Report{Scenario: scenario, Work: Work{Name: work, Shares: []Share{{"read", 70}, {"list", 30}}},
		Command: "notesd bench " + scenario, Version: "1.2.3", Date: time.Date(2026, 11, 23, 19, 0, 0, 0, time.UTC),
		Machine: Machine{2, "AMD EPYC", 24 << 30, "6.18", "go1.26"}, Arms: []Arm{{Name: "single", About: "one shard"}},
		Settings: []string{"LOG_LEVEL=warn"}, Findings: []string{"Sharding gains nothing here."},
		Goals: []Goal{{"goodput", "≥ 95 %", "97 %", "met"}, {"p99", "≤ 3 ×", "7 ×", "missed"},
			{"panics", "0", "", ""}},
		Tables: []Table{{"A table", []string{"", "a|b"}, [][]string{{"x", "1\n2"}}}},
		Plots:  []Plot{{Name: "latency", Title: "Latency", Series: []Series{{Name: "s", Points: []Point{{1, 2}}}}}},
		Laws:   []USL{{Lambda: 1, Points: 2}}, Notes: []string{"a note"}, Void: []string{"a void run"},
		Late:    []string{"a late run"},
		Medians: []Measurement{{Arm: "single", All: Stats{Statuses: map[int]int{500: 1}}}},
		Runs:    []Measurement{{Arm: "single", Round: 1, Classes: []Stats{{Class: "read"}}}}}
}

func TestMarkdown(t *testing.T) {
	text := aReport("compare", "mix").Markdown("plots")
	for _, want := range []string{"## compare: mix\n", "`notesd bench compare`",
		"notesd 1.2.3, 2026-11-23 19:00 UTC, 2 cores of AMD EPYC, 24 GB",
		"Void:", "- a void run\n", "- a late run\n", "| goodput | ≥ 95 % | 97 % | met |\n",
		"| p99 | ≤ 3 × | 7 × | **missed** |\n",
		"| panics | 0 | – | not measured |\n", `| a\|b |`, "| x | 1 2 |\n", "![Latency](plots/compare-mix-latency.svg)",
		"share the machine's 2 cores", "- single: one shard.\n", "Every server: LOG_LEVEL=warn",
		"- mix: 70 read, 30 list.\n", "- a note\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(aReport("compare", "mix").Markdown(""), "![") {
		t.Error("a plot is linked that is nowhere")
	}
}

// Void runs among others are told and no error; nothing but void runs is one,
// and a miss is one if that was asked for.
func TestJudgeAll(t *testing.T) {
	sound, void := aReport("compare", "mix"), aReport("compare", "mix") // both with a void run and a missed goal
	void.Medians = append(void.Medians, Measurement{Void: "late"})
	met := aReport("compare", "mix")
	met.Goals = met.Goals[:1]
	for name, test := range map[string]struct {
		reports []*Report
		strict  bool
		want    error
	}{
		"as it is":         {[]*Report{sound, met}, false, nil},
		"strict":           {[]*Report{met, sound}, true, ErrMissed},
		"strict, all met":  {[]*Report{met}, true, nil},
		"only void":        {[]*Report{sound, void}, false, ErrVoid},
		"only void, too":   {[]*Report{void}, true, ErrVoid},
		"nothing measured": {nil, true, nil},
	} {
		if got := judgeAll(test.reports, test.strict); !errors.Is(got, test.want) {
			t.Errorf("%s: judgeAll() = %v, want %v", name, got, test.want)
		}
	}
}

// What is written as JSON and read again is the same report, with the same text for people.
func TestJSON(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.json")
	want := []*Report{aReport("compare", "mix"), aReport("overload", "read=1,list=2")}
	if err := writeJSON(file, want); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	in := json.NewDecoder(bytes.NewReader(text))
	in.DisallowUnknownFields()
	var got []*Report
	if err := in.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got[1].Markdown("x") != want[1].Markdown("x") {
		t.Error("the report for people differs")
	}
}

// A file of reports has each once, and keeps what people have written between them.
func TestUpdate(t *testing.T) {
	dir := t.TempDir()
	file, plots := filepath.Join(dir, "docs", "BENCHMARKS.md"), filepath.Join(dir, "docs", "plots")
	if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	read := func() string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	update := func(r *Report) {
		t.Helper()
		if err := r.update(file, plots); err != nil {
			t.Fatal(err)
		}
	}
	first, second := aReport("compare", "health"), aReport("compare", "mix")
	update(first)
	update(second)
	whole := read()
	if !strings.HasPrefix(whole, reportHead) || !strings.Contains(whole, "](plots/compare-mix-latency.svg)") {
		t.Errorf("a new file:\n%s", whole)
	}
	update(first)
	if read() != whole {
		t.Errorf("the same report again changes the file:\n%s", read())
	}

	if err := os.WriteFile(file, []byte(strings.Replace(whole, "<!-- end -->\n", "<!-- end -->\nby hand\n", 1)),
		0o600); err != nil {
		t.Fatal(err)
	}
	first.Findings = []string{"something else"}
	update(first)
	got := read()
	for _, want := range []string{"something else", "by hand\n", "## compare: mix"} {
		if strings.Count(got, want) != 1 {
			t.Errorf("%q stands there %d times, want once:\n%s", want, strings.Count(got, want), got)
		}
	}

	if err := os.WriteFile(file, []byte("<!-- compare: mix -->\nno end"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := second.update(file, plots); err == nil || read() != "<!-- compare: mix -->\nno end" {
		t.Errorf("update() of a broken file = %v, want an error and the file as it was", err)
	}
}

func TestWritePlots(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	r := aReport("overload", "read=1,../x=2")
	if err := r.writePlots(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "overload-read_1____x_2-latency.svg"))
	if err != nil || len(circles(t, text)) != 1 {
		t.Errorf("the plot: %v\n%s", err, text)
	}
}

func TestProgress(t *testing.T) {
	for name, test := range map[string]struct {
		terminal bool
		want     string
	}{
		"elsewhere": {false, "a guess\n1/2 sharded\nC = 7\n2/2 single\n"},
		"terminal": {true, clearLine + "a guess" + clearLine + "[" + strings.Repeat("-", 24) +
			"] 1/2 sharded" + clearLine + "C = 7\n" +
			clearLine + "[" + strings.Repeat("#", 12) + strings.Repeat("-", 12) + "] 2/2 single, 0s left" + clearLine},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			p := &Progress{out: &out, terminal: test.terminal}
			p.Step("a guess")
			p.Expect(2)
			p.Step("sharded")
			p.Say("C = 7")
			p.Step("single")
			p.end()
			if out.String() != test.want {
				t.Errorf("%q, want %q", out.String(), test.want)
			}
		})
	}
}
