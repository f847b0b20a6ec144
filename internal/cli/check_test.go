package cli

import (
	"testing"

	"notesd/config"
	"notesd/internal/check"
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
