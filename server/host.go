package server

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
)

// hostGuard knows the host names that are answered. A page whose name is made
// to lead to this machine (DNS rebinding) is of the same origin to the browser:
// nothing but the Host header tells it from a page of ours.
type hostGuard struct {
	any   bool // every name is answered
	names map[string]bool
}

// newHostGuard answers every name in production, where the name is the proxy's
// to check, unless ALLOWED_HOSTS is set.
func newHostGuard(cfg Config) hostGuard {
	g := hostGuard{any: cfg.Production && len(cfg.AllowedHosts) == 0, names: map[string]bool{}}
	for _, name := range cfg.AllowedHosts {
		g.names[name] = true
	}
	for _, origin := range cfg.CORSOrigins {
		if u, err := url.Parse(origin); err == nil {
			g.names[u.Hostname()] = true
		}
	}
	return g
}

// answers reports whether requests for host, a Host header, are answered. A
// name that nobody can make lead here in public DNS always is: an address, a
// name without a dot, one that ends in .localhost (RFC 6761) or .local (RFC
// 6762). So is an empty one, which no browser sends.
func (g hostGuard) answers(host string) bool {
	if g.any || host == "" {
		return true
	}
	name := hostname(host)
	if !strings.Contains(name, ".") || strings.HasSuffix(name, ".localhost") || strings.HasSuffix(name, ".local") || g.names[name] {
		return true
	}
	_, err := netip.ParseAddr(name)
	return err == nil
}

// hostname is host in lower case, without a port, brackets and the dot at its end.
func hostname(host string) string {
	name := host
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, ']') {
		name = name[:i]
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

func (s *Server) refuseHost(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if !s.hosts.answers(c.Request().Host) {
			return errUnknownHost
		}
		return next(c)
	}
}

// isForeignRead reports whether a page of another origin has a browser read
// something. What it reads it is not given, but how long that takes tells it
// something: a search, for example, whether there is a hit. Pages of the same
// site are foreign as well, since their requests carry the session cookie. The
// pages of trusted origins send theirs along. A person who opens a link is let in.
func (s *Server) isForeignRead(h http.Header) bool {
	switch h.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
		return false
	}
	opens := h.Get("Sec-Fetch-Mode") == "navigate" && h.Get("Sec-Fetch-Dest") == "document"
	return !opens && !slices.Contains(s.cfg.CORSOrigins, h.Get("Origin"))
}
