package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"notesd/check"
)

// section is a place of a page that a command writes.
var section = regexp.MustCompile(`(?s)<!-- (\S[^>]*) -->\n(.*?)<!-- end -->\n`)

// Every proof is one command and has its section, and every section that was
// written names the command that wrote it: no figure stands there by hand.
func TestProofs(t *testing.T) {
	page := readText(t, "docs/RUNTIME.md")
	var commands, titles, written []string
	for _, m := range regexp.MustCompile("`make (prove-\\w+)` \\| \\[(.+?)\\]\\(#(.+?)\\)").FindAllStringSubmatch(page, -1) {
		commands, titles = append(commands, m[1]), append(titles, m[2])
		if anchor := strings.NewReplacer(":", "", " ", "-").Replace(m[2]); anchor != m[3] {
			t.Errorf("the link to %s goes to #%s, want #%s", m[2], m[3], anchor)
		}
	}
	for _, m := range section.FindAllStringSubmatch(page, -1) {
		written = append(written, m[1])
	}
	if len(titles) < 10 || !slices.Equal(titles, written) {
		t.Errorf("the table names the sections %q, there are %q", titles, written)
	}
	for _, target := range submatches(`(?m)^(prove-\w+):.*##`, readText(t, "Makefile")) {
		if !slices.Contains(commands, target) && !strings.Contains(page, "`make "+target+"`") {
			t.Errorf("docs/RUNTIME.md does not name make %s", target)
		}
	}
	checkSections(t, "docs/RUNTIME.md")
	checkSections(t, "docs/BENCHMARKS.md")
	checkSections(t, "docs/PERFORMANCE.md")
}

// checkSections goes through what commands have written to a page, if there is one.
func checkSections(t *testing.T, file string) {
	t.Helper()
	if _, err := os.Stat(file); err != nil {
		return // not run yet
	}
	page := readText(t, file)
	command := regexp.MustCompile("^`(\\w+=\\S+ )*(make prove-\\w+|notesd\\S* bench .*|go .*)`")
	for _, m := range section.FindAllStringSubmatch(page, -1) {
		text, ok := strings.CutPrefix(m[2], "## "+m[1]+"\n\n")
		if !ok || !command.MatchString(text) {
			t.Errorf("%s: the section %s does not begin with its title and command: %.200s", file, m[1], m[2])
		}
	}
	for _, plot := range submatches(`!\[[^\]]*\]\(([^)]+)\)`, page) {
		if _, err := os.Stat(filepath.Join(filepath.Dir(file), plot)); err != nil {
			t.Errorf("%s shows a plot that is not there: %v", file, err)
		}
	}
}

// docs/CHECKLIST.md is as the command writes it, but for verdicts, and the tests it names are there.
func TestChecklist(t *testing.T) {
	page := readText(t, "docs/CHECKLIST.md")
	var fresh strings.Builder
	if err := check.Judge(check.Facts{}).Checklist(&fresh, nil); err != nil {
		t.Fatal(err)
	}
	verdicts := regexp.MustCompile(`(?m)[^|]*\|$`)
	if verdicts.ReplaceAllString(page, "") != verdicts.ReplaceAllString(fresh.String(), "") {
		t.Error("docs/CHECKLIST.md is out of date: make checklist")
	}
	for _, m := range regexp.MustCompile(`(\w+)\.(Test\w+)`).FindAllStringSubmatch(page, -1) {
		pattern := strings.TrimPrefix(m[1]+"/", "main/") + "*_test.go"
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(files, func(f string) bool { return strings.Contains(readText(t, f), "func "+m[2]+"(") }) {
			t.Errorf("docs/CHECKLIST.md names %s, which is not in %s", m[0], pattern)
		}
	}
}
