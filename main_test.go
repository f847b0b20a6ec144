package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Who may import whom. A package that is not here imports nothing of ours.
var mayImport = map[string][]string{
	".":                        {"notesd/internal/cli"},
	"bench":                    {"notesd/bench/format"},
	"bench/lab":                {"notesd/bench", "notesd/bench/format"},
	"bench/lab/faulty":         {"notesd/internal/cli", "notesd/server", "notesd/server/router"},
	"bench/pools":              {"notesd/bench"},
	"merge/cases":              {"notesd/merge"},
	"merge/compare":            {"notesd/merge"},
	"e2e/checklist":            {"notesd/internal/check"},
	"config":                   {"notesd/internal/owned"},
	"config/generate":          {"notesd/config"},
	"internal/incident":        {"notesd/internal/owned"},
	"store":                    {"notesd/internal/heavy", "notesd/merge", "notesd/notes", "notesd/notes/query", "notesd/store/delta", "notesd/store/engine", "notesd/store/pgnotify", "notesd/store/schema", "notesd/store/trigram"},
	"notes/query":              {"notesd/notes", "notesd/notes/searchfold"},
	"notes/searchfold":         {"notesd/notes"},
	"store/trigram":            {"notesd/notes/searchfold"},
	"store/dump":               {"notesd/notes", "notesd/store/engine", "notesd/store/pgnotify", "notesd/store/schema"},
	"store/inspect":            {"notesd/store/engine"},
	"store/pgnotify":           {"notesd/store/engine"},
	"store/engine":             {"notesd/internal/netutil", "notesd/internal/owned", "notesd/store/migrations"},
	"pool":                     {"notesd/internal/histogram"},
	"internal/redis":           {"notesd/internal/netutil"},
	"internal/redis/redistest": {"notesd/internal/redis"},
	"internal/ratelimit":       {"notesd/internal/netutil", "notesd/internal/redis"},
	"server/events":            {"notesd/store"},
	"server/listener":          {"notesd/internal/netutil"},
	"server/admin":             {"notesd/internal/cache", "notesd/internal/histogram", "notesd/internal/incident", "notesd/internal/owned", "notesd/internal/ratelimit", "notesd/internal/redis", "notesd/internal/webhook", "notesd/notes", "notesd/pool", "notesd/server/auth", "notesd/server/events", "notesd/server/listener", "notesd/server/router", "notesd/store"},
	"server/apidoc/apidoctest": {"notesd/server/apidoc"},
	"server/auth":              {"notesd/internal/cache", "notesd/internal/heavy", "notesd/internal/netutil", "notesd/internal/ratelimit", "notesd/internal/redis", "notesd/notes", "notesd/server/router", "notesd/store"},
	"server":                   {"notesd/internal/incident", "notesd/internal/ratelimit", "notesd/internal/redis", "notesd/notes", "notesd/pool", "notesd/server/admin", "notesd/server/api", "notesd/server/auth", "notesd/server/events", "notesd/server/listener", "notesd/server/router", "notesd/store", "notesd/web"},
	"server/api":               {"notesd/internal/cache", "notesd/internal/heavy", "notesd/merge", "notesd/notes", "notesd/notes/query", "notesd/server/apidoc", "notesd/server/auth", "notesd/server/events", "notesd/server/router", "notesd/store"},
	"server/router":            {"notesd/internal/heavy", "notesd/internal/netutil", "notesd/internal/ratelimit", "notesd/pool", "notesd/server/listener"},
	"web":                      {"notesd/server/router"},
	"store/storetest":          {"notesd/internal/testkit", "notesd/internal/testserver", "notesd/store"},

	"internal/testserver": {"notesd/internal/testkit"},
	"internal/cli":        {"notesd/bench", "notesd/config", "notesd/internal/check", "notesd/internal/heavy", "notesd/internal/incident", "notesd/internal/legacy", "notesd/internal/logging", "notesd/internal/redis", "notesd/internal/upgrade", "notesd/notes", "notesd/pool", "notesd/server", "notesd/server/admin", "notesd/server/api", "notesd/server/auth", "notesd/server/events", "notesd/server/router", "notesd/store", "notesd/store/dump", "notesd/store/engine", "notesd/store/inspect"},
}

// What only some packages may import, by the beginnings of import paths.
var importedBy = map[string][]string{
	"database/sql":              {"bench/lab", "store", "store/dump", "store/engine", "store/inspect"},
	"github.com/alexedwards/":   {"server/auth"},
	"github.com/evanw/esbuild/": {"web/generate"},
	"github.com/jackc/": {"bench/lab", "bench/plain", "internal/legacy", "internal/testserver", "store", "store/dump", "store/engine",
		"store/inspect", "store/pgnotify"},
	"github.com/labstack/":   {"server/router"},
	"github.com/pquerna/":    {"server/auth"},
	"github.com/prometheus/": {"server/admin"},
	"github.com/yeqown/":     {"server/auth"},
	"golang.org/x/crypto/":   {"server/auth"},
	"gorm.io/":               {"store", "store/engine"},
}

// Packages that know no HTTP.
var withoutHTTP = []string{
	"config", "internal/cache", "internal/heavy", "internal/histogram", "internal/incident", "internal/legacy",
	"internal/logging", "internal/netutil", "internal/ratelimit", "internal/redis", "internal/upgrade", "merge",
	"notes", "notes/query", "notes/searchfold", "pool", "server/apidoc", "server/events", "store", "store/delta", "store/dump", "store/engine",
	"store/inspect", "store/pgnotify", "store/schema", "store/trigram",
}

// The arrows between packages point the way that mayImport says.
func TestImports(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		dir := filepath.Dir(path)
		seen[dir] = true
		for _, imported := range imports(t, path) {
			if strings.HasPrefix(imported, "notesd/") && !slices.Contains(mayImport[dir], imported) {
				t.Errorf("%s imports %s, which %s may not", path, imported, dir)
			}
			for prefix, dirs := range importedBy {
				if strings.HasPrefix(imported, prefix) && !slices.Contains(dirs, dir) {
					t.Errorf("%s imports %s, which only %v may", path, imported, dirs)
				}
			}
			if strings.HasPrefix(imported, "net/http") && slices.Contains(withoutHTTP, dir) {
				t.Errorf("%s imports %s, and %s must know no HTTP", path, imported, dir)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{".", "config", "internal/check", "internal/cli", "internal/incident", "internal/logging",
		"internal/upgrade", "merge", "notes", "pool", "server", "store"} {
		if !seen[dir] {
			t.Errorf("found no package in %s", dir)
		}
	}
}

// imports are the packages that a file imports.
func imports(t *testing.T, path string) (paths []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range file.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, p)
	}
	return paths
}

// modernc.org/sqlite works with exactly the modernc.org/libc that its go.mod
// names; a newer one, which any other dependency may bring, corrupts it silently.
func TestLibcIsSQLites(t *testing.T) {
	list := func(module, field string) string {
		out, err := exec.Command("go", "list", "-m", "-f", "{{."+field+"}}", module).Output()
		if err != nil {
			t.Fatalf("go list -m %s: %v", module, err)
		}
		return strings.TrimSpace(string(out))
	}
	text, err := os.ReadFile(list("modernc.org/sqlite", "GoMod"))
	if err != nil {
		t.Fatal(err)
	}
	if have := "modernc.org/libc " + list("modernc.org/libc", "Version"); !strings.Contains(string(text), have) {
		t.Errorf("go.mod has %s, which is not what modernc.org/sqlite's names", have)
	}
}
