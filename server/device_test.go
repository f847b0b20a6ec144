package server

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

const (
	wrongText = "Invalid credentials"
	locksText = "Account locked due to too many failed login attempts. Try again in 15 minutes."
	minutes15 = "Account locked. Try again in 15 minutes."
)

// guess fails to sign in to email from a new client at an address of its own until that is locked, and returns it.
func (s *site) guess(t *testing.T, email string) *client {
	t.Helper()
	stranger := s.visitor().in(t)
	for i := range 4 {
		stranger.login(fmt.Sprintf("198.51.100.%d", i), email, "wrong").fails(http.StatusUnauthorized, wrongText)
	}
	stranger.login("198.51.100.5", email, "wrong").fails(http.StatusLocked, locksText)
	return stranger
}

// Strangers who know an address lock out each other, and not the clients that its account has signed in from. Nor do
// they learn by it whether there is an account.
func TestDeviceIsNotLockedOut(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		signedUp, signedIn, neither := s.member("ada@example.com"), s.visitor(), s.visitor()
		signedIn.login("203.0.113.1", "ada@example.com", password).want(http.StatusOK)
		for _, c := range []*client{signedUp, signedIn} {
			c.post("/api/auth/logout", nil).want(http.StatusOK) // which forgets who is signed in, and not the device
		}
		stranger := s.guess(t, "ADA@example.com")
		nobodys := s.guess(t, "nobody@example.com")
		for email, c := range map[string]*client{"ada@example.com": stranger, "nobody@example.com": nobodys} {
			c.login("198.51.100.9", email, password).fails(http.StatusLocked, minutes15)
			neither.login("203.0.113.2", email, password).fails(http.StatusLocked, minutes15)
		}
		// From the strangers' address too, where the sign-in limit stops those without a cookie.
		for range 6 {
			neither.login("198.51.100.1", "bob@example.com", "wrong")
		}
		signedUp.login("198.51.100.1", "ada@example.com", password).want(http.StatusOK)
		signedIn.login("203.0.113.1", "Ada@example.com", password).want(http.StatusOK)
		neither.login("203.0.113.2", "ada@example.com", password).fails(http.StatusLocked, minutes15) // still

		// A cookie's own failures lock it alone.
		for range 4 {
			signedUp.login("203.0.113.3", "ada@example.com", "wrong").fails(http.StatusUnauthorized, wrongText)
		}
		signedUp.login("203.0.113.4", "ada@example.com", "wrong").fails(http.StatusLocked, locksText)
		signedUp.login("203.0.113.4", "ada@example.com", password).fails(http.StatusLocked, minutes15)
		signedIn.login("203.0.113.1", "ada@example.com", password).want(http.StatusOK)
		s.setLock(t, time.Now().Add(-time.Second)) // all have run out
		for range 4 {
			signedUp.login("203.0.113.5", "ada@example.com", "wrong").fails(http.StatusUnauthorized, wrongText)
		}
		signedUp.login("203.0.113.6", "ada@example.com", password).want(http.StatusOK)
		neither.login("203.0.113.2", "ada@example.com", password).want(http.StatusOK)

		u, err := s.store.UserByEmail(t.Context(), "ada@example.com")
		if err != nil {
			t.Fatal(err)
		}
		s.guess(t, "ada@example.com")
		if err := s.store.Unlock(t.Context(), u.ID); err != nil {
			t.Fatal(err)
		}
		s.visitor().login("203.0.113.7", "ada@example.com", password).want(http.StatusOK)
	}, behind(), patient)
}
