package main

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

	"notesd/internal/check"
)

// These verdicts are for tests alone. notesd check gives neither.
const (
	skipped check.Verdict = "skipped"
	notRun  check.Verdict = "not run"
)

// order lists all verdicts from the best to the worst.
var order = []check.Verdict{check.NotApplicable, check.OK, check.Unknown, check.Warn, skipped, notRun, check.Fail}

// worst returns the worst of verdicts. It returns NotApplicable if there are none.
func worst(verdicts ...check.Verdict) check.Verdict {
	w := check.NotApplicable
	for _, v := range verdicts {
		if slices.Index(order, v) > slices.Index(order, w) {
			w = v
		}
	}
	return w
}

// passes reports whether a verdict asks for no change. If strict is true, warnings, skipped tests
// and unknown results do not pass either.
func passes(v check.Verdict, strict bool) bool {
	limit := skipped
	if strict {
		limit = check.OK
	}
	return worst(v, limit) == limit
}

// results maps a test, as package.Test, to its result. A package that failed by itself has an entry
// under its name and a dot.
type results map[string]*result

// A result is the result of one test and its subtests.
type result struct {
	own   check.Verdict // the verdict of the test itself; "": it never ended
	parts check.Verdict // the worst verdict of its subtests
	why   string        // why it, or the first of its subtests, was skipped
	took  time.Duration // the time of the test itself or of a subtest, which may have run in parallel
	said  []string      // the last lines of its output and of its subtests' output
}

// maxLines is how many of the last lines of a test are kept: its own output, and then the log of
// its server.
const maxLines = 100

// An event is a line of the output of go test -json.
type event struct {
	Action, Package, Test, Output string
	ImportPath                    string  // of compiler output, in place of Package, with a suffix
	Elapsed                       float64 // seconds
}

// readResults reads the output of go test -json, and writes a line of progress for every test that
// ends. A test is ok if it passed and no part of it was skipped. A test that does not end, because
// its package does not build or crashes, proves nothing.
func readResults(in io.Reader, progress io.Writer) (results, error) {
	all := results{}
	for lines := bufio.NewReader(in); ; {
		line, err := lines.ReadBytes('\n')
		var e event
		if json.Unmarshal(line, &e) == nil && e.Action != "" {
			all.add(e, progress)
		}
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the results of go test -json: %w", err)
		}
	}
}

// ends maps the actions that end a test or a package to their verdicts.
var ends = map[string]check.Verdict{"pass": check.OK, "fail": check.Fail, "skip": skipped}

// add adds one event.
func (all results) add(e event, progress io.Writer) {
	test, _, isPart := strings.Cut(e.Test, "/")
	importPath, _, _ := strings.Cut(e.ImportPath, " ")
	name := testName(cmp.Or(e.Package, importPath), test)
	r := all[name]
	if r == nil {
		r = &result{}
		all[name] = r
	}
	end := ends[e.Action]
	if e.Output != "" {
		r.said = append(r.said[max(0, len(r.said)-maxLines+1):], strings.TrimRight(e.Output, "\n"))
	}
	if end == "" {
		return
	}
	r.took = max(r.took, time.Duration(e.Elapsed*float64(time.Second)))
	switch {
	case test == "" && end == check.Fail:
		all.failPackage(name)
	case test == "": // the tests of the package have the results
	case isPart:
		r.parts = worst(r.parts, end)
	default:
		r.own = worst(r.own, end)
		fmt.Fprintf(progress, "%-7s %7s  %s\n", end, seconds(r.took), name)
	}
	if end == skipped {
		r.why = cmp.Or(r.why, reason(r.said))
	}
}

// failed returns the sorted names of all that failed.
func (all results) failed() (names []string) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if all[name].own == check.Fail {
			names = append(names, name)
		}
	}
	return names
}

// failPackage marks a package and all of its tests as failed, unless a failed test explains the
// failure.
func (all results) failPackage(prefix string) {
	var inside []*result
	for name, r := range all {
		if strings.HasPrefix(name, prefix) {
			inside = append(inside, r)
		}
	}
	if slices.ContainsFunc(inside, func(r *result) bool { return r.own == check.Fail }) {
		return
	}
	for _, r := range inside {
		r.own = check.Fail
	}
}

// reason finds the reason for which a test was skipped in its last lines.
func reason(said []string) string {
	at := regexp.MustCompile(`^\s*\w+_test\.go:\d+: (.+)`)
	for _, line := range slices.Backward(said) {
		if m := at.FindStringSubmatch(line); m != nil {
			return m[1]
		}
	}
	return "no reason given"
}

// of returns the result of a test. It returns an empty result if the test is missing.
func (all results) of(test string) *result { return cmp.Or(all[test], &result{}) }

// verdict returns the verdict of the test as a whole.
func (r *result) verdict() check.Verdict {
	if r.own == "" {
		return notRun
	}
	return worst(r.own, r.parts)
}

func (r *result) String() string {
	if r.verdict() == skipped {
		return "skipped, " + r.why
	}
	return string(r.verdict())
}

// testName returns the name of a test in the checklist. The package at the root of the module is
// called main.
func testName(path, test string) string {
	_, name, found := strings.Cut(path, "/")
	if !found {
		name = "main"
	}
	return name + "." + test
}

// seconds formats a duration for people.
func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }
