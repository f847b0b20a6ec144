package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// section is a place of a page that a command writes.
var section = regexp.MustCompile(`(?s)<!-- (\S[^>]*) -->\n(.*?)<!-- end -->\n`)

// A claim is a row of a page's table of figures: what links to the file of results that holds goal, figure and verdict.
var claim = regexp.MustCompile("(?m)^\\| \\[[^]]+\\]\\((results/\\w+\\.md)\\) \\| ([^|]+) \\| ([^|]+) \\| ([^|]+) \\| `make prove NAME=(\\w+)` \\|$")

// Each figure of the tables in docs/RUNTIME.md and docs/PERFORMANCE.md stands in the results that its row links to, beside
// the same goal and verdict. Each proof has a row, and each proof that missed a goal has a row that says so.
func TestProofs(t *testing.T) {
	proofs := submatches(`(?m)^\t\{name: "(\w+)"`, readText(t, "bench/lab/prove/proofs.go"))
	var pages strings.Builder
	for _, page := range []string{"docs/RUNTIME.md", "docs/PERFORMANCE.md"} {
		text := readText(t, page)
		pages.WriteString(text)
		rows := claim.FindAllStringSubmatch(text, -1)
		if len(rows) < 5 {
			t.Errorf("%s has %d rows with figures", page, len(rows))
		}
		missed := map[string]bool{}
		for _, m := range rows {
			file, goal, measured, verdict, proof := m[1], m[2], m[3], m[4], m[5]
			row := regexp.MustCompile(`\| ` + regexp.QuoteMeta(goal) + ` \| ` + regexp.QuoteMeta(measured) + `( [^|]*|[,;:][^|]*)? \| ` +
				regexp.QuoteMeta(verdict) + ` \|\n`)
			if !row.MatchString(readText(t, "docs/"+file)) {
				t.Errorf("%s: docs/%s has no goal %q with %q, %s", page, file, goal, measured, verdict)
			}
			missed[file] = missed[file] || verdict == "**missed**"
			if !slices.Contains(proofs, proof) || file != "results/"+proof+".md" {
				t.Errorf("%s: make prove NAME=%s does not write docs/%s", page, proof, file)
			}
		}
		for file, said := range missed {
			if has := strings.Contains(readText(t, "docs/"+file), "**missed**"); has != said {
				t.Errorf("%s says of docs/%s missed: %v, want %v", page, file, said, has)
			}
		}
	}
	for _, proof := range proofs {
		if !strings.Contains(pages.String(), "`make prove NAME="+proof+"`") {
			t.Errorf("neither docs/RUNTIME.md nor docs/PERFORMANCE.md names make prove NAME=%s", proof)
		}
	}
	checkSections(t, "docs/BENCHMARKS.md")
	for _, file := range glob(t, "docs/results/*.md") {
		checkSections(t, file)
		if n := len(section.FindAllString(readText(t, file), -1)); n != 1 {
			t.Errorf("%s has %d sections, want one", file, n)
		}
	}
}

// checkSections goes through what commands have written to a page.
func checkSections(t *testing.T, file string) {
	t.Helper()
	page := readText(t, file)
	command := regexp.MustCompile("^`(\\w+=\\S+ )*(notesd\\S* bench .*|go .*)`")
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

// Every link of a document within the project leads to a file that is there, and to a heading in it; README leads to
// every document.
func TestLinks(t *testing.T) {
	pages := slices.Concat(glob(t, "*.md"), glob(t, "docs/*.md"), glob(t, "docs/results/*.md"))
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, page := range pages {
		if regexp.MustCompile(`(?m)^(<<<<<<<|>>>>>>>) `).MatchString(readText(t, page)) {
			t.Errorf("%s has both sides of a merge in it", page)
		}
		for _, m := range link.FindAllStringSubmatch(withoutCode(readText(t, page)), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			file := page
			if target != "" {
				file = filepath.Join(filepath.Dir(page), target)
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
			} else if anchor != "" && !slices.Contains(anchors(readText(t, file)), anchor) {
				t.Errorf("%s links to %s, and %s has no such heading", page, m[1], file)
			}
		}
	}
	readme := readText(t, "README.md")
	for _, page := range glob(t, "docs/*.md") {
		if !strings.Contains(readme, "]("+page+")") {
			t.Errorf("README.md does not link to %s", page)
		}
	}
}

// The picture of the packages has no arrow that mayImport has not.
func TestPackagesPicture(t *testing.T) {
	_, picture, _ := strings.Cut(readText(t, "docs/ARCHITECTURE_DIAGRAMS.md"), "## The packages\n")
	picture, _, _ = strings.Cut(picture, "\n## ")
	arrows := regexp.MustCompile(`(?m)^    (\S+) --> (.+)$`).FindAllStringSubmatch(picture, -1)
	if len(arrows) < 5 {
		t.Fatalf("docs/ARCHITECTURE_DIAGRAMS.md has %d arrows between packages", len(arrows))
	}
	for _, m := range arrows {
		from := strings.Replace(m[1], "main", ".", 1)
		for to := range strings.SplitSeq(m[2], " & ") {
			if !slices.Contains(mayImport[from], "notesd/"+to) {
				t.Errorf("docs/ARCHITECTURE_DIAGRAMS.md: %s --> %s is no import", m[1], to)
			}
		}
	}
}

// The source files that documents name are there, and so are the directories of README's tree, which has all with Go.
func TestSourcesNamed(t *testing.T) {
	for _, page := range append(glob(t, "*.md"), glob(t, "docs/*.md")...) {
		text := readText(t, page)
		names := submatches("`(\\w[\\w/.-]*\\.go)`", text)
		switch page {
		case "CHANGELOG.md":
			continue // what was so once
		case "README.md":
			names = append(names, submatches("`([a-z]\\w*/)`", text)...)
			for _, file := range glob(t, "*/*.go") {
				if dir := filepath.Dir(file) + "/"; !slices.Contains(names, dir) {
					t.Errorf("README.md does not name %s", dir)
				}
			}
		}
		for _, name := range names {
			if _, err := os.Stat(name); err != nil {
				t.Errorf("%s names %s: %v", page, name, err)
			}
		}
	}
}

// What is shipped names documents, and headings in them, that are there.
func TestDocumentsNamed(t *testing.T) {
	named := regexp.MustCompile(`docs/([A-Z_]+\.md)(?:#([\w-]+))?`)
	var files []string
	for _, pattern := range []string{"Makefile", "Dockerfile", "*.yaml", "*.sh", "*.go", "internal/*/*.go", "env/*",
		"deploy/notesd*", "deploy/Caddyfile", "deploy/rolling",
		"deploy/prometheus/*", "deploy/kubernetes/*.y*ml"} {
		files = append(files, glob(t, pattern)...)
	}
	for _, file := range files {
		for _, m := range named.FindAllStringSubmatch(readText(t, file), -1) {
			if _, err := os.Stat("docs/" + m[1]); err != nil {
				t.Errorf("%s names %s: %v", file, m[0], err)
			} else if m[2] != "" && !slices.Contains(anchors(readText(t, "docs/"+m[1])), m[2]) {
				t.Errorf("%s names %s, which has no such heading", file, m[0])
			}
		}
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("%s: found %v, %v", pattern, found, err)
	}
	return found
}

// withoutCode is a page without what stands in it literally.
func withoutCode(page string) string {
	page = regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(page, "")
	return regexp.MustCompile("`[^`\n]*`").ReplaceAllStringFunc(page, func(code string) string {
		if strings.Contains(code, "](") {
			return ""
		}
		return code
	})
}

// anchors are what the headings of a page are linked to by, as GitHub has it: small letters, hyphens for spaces,
// nothing else but letters, digits and underscores, and a number after what was there before.
func anchors(page string) (all []string) {
	seen := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^#+ +(.+)$`).FindAllStringSubmatch(withoutCode(page), -1) {
		anchor := regexp.MustCompile(`[^\p{L}\p{N}_ -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		anchor = strings.ReplaceAll(anchor, " ", "-")
		if n := seen[anchor]; n > 0 {
			all = append(all, anchor+"-"+strconv.Itoa(n))
		} else {
			all = append(all, anchor)
		}
		seen[anchor]++
	}
	return all
}

// The tests that docs/CHECKLIST.md names are there.
func TestChecklist(t *testing.T) {
	checkTestsNamed(t, "docs/CHECKLIST.md", readText(t, "docs/CHECKLIST.md"))
}

// The tests that docs/SECURITY.md names are there.
func TestSecurityPage(t *testing.T) {
	checkTestsNamed(t, "docs/SECURITY.md", readText(t, "docs/SECURITY.md"))
}

// checkTestsNamed looks for each package.Test that a page names.
func checkTestsNamed(t *testing.T, file, page string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`\b([a-z][\w/]*)\.((?:Test|Fuzz)\w+)`).FindAllStringSubmatch(page, -1) {
		pattern := strings.TrimPrefix(m[1]+"/", "main/") + "*_test.go"
		files, err := filepath.Glob(pattern)
		inside, insideErr := filepath.Glob("internal/" + pattern)
		if err := errors.Join(err, insideErr); err != nil {
			t.Fatal(err)
		}
		files = append(files, inside...)
		if !slices.ContainsFunc(files, func(f string) bool { return strings.Contains(readText(t, f), "func "+m[2]+"(") }) {
			t.Errorf("%s names %s, which is not in %s", file, m[0], pattern)
		}
	}
}

// The documents of the old checklist are there under its names, and the diagrams are Mermaid.
func TestDocuments(t *testing.T) {
	for _, name := range []string{"docs/SCALING.md", "docs/DEPLOYMENT.md", "docs/ARCHITECTURE_DIAGRAMS.md", "docs/VERTICAL_SCALING_SUMMARY.md",
		"docs/CHECKLIST.md", "README.md"} {
		if page := readText(t, name); len(page) < 1000 || !strings.HasPrefix(page, "# ") {
			t.Errorf("%s has %d bytes, and begins with %.40q", name, len(page), page)
		}
	}
	if n := strings.Count(readText(t, "docs/ARCHITECTURE_DIAGRAMS.md"), "```mermaid\n"); n < 5 {
		t.Errorf("docs/ARCHITECTURE_DIAGRAMS.md has %d diagrams", n)
	}
}
