package server

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// A cookie that a stranger has planted beside the owner's signs nobody out and sends no note to the stranger.
func TestPlantedCookie(t *testing.T) {
	t.Parallel()
	const twoPeople = "Sessions of two people came with this request: sign out and in again"
	eachVaultSite(t, func(t *testing.T, s *site) {
		owner, stranger := s.member("ada@example.com"), s.someone()
		again := s.visitor()
		again.login("", "ada@example.com", password).want(http.StatusOK)
		own, same, foreign, dead := owner.token(), again.token(), stranger.token(), newToken()
		for _, tt := range []struct {
			name, cookies string
			status        int
			mine          bool // the owner's notes
		}{
			{"alone", "sessionId=" + own, 200, true},
			{"a dead one in front", "sessionId=" + dead + "; sessionId=" + own, 200, true},
			{"garbage in front", "sessionId=x; sessionId=" + own, 200, true},
			{"a dead one behind", "sessionId=" + own + "; sessionId=" + dead, 200, true},
			{"the same twice", "sessionId=" + own + "; sessionId=" + own, 200, true},
			{"two of one person", "sessionId=" + own + "; sessionId=" + same, 200, true},
			{"a stranger's in front", "sessionId=" + foreign + "; sessionId=" + own, 400, false},
			{"a stranger's behind", "sessionId=" + own + "; sessionId=" + foreign, 400, false},
			{"a stranger's beside the host's", "sessionId=" + foreign + "; __Host-sessionId=" + own, 200, true},
			{"beside the stranger's host's", "sessionId=" + own + "; __Host-sessionId=" + foreign, 200, false},
			{"beside a dead host's", "sessionId=" + own + "; __Host-sessionId=" + dead, 401, false},
			{"beside garbage of the host", "sessionId=" + own + "; __Host-sessionId=x", 401, false},
			{"the name in another's value", "a=__Host-sessionId; sessionId=" + own, 200, true},
		} {
			for round := range 2 { // the second from memory
				for _, path := range []string{"/api/notes", "/api/auth/me"} {
					r := s.visitor().in(t).get(path, "Cookie", tt.cookies)
					if r.status != tt.status || len(r.cookies) > 0 || r.status == 400 && !strings.Contains(r.text, twoPeople) {
						t.Errorf("%s, round %d: %s = %d %s with cookies %v, want %d and none", tt.name, round, r.call, r.status, r.text, r.cookies, tt.status)
					}
					if path == "/api/auth/me" && strings.Contains(r.text, "ada@example.com") != tt.mine {
						t.Errorf("%s, round %d: %s = %s, want the owner: %t", tt.name, round, r.call, r.text, tt.mine)
					}
				}
			}
		}
		both := "sessionId=" + foreign + "; sessionId=" + own
		s.visitor().post("/api/notes", map[string]any{"title": "mine"}, "Cookie", both).fails(http.StatusBadRequest, twoPeople)

		// Signing in works with both, and ends both.
		in := s.visitor().post("/api/auth/login", credentialsOf("ada@example.com", password), "Cookie", both).want(http.StatusOK)
		for _, token := range []string{own, foreign} {
			s.visitor().get("/api/notes", "Cookie", "sessionId="+token).want(http.StatusUnauthorized)
		}
		// So does signing out, under either name.
		fresh := in.cookies[0].Value
		out := s.visitor().post("/api/auth/logout", nil, "Cookie", "__Host-sessionId="+fresh+"; sessionId="+same).want(http.StatusOK)
		if got := out.header.Get("Clear-Site-Data"); got != `"cache"` {
			t.Errorf("%s has Clear-Site-Data %s, want \"cache\"", out.call, got)
		}
		for _, token := range []string{fresh, same} {
			s.visitor().get("/api/notes", "Cookie", "sessionId="+token).want(http.StatusUnauthorized)
		}
	})
}

// Over TLS the session has a cookie that no other site can plant, at sign-up, sign-in and sign-out.
func TestHostCookie(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, behind())
	const tls = "X-Forwarded-Proto"
	for _, path := range []string{"/api/auth/register", "/api/auth/login", "/api/auth/logout"} {
		r := s.visitor().post(path, credentialsOf("ada@example.com", password), tls, "https")
		values := map[string]string{}
		for _, c := range r.cookies {
			values[c.Name] = c.Value
			if c.Name == hostCookie && (!c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteStrictMode) {
				t.Errorf("%s sets %q, want Secure; HttpOnly; Path=/; SameSite=Strict and no Domain", r.call, c.Raw)
			}
			if signedOut := path == "/api/auth/logout"; c.Name == hostCookie && signedOut != c.Expires.Before(time.Now()) {
				t.Errorf("%s sets %q, want it to be cleared: %t", r.call, c.Raw, signedOut)
			}
		}
		if value, there := values[hostCookie]; !there || value != values[sessionCookie] {
			t.Errorf("%s sets cookies %v, want the same token under both names", r.call, r.cookies)
		}
	}
}
