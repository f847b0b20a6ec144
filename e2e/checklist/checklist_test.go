package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"notesd/internal/check"
)

// What go test -json says of a test, and what that proves. Nothing but a test that ended well, with
// all its parts, is ok.
func TestReadResults(t *testing.T) {
	const (
		begin = `{"Action":"run","Package":"notesd/e2e","Test":"TestDrain"}` + "\n"
		pass  = `{"Action":"pass","Package":"notesd/e2e","Test":"TestDrain","Elapsed":1.5}` + "\n"
		skip  = `{"Action":"output","Package":"notesd/e2e","Test":"TestDrain","Output":"    a_test.go:7: no engine\n"}
{"Action":"skip","Package":"notesd/e2e","Test":"TestDrain"}` + "\n"
		part    = `{"Action":"run","Package":"notesd/e2e","Test":"TestDrain/a"}` + "\n"
		passed  = `{"Action":"pass","Package":"notesd/e2e"}` + "\n"
		failed  = `{"Action":"fail","Package":"notesd/e2e"}` + "\n"
		unbuilt = `{"ImportPath":"notesd/e2e [notesd/e2e.test]","Action":"build-output","Output":"a_test.go:1: syntax error\n"}
{"ImportPath":"notesd/e2e [notesd/e2e.test]","Action":"build-fail"}
{"Action":"start","Package":"notesd/e2e"}
{"Action":"fail","Package":"notesd/e2e","Elapsed":0,"FailedBuild":"notesd/e2e [notesd/e2e.test]"}` + "\n"
	)
	ofPart := func(event string) string { return strings.ReplaceAll(event, "TestDrain", "TestDrain/a") }
	for name, test := range map[string]struct {
		events string
		want   string
	}{
		"nothing":                       {"", "not run"},
		"no JSON":                       {"FAIL notesd/e2e [setup failed]\n", "not run"},
		"a package that does not build": {unbuilt, "not run"},
		"well":                          {begin + pass + passed, "ok"},
		"among other lines":             {"go: downloading\n" + begin + "null\n{}\n" + pass, "ok"},
		"skipped":                       {begin + skip + passed, "skipped, no engine"},
		"a part skipped":                {begin + part + ofPart(skip) + pass + passed, "skipped, no engine"},
		"a part of a part skipped": {begin + part + strings.ReplaceAll(skip, "TestDrain",
			"TestDrain/a/b") + ofPart(pass) + pass, "skipped, no engine"},
		"skipped without a word": {begin + `{"Action":"skip","Package":"notesd/e2e","Test":"TestDrain"}`,
			"skipped, no reason given"},
		"failed": {begin + strings.ReplaceAll(pass, "pass", "fail") + failed, "fail"},
		"a part failed": {begin + part + ofPart(strings.ReplaceAll(pass, "pass",
			"fail")) + pass + passed, "fail"},
		"died":                          {begin + failed, "fail"},
		"died after a part was well":    {begin + part + ofPart(pass), "not run"},
		"its package failed without it": {begin + pass + failed, "fail"},
		"its package failed by another": {begin + pass + strings.NewReplacer("TestDrain", "TestCut", "pass",
			"fail").Replace(begin+pass) + failed, "ok"},
		"well, then failed": {begin + pass + begin + strings.ReplaceAll(pass, "pass", "fail") + failed,
			"fail"},
		"failed, then well": {begin + strings.ReplaceAll(pass, "pass", "fail") + begin + pass + failed,
			"fail"},
		"another package's of that name": {strings.ReplaceAll(begin+pass, "notesd/e2e", "notesd/server"), "not run"},
		"another package's below that one": {strings.ReplaceAll(begin+pass, "notesd/e2e", "notesd/e2e/more") + failed,
			"not run"},
	} {
		all, err := readResults(strings.NewReader(test.events), io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if got := all.of("e2e.TestDrain").String(); got != test.want {
			t.Errorf("%s: e2e.TestDrain is %q, want %q", name, got, test.want)
		}
		if said := all.of("e2e.").said; name == "a package that does not build" && (len(all.failed()) != 1 || len(said) != 1) {
			t.Errorf("%s: %v failed, and it says %q, want the compiler's words", name, all.failed(), said)
		}
	}
}

// proven has every test of the checklist end well, but for those that ends says something else of.
func proven(t *testing.T, ends map[string]string) results {
	t.Helper()
	var names []string
	for _, it := range checklist {
		names = append(names, it.allTests()...)
	}
	var b strings.Builder
	for _, test := range unique(append(names, slices.Collect(maps.Keys(ends))...)) {
		where, name, _ := strings.Cut(test, ".")
		where = strings.TrimSuffix("notesd/"+where, "/main")
		if end := cmp.Or(ends[test], "pass"); end != "never" {
			fmt.Fprintf(&b,
				`{"Action":"output","Package":%q,"Test":%q,"Output":"    a_test.go:1: told of %s\n"}`+"\n", where,
				name, name)
			fmt.Fprintf(&b, `{"Action":%q,"Package":%q,"Test":%q,"Elapsed":2}`+"\n", end, where, name)
		}
	}
	all, err := readResults(strings.NewReader(b.String()), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// judged is a report of notesd check in which every row is ok, but for those that verdicts names.
func judged(verdicts map[string]check.Verdict) check.Report {
	r := check.Report{Rows: slices.Clone(rows)}
	for i := range r.Rows {
		r.Rows[i].Verdict = cmp.Or(verdicts[r.Rows[i].ID], check.OK)
	}
	return r
}

// The verdict of an item is the worst of what it depends on, on the page and in the summary.
func TestOutcomes(t *testing.T) {
	bad := judged(map[string]check.Verdict{"session-secret": check.Warn})
	const image, drain = "e2e.TestImage", "e2e.TestSecondSignal"
	for name, test := range map[string]struct {
		report  check.Report
		ends    map[string]string
		worst   check.Verdict
		page    string
		summary string
	}{
		"all well": {judged(nil), nil, check.OK, "; `make prove NAME=drain` | ok |\n",
			"ok         6.0s  Graceful shutdown handling\n"},
		"skipped": {judged(nil), map[string]string{image: "skip"}, skipped,
			"e2e.TestHealthcheck | skipped (e2e.TestImage: skipped, told of TestImage) |\n",
			"! e2e.TestImage: skipped, told of TestImage\n"},
		"failed": {judged(nil), map[string]string{image: "fail"}, check.Fail,
			"| fail (e2e.TestImage: fail) |\n",
			"\ne2e.TestImage, its last lines:\n    a_test.go:1: told of TestImage\n"},
		"failed, and in no row": {judged(nil), map[string]string{"e2e.TestInNoRow": "fail"}, check.Fail,
			"; `make prove NAME=drain` | ok |\n",
			"\ne2e.TestInNoRow, its last lines:\n    a_test.go:1: told of TestInNoRow\n"},
		"not run": {judged(nil), map[string]string{drain: "never"}, notRun,
			"| not run (e2e.TestSecondSignal: not run) |\n", "NOT RUN    4.0s  Graceful shutdown handling\n"},
		"a row to look at": {bad, nil, check.Warn, "| warn (check session-secret: warn) |\n",
			"! check session-secret: warn\n"},
		"no stack was judged": {check.Report{}, map[string]string{judgesProduction: "skip"}, skipped,
			"| Process | `workers` | workers fit the cores | not run |\n", "make check-setup: drain, grace\n"},
		"a report that was lost": {check.Report{}, nil, notRun, "check drain: not run; check grace: not run) |\n",
			"! check drain: not run\n"},
	} {
		t.Run(name, func(t *testing.T) {
			e := evidence{test.report, proven(t, test.ends)}
			var page, summary strings.Builder
			worst, err := e.writeSummary(&summary)
			if err := errors.Join(err, e.writePage(&page)); err != nil {
				t.Fatal(err)
			}
			if worst != test.worst || !strings.Contains(page.String(),
				test.page) || !strings.Contains(summary.String(), test.summary) {
				t.Errorf("%s, want %s; with %q:\n%s\nwith %q:\n%s", worst, test.worst, test.page, page.String(),
					test.summary, summary.String())
			}
		})
	}
}

// What does not pass: a failure and a test that did not run, ever; what was skipped or not known,
// if strict.
func TestPasses(t *testing.T) {
	for v, want := range map[check.Verdict][2]bool{check.NotApplicable: {true, true}, check.OK: {true, true},
		check.Unknown: {true, false}, check.Warn: {true, false}, skipped: {true, false}, notRun: {false, false},
		check.Fail: {false, false}} {
		if got := [2]bool{passes(v, false), passes(v, true)}; got != want {
			t.Errorf("%s passes, and strictly: %v, want %v", v, got, want)
		}
	}
}

// The command of a row runs its tests in full, in their packages, and none twice.
func TestCommandOfRow(t *testing.T) {
	const want = "ROLLS=1 go test -v . ./config ./e2e -count=1 -timeout 1h -run '^(TestA|TestRolling|TestZ)$'"
	if got := goTest("-v ", []string{"e2e.TestZ", "main.TestA", "e2e.TestRolling", "config.TestA",
		"e2e.TestZ"}); got != want {
		t.Errorf("it is\n%s\nwant\n%s", got, want)
	}
	for test := range inFull {
		if !slices.ContainsFunc(checklist, func(it item) bool { return slices.Contains(it.tests, test) }) {
			t.Errorf("%s is in no row", test)
		}
	}
	// make e2e runs the tests of the rows that stand elsewhere, and all of e2e.
	got := testCommand()
	for _, want := range []string{"go test -json -p 1 . ", "|TestFitUSL|",
		"; LOAD=30s ROLLS=1 go test -json ./e2e -count=1"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
	if strings.Contains(got, "TestDrain") || strings.Contains(got, "-short") {
		t.Errorf("%s leaves out tests of e2e", got)
	}
}

// The checklist names only rows that notesd check has, and all of them.
func TestChecklistNamesRows(t *testing.T) {
	named := map[string]bool{}
	for _, it := range checklist {
		for _, id := range it.rows {
			named[id] = true
			if !slices.ContainsFunc(rows, func(f check.Finding) bool { return f.ID == id }) {
				t.Errorf("%q names the row %s, which is not there", it.promise, id)
			}
		}
	}
	for _, row := range rows {
		if !named[row.ID] {
			t.Errorf("the checklist does not name the row %s", row.ID)
		}
	}
}

// docs/CHECKLIST.md is what the command writes, apart from the verdicts.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/CHECKLIST.md")
	if err != nil {
		t.Fatal(err)
	}
	var fresh strings.Builder
	if err := (evidence{}).writePage(&fresh); err != nil {
		t.Fatal(err)
	}
	verdicts := regexp.MustCompile(`(?m)[^|]*\|$`)
	if verdicts.ReplaceAllString(string(page), "") != verdicts.ReplaceAllString(fresh.String(), "") {
		t.Error("docs/CHECKLIST.md is out of date: make checklist")
	}
}

// The program does what make e2e and make checklist ask for, and names a file that is not there.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	report, tests := filepath.Join(dir, "check.json"), filepath.Join(dir, "tests.json")
	if err := errors.Join(os.WriteFile(report, []byte("{}\n"), 0o600), os.WriteFile(tests, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	const failed = `{"Action":"fail","Package":"notesd/e2e","Test":"TestDrain","Elapsed":1.5}`
	for name, test := range map[string]struct {
		args  []string
		in    string
		want  string // in the output
		fails string // in the error; "": none
	}{
		"the command":  {[]string{"-command"}, "", "go test -json ./e2e", ""},
		"a fresh page": {[]string{"-page", "-report", report, "-tests", tests}, "", "# The checklist\n", ""},
		"nothing has run": {[]string{"-report", report, "-tests", tests}, "", "rows: 0 ok, 0 failed",
			"not every row passed"},
		"progress": {[]string{"-report", report, "-tests", "-"}, failed, "fail       1.5s  e2e.TestDrain\n",
			"not every row passed"},
		"no tests":  {[]string{"-report", report, "-tests", "none.json"}, "", "", "none.json"},
		"no report": {[]string{"-report", "none.json", "-tests", tests}, "", "", "none.json"},
		"a report of tests": {[]string{"-report", os.DevNull, "-tests", tests}, "", "",
			"not the output of notesd check -json"},
		"an unknown flag": {[]string{"-loud"}, "", "-strict", "-loud"},
	} {
		var out strings.Builder
		err := run(test.args, strings.NewReader(test.in), &out)
		if fails := fmt.Sprint(err); !strings.Contains(out.String(), test.want) || (err == nil) != (test.fails == "") ||
			err != nil && !strings.Contains(fails, test.fails) {
			t.Errorf("%s: %v, want %q; it says %q, want %q", name, err, test.fails, out.String(), test.want)
		}
	}
}
