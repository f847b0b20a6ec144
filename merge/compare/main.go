// Command compare writes docs/MERGE.md: what package merge, git merge-file, GNU diff3 and node-diff3 make of the
// cases in merge/testdata. It needs git, diff3, node and npm, and runs in the module's directory.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"notesd/merge"
)

const (
	page     = "docs/MERGE.md"
	nodePack = "node-diff3@3.2.1"
	conflict = "conflict"
)

// nodeMerge reads three files and prints the merge, or nothing and fails if there is a conflict.
const nodeMerge = `
const { readFileSync } = require("fs"), { merge } = require("node-diff3");
const [ours, base, theirs] = process.argv.slice(1).map((name) => readFileSync(name, "utf8").split("\n"));
const r = merge(ours, base, theirs);
if (r.conflict) process.exit(1);
process.stdout.write(r.result.join("\n"));`

type hardCase struct {
	ID, Base, Ours, Theirs, Want, Why string
	Conflict                          bool
}

func main() {
	log.SetFlags(0)
	dir, err := os.MkdirTemp("", "merge")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := write(dir); err != nil {
		log.Fatal(err)
	}
}

func write(dir string) error {
	install := exec.Command("npm", "install", "--silent", "--no-audit", "--no-fund", nodePack)
	if install.Dir = dir; install.Run() != nil {
		return fmt.Errorf("npm can't install %s", nodePack)
	}
	tools := []struct {
		name    string
		command []string // followed by the names of ours, base and theirs
	}{
		{"git merge-file " + version("git", "--version"), []string{"git", "merge-file", "-p", "-q"}},
		{"git merge-file --union", []string{"git", "merge-file", "-p", "-q", "--union"}},
		{"GNU diff3 -m " + version("diff3", "--version"), []string{"diff3", "-m"}},
		{strings.Replace(nodePack, "@", " ", 1), []string{"node", "-e", nodeMerge}},
	}
	var b bytes.Buffer
	fmt.Fprint(&b, "# Merges compared\n\n<!-- merges, written by: go run ./merge/compare -->\n\nThe cases are in "+
		"`merge/testdata`, and tests of package merge.\n"+
		"*right*: the merge that a reader of the three texts expects. *wrong*: clean, and another "+
		"text.\n\n| case | notesd |")
	for _, tool := range tools {
		fmt.Fprintf(&b, " %s |", tool.name)
	}
	fmt.Fprint(&b, " what it is |\n|"+strings.Repeat("---|", len(tools)+3)+"\n")
	for _, file := range []string{"cases.json", "kinds.json"} {
		cases, err := read(filepath.Join("merge", "testdata", file))
		if err != nil {
			return err
		}
		for _, c := range cases {
			ours := conflict
			if r := merge.Text(c.Base, c.Ours, c.Theirs); r.Clean() {
				ours = c.judge(r.Text())
			}
			fmt.Fprintf(&b, "| %s | %s |", c.ID, c.verdict(ours))
			for _, tool := range tools {
				got, err := c.run(dir, tool.command)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", c.ID, tool.name, err)
				}
				fmt.Fprintf(&b, " %s |", c.verdict(got))
			}
			fmt.Fprintf(&b, " %s |\n", c.Why)
		}
	}
	fmt.Fprint(&b, "\n<!-- end -->\n")
	return os.WriteFile(page, b.Bytes(), 0o644)
}

func read(name string) (cases []hardCase, err error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return cases, json.Unmarshal(text, &cases)
}

// judge says what a clean merge is.
func (c hardCase) judge(text string) string {
	if !c.Conflict && text == c.Want {
		return "right"
	}
	return "wrong"
}

// verdict names a conflict that is wanted right.
func (c hardCase) verdict(is string) string {
	if is == conflict && c.Conflict {
		return "right (conflict)"
	}
	return is
}

// run has a tool merge the case. A tool that fails found a conflict.
func (c hardCase) run(dir string, command []string) (string, error) {
	for name, text := range map[string]string{"ours": c.Ours, "base": c.Base, "theirs": c.Theirs} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	cmd := exec.Command(command[0], append(command[1:], "ours", "base", "theirs")...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if _, failed := err.(*exec.ExitError); failed {
		return conflict, nil
	}
	return c.judge(string(out)), err
}

// version is the last word of the first line that a tool says of itself.
func version(command ...string) string {
	out, err := exec.Command(command[0], command[1:]...).Output()
	line, _, _ := strings.Cut(string(out), "\n")
	words := strings.Fields(line)
	if err != nil || len(words) == 0 {
		return "?"
	}
	return words[len(words)-1]
}
