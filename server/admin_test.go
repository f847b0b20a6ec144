package server

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"notesd/server/admin"
)

// adminRoutes are the routes that tell a stranger nothing.
var adminRoutes = []struct{ method, path string }{
	{"GET", "/api/metrics"}, {"GET", "/API/Metrics/"}, {"GET", "/api/metrics/system"}, {"POST", "/api/metrics/reset"},
	{"GET", "/metrics"}, {"GET", "/api/runtime"},
}

// An administrator is who sends the token. Where a request comes from, or
// claims to come from, makes nobody one.
func TestAdministrators(t *testing.T) {
	t.Parallel()
	// Each request comes from an address of its own: TestTokenGuesses has the limit.
	proxied := func(cfg *Config, _ *Deps) {
		cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}
	withToken := onSQLite(t, proxied)
	without := onSQLite(t, proxied, func(cfg *Config, _ *Deps) { cfg.AdminToken = "" })
	production := onSQLite(t, proxied, func(cfg *Config, _ *Deps) { cfg.AdminToken, cfg.Production = "", true })
	tests := []struct {
		name    string
		site    *site
		headers []string
		ok      bool
	}{
		{"token", withToken, []string{"Authorization", "Bearer " + adminToken}, true},
		{"token, by another name", withToken, []string{"Authorization", "Bearer " + adminToken, "Host", "notes.local"}, true},
		{"scheme in lower case", withToken, []string{"Authorization", "bearer " + adminToken}, true},
		{"this machine", withToken, nil, false},
		{"this machine by the name localhost", withToken, []string{"Host", "localhost:3001"}, false},
		{"wrong token", withToken, []string{"Authorization", "Bearer wrong"}, false},
		{"empty token", withToken, []string{"Authorization", "Bearer "}, false},
		{"token cut", withToken, []string{"Authorization", "Bearer " + adminToken[:len(adminToken)-1]}, false},
		{"token and more", withToken, []string{"Authorization", "Bearer " + adminToken + "x"}, false},
		{"token alone", withToken, []string{"Authorization", adminToken}, false},
		{"other scheme", withToken, []string{"Authorization", "Basic " + adminToken}, false},
		{"token in another header", withToken, []string{"X-Admin-Token", adminToken}, false},

		{"no token is set: this machine", without, nil, false},
		{"no token is set: by the name localhost", without, []string{"Host", "localhost:3001"}, false},
		{"no token is set: any token", without, []string{"Authorization", "Bearer x"}, false},
		{"no token is set: the empty token", without, []string{"Authorization", "Bearer "}, false},
		{"production without a token", production, nil, false},
	}
	from := 0
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, route := range adminRoutes {
				from++
				headers := append([]string{"X-Forwarded-For", fmt.Sprintf("203.0.113.%d", from)}, tt.headers...)
				r := tt.site.visitor().in(t).request(route.method, route.path, nil, headers...)
				if tt.ok {
					r.want(http.StatusOK)
					continue
				}
				r.fails(http.StatusUnauthorized, "Administrator access required")
				if keys := r.keys(); keys != "error,requestId,success" {
					t.Errorf("%s has members %s, want error,requestId,success", r.call, keys)
				}
				wantHeader(t, r, "WWW-Authenticate", `Bearer realm="notesd"`)
			}
		})
	}
	t.Run("a person is no administrator", func(t *testing.T) {
		withToken.someone().in(t).get("/api/runtime").want(http.StatusUnauthorized)
	})
}

// Guesses end in a 429, are counted for Prometheus, and are told of by one event and one line in the log.
func TestTokenGuessesTold(t *testing.T) {
	t.Parallel()
	alerts := admin.NewAlerts("", "", nil)
	s := onSQLite(t, func(cfg *Config, deps *Deps) {
		deps.Alerts = alerts
		cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	const stranger = "203.0.113.7"
	c, sent := s.visitor(), 1
	r := c.get("/api/runtime", "X-Forwarded-For", stranger, "Authorization", "Bearer wrong")
	for ; r.status != http.StatusTooManyRequests && sent < 1000; sent++ { // one more is let pass every 3 s
		r = c.get("/api/runtime", "X-Forwarded-For", stranger, "Authorization", "Bearer wrong")
	}
	r.fails(http.StatusTooManyRequests, "Too many wrong administrator tokens, please try again later.")
	if r.header.Get("Retry-After") == "" || !strings.Contains(r.text, `"reason":"admin_token_limit"`) {
		t.Errorf("%s = %v %s, want a reason and Retry-After", r.call, r.header, r.text)
	}

	text := s.administrator().get("/metrics").want(http.StatusOK).text
	if want := fmt.Sprintf("\nnotesd_admin_token_guesses_total %d\n", sent); !strings.Contains(text, want) {
		t.Errorf("/metrics does not say %q", want)
	}
	events := alerts.Recent()
	if len(events) != 1 || events[0].Kind != "admin_token_guessed" || events[0].Subject != stranger {
		t.Errorf("events %+v, want one about guesses from %s", events, stranger)
	}
	if n := strings.Count(s.log.String(), "somebody guesses at the administrators' token"); n != 1 {
		t.Errorf("the log tells of guesses %d times, want once", n)
	}
}
