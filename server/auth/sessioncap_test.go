package auth

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// A person has so many sessions. A new one ends the oldest, of many too many a few at a time.
func TestMostSessions(t *testing.T) {
	eachVault(t, func(t *testing.T, v vault) {
		const most = 3
		s, person, other := newSessions(v, []string{testSecret}, trustedCache()), v.person(), v.person()
		signIn := func(person string) (token string) {
			t.Helper()
			w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", nil)
			if err := s.SignIn(t.Context(), w, r, NewSession{UserID: person}); err != nil {
				t.Fatalf("SignIn() = %v", err)
			}
			time.Sleep(2 * time.Millisecond) // to the next time that a store can tell from this
			return w.Result().Cookies()[0].Value
		}
		user := func(token string) string {
			t.Helper()
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.AddCookie(&http.Cookie{Name: sessionCookie, Value: token})
			user, err := s.Authenticate(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			return user
		}
		others := signIn(other)
		var tokens []string
		for range most + maxEnded + 4 { // before there was a bound
			tokens = append(tokens, signIn(person))
			user(tokens[len(tokens)-1]) // which keeps a copy
		}
		s.max = most
		for _, want := range []int{8, most, most} {
			tokens = append(tokens, signIn(person))
			list, err := s.List(t.Context(), person)
			if err != nil || len(list) != want {
				t.Fatalf("%d sessions, %v; want %d", len(list), err, want)
			}
			for i, token := range tokens {
				if living := user(token) == person; living != (i >= len(tokens)-want) {
					t.Errorf("session %d of %d lives: %v", i+1, len(tokens), living)
				}
			}
		}
		if user(others) != other {
			t.Error("another's session was ended")
		}
	})
}
