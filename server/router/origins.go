package router

import (
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
)

// originEvery is the minimum time between two log lines about origins.
const originEvery = 10 * time.Second

// An originLog logs origins whose pages cannot work as a front end: they are not in CORS_ORIGIN, or
// the browser sends no cookies for them. A foreign page can send as many such requests as it likes,
// so there is one line in originEvery.
type originLog struct {
	mu     sync.Mutex // guards the fields below
	next   time.Time  // when the next line may be written
	hushed int        // requests without a log line since the last line
}

// due reports whether a line may be written at now. hushed is how many requests got no line since
// the last one.
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

// logUselessOrigin logs requests from a page of another origin that gets nothing useful in return.
func (rt *Router) logUselessOrigin(next echo.HandlerFunc) echo.HandlerFunc {
	return func(e echo.Context) error {
		r := rt.asRequested(e.Request())
		origin, site := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
		switch {
		case hasBearer(r.Header):
		case origin == "" && rt.protection.Check(r) == nil, origin != "" && ownOrigin(origin, r.Host):
		case !slices.Contains(rt.cfg.CORSOrigins, origin):
			rt.logOrigin("a page of an origin that is not trusted was refused", origin, r.Host)
		case site == "cross-site":
			rt.logOrigin("cookies don't work for this front end, as it is of another site: serve it and notesd "+
				"under one site, like https://app.example.com and https://api.example.com, or have "+
				"its own server pass /api on",
				origin, r.Host)
		}
		return next(e)
	}
}

// ownOrigin reports whether origin is the origin of host. The scheme is not compared, because a
// proxy may have terminated TLS.
func ownOrigin(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, host)
}

func (rt *Router) logOrigin(message, origin, host string) {
	if hushed, due := rt.origins.due(time.Now()); due {
		rt.log.Warn(message, "origin", cut(origin), "host", cut(host), "setting", "CORS_ORIGIN", "more_since_last",
			hushed)
	}
}

// cut returns a header's value for a log line, shortened to maxLoggedHeader.
func cut(header string) string {
	if len(header) <= maxLoggedHeader {
		return header
	}
	return strings.ToValidUTF8(header[:maxLoggedHeader], "") + "…"
}
