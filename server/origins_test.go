package server

import (
	"net/http"
	"strings"
	"testing"
)

// A request from a page that gets nothing for it is in the log, with what to look at.
func TestOriginsLogged(t *testing.T) {
	t.Parallel()
	const trusted, stranger = "http://localhost:3000", "https://evil.example"
	for _, row := range []struct {
		name, method, origin, site string
		want                       string // of the line; "": there is none
	}{
		{"no page", "GET", "", "", ""},
		{"trusted", "GET", trusted, "same-site", ""},
		{"trusted, old browser", "GET", trusted, "", ""},
		{"trusted, of another site", "GET", trusted, "cross-site", "cookies don't work"},
		{"trusted, of another site, preflight", "OPTIONS", trusted, "cross-site", "cookies don't work"},
		{"own page", "POST", "own", "same-origin", ""},
		{"stranger reads", "GET", stranger, "cross-site", "not trusted was refused"},
		{"stranger writes", "POST", stranger, "", "not trusted was refused"},
		{"stranger asks first", "OPTIONS", stranger, "", "not trusted was refused"},
		{"sandboxed page", "GET", "null", "", "not trusted was refused"},
		{"form without origin", "POST", "", "cross-site", "not trusted was refused"},
		{"link", "GET", "", "cross-site", ""},
		{"long", "GET", "https://" + strings.Repeat("x", 5000), "", "not trusted was refused"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := onSQLite(t)
			origin := row.origin
			if origin == "own" {
				origin = s.url
			}
			r, err := http.NewRequestWithContext(t.Context(), row.method, s.url+"/api/health", nil)
			if err != nil {
				t.Fatal(err)
			}
			for name, value := range map[string]string{"Origin": origin, "Sec-Fetch-Site": row.site} {
				if value != "" {
					r.Header.Set(name, value)
				}
			}
			answer, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			var lines []string
			for line := range strings.Lines(s.log.String()) {
				if strings.Contains(line, `"setting":"CORS_ORIGIN"`) {
					lines = append(lines, line)
				}
			}
			said := strings.Join(lines, "")
			if (len(lines) == 1) != (row.want != "") || !strings.Contains(said, row.want) || len(said) > 700 {
				t.Errorf("the log says %q, want %q", said, row.want)
			}
			host := strings.TrimPrefix(s.url, "http://")
			if row.want != "" && (!strings.Contains(said, `"host":"`+host) || !strings.Contains(said, `"origin":"`+origin[:min(20, len(origin))])) {
				t.Errorf("the log says %q, want origin and host", said)
			}
		})
	}
}

// In a browser / is a page that uses nothing from elsewhere, the web app or what stands for it; to other clients there is no
// such route.
func TestFrontPage(t *testing.T) {
	t.Parallel()
	for app, holds := range map[bool]string{true: `id="app"`, false: `href="/status"`} {
		s := onSQLite(t, func(cfg *Config, _ *Deps) { cfg.Web = app })
		for accept, page := range map[string]bool{
			"": false, "*/*": false, "application/json": false, "application/json, text/plain, */*": false, "text/*": false,
			"text/html": true, "TEXT/HTML; charset=utf-8": true,
			"text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8": true,
			"text/html, application/json":             false,
			"text/html;q=0.5, application/json":       false,
			"text/html, application/json;q=0.9":       true,
			"text/html;q=0, */*":                      false,
			"text/html;q=x":                           false,
			strings.Repeat("text/plain,", 50) + "a/b": false,
		} {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				status, text := http.StatusNotFound, "Route not found"
				if page {
					status, text = http.StatusOK, holds
				}
				answer := s.visitor().request(method, "/", nil, "Accept", accept).want(status)
				kind, vary := answer.header.Get("Content-Type"), strings.Join(answer.header.Values("Vary"), ",")
				if strings.HasPrefix(kind, "text/html") != page || !strings.Contains(vary, "Accept") {
					t.Errorf("Accept %q: %s, Vary %q, want a page: %v", accept, kind, vary, page)
				}
				if method == http.MethodGet && !strings.Contains(answer.text, text) {
					t.Errorf("Accept %q: %s, want %s", accept, answer.text, text)
				}
			}
		}
	}
}
