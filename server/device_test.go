package server

import (
	"fmt"
	"net/http"
	"strings"
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

// A cookie of another account, of before a reset, or of nobody is none.
func TestDeviceCookie(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, behind())
	made := s.visitor().post("/api/auth/register", credentialsOf("ada@example.com", password), "X-Forwarded-Proto", "https").
		want(http.StatusCreated)
	var device *http.Cookie
	for _, c := range made.cookies {
		if c.Name == "notesd_device" {
			device = c
		}
	}
	if device == nil || !device.HttpOnly || !device.Secure || device.SameSite != http.SameSiteStrictMode || device.Path != "/api/auth" ||
		device.MaxAge != 365*24*60*60 {
		t.Fatalf("%s sets %v, want notesd_device; Path=/api/auth; Max-Age=31536000; HttpOnly; Secure; SameSite=Strict", made.call, made.cookies)
	}
	s.member("bob@example.com")
	u, err := s.store.UserByEmail(t.Context(), "ada@example.com")
	if err != nil {
		t.Fatal(err)
	}
	request := func(value string) *http.Request {
		r, _ := http.NewRequest(http.MethodPost, s.url, nil)
		r.Header.Set("Cookie", "notesd_device="+value)
		return r
	}
	nonce, sign, _ := strings.Cut(device.Value, ".")
	bob, err := s.store.UserByEmail(t.Context(), "bob@example.com")
	if err != nil {
		t.Fatal(err)
	}
	reset := u
	reset.SessionEpoch++
	for _, tt := range []struct {
		name, value string
		known       bool
		of          string
	}{
		{"it", device.Value, true, u.ID},
		{"behind garbage", "garbage; notesd_device=" + device.Value, true, u.ID},
		{"another's", device.Value, false, bob.ID},
		{"another nonce", strings.Repeat("A", len(nonce)) + "." + sign, false, u.ID},
		{"cut", device.Value[:len(device.Value)-1], false, u.ID},
		{"no seal", nonce + ".", false, u.ID},
		{"no nonce", "." + sign, false, u.ID},
		{"empty", "", false, u.ID},
		{"huge", strings.Repeat("A", 50_000), false, u.ID},
	} {
		of := u
		of.ID = tt.of
		if got := s.server.device(request(tt.value), of); (got == nonce) != tt.known || !tt.known && got != "" {
			t.Errorf("%s: device() = %q, want known: %t", tt.name, got, tt.known)
		}
	}
	if got := s.server.device(request(device.Value), reset); got != "" {
		t.Errorf("after a reset: device() = %q, want none", got)
	}
}
