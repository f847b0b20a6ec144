// Command generate bundles the web app: from web/src, and the packages that web/package-lock.json
// pins, into web/dist. `go generate ./web` runs it. It needs npm.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := generate("."); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// generate bundles the app in the directory web and writes it into its directory dist.
func generate(web string) error {
	if err := install(web); err != nil {
		return err
	}
	files, err := packed(web)
	if err != nil {
		return err
	}
	dist := filepath.Join(web, "dist")
	if err := os.RemoveAll(dist); err != nil {
		return err
	}
	for name, text := range files {
		path := filepath.Join(dist, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
