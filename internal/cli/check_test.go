package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"notesd/config"
	"notesd/internal/check"
	"notesd/server/auth"
)

// A password is weak that everybody tries, that nobody changed, or that is short.
func TestPassword(t *testing.T) {
	for url, want := range map[string]check.Secret{
		"data/notes.db":                             check.None,
		"postgres://u@h/n":                          check.None,
		"postgres://u:change-me-please@h/n":         check.Weak,
		"postgres://notesd:notesd@h/n":              check.Weak,
		"postgres://a-long-name:a-long-name@h/n":    check.Weak,
		"postgres://u:Password12345@h/n":            check.Weak,
		"postgres://u:elevenchars@h/n":              check.Weak,
		"postgres://u:twelve-chars@h/n":             check.Strong,
		"redis://:correct-horse-battery-staple@h/0": check.Strong,
	} {
		if got := password(config.Secret(url)); got != want {
			t.Errorf("password(%s) = %s, want %s", url, got, want)
		}
	}
}

// Of several secrets the weakest counts.
func TestJudged(t *testing.T) {
	const strong, weak = "0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcde"
	for _, test := range []struct {
		secrets []config.Secret
		want    check.Secret
	}{
		{nil, check.None}, {[]config.Secret{""}, check.None}, {[]config.Secret{strong}, check.Strong}, {[]config.Secret{strong, weak}, check.Weak},
	} {
		if got := evaluate(test.secrets...); got != test.want {
			t.Errorf("judged(%d secrets) = %s, want %s", len(test.secrets), got, test.want)
		}
	}
}

func TestCountTOTP(t *testing.T) {
	id := auth.TOTPKeyID
	keys := map[string]int64{id("new"): 1, id("old"): 2, id("older"): 4, id("gone"): 8}
	for _, tt := range []struct {
		secrets     []config.Secret
		older, lost int64
	}{
		{nil, 0, 0},
		{[]config.Secret{"new"}, 0, 14},
		{[]config.Secret{"new", "old", "older"}, 6, 8},
		{[]config.Secret{"gone", "new", "old", "older"}, 7, 0},
	} {
		if older, lost := countTOTP(keys, tt.secrets); older != tt.older || lost != tt.lost {
			t.Errorf("countTOTP(%v) = %d, %d, want %d, %d", tt.secrets, older, lost, tt.older, tt.lost)
		}
	}
}

// A compose file that is named and cannot be read, or is none, is a mistake of the command.
func TestCheckNamedCompose(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.yaml")
	if err := os.WriteFile(broken, []byte("services: ["), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ file, in, says string }{
		{filepath.Join(dir, "missing.yaml"), "", "no such file"},
		{dir, "", "is a directory"},
		{broken, "", "broken.yaml: "},
		{"-", "services: [", "-compose -: "},
	} {
		var out strings.Builder
		p := Process{Environ: []string{"DATA_DIR=" + dir}, Out: &out, In: strings.NewReader(tt.in)}
		err := Check(t.Context(), p, []string{"-measure", "0s", "-compose", tt.file})
		if err == nil || !strings.Contains(err.Error(), tt.says) || out.Len() > 0 {
			t.Errorf("check -compose %s = %v, want that it says %q; printed %q", tt.file, err, tt.says, out.String())
		}
	}
}
