package main

import (
	"strings"
	"testing"

	"notesd/bench"
)

const printed = `goos: linux
BenchmarkUncontended/pool         	 4681870	        76.50 ns/op	        76.54 cpu-ns/op	       0 B/op	       0 allocs/op
BenchmarkUncontended/pool-2       	 4705034	        %s ns/op	        77.13 cpu-ns/op	       0 B/op	       0 allocs/op
BenchmarkContended/pool           	 1270737	       498.3 ns/op	       494.6 cpu-ns/op	       0 B/op	       0 allocs/op
BenchmarkContended/pool-2         	 1000000	       566.3 ns/op	       1000 cpu-ns/op	       0 B/op	       0 allocs/op
BenchmarkContended/x_sync_semaphore-2	 1000000	       412.4 ns/op	       405.5 cpu-ns/op	     144 B/op	       2 allocs/op
PASS
`

// Medians of what go test prints, on the edge of the goals and beyond it.
func TestRead(t *testing.T) {
	for slowest, want := range map[string]string{"101": "met", "103": "missed"} {
		r := results{}
		for _, took := range []string{"99", slowest} {
			if err := r.read([]byte(strings.Replace(printed, "%s", took, 1))); err != nil {
				t.Fatal(err)
			}
		}
		report := bench.NewReport("pool", command, "1")
		r.fill(report, 2)
		verdicts := map[string]int{}
		for _, g := range report.Goals {
			verdicts[g.Verdict]++
		}
		if g := report.Goals[4]; g.Verdict != want || verdicts["met"]+verdicts["missed"] != 8 || verdicts["met"] < 7 {
			t.Errorf("with %s ns: %+v, want %s", slowest, report.Goals, want)
		}
		if text := report.Markdown(""); !strings.Contains(text, "| x sync semaphore | – | – | – | – | – | 412.4 | – | 405.5 | 2 |") {
			t.Errorf("the table:\n%s", text)
		}
	}
}

// What was not measured is no goal that was met.
func TestNothingRead(t *testing.T) {
	if err := (results{}).read([]byte("PASS\n")); err == nil {
		t.Error("read() of no benchmarks = nil")
	}
	report := bench.NewReport("pool", command, "1")
	results{}.fill(report, 1)
	for _, g := range report.Goals {
		if g.Verdict != "missed" {
			t.Errorf("%+v, want it missed", g)
		}
	}
}
