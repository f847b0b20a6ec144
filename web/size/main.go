// Command size prints how much of the web app a browser fetches, and when, compressed by gzip -9. It
// ends with status 1 if that is more than the goal.
//
//	go run ./web/size
package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
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
	page, err := os.ReadFile(filepath.Join(dist, "index.html"))
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
	found, err := filepath.Glob(filepath.Join(dist, "assets", "rich-*.js"))
	if err != nil || len(found) != 1 {
		return false, fmt.Errorf("the editor is in %v, %w", found, err)
	}
	if err := follow("assets/"+filepath.Base(found[0]), editor); err != nil {
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
	text, err := os.ReadFile(filepath.Join(dist, name))
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
	text, err := os.ReadFile(filepath.Join(dist, name))
	if err != nil {
		return 0, err
	}
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return 0, err
	}
	if _, err := w.Write(text); err != nil {
		return 0, err
	}
	if err := w.Close(); err != nil {
		return 0, err
	}
	return out.Len(), nil
}
