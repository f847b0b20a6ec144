package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"notesd/internal/ratelimit"
)

// What never reaches a handler is limited too, by address. Only health probes
// and the preflights of trusted origins are not.
func TestLimitHasNoHoles(t *testing.T) {
	t.Parallel()
	const limit, token, trusted = 10, "the administrators' token, long enough", "http://localhost:3000"
	s := onSQLite(t, behind("127.0.0.0/8"), func(cfg *Config, _ *Deps) {
		cfg.RateLimitMax, cfg.RateLimitWindow, cfg.AdminToken, cfg.CORSOrigins = limit, time.Hour, token, []string{trusted}
	})
	c := s.visitor()
	for i, test := range []struct {
		name, method, path string
		headers            []string
		first              int  // what is answered below the limit
		free               bool // also above it
	}{
		{"unknown route", "GET", "/api/nothing", nil, 404, false},
		{"unknown path", "GET", "/wp-login.php", nil, 404, false},
		{"unknown method", "PURGE", "/api/notes", nil, 404, false},
		{"refused origin", "POST", "/api/auth/logout", []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, 403, false},
		{"no token", "GET", "/api/runtime", nil, 401, false},
		{"wrong token", "GET", "/metrics", []string{"Authorization", "Bearer guess"}, 401, false},
		{"OPTIONS", "OPTIONS", "/api/notes", nil, 204, false},
		{"OPTIONS of nothing", "OPTIONS", "/nothing", nil, 204, false},
		{"preflight of another origin", "OPTIONS", "/api/notes", []string{"Origin", "https://evil.example", "Access-Control-Request-Method", "PATCH"}, 204, false},
		{"no preflight of a trusted origin", "OPTIONS", "/api/notes", []string{"Origin", trusted}, 204, false},

		{"preflight", "OPTIONS", "/api/notes", []string{"Origin", trusted, "Access-Control-Request-Method", "PATCH"}, 204, true},
		{"health", "GET", "/api/health", nil, 200, true},
		{"readiness", "GET", "/readyz", nil, 200, true},
		{"right token", "GET", "/api/runtime", []string{"Authorization", "Bearer " + token}, 200, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			from := append([]string{"X-Forwarded-For", fmt.Sprint("192.0.2.", i)}, test.headers...)
			for range limit {
				c.in(t).request(test.method, test.path, nil, from...).want(test.first)
			}
			r := c.in(t).request(test.method, test.path, nil, from...)
			switch {
			case test.free:
				r.want(test.first)
			case r.status != http.StatusTooManyRequests || r.header.Get("Retry-After") == "" || !strings.Contains(r.text, `"rate_limit"`):
				t.Errorf("%s = %d %s, want 429 with its reason and Retry-After", r.call, r.status, r.text)
			}
		})
	}
}

// Whoever has a /48 of IPv6 has 65 536 networks of 64 bits. They have a bound together.
func TestLimitOfSite(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, behind("127.0.0.0/8"), func(cfg *Config, _ *Deps) { cfg.RateLimitMax, cfg.RateLimitWindow = 2, time.Hour })
	c := s.visitor()
	for _, path := range []string{"/api/auth/me", "/nothing"} {
		answered := 0
		for i := range 2*ratelimit.NetworksPerSite + 5 {
			r := c.get(path, "X-Forwarded-For", fmt.Sprintf("2001:db8:1:%x::1", i))
			if r.status != http.StatusTooManyRequests {
				answered++
			}
		}
		if want := 2 * ratelimit.NetworksPerSite; answered != want {
			t.Errorf("%s: %d networks of one /48 were answered, want %d", path, answered, want)
		}
		if r := c.get(path, "X-Forwarded-For", "2001:db8:2::1"); r.status == http.StatusTooManyRequests {
			t.Errorf("%s: another /48 is limited, too", path)
		}
	}
}

// A method may be 60 KB of letters. The log has its beginning.
func TestLongMethodInLog(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	method := strings.Repeat("LONG", 2_000)
	r := s.visitor().request(method, "/api/notes", nil).want(http.StatusNotFound)
	if got, _ := s.line(r)["method"].(string); got != method[:maxMethod] {
		t.Errorf("the log has a method of %d bytes, want its first %d", len(got), maxMethod)
	}
}
