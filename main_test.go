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
	"merge/compare":            {"notesd/merge"},
	"e2e/checklist":            {"notesd/internal/check"},
	"config":                   {"notesd/internal/owned"},
	"config/generate":          {"notesd/config"},
	"internal/incident":        {"notesd/internal/owned"},
	"store":                    {"notesd/internal/heavy", "notesd/merge", "notesd/notes", "notesd/store/delta", "notesd/store/engine", "notesd/store/pgnotify", "notesd/store/schema", "notesd/store/trigram"},
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
	"server/admin":             {"notesd/internal/cache", "notesd/internal/histogram", "notesd/internal/incident", "notesd/internal/ratelimit", "notesd/internal/redis", "notesd/internal/webhook", "notesd/pool", "notesd/server/auth", "notesd/server/listener", "notesd/server/router", "notesd/store"},
	"server/apidoc/apidoctest": {"notesd/server/apidoc"},
	"server/auth":              {"notesd/internal/cache", "notesd/internal/heavy", "notesd/internal/netutil", "notesd/internal/ratelimit", "notesd/internal/redis", "notesd/notes", "notesd/store"},
	"server":                   {"notesd/internal/incident", "notesd/internal/ratelimit", "notesd/internal/redis", "notesd/notes", "notesd/pool", "notesd/server/admin", "notesd/server/api", "notesd/server/apidoc", "notesd/server/auth", "notesd/server/listener", "notesd/server/router", "notesd/store"},
	"server/api":               {"notesd/internal/cache", "notesd/internal/heavy", "notesd/notes", "notesd/server/auth", "notesd/server/router", "notesd/store"},
	"server/router":            {"notesd/internal/heavy", "notesd/internal/netutil", "notesd/internal/ratelimit", "notesd/pool", "notesd/server/listener"},
	"store/storetest":          {"notesd/internal/testkit", "notesd/internal/testserver", "notesd/store"},

	"internal/testserver": {"notesd/internal/testkit"},
	"internal/cli":        {"notesd/bench", "notesd/config", "notesd/internal/check", "notesd/internal/heavy", "notesd/internal/incident", "notesd/internal/legacy", "notesd/internal/logging", "notesd/internal/redis", "notesd/internal/upgrade", "notesd/notes", "notesd/pool", "notesd/server", "notesd/server/admin", "notesd/server/api", "notesd/server/auth", "notesd/store", "notesd/store/dump", "notesd/store/engine", "notesd/store/inspect"},
}

// What packages must not know of, by the beginnings of import paths.
var mustNotKnow = map[string][]string{
	"store/dump":      {"net/http", "github.com/labstack/", "gorm.io/"},
	"pool":            {"net/http", "github.com/labstack/", "database/sql", "gorm.io/"},
	"store":           {"net/http", "github.com/labstack/"},
	"store/engine":    {"net/http", "github.com/labstack/"},
	"store/inspect":   {"net/http", "github.com/labstack/", "gorm.io/"},
	"store/pgnotify":  {"net/http", "github.com/labstack/", "gorm.io/"},
	"store/schema":    {"net/http", "github.com/labstack/", "database/sql", "gorm.io/", "notesd/"},
	"store/delta":     {"net/http", "github.com/labstack/", "database/sql", "gorm.io/", "notesd/"},
	"store/trigram":   {"net/http", "github.com/labstack/", "database/sql", "gorm.io/", "notesd/"},
	"internal/legacy": {"net/http", "github.com/labstack/", "gorm.io/", "notesd/"},
	"merge":           {"net/http", "github.com/labstack/", "database/sql", "gorm.io/", "notesd/"},
	"notes":           {"net/http", "github.com/labstack/", "database/sql", "gorm.io/", "notesd/"},
	"internal/cache":  {"net/http", "github.com/labstack/", "database/sql", "gorm.io/", "notesd/"},
	"config":          {"net/http", "github.com/labstack/", "database/sql", "gorm.io/"},
	"server/admin":    {"github.com/labstack/", "database/sql", "gorm.io/", "github.com/jackc/"},
	"server/api":      {"github.com/labstack/", "database/sql", "gorm.io/", "github.com/jackc/"},
	"server/router":   {"database/sql", "gorm.io/", "github.com/jackc/"},
	"server":          {"github.com/labstack/", "gorm.io/", "github.com/jackc/", "github.com/alexedwards/", "golang.org/x/crypto/"},
	"server/apidoc":   {"net/http", "github.com/labstack/", "database/sql", "gorm.io/", "notesd/"},
	"server/auth":     {"github.com/labstack/", "database/sql", "gorm.io/", "github.com/jackc/"},

	"internal/check":     {"github.com/labstack/", "database/sql", "gorm.io/", "github.com/jackc/", "notesd/"},
	"internal/incident":  {"net/http", "github.com/labstack/", "database/sql", "gorm.io/"},
	"internal/logging":   {"net/http", "github.com/labstack/", "database/sql", "gorm.io/", "notesd/"},
	"internal/upgrade":   {"net/http", "github.com/labstack/", "database/sql", "gorm.io/", "notesd/"},
	"internal/heavy":     {"net/http", "github.com/labstack/", "database/sql", "gorm.io/", "notesd/"},
	"internal/histogram": {"net/http", "github.com/labstack/", "database/sql", "gorm.io/", "notesd/"},
	"internal/webhook":   {"github.com/labstack/", "database/sql", "gorm.io/", "notesd/"},
	"internal/netutil":   {"net/http", "github.com/labstack/", "database/sql", "gorm.io/", "notesd/"},
	"internal/redis":     {"net/http", "github.com/labstack/", "database/sql", "gorm.io/"},
	"internal/ratelimit": {"net/http", "github.com/labstack/", "database/sql", "gorm.io/"},
	"server/events":      {"net/http", "github.com/labstack/", "database/sql", "gorm.io/", "github.com/jackc/"},
	"server/listener":    {"github.com/labstack/", "database/sql", "gorm.io/"},
}

// The arrows between packages point the way that mayImport says.
func TestImports(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
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
			for _, forbidden := range mustNotKnow[dir] {
				if strings.HasPrefix(imported, forbidden) {
					t.Errorf("%s imports %s, of which %s must know nothing", path, imported, dir)
				}
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
