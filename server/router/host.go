package router

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
)

// hostGuard contains the host names for which requests are answered. It protects against DNS
// rebinding, in which an attacker's host name resolves to this machine. To the browser a page of
// that name has the same origin as this server. Only the Host header distinguishes it from one of
// our pages.
type hostGuard struct {
	any   bool // requests for every name are answered
	names map[string]bool
}

// newHostGuard returns a guard that accepts every name in production, unless ALLOWED_HOSTS is set.
// In production it is the proxy's task to check the name.
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

// answers reports whether requests for host, a Host header, are answered. A name that cannot be
// made to resolve to this machine in public DNS is always answered: an address, a name without a
// dot, and a name that ends in .localhost (RFC 6761) or .local (RFC 6762). An empty name is
// answered, too, because no browser sends it.
func (g hostGuard) answers(host string) bool {
	if g.any || host == "" {
		return true
	}
	name := hostname(host)
	if !strings.Contains(name, ".") || strings.HasSuffix(name, ".localhost") || strings.HasSuffix(name, ".local") ||
		g.names[name] {
		return true
	}
	_, err := netip.ParseAddr(name)
	return err == nil
}

// hostname returns host in lower case, without port, brackets and final dot.
func hostname(host string) string {
	name := host
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, ']') {
		name = name[:i]
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

func (rt *Router) refuseHost(next echo.HandlerFunc) echo.HandlerFunc {
	return func(e echo.Context) error {
		if !rt.hosts.answers(e.Request().Host) {
			return errUnknownHost
		}
		return next(e)
	}
}

// isForeignRead reports whether a page of another origin made the browser send this read. The page
// cannot read the response but can measure its duration, which may reveal, for example, whether a
// search had a hit. Pages of the same site but another origin are foreign as well, since
// their requests carry the session cookie. Pages of trusted origins send their origin along and are
// not foreign. Opening a link does not count, nor does a request with a bearer token.
func (rt *Router) isForeignRead(h http.Header) bool {
	switch h.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
		return false
	}
	opens := h.Get("Sec-Fetch-Mode") == "navigate" && h.Get("Sec-Fetch-Dest") == "document"
	return !opens && !hasBearer(h) && !slices.Contains(rt.cfg.CORSOrigins, h.Get("Origin"))
}
