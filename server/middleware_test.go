package server

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// behind makes the test's own address a trusted proxy, and what else is named.
func behind(prefixes ...string) options {
	return func(cfg *Config, _ *Deps) {
		cfg.TrustedProxies = nil
		for _, p := range append([]string{"127.0.0.0/8"}, prefixes...) {
			cfg.TrustedProxies = append(cfg.TrustedProxies, netip.MustParsePrefix(p))
		}
	}
}

// The header of a request is bounded, and thus how many fields it can have, each of which
// costs more than its bytes.
func TestHeaderBytes(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	few, many := strings.Repeat("h", 15<<10), strings.Builder{}
	for i := 0; many.Len() < 21<<10; i++ {
		fmt.Fprintf(&many, "%x:\r\n", i)
	}
	for _, tt := range []struct {
		name, headers string
		status        int
	}{
		{"15 KiB", "Few: " + few + "\r\n", http.StatusOK},
		{"21 KiB", "Few: " + few + few[:6<<10] + "\r\n", http.StatusRequestHeaderFieldsTooLarge},
		{"thousands of headers", many.String(), http.StatusRequestHeaderFieldsTooLarge},
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := fmt.Fprintf(conn, "GET /api/health HTTP/1.1\r\nHost: localhost\r\n%s\r\n", tt.headers); err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != tt.status {
			t.Errorf("%s: %d, want %d", tt.name, answer.StatusCode, tt.status)
		}
	}
}

// Every answer carries the security headers, whatever it is.
func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, func(cfg *Config, _ *Deps) { cfg.RateLimitMax = 8 })
	c := s.someone()
	want := map[string]string{
		"X-Content-Type-Options":       "nosniff",
		"X-Frame-Options":              "SAMEORIGIN",
		"Referrer-Policy":              "no-referrer",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Server":                       "",
		"X-Powered-By":                 "",
		"Strict-Transport-Security":    "",
	}
	tests := []struct {
		name, method, path, body string
		headers                  []string
		status                   int
	}{
		{"health", "GET", "/api/health", "", nil, 200},
		{"list", "GET", "/api/notes", "", nil, 200},
		{"created", "POST", "/api/notes", `{"title":"a","content":"b"}`, nil, 201},
		{"malformed", "POST", "/api/notes", `{`, nil, 400},
		{"no note", "GET", "/api/notes/none", "", nil, 404},
		{"no route", "GET", "/none", "", nil, 404},
		{"preflight", "OPTIONS", "/api/notes", "", []string{"Origin", "http://localhost:3000"}, 204},
		{"foreign write", "POST", "/api/notes", "{}", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"Prometheus", "GET", "/metrics", "", []string{"Authorization", "Bearer " + adminToken}, 200},
	}
	check := func(t *testing.T, r reply) {
		for name, value := range want {
			if got := r.header.Get(name); got != value {
				t.Errorf("%s: %s %q, want %q", r.call, name, got, value)
			}
		}
		policy := r.header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'self'", "script-src 'self'", "object-src 'none'", "base-uri 'none'", "frame-ancestors 'self'"} {
			if !slices.Contains(strings.Split(policy, "; "), part) {
				t.Errorf("%s: Content-Security-Policy %q, want %q in it", r.call, policy, part)
			}
		}
		if strings.Contains(policy, "unsafe-") {
			t.Errorf("%s: Content-Security-Policy %q, want nothing unsafe", r.call, policy)
		}
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			check(t, c.in(t).request(tt.method, tt.path, tt.body, tt.headers...).want(tt.status))
		})
	}
	t.Run("limited", func(t *testing.T) {
		var r reply
		for range 10 {
			r = c.in(t).get("/api/notes")
		}
		check(t, r.want(http.StatusTooManyRequests))
	})
}

// HSTS and the cookie's Secure follow the client's TLS, as far as it can be known.
func TestSecure(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name         string
		site         options
		headers      []string
		hsts, secure bool
	}{
		{"plain", none, nil, false, false},
		{"anybody says https", none, []string{"X-Forwarded-Proto", "https"}, false, false},
		{"anybody says Forwarded", none, []string{"Forwarded", "proto=https"}, false, false},
		{"proxy says https", behind(), []string{"X-Forwarded-Proto", "https"}, true, true},
		{"proxy says HTTPS", behind(), []string{"X-Forwarded-Proto", "HTTPS"}, true, true},
		{"proxy says http", behind(), []string{"X-Forwarded-Proto", "http"}, false, false},
		{"proxy says nothing", behind(), nil, false, false},
		{"two proxies, TLS ends at the first", behind(), []string{"X-Forwarded-Proto", "https, http"}, true, true},
		{"two proxies in two lines", behind(), []string{"X-Forwarded-Proto", "https", "X-Forwarded-Proto", "http"}, true, true},
		{"two proxies, TLS between them", behind(), []string{"X-Forwarded-Proto", "http,https"}, false, false},
		{"proxy says https with blanks", behind(), []string{"X-Forwarded-Proto", " , https "}, true, true},
		{"proxy says proto=https", behind(), []string{"Forwarded", "for=203.0.113.7;proto=https"}, true, true},
		{"proxy says Proto=HTTPS", behind(), []string{"Forwarded", `for=203.0.113.7; Proto="HTTPS", for=10.0.0.2;proto=http`}, true, true},
		{"proxy says proto=http", behind(), []string{"Forwarded", "proto=http, proto=https"}, false, false},
		{"both, of which X-Forwarded-Proto counts", behind(), []string{"Forwarded", "proto=https", "X-Forwarded-Proto", "http"}, false, false},
		{"another machine is the proxy", func(cfg *Config, _ *Deps) {
			cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		}, []string{"X-Forwarded-Proto", "https"}, false, false},
		{"production", func(cfg *Config, _ *Deps) { cfg.Production = true }, nil, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := onSQLite(t, tt.site)
			r := s.visitor().post("/api/auth/logout", nil, tt.headers...).want(http.StatusOK)
			if got := r.header.Get("Strict-Transport-Security") != ""; got != tt.hsts {
				t.Errorf("HSTS %v, want %v", got, tt.hsts)
			}
			if len(r.cookies) == 0 || r.cookies[0].Secure != tt.secure || (len(r.cookies) == 2) != tt.secure {
				t.Errorf("cookies %v, want one, or with Secure (%v) two", r.cookies, tt.secure)
			}
		})
	}
}

func none(*Config, *Deps) {}

// A scheme that a trusted proxy names and nobody knows is in the log, once.
func TestForwardedProtoUnknown(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, behind())
	for range 3 {
		s.visitor().get("/api/health", "X-Forwarded-Proto", "ftp").want(http.StatusOK)
	}
	if got := s.log.With("a trusted proxy names a scheme that is neither http nor https: it is taken for http"); len(got) != 1 || got[0]["scheme"] != "ftp" {
		t.Errorf("logged %v, want one warning", got)
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	const ours, second, foreign = "http://localhost:3000", "https://notes.example.com", "https://evil.example"
	twoOrigins := func(cfg *Config, _ *Deps) { cfg.CORSOrigins = []string{ours, second} }
	s := onSQLite(t, twoOrigins)
	c := s.someone()
	tests := []struct {
		name, method, path, origin string
		status                     int
		allowed                    bool
	}{
		{"preflight", "OPTIONS", "/api/notes", ours, 204, true},
		{"preflight, second origin", "OPTIONS", "/api/notes", second, 204, true},
		{"preflight of no route", "OPTIONS", "/api/none", ours, 204, true},
		{"preflight, foreign", "OPTIONS", "/api/notes", foreign, 204, false},
		{"preflight, ours as a prefix", "OPTIONS", "/api/notes", second + ".evil.example", 204, false},
		{"preflight, ours as a suffix", "OPTIONS", "/api/notes", "https://evil-notes.example.com", 204, false},
		{"preflight, dot as any letter", "OPTIONS", "/api/notes", "https://notes-example.com", 204, false},
		{"preflight, other port", "OPTIONS", "/api/notes", "http://localhost:3001", 204, false},
		{"preflight, other scheme", "OPTIONS", "/api/notes", "https://localhost:3000", 204, false},
		{"preflight, null", "OPTIONS", "/api/notes", "null", 204, false},
		{"read", "GET", "/api/notes", ours, 200, true},
		{"read, foreign", "GET", "/api/notes", foreign, 200, false},
		{"read, null", "GET", "/api/notes", "null", 200, false},
		{"error", "GET", "/api/notes/none", second, 404, true},
		{"no route", "GET", "/none", ours, 404, true},
		{"no origin", "GET", "/api/notes", "", 200, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var headers []string
			if tt.origin != "" {
				headers = []string{"Origin", tt.origin}
			}
			if tt.method == http.MethodOptions {
				headers = append(headers, "Access-Control-Request-Method", "PATCH",
					"Access-Control-Request-Headers", "content-type,if-match,idempotency-key")
			}
			r := c.in(t).request(tt.method, tt.path, nil, headers...).want(tt.status)
			origin, credentials := "", ""
			if tt.allowed {
				origin, credentials = tt.origin, "true"
			}
			wantHeader(t, r, "Access-Control-Allow-Origin", origin)
			wantHeader(t, r, "Access-Control-Allow-Credentials", credentials)
			if !slices.Contains(r.header.Values("Vary"), "Origin") {
				t.Errorf("%s: Vary %q, want Origin in it", r.call, r.header.Values("Vary"))
			}
			if tt.status != http.StatusNoContent && tt.allowed {
				wantList(t, r, "Access-Control-Expose-Headers", "ETag", "Link", "Retry-After", "RateLimit-Limit",
					"RateLimit-Remaining", "RateLimit-Reset")
			}
			if tt.status == http.StatusNoContent && tt.allowed {
				wantList(t, r, "Access-Control-Allow-Methods", "GET", "POST", "PATCH", "DELETE")
				wantList(t, r, "Access-Control-Allow-Headers", "content-type", "if-match", "idempotency-key")
			}
			if tt.status == http.StatusNoContent && r.text != "" {
				t.Errorf("%s = %q, want no body", r.call, r.text)
			}
		})
	}
	t.Run("no origins", func(t *testing.T) {
		s := onSQLite(t, func(cfg *Config, _ *Deps) { cfg.CORSOrigins = nil })
		for _, method := range []string{http.MethodGet, http.MethodOptions} {
			wantHeader(t, s.visitor().request(method, "/api/health", nil, "Origin", foreign), "Access-Control-Allow-Origin", "")
		}
	})
}

func wantHeader(t *testing.T, r reply, name, want string) {
	t.Helper()
	if got := r.header.Get(name); got != want {
		t.Errorf("%s: %s %q, want %q", r.call, name, got, want)
	}
}

// wantList looks for members of a comma list, in any case.
func wantList(t *testing.T, r reply, name string, members ...string) {
	t.Helper()
	got := strings.Split(strings.ToLower(strings.ReplaceAll(r.header.Get(name), " ", "")), ",")
	for _, member := range members {
		if !slices.Contains(got, strings.ToLower(member)) {
			t.Errorf("%s: %s %q, want %s in it", r.call, name, got, member)
		}
	}
}

// A page that is not ours reads nothing with a person's cookie, and writes nothing.
func TestCrossOriginWrites(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	c := s.someone()
	note := c.create(map[string]any{"title": "a", "content": "b"})
	tests := []struct {
		name    string
		headers []string
		refused bool
	}{
		{"no browser", nil, false},
		{"same origin", []string{"Sec-Fetch-Site", "same-origin"}, false},
		{"typed in", []string{"Sec-Fetch-Site", "none"}, false},
		{"same site", []string{"Sec-Fetch-Site", "same-site"}, true},
		{"cross site", []string{"Sec-Fetch-Site", "cross-site"}, true},
		{"cross site from ours", []string{"Sec-Fetch-Site", "cross-site", "Origin", "http://localhost:3000"}, false},
		{"cross site from another", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, true},
		{"cross site that claims us as host", []string{"Sec-Fetch-Site", "cross-site", "Origin", s.url}, true},
		{"older browser, ours", []string{"Origin", "http://localhost:3000"}, false},
		{"older browser, the server's own", []string{"Origin", s.url}, false},
		{"older browser, another", []string{"Origin", "https://evil.example"}, true},
		{"older browser, other port", []string{"Origin", "http://localhost:9"}, true},
		{"sandboxed", []string{"Origin", "null"}, true},
	}
	writes := []struct {
		method, path string
		body         any
	}{
		{"POST", "/api/notes", map[string]any{"title": "a", "content": "b"}},
		{"PATCH", "/api/notes/" + note.ID, map[string]any{"content": "c"}},
		{"PATCH", "/api/notes/" + note.ID + "/pin", nil},
		{"DELETE", "/api/notes/none", nil},
		{"POST", "/api/auth/logout", nil},
		{"POST", "/api/auth/login", map[string]any{}},
		{"POST", "/api/auth/register", map[string]any{}},
		{"POST", "/api/metrics/vitals", map[string]any{}},
		{"POST", "/api/metrics/reset", nil},
		{"POST", "/api/none", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := c.in(t)
			for _, w := range writes {
				if w.path == "/api/auth/logout" {
					c = s.visitor().in(t)
				}
				r := c.request(w.method, w.path, w.body, tt.headers...)
				if tt.refused {
					r.fails(http.StatusForbidden, "Cross-origin request refused")
				} else if r.status == http.StatusForbidden {
					t.Errorf("%s = %d %s, want it let through", r.call, r.status, r.text)
				}
			}
			c.get("/api/health", tt.headers...).want(http.StatusOK) // reading is what CORS decides
		})
	}
}

// A proxy that puts another Host in place of the client's says so. What a page can't say by itself, as its browser
// asks CORS first, makes it one of ours.
func TestCrossOriginBehindProxy(t *testing.T) {
	t.Parallel()
	direct, proxied := onSQLite(t), onSQLite(t, behind())
	tests := []struct {
		name    string
		site    *site
		headers []string
		refused bool
	}{
		{"the host that was asked for", proxied, []string{"X-Forwarded-Host", "notes.example"}, false},
		{"behind two proxies", proxied, []string{"X-Forwarded-Host", "notes.example, inner.example"}, false},
		{"RFC 7239", proxied, []string{"Forwarded", `for=203.0.113.7;host="notes.example"`}, false},
		{"another", proxied, []string{"X-Forwarded-Host", "other.example"}, true},
		{"none", proxied, nil, true},
		{"no proxy", direct, []string{"X-Forwarded-Host", "notes.example"}, true},
		{"the browser says cross-site", proxied, []string{"X-Forwarded-Host", "notes.example", "Sec-Fetch-Site", "cross-site"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := tt.site.visitor().in(t).post("/api/auth/logout", nil, append(tt.headers, "Origin", "https://notes.example")...)
			if refused := r.status == http.StatusForbidden; refused != tt.refused {
				t.Errorf("%s = %d %s, want it refused: %v", r.call, r.status, r.text, tt.refused)
			}
		})
	}
}

// X-Forwarded-For is believed only from trusted proxies, and of it only what they wrote.
func TestClientAddress(t *testing.T) {
	t.Parallel()
	direct, proxied, chain := onSQLite(t), onSQLite(t, behind()), onSQLite(t, behind("10.0.0.0/8", "2001:db8:ffff::/48"))
	tests := []struct {
		name    string
		site    *site
		headers []string
		want    string
	}{
		{"nobody's by default", direct, []string{"X-Forwarded-For", "203.0.113.7"}, "127.0.0.1"},
		{"nor other headers", direct, []string{"X-Real-Ip", "203.0.113.7", "Forwarded", "for=203.0.113.7"}, "127.0.0.1"},
		{"proxy says nothing", proxied, nil, "127.0.0.1"},
		{"proxy says who", proxied, []string{"X-Forwarded-For", "203.0.113.7"}, "203.0.113.7"},
		{"client forged more", proxied, []string{"X-Forwarded-For", "198.51.100.1, 203.0.113.7"}, "203.0.113.7"},
		{"in two headers", proxied, []string{"X-Forwarded-For", "198.51.100.1", "X-Forwarded-For", "203.0.113.7"}, "203.0.113.7"},
		{"client forged nonsense", proxied, []string{"X-Forwarded-For", "<script>, 203.0.113.7"}, "203.0.113.7"},
		{"client claims the proxy", proxied, []string{"X-Forwarded-For", "127.0.0.1, 203.0.113.7"}, "203.0.113.7"},
		{"unknown", proxied, []string{"X-Forwarded-For", "unknown"}, "127.0.0.1"},
		{"unknown behind two", chain, []string{"X-Forwarded-For", "unknown, 10.0.0.2"}, "10.0.0.2"},
		{"with a port", proxied, []string{"X-Forwarded-For", "203.0.113.7:50123"}, "203.0.113.7"},
		{"with ports behind two", chain, []string{"X-Forwarded-For", "203.0.113.7:50123, 10.0.0.2:443"}, "203.0.113.7"},
		{"IPv6 with a port", proxied, []string{"X-Forwarded-For", "[2001:db8::7]:50123"}, "2001:db8::7"},
		{"IPv4 as IPv6", proxied, []string{"X-Forwarded-For", "::ffff:203.0.113.7"}, "203.0.113.7"},
		{"IPv6 with a zone", proxied, []string{"X-Forwarded-For", "fe80::7%eth0"}, "fe80::7"},
		{"quoted", proxied, []string{"X-Forwarded-For", `"203.0.113.7"`}, "203.0.113.7"},
		{"blanks", proxied, []string{"X-Forwarded-For", " \t203.0.113.7 \t"}, "203.0.113.7"},
		{"empty members", proxied, []string{"X-Forwarded-For", "203.0.113.7, ,", "X-Forwarded-For", ""}, "203.0.113.7"},
		{"an open quote forged", proxied, []string{"X-Forwarded-For", `"x, 203.0.113.7`}, "203.0.113.7"},
		{"a name", proxied, []string{"X-Forwarded-For", "client.example"}, "127.0.0.1"},
		{"a port of letters", proxied, []string{"X-Forwarded-For", "203.0.113.7:x"}, "127.0.0.1"},
		{"all trusted", chain, []string{"X-Forwarded-For", "10.0.0.9, 10.0.0.2"}, "10.0.0.9"},
		{"RFC 7239", proxied, []string{"Forwarded", "for=203.0.113.7;proto=https;by=10.0.0.2"}, "203.0.113.7"},
		{"RFC 7239 IPv6 with a port", proxied, []string{"Forwarded", `For="[2001:db8::7]:4711"`}, "2001:db8::7"},
		{"RFC 7239 behind two", chain, []string{"Forwarded", `for=198.51.100.1, for=203.0.113.7`, "Forwarded", `for=10.0.0.2`}, "203.0.113.7"},
		{"RFC 7239 with an open quote forged", proxied, []string{"Forwarded", `for="x, for="203.0.113.7"`}, "203.0.113.7"},
		{"RFC 7239 hidden", proxied, []string{"Forwarded", "for=_hidden"}, "127.0.0.1"},
		{"RFC 7239 without for", proxied, []string{"Forwarded", "for=203.0.113.7, proto=https"}, "127.0.0.1"},
		{"X-Forwarded-For before Forwarded", proxied, []string{"Forwarded", "for=198.51.100.1", "X-Forwarded-For", "203.0.113.7"}, "203.0.113.7"},
		{"X-Forwarded-For that says nothing before Forwarded", proxied, []string{"Forwarded", "for=198.51.100.1", "X-Forwarded-For", "unknown"}, "127.0.0.1"},
		{"X-Real-Ip", proxied, []string{"X-Real-Ip", "203.0.113.7"}, "203.0.113.7"},
		{"X-Forwarded-For before X-Real-Ip", proxied, []string{"X-Real-Ip", "198.51.100.1", "X-Forwarded-For", "203.0.113.7"}, "203.0.113.7"},
		{"Forwarded before X-Real-Ip", proxied, []string{"X-Real-Ip", "198.51.100.1", "Forwarded", "for=203.0.113.7"}, "203.0.113.7"},
		{"empty", proxied, []string{"X-Forwarded-For", ""}, "127.0.0.1"},
		{"IPv6", proxied, []string{"X-Forwarded-For", "2001:db8::7"}, "2001:db8::7"},
		{"IPv6 in brackets", proxied, []string{"X-Forwarded-For", "[2001:db8::7]"}, "2001:db8::7"},
		{"private client", proxied, []string{"X-Forwarded-For", "192.168.1.9"}, "192.168.1.9"},
		{"inner proxy not trusted", proxied, []string{"X-Forwarded-For", "203.0.113.7, 10.0.0.2"}, "10.0.0.2"},
		{"inner proxy trusted", chain, []string{"X-Forwarded-For", "203.0.113.7, 10.0.0.2"}, "203.0.113.7"},
		{"inner IPv6 proxy trusted", chain, []string{"X-Forwarded-For", "203.0.113.7, 2001:db8:ffff::1"}, "203.0.113.7"},
		{"forged behind two", chain, []string{"X-Forwarded-For", "10.0.0.9, 203.0.113.7, 10.0.0.2"}, "203.0.113.7"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := tt.site.visitor().in(t).get("/api/health", tt.headers...).want(http.StatusOK)
			if got := tt.site.line(r)["addr"]; got != tt.want {
				t.Errorf("address %v, want %s", got, tt.want)
			}
		})
	}
}

// A proxy that does not say who its clients are makes all of them one for the limits: that is in the log, once.
func TestClientAddressUnknown(t *testing.T) {
	t.Parallel()
	const warning = "a trusted proxy does not say who its client is: all such clients share the limits of one"
	for _, tt := range []struct {
		name    string
		site    options
		headers []string
		header  any // that the warning names
	}{
		{"no header", behind(), nil, "none"},
		{"unreadable", behind(), []string{"X-Forwarded-For", "198.51.100.1, unknown"}, "X-Forwarded-For: unknown"},
		{"hidden", behind(), []string{"Forwarded", "for=_hidden"}, "Forwarded: _hidden"},
		{"unreadable X-Real-Ip", behind(), []string{"X-Real-Ip", "?"}, "X-Real-Ip: ?"},
		{"very long", behind(), []string{"X-Forwarded-For", strings.Repeat("x", 200)}, "X-Forwarded-For: " + strings.Repeat("x", 64) + "…"},
		{"readable", behind(), []string{"X-Forwarded-For", "203.0.113.7"}, nil},
		{"a client that is trusted itself", behind(), []string{"X-Forwarded-For", "127.0.0.1"}, nil},
		{"no proxy", none, []string{"X-Forwarded-For", "unknown"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := onSQLite(t, tt.site)
			s.visitor().get("/api/health", tt.headers...).want(http.StatusOK) // what a proxy itself asks for has no client
			if got := s.log.With(warning); len(got) > 0 {
				t.Errorf("a health check is logged as %v", got)
			}
			for range 3 {
				s.visitor().get("/api/notes", tt.headers...).want(http.StatusUnauthorized)
			}
			got := s.log.With(warning)
			if tt.header == nil {
				if len(got) > 0 {
					t.Errorf("logged %v, want nothing", got)
				}
				return
			}
			if len(got) != 1 || got[0]["header"] != tt.header || got[0]["proxy"] != "127.0.0.1" || got[0]["level"] != "WARN" {
				t.Errorf("logged %v, want one warning about %v", got, tt.header)
			}
		})
	}
}

// The general limit counts a person's requests, and an address's while nobody is signed in.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	const most = 5
	eachSite(t, func(t *testing.T, s *site) {
		ada, bob := s.someone(), s.someone()
		adaElsewhere := s.as(ada.create(map[string]any{"title": "a", "content": ""}).UserID) // the first of five
		for left := most - 2; left >= 0; left-- {
			r := []*client{ada, adaElsewhere}[left%2].get("/api/notes").want(http.StatusOK)
			wantRate(t, r, most, left)
		}
		refusal := ada.get("/api/notes").fails(http.StatusTooManyRequests, "Too many requests, please try again later.")
		wantRate(t, refusal, most, 0)
		wantRefusal(t, refusal, "rate_limit")
		adaElsewhere.post("/api/notes", map[string]any{"title": "a", "content": ""}).want(http.StatusTooManyRequests)
		ada.get("/api/auth/me").want(http.StatusTooManyRequests)
		wantRate(t, bob.get("/api/notes").want(http.StatusOK), most, most-1)

		stranger := s.visitor()
		for left := most - 1; left >= 0; left-- {
			wantRate(t, stranger.get("/api/notes").want(http.StatusUnauthorized), most, left)
		}
		wantRefusal(t, s.visitor().get("/api/auth/me").want(http.StatusTooManyRequests), "rate_limit")
		s.visitor().post("/api/auth/login", "{").fails(http.StatusTooManyRequests, "Too many requests, please try again later.")
		elsewhere := s.visitor()
		wantRate(t, elsewhere.get("/api/notes", "X-Forwarded-For", "203.0.113.7").want(http.StatusUnauthorized), most, most-1)

		for range 2 * most { // never limited, nor counted
			for _, path := range []string{"/api/health", "/api/health/ready", "/healthz", "/readyz"} {
				r := ada.get(path).want(http.StatusOK)
				wantHeader(t, r, "RateLimit-Limit", "")
			}
			for _, c := range []*client{stranger, bob} {
				c.request(http.MethodOptions, "/api/notes", nil, "Origin", "http://localhost:3000", "Access-Control-Request-Method", "GET").
					want(http.StatusNoContent)
			}
		}
		wantRate(t, bob.get("/api/notes").want(http.StatusOK), most, most-2)
	}, behind(), func(cfg *Config, _ *Deps) { cfg.RateLimitMax, cfg.RateLimitWindow = most, time.Hour })
}

// wantRate checks the headers of the general limit.
func wantRate(t *testing.T, r reply, limit, remaining int) {
	t.Helper()
	if got, err := r.number("RateLimit-Limit"); err != nil || got != limit {
		t.Errorf("%s: RateLimit-Limit %d, %v, want %d", r.call, got, err, limit)
	}
	if got, err := r.number("RateLimit-Remaining"); err != nil || got != remaining {
		t.Errorf("%s: RateLimit-Remaining %d, %v, want %d", r.call, got, err, remaining)
	}
	if got, err := r.number("RateLimit-Reset"); err != nil || got < 1 || got > 3600 {
		t.Errorf("%s: RateLimit-Reset %d, %v, want seconds of an hour", r.call, got, err)
	}
}

// wantRefusal checks what every 429 and 503 says.
func wantRefusal(t *testing.T, r reply, reason string) {
	t.Helper()
	var f failure
	r.decode(&f)
	after, err := r.number("Retry-After")
	if f.Reason != reason || err != nil || after < 1 || after != f.RetryAfter || f.RequestID != r.header.Get("X-Request-Id") {
		t.Errorf("%s = %s with Retry-After %d (%v), want reason %q, the header's time and id", r.call, r.text, after, err, reason)
	}
	wantHeader(t, r, "Content-Type", "application/json; charset=utf-8")
}

// An address that only a client's own header speaks of is no other address.
func TestRateLimitSpoofed(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, func(cfg *Config, _ *Deps) { cfg.RateLimitMax, cfg.RateLimitWindow = 2, time.Hour })
	for i, want := range []int{401, 401, 429, 429} {
		forged := "203.0.113." + string(rune('1'+i))
		s.visitor().get("/api/notes", "X-Forwarded-For", forged, "X-Real-Ip", forged).want(want)
	}
}

func TestNoRateLimit(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, func(cfg *Config, _ *Deps) { cfg.RateLimitMax = 0 })
	for range 50 {
		wantHeader(t, s.visitor().get("/api/notes").want(http.StatusUnauthorized), "RateLimit-Limit", "")
	}
}
