package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

//go:generate go run ./generate

const (
	developmentTemplate = "env/development.env"
	productionTemplate  = "env/production.env"
	documentation       = "docs/CONFIGURATION.md"
)

const developmentHead = "" +
	`# notesd in development. Every setting with its default: remove the # before a name to change it.
#
#   cp env/development.env .env
#
# The file .env of the working directory is read at start (not in production); the environment wins over it.
# docs/CONFIGURATION.md says what is allowed. An empty value is an unset one. A secret can also be had from a file,
# under the name with _FILE at its end: SESSION_SECRET_FILE=/run/secrets/session
`

const productionHead = "" +
	`# notesd in production. What has no # before it is yours to set. Secrets are in files of their own.
#
#   cp env/production.env env/production.local.env
#   deploy/secrets                                   makes the files
#
# The other settings stand with their default: remove the # before a name to change it. compose.prod.yaml sets APP_ENV
# and the addresses itself; to start notesd without compose, set APP_ENV=production.
# docs/CONFIGURATION.md says what is allowed. An empty value is an unset one. A secret can also be had from a file,
# under the name with _FILE at its end: SESSION_SECRET_FILE=/run/secrets/session
`

// Generate writes every file that is generated from the table of settings. root is the directory of
// the repository.
func Generate(root string) error {
	files, err := generated(root)
	if err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generated returns the contents of the files that Generate writes, by file name.
func generated(root string) (map[string]string, error) {
	page, err := os.ReadFile(filepath.Join(root, documentation))
	if err != nil {
		return nil, err
	}
	head, rest, begins := strings.Cut(string(page), tableBegins)
	_, tail, ends := strings.Cut(rest, tableEnds)
	if !begins || !ends {
		return nil, errors.New(documentation + " lacks the marks of its table")
	}
	return map[string]string{
		developmentTemplate: template(false),
		productionTemplate:  template(true),
		documentation:       head + tableBegins + "\n" + markdown() + "\n" + tableEnds + tail,
	}, nil
}

// template returns the env/ file for development or production.
func template(production bool) string {
	var out strings.Builder
	if production {
		out.WriteString(productionHead)
	} else {
		out.WriteString(developmentHead)
	}
	for _, s := range new(loader).table() {
		compose := s.parser.read == nil
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
		mark, text := "#", s.defaultIn(production)
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
	tableBegins = "<!-- settings, written by: go generate ./config -->\n"
	tableEnds   = "<!-- end -->\n"
)

// markdown returns the table of docs/CONFIGURATION.md.
func markdown() string {
	var out strings.Builder
	out.WriteString("| Setting | Default | Allowed | Meaning |\n|---|---|---|---|\n")
	for _, s := range new(loader).table() {
		allowed := s.allowed
		if s.parser.read == nil {
			allowed = "read by compose, not by notesd"
		}
		if s.secret {
			allowed += " (also from a file: `" + s.name + "_FILE`)"
		}
		fmt.Fprintf(&out, "| `%s` | %s | %s | %s |\n", s.name, s.documentedDefault(), allowed, s.meaning+s.hint())
	}
	return out.String()
}

// documentedDefault describes the value of a setting that is not set.
func (s setting) documentedDefault() string {
	text := "none"
	switch {
	case s.derived != "":
		text = s.derived
	case s.defaultValue != "":
		text = "`" + s.defaultValue + "`"
	}
	switch {
	case s.required:
		text += "; production: must be set"
	case s.production != "":
		text += "; production: `" + s.production + "`"
	case s.sample != "" && s.defaultValue != "":
		text += "; in env/production.env `" + s.sample + "`"
	case s.sample != "":
		text = "must be set"
	}
	return text
}
