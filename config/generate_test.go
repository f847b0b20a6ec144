package config

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/joho/godotenv"
)

// root is the directory of the repository.
const root = ".."

// The templates and the table of the documentation are what go generate ./config writes.
func TestGenerated(t *testing.T) {
	files, err := generated(root)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		if diff := cmp.Diff(want, readText(t, name)); diff != "" {
			t.Errorf("%s is out of date (go generate ./config): -want +got\n%s", name, diff)
		}
	}
}

// capitals are the letters of a variable's name.
const capitals = "ABCDEFGHIJKLMNOPQRSTUVWXYZ_"

// Beyond the table, the documentation speaks of no setting that there is not, or was not.
func TestDocumentationNamesSettings(t *testing.T) {
	known := []string{"NAME", "NAME_FILE", "REDACTED", "GOGC"} // the last is Go's own
	for _, s := range new(loader).table() {
		known = append(known, s.name, s.name+"_FILE")
	}
	known = slices.AppendSeq(known, maps.Keys(retired))
	for i, code := range strings.Split(readText(t, documentation), "`") {
		name, _, _ := strings.Cut(code, "=")
		quoted, isName := i%2 == 1, name != "" && strings.Trim(name, capitals) == ""
		if quoted && isName && !slices.Contains(known, name) {
			t.Errorf("%s speaks of %s, which is no setting", documentation, name)
		}
	}
}

// env/production.env sets exactly these, and until the secrets' files are made nothing starts.
func TestProductionTemplateIsRefused(t *testing.T) {
	values := readTemplate(t, readText(t, productionTemplate))
	var names, environ []string
	for name, text := range values {
		names = append(names, name)
		environ = append(environ, name+"="+text)
	}
	slices.Sort(names)
	want := []string{"ADMIN_TOKEN_FILE", "CORS_ORIGIN", "REGISTRATION", "SESSION_SECRET_FILE", "SITE_ADDRESS"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("%s sets: -want +got\n%s", productionTemplate, diff)
	}

	_, err := load(append(environ, "APP_ENV=production"), fourCores(t))
	mistakes := strings.Split(fmt.Sprint(err), "\n")
	for i, name := range []string{"SESSION_SECRET", "ADMIN_TOKEN"} {
		want := fmt.Sprintf("%s_FILE=%q is not a file with the secret: ", name, "secrets/"+strings.ToLower(name))
		if len(mistakes) != 2 || !strings.HasPrefix(mistakes[i], want) {
			t.Errorf("Load() of the template = %v, want a mistake for %s_FILE", err, name)
		}
	}
}

// Every line of the templates can be uncommented without a change of what is in force.
func TestTemplatesHoldDefaults(t *testing.T) {
	for name, environ := range map[string][]string{
		developmentTemplate: nil,
		productionTemplate:  inProduction("REGISTRATION=closed"), // which it sets
	} {
		m := fourCores(t)
		plain, err := load(environ, m)
		if err != nil {
			t.Fatal(err)
		}
		values := readTemplate(t, strings.ReplaceAll(readText(t, name), "\n#", "\n"))
		for setting, text := range values {
			if setting = strings.TrimSuffix(setting, "_FILE"); setting == "SESSION_SECRET" || setting == "ADMIN_TOKEN" {
				continue // the files are each installation's own
			}
			if !slices.ContainsFunc(environ, func(e string) bool { return strings.HasPrefix(e, setting+"=") }) {
				environ = append(environ, setting+"="+text)
			}
		}
		full, err := load(environ, m)
		if err != nil {
			t.Fatalf("%s uncommented: %v", name, err)
		}
		for i, s := range full.Settings() {
			if p := plain.Settings()[i]; s.Name != p.Name || s.Value != p.Value {
				t.Errorf("%s uncommented: %s is %s, want %s", name, s.Name, s.Value, p.Value)
			}
		}
	}
}

// readTemplate returns the lines of a template that set something; prose is left out.
func readTemplate(t *testing.T, text string) map[string]string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(text) {
		if name, _, ok := strings.Cut(line, "="); ok && strings.Trim(name, capitals) == "" {
			lines = append(lines, line)
		}
	}
	values, err := godotenv.Unmarshal(strings.Join(lines, ""))
	if err != nil {
		t.Fatal(err)
	}
	if len(values) != len(lines) {
		t.Errorf("%d lines set %d variables", len(lines), len(values))
	}
	return values
}

// readText reads a file by its name in the repository.
func readText(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
