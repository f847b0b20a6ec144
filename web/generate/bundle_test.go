package main

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var installing sync.Mutex

// installed installs the packages, and skips the test where there is no npm.
func installed(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("npm"); err != nil && os.Getenv("CI") == "" {
		t.Skip("needs npm (Debian: apt-get install npm)")
	}
	installing.Lock()
	defer installing.Unlock()
	if err := install(".."); err != nil {
		t.Fatal(err)
	}
}

// The bundle in dist is what its sources and the pinned packages make. After a change:
//
//	go generate ./web
func TestBundle(t *testing.T) {
	t.Parallel()
	installed(t)
	files, err := packed("..")
	if err != nil {
		t.Fatal(err)
	}
	dist := map[string][]byte{}
	err = filepath.WalkDir("../dist", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel("../dist", path)
		if err != nil {
			return err
		}
		dist[filepath.ToSlash(name)], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	names := func(files map[string][]byte) []string { return slices.Sorted(maps.Keys(files)) }
	if diff := cmp.Diff(names(files), names(dist)); diff != "" {
		t.Errorf("dist is not what the sources make (-sources +dist); go generate ./web makes it:\n%s", diff)
	}
	for name, text := range files {
		if have, ok := dist[name]; ok && !bytes.Equal(have, text) {
			t.Errorf("dist/%s is not what the sources make; go generate ./web makes it", name)
		}
	}
}

// The sources have no error of types.
func TestTypes(t *testing.T) {
	t.Parallel()
	installed(t)
	tsc := exec.Command("node_modules/.bin/tsc", "--noEmit")
	tsc.Dir = ".."
	if out, err := tsc.CombinedOutput(); err != nil {
		t.Errorf("tsc: %v\n%s", err, out)
	}
}

// The tests of the sources pass.
func TestSources(t *testing.T) {
	t.Parallel()
	installed(t)
	test := exec.Command("npm", "test")
	test.Dir = ".."
	if out, err := test.CombinedOutput(); err != nil {
		t.Errorf("npm test: %v\n%s", err, out)
	}
}
