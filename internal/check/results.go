package check

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Results are what became of tests, by package.Test, and of packages that failed by themselves, by package and a dot.
type Results map[string]*result

// A result is what became of one test and its subtests.
type result struct {
	own   Verdict       // of its own end; "": it never ended
	parts Verdict       // the worst of its subtests
	why   string        // it, or the first of its subtests, was skipped
	took  time.Duration // its own or that of a subtest, which may have run beside it
	said  []string      // the last lines, its subtests' among them
}

// most of the last lines of a test that are kept: what it says, and behind that the log of its server.
const most = 100

// An event is a line of what go test -json writes.
type event struct {
	Action, Package, Test, Output string
	ImportPath                    string  // instead of Package, with more behind it, of what the compiler says
	Elapsed                       float64 // seconds
}

// ReadResults reads what go test -json writes, and tells progress of every test that ends. A test is ok if it ended well
// and no part of it was skipped; one that does not end, for its package does not build or dies, proves nothing.
func ReadResults(in io.Reader, progress io.Writer) (Results, error) {
	results := Results{}
	for lines := bufio.NewReader(in); ; {
		line, err := lines.ReadBytes('\n')
		var e event
		if json.Unmarshal(line, &e) == nil && e.Action != "" {
			results.take(e, progress)
		}
		if err == io.EOF {
			return results, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the results of go test -json: %w", err)
		}
	}
}

// ends are the actions that end a test or a package.
var ends = map[string]Verdict{"pass": OK, "fail": Fail, "skip": Skipped}

// take notes one event.
func (results Results) take(e event, progress io.Writer) {
	test, _, isPart := strings.Cut(e.Test, "/")
	importPath, _, _ := strings.Cut(e.ImportPath, " ")
	name := testName(cmp.Or(e.Package, importPath), test)
	r := results[name]
	if r == nil {
		r = &result{}
		results[name] = r
	}
	end := ends[e.Action]
	if e.Output != "" {
		r.said = append(r.said[max(0, len(r.said)-most+1):], strings.TrimRight(e.Output, "\n"))
	}
	if end == "" {
		return
	}
	r.took = max(r.took, time.Duration(e.Elapsed*float64(time.Second)))
	switch {
	case test == "" && end == Fail:
		results.failPackage(name)
	case test == "": // its tests say all there is to say
	case isPart:
		r.parts = worst(r.parts, end)
	default:
		r.own = worst(r.own, end)
		fmt.Fprintf(progress, "%-7s %7s  %s\n", end, seconds(r.took), name)
	}
	if end == Skipped {
		r.why = cmp.Or(r.why, reason(r.said))
	}
}

// failed are the names of what failed, sorted.
func (results Results) failed() (names []string) {
	for _, name := range slices.Sorted(maps.Keys(results)) {
		if results[name].own == Fail {
			names = append(names, name)
		}
	}
	return names
}

// failPackage fails a package, and every test in it, unless one of them is why it failed.
func (results Results) failPackage(prefix string) {
	var all []*result
	for name, r := range results {
		if strings.HasPrefix(name, prefix) {
			all = append(all, r)
		}
	}
	if slices.ContainsFunc(all, func(r *result) bool { return r.own == Fail }) {
		return
	}
	for _, r := range all {
		r.own = Fail
	}
}

// reason is why a test was skipped, of its last lines.
func reason(said []string) string {
	at := regexp.MustCompile(`^\s*\w+_test\.go:\d+: (.+)`)
	for _, line := range slices.Backward(said) {
		if m := at.FindStringSubmatch(line); m != nil {
			return m[1]
		}
	}
	return "no reason given"
}

// of is what became of a test, of one that is not there, too.
func (results Results) of(test string) *result { return cmp.Or(results[test], &result{}) }

// verdict is of the test as a whole.
func (r *result) verdict() Verdict {
	if r.own == "" {
		return NotRun
	}
	return worst(r.own, r.parts)
}

func (r *result) String() string {
	if r.verdict() == Skipped {
		return "skipped, " + r.why
	}
	return string(r.verdict())
}

// testName is a test as the checklist names it; the module's own package is main.
func testName(path, test string) string {
	_, name, found := strings.Cut(path, "/")
	if !found {
		name = "main"
	}
	return name + "." + test
}

// seconds writes a duration for people.
func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }
