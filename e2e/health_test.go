package e2e

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"notesd/bench"
)

// loadTime is how long a load lasts: LOAD, or too short for figures.
func loadTime(t *testing.T) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(cmp.Or(os.Getenv("LOAD"), "300ms"))
	if err != nil {
		t.Fatalf("LOAD=%s, want a duration like 30s", os.Getenv("LOAD"))
	}
	return d
}

// The load test of the old checklist, 100 connections on /api/health for LOAD,
// single against cluster, in rounds that take turns: no request fails, and the
// cluster is not slower than what rounds differ by.
func TestLoadHealth(t *testing.T) {
	long(t, "it measures")
	d, rounds := loadTime(t), 3
	if os.Getenv("LOAD") == "" {
		rounds = 2
	}
	out, r := benchReport(t, "compare", "-work", "health", "-c", "100", "-d", d.String(), "-rounds", strconv.Itoa(rounds))
	t.Log(out)
	rates := map[string][]float64{}
	for _, m := range r.Runs {
		if a := m.All; a.Refused+a.Failed+a.Errors > 0 || a.Good == 0 || m.Void != "" {
			t.Errorf("%s, round %d: of %d requests %d good, %d refused, %d failed, %v, %s; want all good", m.Arm, m.Round, a.Sent, a.Good,
				a.Refused, a.Failed, a.ErrorKinds, m.Void)
		}
		if m.Connections != 100 || m.Seconds < d.Seconds() || m.ServerCores <= 0 || m.PeakRSS <= 0 {
			t.Errorf("%s, round %d: %d connections, %.1f s, %.2f cores, %d bytes", m.Arm, m.Round, m.Connections, m.Seconds, m.ServerCores,
				m.PeakRSS)
		}
		rates[m.Arm] = append(rates[m.Arm], m.All.Goodput)
	}
	single, cluster := rates["single"], rates["sharded"]
	if len(single) != rounds || len(cluster) != rounds {
		t.Fatalf("%d rounds of single and %d of cluster, want %d of each", len(single), len(cluster), rounds)
	}
	if slower(cluster, single) && runtime.NumCPU() > 1 {
		t.Errorf("every round of the cluster, %.0f requests/s, is slower than every one of single, %.0f", cluster, single)
	}
}

// slower tells whether all of a are below all of b: further than by what they differ among themselves.
func slower(a, b []float64) bool { return slices.Max(a) < slices.Min(b) }

// benchReport runs notesd bench and returns what it prints and its report.
func benchReport(t *testing.T, args ...string) (out string, r bench.Report) {
	t.Helper()
	p := newUnraced(t)
	out = p.must("", append(append([]string{"bench"}, args...), "-json", "report.json")...)
	text, err := os.ReadFile(filepath.Join(p.dir, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all []bench.Report
	if err := json.Unmarshal(text, &all); err != nil || len(all) != 1 {
		t.Fatalf("%d reports, %v, want one:\n%s", len(all), err, text)
	}
	return out, all[0]
}

// The table of the old checklist has every figure, in the file, with a row for
// the improvement; docs/BENCHMARKS.md has that table.
func TestBenchmarksTable(t *testing.T) {
	long(t, "it measures")
	p := newUnraced(t)
	p.must("", strings.Fields("bench compare -d 100ms -rounds 1 -people 2 -notes 3 -c 10 -markdown docs/B.md -svg docs/plots")...)
	head := "|  | requests/s | average | p95 | p99 | CPU | CPU a request | memory | refused/s | failed | generator |"
	const figures = `( \| [^|]*\d[^|]*){7} \|`
	rows := []string{`\| single` + figures, `\| sharded` + figures, `\| improvement` + figures}
	for _, file := range []string{filepath.Join(p.dir, "docs", "B.md"), "../docs/BENCHMARKS.md"} {
		page, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, work := range []string{"health", "mix"} {
			_, section, _ := strings.Cut(string(page), "\n## compare: "+work+"\n")
			section, _, _ = strings.Cut(section, "\n<!-- end -->")
			if !strings.Contains(section, head) {
				t.Errorf("%s: %s has no table with %s", file, work, head)
			}
			for _, row := range rows {
				if !regexp.MustCompile(row).MatchString(section) {
					t.Errorf("%s: %s has no row like %s in\n%s", file, work, row, section)
				}
			}
		}
	}
}

// notesd bench measures throughput against cores, and fits the universal
// scalability law where there is more than one.
func TestBenchScale(t *testing.T) {
	long(t, "it measures")
	out, r := benchReport(t, strings.Fields("scale -d 200ms -rounds 1 -people 2 -notes 3 -c 10")...)
	if len(r.Medians) == 0 || len(r.Plots) != 1 {
		t.Fatalf("%d measurements and %d plots:\n%s", len(r.Medians), len(r.Plots), out)
	}
	says := "Universal scalability law, measured"
	if runtime.NumCPU() == 1 {
		says = "One core shows nothing"
	}
	if !strings.Contains(out, says) {
		t.Errorf("it does not say %q:\n%s", says, out)
	}
}
