package server

import (
	"net/http"
	"strings"
	"testing"

	"notesd/internal/testkit"
	"notesd/server/api"
)

// accountLog returns the log of the client's account.
func (c *client) accountLog() (entries []api.LogEntry) {
	c.t.Helper()
	var r struct{ Data []api.LogEntry }
	c.get("/api/auth/log").want(http.StatusOK).decode(&r)
	return r.Data
}

// A user reads who signed in, and who tried. So does the operator. Neither reads a password.
func TestAccountLog(t *testing.T) {
	t.Parallel()
	eachVaultSite(t, func(t *testing.T, s *site) {
		c := s.member("ada@example.com")
		s.visitor().login("203.0.113.9", "ada@example.com", "a wrong guess").want(http.StatusUnauthorized)
		s.visitor().login("203.0.113.9", "nobody@example.com", "a wrong guess").want(http.StatusUnauthorized)
		c.post("/api/auth/login", credentialsOf("ada@example.com", password), "X-Forwarded-For", "203.0.113.8",
			"User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Firefox/128.0").want(http.StatusOK)
		var log []api.LogEntry
		testkit.Eventually(t, "the wrong password in the log", func() bool {
			log = c.accountLog()
			return len(log) == 3
		})
		found := map[string]string{}
		for _, e := range log {
			found[string(e.Event)] = e.Address + " " + e.Device
		}
		for event, want := range map[string]string{
			"signed_up":      "127.0.0.1 Go-http-client",
			"signed_in":      "203.0.113.8 Firefox on Linux",
			"wrong_password": "203.0.113.9 Go-http-client",
		} {
			if found[event] != want {
				t.Errorf("the log has %s by %q, want %q", event, found[event], want)
			}
		}
		lines := s.log.String()
		if !strings.Contains(lines, `"event":"wrong_password"`) || strings.Contains(lines, "a wrong guess") ||
			strings.Contains(lines, password) {
			t.Error("the server's log does not tell of the guess, or has a password")
		}
		if others := s.member("bob@example.com").accountLog(); len(others) != 1 {
			t.Errorf("another account's log is %v, want its sign-up", others)
		}
		s.visitor().get("/api/auth/log").fails(http.StatusUnauthorized, "Authentication required")
	}, behind())
}
