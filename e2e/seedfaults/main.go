// Command seedfaults puts one fault after the other into a copy of the code, runs the tests of the
// fault's package, and prints which test found it. It fails unless all are found.
//
//	go run ./e2e/seedfaults [REGEXP]
//
// REGEXP chooses faults by their names. Each run of a package stops at its first failure. The test
// that found a fault before is tried first, so that all of them take a quarter of an hour.
package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

//go:embed faults.txt
var list string

type fault struct{ name, likely, from, to string }

func main() {
	missed, err := run(append(os.Args[1:], "")[0])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if missed > 0 {
		os.Exit(3)
	}
}

func run(chosen string) (missed int, err error) {
	choice, err := regexp.Compile(chosen)
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "seedfaults-*")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	tree := filepath.Join(dir, "tree")
	if out, err := exec.Command("git", "worktree", "add", "--detach", tree, "HEAD").CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	defer exec.Command("git", "worktree", "remove", "--force", tree).Run()
	for _, f := range parse(list) {
		if !choice.MatchString(f.name) {
			continue
		}
		began := time.Now()
		pkg, found, err := f.try(tree)
		if err != nil {
			return missed, fmt.Errorf("%s: %w", f.name, err)
		}
		if found == "" {
			missed++
			found = "MISSED"
		}
		fmt.Printf("%-70s %-20s %4.0f s  %s\n", f.name, pkg, time.Since(began).Seconds(), found)
	}
	return missed, nil
}

func parse(text string) (faults []fault) {
	for line := range strings.Lines(text) {
		switch last := len(faults) - 1; {
		case strings.HasPrefix(line, "# "):
			faults = append(faults, fault{name: strings.TrimSpace(line[2:])})
		case last < 0: // what the list is
		case line[0] == '~':
			faults[last].likely = "^" + strings.TrimSpace(line[1:]) + "$"
		case line[0] == '-':
			faults[last].from += line[1:]
		case line[0] == '+':
			faults[last].to += line[1:]
		}
	}
	return faults
}

// try puts the fault into the tree, runs its package's tests, and takes it out again.
func (f fault) try(tree string) (pkg, found string, err error) {
	path, text, err := f.find(tree)
	if err != nil {
		return "", "", err
	}
	if err := os.WriteFile(path, bytes.Replace(text, []byte(f.from), []byte(f.to), 1), 0o644); err != nil {
		return "", "", err
	}
	defer os.WriteFile(path, text, 0o644)
	if pkg, err = filepath.Rel(tree, filepath.Dir(path)); err != nil {
		return "", "", err
	}
	packages := []string{"./" + pkg}
	if whole, _, inside := strings.Cut(pkg, "/"); inside && (whole == "server" || whole == "store") {
		packages = append(packages, "./"+whole) // has the tests of the whole
	}
	for _, tests := range []string{f.likely, "."} {
		if tests == "" {
			continue
		}
		if found, err = firstFailure(tree, tests, packages); found != "" || err != nil {
			break
		}
	}
	return pkg, found, err
}

// firstFailure returns the first test that fails, of those that tests matches.
func firstFailure(tree, tests string, packages []string) (found string, err error) {
	// A fault may be found by a wait that does not end.
	args := append([]string{"test", "-failfast", "-vet=off", "-timeout", "10m", "-run", tests}, packages...)
	test := exec.Command("go", args...)
	test.Dir = tree
	out, failure := test.CombinedOutput()
	if failure == nil {
		return "", nil
	}
	first := regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)|^panic: (.*)|DATA RACE`).FindSubmatch(out)
	if first == nil { // a fault that does not compile proves nothing
		return "", fmt.Errorf("no test failed: %s", out)
	}
	return string(first[1]) + string(first[2]), nil
}

// find returns the one file that holds the fault's code.
func (f fault) find(tree string) (path string, text []byte, err error) {
	err = filepath.WalkDir(tree, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return err
		}
		content, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		switch n := bytes.Count(content, []byte(f.from)); {
		case n == 1 && path == "":
			path, text = p, content
		case n > 0:
			return fmt.Errorf("its code stands in more than one place")
		}
		return nil
	})
	if err == nil && path == "" {
		err = fmt.Errorf("its code is nowhere")
	}
	return path, text, err
}
