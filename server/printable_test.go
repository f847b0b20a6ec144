package server

import (
	"net/http"
	"testing"

	"github.com/alexedwards/argon2id"

	"notesd/server/auth"
)

// No new account has an address that an administrator's terminal would obey, or that hides a character; one that is
// there already signs in.
func TestAddressesArePrintable(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	for _, bad := range []string{"a\x1b[2J@example.com", "a\u202eb@example.com", "a\u200bb@example.com", "a\u00adb@example.com",
		"a\ue000b@example.com", "a\u0378b@example.com", "a\u0085b@example.com", "\ufeffa@example.com"} {
		in := map[string]string{"email": bad, "password": "correct horse"}
		if r := s.visitor().post("/api/auth/register", in); r.status != http.StatusBadRequest {
			t.Errorf("sign-up of %q = %d, want 400", bad, r.status)
		}
		if _, err := auth.AddAccount(t.Context(), s.store, bad, "correct horse"); err == nil {
			t.Errorf("AddAccount(%q) succeeds", bad)
		}
		hash, err := argon2id.CreateHash("correct horse", &auth.PasswordParams)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.store.CreateUser(t.Context(), bad, "name", hash); err != nil {
			t.Fatal(err)
		}
		s.visitor().post("/api/auth/login", in).want(http.StatusOK)
	}
	for _, good := range []string{"j\u00fcrgen@example.com", "\u0430da@example.com", "a+b@example.com"} {
		s.visitor().post("/api/auth/register", map[string]string{"email": good, "password": "correct horse"}).want(http.StatusCreated)
	}
}
