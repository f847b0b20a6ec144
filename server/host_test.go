package server

import (
	"net/http"
	"testing"
)

// In development a name that somebody else may make lead here is not answered
// on any route, and the answer names the setting.
func TestHosts(t *testing.T) {
	t.Parallel()
	const text = "Unknown host name: ALLOWED_HOSTS says which are answered"
	origins := []string{"http://localhost:3000", "https://notes.example.com:8443"}
	development := onSQLite(t, func(cfg *Config, _ *Deps) { cfg.CORSOrigins, cfg.AllowedHosts = origins, []string{"dev.example.com"} })
	production := onSQLite(t, func(cfg *Config, _ *Deps) { cfg.Production, cfg.CORSOrigins = true, origins })
	strict := onSQLite(t, func(cfg *Config, _ *Deps) {
		cfg.Production, cfg.CORSOrigins, cfg.AllowedHosts = true, origins, []string{"dev.example.com"}
	})
	for host, answered := range map[string]bool{
		"localhost": true, "localhost:3001": true, "LocalHost.": true, "app.localhost:3001": true,
		"127.0.0.1": true, "127.0.0.1:3001": true, "192.0.2.7:3001": true, "[::1]:3001": true, "[::1]": true, "[fe80::1]": true,
		"laptop": true, "laptop:3001": true, "laptop.local": true, "notesd:3001": true,
		"notes.example.com": true, "NOTES.example.com:3001": true, "notes.example.com.": true,
		"dev.example.com": true, "dev.example.com:3001": true,
		"rebound.example": false, "rebound.example:3001": false, "rebound.example.": false,
		"127.0.0.1.rebound.example": false, "localhost.rebound.example": false, "x.notes.example.com": false,
		"example.com": false, "local.": true, "rebound.local.example": false, "1.2.3": false, "0x7f.1": false,
	} {
		for _, site := range []*site{development, strict} {
			for _, route := range []struct{ method, path string }{
				{"GET", "/healthz"}, {"GET", "/api/notes"}, {"POST", "/api/auth/register"}, {"OPTIONS", "/api/notes"}, {"GET", "/none"},
			} {
				r := site.visitor().request(route.method, route.path, nil, "Host", host)
				if answered == (r.status == http.StatusMisdirectedRequest) {
					t.Errorf("%s of %s = %d, want it answered: %v", r.call, host, r.status, answered)
				} else if !answered {
					r.fails(http.StatusMisdirectedRequest, text)
				}
			}
		}
		production.visitor().get("/healthz", "Host", host).want(http.StatusOK)
	}
	// What is in memory is no exception.
	c := development.someone()
	c.get("/api/notes").want(http.StatusOK)
	c.get("/api/notes").want(http.StatusOK)
	c.get("/api/notes", "Host", "rebound.example").fails(http.StatusMisdirectedRequest, text)
}

// A page of another origin, of the same site or not, has nothing read with a
// person's cookie: how long it takes would tell it something. Front ends of
// trusted origins, links and programs read as ever.
func TestForeignReads(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	c := s.someone()
	note := c.create(map[string]any{"title": "a", "content": "b"})
	paths := []string{"/api/notes", "/api/notes?search=b", "/api/notes/" + note.ID, "/api/auth/me"}
	const ours = "http://localhost:3000"
	tests := []struct {
		name    string
		headers []string
		refused bool
	}{
		{"no browser", nil, false},
		{"same origin", []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors"}, false},
		{"typed in", []string{"Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, false},
		{"a front end of ours", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors", "Origin", ours}, false},
		{"a front end of ours at another port", []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "cors", "Origin", ours}, false},
		{"an older browser, ours", []string{"Origin", ours}, false},
		{"an older browser, another", []string{"Origin", "https://evil.example"}, false}, // CORS keeps the answer from it
		{"a link", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, false},
		{"an image", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}, true},
		{"an image of a sibling", []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}, true},
		{"a script's request", []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "empty"}, true},
		{"another page that says so", []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "cors", "Origin", "https://evil.example"}, true},
		{"a frame", []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, true},
		{"a sandbox", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors", "Origin", "null"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := c.in(t)
			for range 2 { // the second time it may come from memory
				for _, path := range paths {
					for _, method := range []string{http.MethodGet, http.MethodHead} {
						r := c.request(method, path, nil, tt.headers...)
						if tt.refused {
							r.want(http.StatusForbidden)
						} else {
							r.want(http.StatusOK)
						}
					}
				}
			}
			if tt.refused {
				c.get(paths[0], tt.headers...).fails(http.StatusForbidden, "Cross-origin request refused")
			}
			for _, path := range []string{"/api/health", "/readyz", "/status"} { // which tell of nobody
				c.get(path, tt.headers...).want(http.StatusOK)
			}
		})
	}
}
