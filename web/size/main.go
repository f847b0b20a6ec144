// Command size prints how much of the web app a browser fetches, and when, compressed by gzip -9. It
// ends with status 1 if that is more than the goal.
//
//	go run ./web/size
package main

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

const dist = "web/dist"

// The goals, in bytes.
const (
	firstGoal  = 60_000
	editorGoal = 150_000
)

func main() {
	within, err := report()
	if err != nil {
		fmt.Fprintln(os.Stderr, "size:", err)
		os.Exit(1)
	}
	if !within {
		os.Exit(1)
	}
}

// report prints the sizes, and returns whether they are within the goals.
func report() (within bool, err error) {
	page, err := read("index.html")
	if err != nil {
		return false, err
	}
	first := map[string]bool{"index.html": true}
	for _, m := range regexp.MustCompile(`"/(assets/[^"]+)"`).FindAllSubmatch(page, -1) {
		if err := follow(string(m[1]), first); err != nil {
			return false, err
		}
	}
	editor := map[string]bool{}
	found, err := filepath.Glob(filepath.Join(dist, "assets", "rich-*.js.gz"))
	if err != nil || len(found) != 1 {
		return false, fmt.Errorf("the editor is in %v, %w", found, err)
	}
	if err := follow("assets/"+strings.TrimSuffix(filepath.Base(found[0]), ".gz"), editor); err != nil {
		return false, err
	}
	for name := range first {
		delete(editor, name)
	}
	within = true
	for _, part := range []struct {
		name  string
		files map[string]bool
		goal  int
	}{{"before the first note can be read", first, firstGoal}, {"the editor, after that", editor, editorGoal}} {
		total := 0
		for name := range part.files {
			n, err := packed(name)
			if err != nil {
				return false, err
			}
			total += n
		}
		verdict := "within"
		if total > part.goal {
			verdict, within = "ABOVE", false
		}
		fmt.Printf("%-36s %7d bytes in %2d files, %s %d\n", part.name, total, len(part.files), verdict, part.goal)
	}
	return within, nil
}

var imported = regexp.MustCompile(`(?:from|import)\s*"\./([^"]+)"`)

// follow adds a file and all that it imports at once to files.
func follow(name string, files map[string]bool) error {
	if files[name] {
		return nil
	}
	files[name] = true
	text, err := read(name)
	if err != nil {
		return err
	}
	for _, m := range imported.FindAllSubmatch(text, -1) {
		if err := follow("assets/"+string(m[1]), files); err != nil {
			return err
		}
	}
	return nil
}

// packed returns the size of a file compressed.
func packed(name string) (int, error) {
	text, err := os.ReadFile(filepath.Join(dist, name+".gz"))
	return len(text), err
}

// read returns the content of a file.
func read(name string) ([]byte, error) {
	file, err := os.Open(filepath.Join(dist, name+".gz"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	r, err := gzip.NewReader(file)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}
