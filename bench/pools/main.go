// Pools runs the benchmarks of notesd's pool beside those of two goroutine
// pools and sets them against what RUNTIME promises, as a report like those of
// notesd bench.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"notesd/bench"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pools:", err)
		os.Exit(1)
	}
}

const command = "go -C bench/pools run ."

func run(args []string) error {
	flags := flag.NewFlagSet("pools", flag.ContinueOnError)
	markdown := flags.String("markdown", "", "file of reports to put this one into, in place of the last")
	strict := flags.Bool("strict", false, "exit with an error when a goal is missed")
	rounds := flags.Int("rounds", 5, "rounds in which the packages take turns: figures are medians")
	each := flags.String("d", "0.3s", "time for each benchmark")
	if err := flags.Parse(args); err != nil {
		return err
	}
	results := results{}
	for round := range *rounds {
		fmt.Fprintf(os.Stderr, "%d/%d\n", round+1, *rounds)
		for _, dir := range []string{filepath.Join("..", "..", "pool"), "."} {
			if err := results.measure(dir, *each); err != nil {
				return err
			}
		}
	}
	report := bench.NewReport("pool", strings.Join(append([]string{command}, args...), " "),
		cmp.Or(os.Getenv("VERSION"), "of this tree"))
	results.fill(report, *rounds)
	if err := report.Publish(os.Stdout, *markdown, ""); err != nil {
		return err
	}
	return report.Judge(*strict)
}

// A benchmark is one line of Go's output, without its figures.
type benchmark struct {
	name, way string
	cpus      int
}

// results are figures by benchmark and unit, one for each round.
type results map[benchmark]map[string][]float64

// measure runs the benchmarks of the package in dir.
func (r results) measure(dir, each string) error {
	cmd := exec.Command("go", "test", "-run", "^$", "-bench", "^Benchmark(Uncontended|Contended)$", "-benchmem", "-cpu", "1,2",
		"-benchtime", each, ".")
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%v in %s: %w\n%s", cmd, dir, err, out)
	}
	return r.read(out)
}

var line = regexp.MustCompile(`^Benchmark(\w+)/(\S+?)(?:-(\d+))?\s+\d+\s+(.*)$`)

// read takes the figures out of what go test prints.
func (r results) read(out []byte) error {
	read := 0
	for in := bufio.NewScanner(bytes.NewReader(out)); in.Scan(); {
		m := line.FindStringSubmatch(in.Text())
		if m == nil {
			continue
		}
		cpus, _ := strconv.Atoi(cmp.Or(m[3], "1")) // digits
		b := benchmark{m[1], strings.ReplaceAll(m[2], "_", " "), cpus}
		if r[b] == nil {
			r[b] = map[string][]float64{}
		}
		read++
		fields := strings.Fields(m[4])
		for i := 0; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return fmt.Errorf("%q: %w", in.Text(), err)
			}
			r[b][fields[i+1]] = append(r[b][fields[i+1]], value)
		}
	}
	if read == 0 {
		return fmt.Errorf("no benchmarks in\n%s", out)
	}
	return nil
}

// median is a figure's; false when it was not measured.
func (r results) median(name, way string, cpus int, unit string) (float64, bool) {
	all := slices.Sorted(slices.Values(r[benchmark{name, way, cpus}][unit]))
	if len(all) == 0 {
		return 0, false
	}
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2, true
}

// shown are the ways in the order of the table; ours come first.
var shown = []string{"pool", "pool of one shard", "pool with a limited class", "pool Do", "plain call", "channel semaphore",
	"x sync semaphore", "ants", "pond"}

const (
	uncontended = "Uncontended"
	contended   = "Contended"
	wall        = "ns/op"
	cpu         = "cpu-ns/op"
	allocations = "allocs/op"
)

// fill holds the pool to what is promised, and sets the others beside it.
func (r results) fill(report *bench.Report, rounds int) {
	for _, cpus := range []int{1, 2} {
		at := fmt.Sprintf(", -cpu %d", cpus)
		took, ok := r.median(uncontended, "pool", cpus, wall)
		report.Promise("acquire and release, uncontended"+at, "≤ 100 ns", fmt.Sprintf("%.0f ns", took), ok && took <= 100)
		allocs, ok := r.median(uncontended, "pool", cpus, allocations)
		report.Promise("allocations of that"+at, "0", fmt.Sprintf("%.0f", allocs), ok && allocs == 0)
		for _, by := range []struct{ unit, name string }{{wall, "contended"}, {cpu, "contended, CPU time of all cores"}} {
			took, ok = r.median(contended, "pool", cpus, by.unit)
			report.Promise("acquire and release, "+by.name+at, "≤ 1 µs", fmt.Sprintf("%.2f µs", took/1000), ok && took <= 1000)
		}
	}
	columns := []struct {
		head, name, unit string
		cpus             int
	}{
		{"uncontended, -cpu 1", uncontended, wall, 1}, {"-cpu 2", uncontended, wall, 2},
		{"CPU, -cpu 2", uncontended, cpu, 2}, {"allocations", uncontended, allocations, 2},
		{"contended, -cpu 1", contended, wall, 1}, {"-cpu 2", contended, wall, 2}, {"CPU, -cpu 1", contended, cpu, 1},
		{"CPU, -cpu 2", contended, cpu, 2}, {"allocations", contended, allocations, 2},
	}
	t := bench.Table{Title: "ns/op", Head: []string{""}}
	for _, c := range columns {
		t.Head = append(t.Head, c.head)
	}
	for _, way := range shown {
		row := []string{way}
		for _, c := range columns {
			text := "–"
			if value, ok := r.median(c.name, way, c.cpus, c.unit); ok {
				text = fmt.Sprintf("%.4g", value)
			}
			row = append(row, text)
		}
		t.Rows = append(t.Rows, row)
	}
	report.Tables = append(report.Tables, t)
	report.Notes = append(report.Notes, fmt.Sprintf("Rounds in which the packages take turns: %d; figures are their "+
		"medians. The body is empty: all that is measured is the way in and out.", rounds),
		"Uncontended: one goroutine, 4 workers. Contended: 16 goroutines a core, 2 workers. CPU is that of the process, on all its cores.",
		"The semaphores bound what runs, and do nothing else. ants and pond run a function on another goroutine, for which the "+
			"asking one waits; a handler may not leave its connection's goroutine. None of them has an order, classes, a bound on "+
			"waiting or anything to say about a panic.")
}
