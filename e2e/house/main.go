// Command house measures how the code is arranged: lines and files a folder, the largest types,
// sentences that treat things as people, lines that are repeated, words of the documents. What is
// above its bound is marked.
//
//	go run ./e2e/house [DIR]
package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Bounds of a folder of code and of a type.
const (
	maxLines   = 4500
	maxFiles   = 25
	maxFields  = 15
	maxMethods = 12 // of a type called Server
	maxColumns = 120
	maxRun     = 6 // repeated lines
	maxWords   = 11_000
)

func main() {
	dir := "."
	if len(os.Args) > 1 {
		dir = os.Args[1]
	}
	if err := run(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A folder is what was found in one.
type folder struct{ files, lines, testFiles, testLines int }

// A house is what was found in all of them.
type house struct {
	folders map[string]*folder
	fields  map[string]int // of each struct
	methods map[string]int // of each type
	people  map[string]int // comments that treat things as people, by file
	long    int            // lines
	runs    map[string][]string
}

// asPeople finds subjects that only a person should be.
var asPeople = regexp.MustCompile(`(?i)//.*\b(whoever|nobody|somebody|who (comes|asks|waits|has|is))\b`)

func run(dir string) error {
	h := house{map[string]*folder{}, map[string]int{}, map[string]int{}, map[string]int{}, 0, map[string][]string{}}
	words := map[string]int{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		hidden := strings.HasPrefix(d.Name(), ".") && rel != "."
		if d.IsDir() && (hidden || d.Name() == "testdata" || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		text, isGo := []byte(nil), strings.HasSuffix(path, ".go")
		if isGo || strings.HasSuffix(path, ".md") {
			if text, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		switch {
		case isGo:
			return h.add(rel, string(text))
		case strings.HasSuffix(path, ".md") && !strings.HasPrefix(rel, "findings") &&
			!strings.HasPrefix(rel, "docs/results"):
			words[rel] = writtenWords(string(text))
		}
		return nil
	})
	if err != nil {
		return err
	}
	h.print()
	total := 0
	for _, n := range words {
		total += n
	}
	fmt.Printf("\nwords of the documents without code and generated parts: %d%s\n", total, above(total, maxWords))
	for _, name := range slices.SortedFunc(maps.Keys(words), func(a, b string) int { return words[b] - words[a] }) {
		fmt.Printf("  %-36s %6d\n", name, words[name])
	}
	return nil
}

func (h *house) add(path, text string) error {
	dir := filepath.Dir(path)
	f := h.folders[dir]
	if f == nil {
		f = &folder{}
		h.folders[dir] = f
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if strings.HasSuffix(path, "_test.go") {
		f.testFiles, f.testLines = f.testFiles+1, f.testLines+len(lines)
		return nil
	}
	f.files, f.lines = f.files+1, f.lines+len(lines)
	for i, line := range lines {
		if len(strings.ReplaceAll(line, "\t", "    ")) > maxColumns {
			h.long++
		}
		if asPeople.MatchString(line) {
			h.people[path]++
		}
		if i+maxRun <= len(lines) {
			block := strings.Join(lines[i:i+maxRun], "\n")
			if letters := len(strings.Join(strings.Fields(block), "")); letters > 80 {
				h.runs[block] = append(h.runs[block], fmt.Sprintf("%s:%d", path, i+1))
			}
		}
	}
	file, err := parser.ParseFile(token.NewFileSet(), path, text, 0)
	if err != nil {
		return err
	}
	name := func(of string) string { return dir + "." + of }
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.TypeSpec:
			if s, ok := n.Type.(*ast.StructType); ok {
				for _, field := range s.Fields.List {
					h.fields[name(n.Name.Name)] += max(1, len(field.Names))
				}
			}
		case *ast.FuncDecl:
			if n.Recv != nil {
				of := n.Recv.List[0].Type
				if star, ok := of.(*ast.StarExpr); ok {
					of = star.X
				}
				if ident, ok := of.(*ast.Ident); ok {
					h.methods[name(ident.Name)]++
				}
			}
		}
		return true
	})
	return nil
}

func (h *house) print() {
	var all folder
	fmt.Printf("%-22s %6s %6s %11s %11s\n", "folder", "files", "lines", "test files", "test lines")
	for _, dir := range slices.Sorted(maps.Keys(h.folders)) {
		f := h.folders[dir]
		all.files, all.lines = all.files+f.files, all.lines+f.lines
		all.testFiles, all.testLines = all.testFiles+f.testFiles, all.testLines+f.testLines
		fmt.Printf("%-22s %6d %6d %11d %11d%s%s\n", dir, f.files, f.lines, f.testFiles, f.testLines,
			above(f.lines, maxLines), above(f.files, maxFiles))
	}
	fmt.Printf("%-22s %6d %6d %11d %11d\n", "all", all.files, all.lines, all.testFiles, all.testLines)
	top := func(what string, of map[string]int, bound func(name string) int) {
		fmt.Printf("\n%s\n", what)
		names := slices.SortedFunc(maps.Keys(of),
			func(a, b string) int { return cmp.Or(of[b]-of[a], strings.Compare(a, b)) })
		for _, name := range names[:min(len(names), 8)] {
			fmt.Printf("  %-36s %6d%s\n", name, of[name], above(of[name], bound(name)))
		}
	}
	top("structs with most fields", h.fields, func(name string) int {
		if strings.HasSuffix(name, ".Config") { // settings are many
			return 1 << 30
		}
		return maxFields
	})
	top("types with most methods", h.methods, func(name string) int {
		if strings.HasSuffix(name, ".Server") {
			return maxMethods
		}
		return 1 << 30
	})
	top("comments that treat things as people, a file", h.people, func(string) int { return 0 })
	people, repeated := 0, 0
	for _, n := range h.people {
		people += n
	}
	for block, places := range h.runs {
		if len(places) > 1 && !strings.HasPrefix(strings.TrimSpace(block), "\"") { // imports
			repeated++
		}
	}
	fmt.Printf("\nall such comments: %d%s\nlines above %d columns: %d%s\nruns of %d lines that are repeated: %d%s\n",
		people, above(people, 0),
		maxColumns, h.long, above(h.long, 0), maxRun, repeated, above(repeated, 0))
}

func above(n, bound int) string {
	if n > bound {
		return fmt.Sprintf("  above %d", bound)
	}
	return ""
}

var wordPattern = regexp.MustCompile(`[a-zA-Z0-9]`)

var generated = regexp.MustCompile(`(?s)<!-- [a-z]+[^>]*-->.*?<!-- end -->`)

// writtenWords counts what somebody has written: no code, no rule of a table, nothing that a
// command writes.
func writtenWords(text string) (n int) {
	code := false
	for line := range strings.Lines(generated.ReplaceAllString(text, "")) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			code = !code
			continue
		}
		if code {
			continue
		}
		for word := range strings.FieldsSeq(line) {
			if wordPattern.MatchString(word) {
				n++
			}
		}
	}
	return n
}
