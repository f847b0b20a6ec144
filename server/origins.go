package server

import (
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
)

// originEvery is the time between two log lines about origins.
const originEvery = 10 * time.Second

// An originLog tells of origins for which a browser does not do what a front
// end wants: they are not in CORS_ORIGIN, or cookies do not work there. A page
// of a stranger can cause as many such requests as it likes, so there is one
// line in originEvery.
type originLog struct {
	mu     sync.Mutex // guards what follows
	next   time.Time  // when the next line may be written
	hushed int        // requests without a line since the last
}

// due reports whether a line may be written at now, and for how many requests none was.
func (l *originLog) due(now time.Time) (hushed int, due bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Before(l.next) {
		l.hushed++
		return 0, false
	}
	hushed, l.hushed = l.hushed, 0
	l.next = now.Add(originEvery)
	return hushed, true
}

// noteOrigin logs requests that come from a page of another origin and are of no use to it.
func (s *Server) noteOrigin(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := s.asAsked(c.Request())
		origin, site := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
		switch {
		case origin == "" && s.protection.Check(r) == nil, origin != "" && ownOrigin(origin, r.Host):
		case !slices.Contains(s.cfg.CORSOrigins, origin):
			s.logOrigin("a page of an origin that is not trusted was refused", origin, r.Host)
		case site == "cross-site":
			s.logOrigin("cookies don't work for this front end, as it is of another site: serve it and notesd under one "+
				"site, like https://app.example.com and https://api.example.com, or have its own server pass /api on",
				origin, r.Host)
		}
		return next(c)
	}
}

// ownOrigin reports whether an origin is that of host. A proxy may have ended TLS, so the scheme does not count.
func ownOrigin(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, host)
}

func (s *Server) logOrigin(message, origin, host string) {
	if hushed, due := s.origins.due(time.Now()); due {
		s.log.Warn(message, "origin", cut(origin), "host", cut(host), "setting", "CORS_ORIGIN", "more_since_last", hushed)
	}
}

// cut is a header's value in a log line: no longer than maxLoggedHeader.
func cut(header string) string {
	if len(header) <= maxLoggedHeader {
		return header
	}
	return strings.ToValidUTF8(header[:maxLoggedHeader], "") + "…"
}
