package auth

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"notesd/internal/redis"
	"notesd/internal/redis/redistest"
	"notesd/internal/testserver"
	"notesd/store"
	"notesd/store/storetest"
)

// endings are the ways in which a command ends all sessions of an account.
var endings = map[string]func(ctx context.Context, db *store.Store, id string) error{
	"reset": func(ctx context.Context, db *store.Store, id string) error {
		return ResetPassword(ctx, db, nil, id, "another password")
	},
	"delete": func(ctx context.Context, db *store.Store, id string) error { return DeleteAccount(ctx, db, nil, id) },
}

// newAccounts returns the accounts of a server with open registration.
func newAccounts(t *testing.T, s *store.Store, edits ...func(*Config)) *Accounts {
	t.Helper()
	cfg := Config{Secrets: []string{testSecret}, RegistrationOpen: true, Store: s, Cache: trustedCache()}
	for _, edit := range edits {
		edit(&cfg)
	}
	return New(cfg)
}

// someClient returns a client without cookies.
func someClient() Client {
	return Client{Request: httptest.NewRequest(http.MethodPost, "/api/auth/login", nil), Address: "203.0.113.7",
		ReserveHash: func(context.Context) error { return nil }}
}

// A binary that knows no epochs may serve beside this one: its sessions are valid unless they began before the reset.
func TestSessionWithoutEpoch(t *testing.T) {
	t.Parallel()
	s, r := storetest.Open(t, storetest.SQLite(t)), redistest.Open(t, testserver.Redis(t))
	a := newAccounts(t, s, func(cfg *Config) { cfg.Redis = r })
	id := newPerson(t, s)
	userWith := func(created time.Time) string {
		t.Helper()
		token := newToken()
		record, err := sessionCodec{}.Encode(time.Now().Add(time.Hour), map[string]any{
			recordKey: sessionRecord{UserID: id, Created: created.UnixMilli()}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Do(t.Context(), "SET", redis.SessionPrefix+sessionKey([]byte(testSecret), token), record); err != nil {
			t.Fatal(err)
		}
		user, err := a.Sessions.Authenticate(t.Context(), bearing(token))
		if err != nil {
			t.Fatal(err)
		}
		return user
	}
	if got := userWith(time.Now().Add(-time.Hour)); got != id {
		t.Errorf("before the reset: Authenticate() = %q, want %q", got, id)
	}
	if err := s.SetPassword(t.Context(), id, "changed"); err != nil {
		t.Fatal(err)
	}
	if got := userWith(time.Now().Add(-time.Hour)); got != "" {
		t.Errorf("begun before the reset: Authenticate() = %q, want none", got)
	}
	if got := userWith(time.Now().Add(time.Hour)); got != id {
		t.Errorf("begun after the reset: Authenticate() = %q, want %q", got, id)
	}
}

// Who has given the old password, and is let in only after the account was reset or deleted, is not let in. Nor does
// the hash that a sign-in makes anew take the place of a newer password's.
func TestAccountEndsWhileSigningIn(t *testing.T) {
	t.Parallel()
	old, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost) // to be hashed anew
	if err != nil {
		t.Fatal(err)
	}
	test := func(t *testing.T, s *store.Store, edits ...func(*Config)) {
		a := newAccounts(t, s, edits...)
		for name, end := range endings {
			email := name + "@example.com"
			create := func() store.User {
				t.Helper()
				u, err := s.CreateUser(t.Context(), email, name, string(old))
				if err != nil {
					t.Fatal(err)
				}
				return u
			}
			signIn := func(password string, between func()) error {
				t.Helper()
				w, c := httptest.NewRecorder(), someClient()
				c.ReserveHash = func(context.Context) error { between(); return nil } // the account has been read by then
				_, err := a.SignIn(t.Context(), w, c, Credentials{Email: email, Password: password})
				if cookies := w.Result().Cookies(); err != nil && len(cookies) > 0 {
					t.Errorf("%s: Set-Cookie %v, want none", name, cookies)
				}
				return err
			}
			ending := func(u store.User) func() {
				return func() {
					if err := end(t.Context(), s, u.ID); err != nil {
						t.Error(err)
					}
				}
			}
			if err := signIn(password, ending(create())); !errors.Is(err, ErrCredentials) {
				t.Errorf("SignIn() while %s = %v, want ErrCredentials", name, err)
			}
			if name == "delete" {
				if err := signIn("a wrong guess", ending(create())); !errors.Is(err, ErrCredentials) {
					t.Errorf("SignIn() with a wrong password while %s = %v, want ErrCredentials", name, err)
				}
			}
			if name == "reset" {
				if err := signIn("another password", func() {}); err != nil {
					t.Errorf("SignIn() with the new password = %v", err)
				}
			}
		}
	}
	storetest.Each(t, func(t *testing.T, s *store.Store) { test(t, s) })
	t.Run("Redis", func(t *testing.T) {
		r := redistest.Open(t, testserver.Redis(t))
		test(t, storetest.Open(t, storetest.SQLite(t)), func(cfg *Config) { cfg.Redis = r })
	})
}
