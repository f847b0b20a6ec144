package engine_test

import (
	"testing"

	"notesd/store/engine"
)

// A password with an @ ends where net/url and config end it: none of it becomes the host, which
// errors name.
func TestParsePostgresURL(t *testing.T) {
	for _, test := range []struct{ url, host, user, password string }{
		{"postgres://u:p@db/notes", "db", "u", "p"},
		{"postgres://u:p@ss@db:5433/notes?sslmode=disable", "db", "u", "p@ss"},
		{"postgres://u:p@s@s@[::1]:5433/notes", "::1", "u", "p@s@s"},
		{"postgres://u:p%40%2Fss%25@db/notes", "db", "u", "p@/ss%"},
		{"postgresql://u@h@db", "db", "u@h", ""},
		{"postgres:///notes?host=/run/postgresql&user=u&password=p%40s", "/run/postgresql", "u", "p@s"},
	} {
		got, err := engine.ParsePostgresURL(test.url)
		if err != nil {
			t.Errorf("ParsePostgresURL(%s) = %v", test.url, err)
		} else if got.Host != test.host || got.User != test.user || got.Password != test.password {
			t.Errorf("ParsePostgresURL(%s) is %q at %q with %q, want %q at %q with %q", test.url,
				got.User, got.Host, got.Password, test.user, test.host, test.password)
		}
	}
}
