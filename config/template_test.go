package config

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/joho/godotenv"
)

var update = flag.Bool("update", false, "write the templates and the table of docs/CONFIGURATION.md anew")

const (
	developmentTemplate = "../env/development.env"
	productionTemplate  = "../env/production.env"
	documentation       = "../docs/CONFIGURATION.md"
)

const developmentHead = `# notesd in development. Every setting with its default: remove the # before a name to change it.
#
#   cp env/development.env .env
#
# The file .env of the working directory is read at start (not in production); the environment wins over it.
# docs/CONFIGURATION.md says what is allowed. An empty value is an unset one. A secret can also be had from a file,
# under the name with _FILE at its end: SESSION_SECRET_FILE=/run/secrets/session
`

const productionHead = `# notesd in production. What has no # before it is yours to set. Secrets are in files of their own.
#
#   cp env/production.env env/production.local.env
#   deploy/secrets                                   makes the files
#
# The other settings stand with their default: remove the # before a name to change it. compose.prod.yaml sets APP_ENV
# and the addresses itself; to start notesd without compose, set APP_ENV=production.
# docs/CONFIGURATION.md says what is allowed. An empty value is an unset one. A secret can also be had from a file,
# under the name with _FILE at its end: SESSION_SECRET_FILE=/run/secrets/session
`

// template writes the file of env/ for development or production.
func template(production bool) string {
	var out strings.Builder
	out.WriteString(developmentHead)
	if production {
		out.Reset()
		out.WriteString(productionHead)
	}
	for _, s := range new(draft).table() {
		compose := s.kind.read == nil
		if compose && !production && strings.HasPrefix(s.meaning, "for compose.prod.yaml") {
			continue
		}
		fmt.Fprintf(&out, "\n# %s%s", strings.ToUpper(s.meaning[:1]), s.meaning[1:])
		switch {
		case production && s.secret && s.sample != "":
			out.WriteString("; deploy/secrets makes the file")
		case s.derived != "":
			fmt.Fprintf(&out, " (default: %s)", s.derived)
		}
		mark, text := "#", s.initialIn(production)
		if production && s.sample != "" {
			mark, text = "", s.sample
		}
		if production && s.name == "APP_ENV" {
			text = "production"
		}
		name := s.name
		if production && s.secret && s.sample != "" {
			name += "_FILE"
		}
		fmt.Fprintf(&out, "\n%s%s=%s\n", mark, name, text)
	}
	return out.String()
}

const (
	tableBegins = "<!-- The table is written by: go test ./config -update -->\n"
	tableEnds   = "<!-- End of the table. -->\n"
)

// markdown writes the table of docs/CONFIGURATION.md.
func markdown() string {
	var out strings.Builder
	out.WriteString("| Setting | Default | Allowed | Meaning |\n|---|---|---|---|\n")
	for _, s := range new(draft).table() {
		allowed := s.allowed
		if s.kind.read == nil {
			allowed = "read by compose, not by notesd"
		}
		if s.secret {
			allowed += " (also from a file: `" + s.name + "_FILE`)"
		}
		fmt.Fprintf(&out, "| `%s` | %s | %s | %s |\n", s.name, defaultOf(s), allowed, s.meaning+s.hint())
	}
	return out.String()
}

// defaultOf says what a setting is when it is not set.
func defaultOf(s setting) string {
	text := "none"
	switch {
	case s.derived != "":
		text = s.derived
	case s.initial != "":
		text = "`" + s.initial + "`"
	}
	switch {
	case s.required:
		text += "; production: must be set"
	case s.production != "":
		text += "; production: `" + s.production + "`"
	case s.sample != "" && s.initial != "":
		text += "; in env/production.env `" + s.sample + "`"
	case s.sample != "":
		text = "must be set"
	}
	return text
}

// The templates and the documentation say what the code does.
func TestTemplatesAndDocumentation(t *testing.T) {
	for name, want := range map[string]string{
		developmentTemplate: template(false),
		productionTemplate:  template(true),
		documentation:       documented(t),
	} {
		if *update {
			if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(want, readText(t, name)); diff != "" {
			t.Errorf("%s is behind the code (go test ./config -update): -want +got\n%s", name, diff)
		}
	}
}

// documented is the documentation with the table as it should be.
func documented(t *testing.T) string {
	head, rest, begins := strings.Cut(readText(t, documentation), tableBegins)
	_, tail, ends := strings.Cut(rest, tableEnds)
	if !begins || !ends {
		t.Fatalf("%s lacks the marks of its table", documentation)
	}
	return head + tableBegins + "\n" + markdown() + "\n" + tableEnds + tail
}

// capitals are the letters of a variable's name.
const capitals = "ABCDEFGHIJKLMNOPQRSTUVWXYZ_"

// Beyond the table, the documentation speaks of no setting that there is not, or was not.
func TestDocumentationNamesSettings(t *testing.T) {
	known := []string{"NAME", "NAME_FILE", "REDACTED"}
	for _, s := range new(draft).table() {
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

func readText(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
