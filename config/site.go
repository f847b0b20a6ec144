package config

import (
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// sameSite says, for messages, how a front end and notesd can share a site.
const sameSite = "serve both under one site, like https://app.example.com and https://api.example.com, " +
	"or have the front end's own server pass /api on"

// Site returns the site of an origin or another URL, as browsers determine it for SameSite cookies:
// the scheme and the registrable domain. Ports do not count.
func Site(origin string) string {
	u, err := url.Parse(origin)
	if err != nil {
		return origin
	}
	host := strings.ToLower(u.Hostname())
	if domain, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil && !isAddress(host) {
		host = domain
	}
	return u.Scheme + "://" + host
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// checkOrigins warns of front ends whose browsers won't send the session cookie, which is
// SameSite=Strict. These are front ends on another site than notesd. The site of notesd is known
// only on a machine for development. Elsewhere, checkOrigins can only see that the front ends are
// on two sites.
func (l *loader) checkOrigins() {
	if !l.valid("CORS_ORIGIN", "HOST") || len(l.CORSOrigins) == 0 {
		return
	}
	first := l.CORSOrigins[0]
	for _, origin := range l.CORSOrigins[1:] {
		if Site(origin) != Site(first) {
			l.warn("CORS_ORIGIN: %s and %s are two sites, and cookies work for front ends of notesd's own site "+
				"only: %s", first, origin, sameSite)
			return
		}
	}
	if !l.Production && isLoopback("http://"+l.Host) && !isLoopback(first) && len(l.TrustedProxies) == 0 {
		l.warn("CORS_ORIGIN: %s is another site than this machine's http://localhost, so cookies don't work there: %s",
			first, sameSite)
	}
}

// isLoopback reports whether the host of a URL is the machine itself.
func isLoopback(rawURL string) bool {
	u, err := url.Parse(rawURL)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && addr.IsLoopback()
}
