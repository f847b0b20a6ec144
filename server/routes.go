package server

import (
	"log/slog"
	"net/http"

	"github.com/labstack/echo/v4"

	"notesd/internal/cache"
	"notesd/internal/netutil"
	"notesd/notes"
	"notesd/pool"
)

// route is one row of the table of routes below.
type route struct {
	method, pattern string
	class           pool.Class // the class in the pool; it has no meaning if free is set
	handle          handler
	// copied returns the cache key of the response.
	copied func(user, id, query string) cache.Key
	// searches: a request with ?search= is of the class Search.
	searches bool
	// smallBody: the body is short (see the constant smallBody).
	smallBody bool
	// ends: the route ends every session that the request brings, of any user.
	ends bool
	// signedIn: the route needs a signed-in user, and other requests get a 401.
	signedIn bool
	// free: the route needs no permit of the pool. It is answered while the pool is full, and is
	// never limited.
	free bool
	// admin: the route is for administrators only. It needs no permit either.
	admin bool
	// quiet: machines request the route all the time, so its log lines are debug lines.
	quiet bool
	// index is the row in the statistics.
	index int
}

func (r *route) pooled() bool { return !r.free && !r.admin }

// pattern returns the route's name in logs and metrics. It is never the raw path.
func (x *exchange) pattern() string {
	if x.route == nil {
		return "unknown"
	}
	return x.route.pattern
}

// allRoutes returns all routes, and those of faults if it is not nil. HEAD works for every GET
// route.
func allRoutes(faults *Faults) []*route {
	const get, post, patch, del = http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete
	routes := []*route{
		{method: get, pattern: "/api/health", handle: health, free: true, quiet: true},
		{method: get, pattern: "/healthz", handle: health, free: true, quiet: true},
		{method: get, pattern: "/api/health/ready", handle: ready, free: true, quiet: true},
		{method: get, pattern: "/readyz", handle: ready, free: true, quiet: true},

		{method: get, pattern: "/", handle: frontPage, free: true},
		// The page contains no data: it requests the data with the token.
		{method: get, pattern: "/status", handle: statusFile("index.html", "text/html; charset=utf-8"), free: true, quiet: true},
		{method: get, pattern: "/status/status.css", handle: statusFile("status.css", "text/css; charset=utf-8"), free: true, quiet: true},
		{method: get, pattern: "/status/status.js", handle: statusFile("status.js", "text/javascript; charset=utf-8"), free: true, quiet: true},
		{method: get, pattern: "/status/icon.svg", handle: statusFile("icon.svg", "image/svg+xml"), free: true, quiet: true},

		{method: get, pattern: "/api/metrics", handle: requestMetrics, admin: true, quiet: true},
		{method: get, pattern: "/api/metrics/system", handle: systemMetrics, admin: true},
		{method: post, pattern: "/api/metrics/reset", handle: resetMetrics, admin: true},
		{method: get, pattern: "/metrics", handle: prometheusMetrics, admin: true, quiet: true},
		{method: get, pattern: "/api/runtime", handle: runtimeState, admin: true, quiet: true},
		{method: post, pattern: "/api/metrics/vitals", handle: webVitals, class: pool.Write, smallBody: true},

		{method: post, pattern: "/api/auth/register", handle: register, class: pool.Password, ends: true, smallBody: true},
		{method: post, pattern: "/api/auth/login", handle: login, class: pool.Password, ends: true, smallBody: true},
		{method: post, pattern: "/api/auth/logout", handle: logout, class: pool.Write, ends: true},
		{method: get, pattern: "/api/auth/me", handle: me, class: pool.Read},

		{method: get, pattern: "/api/notes", handle: listNotes, copied: copiedList, class: pool.Read, searches: true, signedIn: true},
		{method: post, pattern: "/api/notes", handle: createNote, class: pool.Write, signedIn: true},
		{method: get, pattern: "/api/notes/:id", handle: getNote, copied: copiedNote, class: pool.Read, signedIn: true},
		{method: patch, pattern: "/api/notes/:id", handle: patchNote, class: pool.Write, signedIn: true},
		{method: del, pattern: "/api/notes/:id", handle: deleteNote, class: pool.Write, signedIn: true},
		{method: patch, pattern: "/api/notes/:id/pin", handle: flip(notes.FlagPinned), class: pool.Write, signedIn: true},
		{method: patch, pattern: "/api/notes/:id/archive", handle: flip(notes.FlagArchived), class: pool.Write, signedIn: true},
		{method: patch, pattern: "/api/notes/:id/favorite", handle: flip(notes.FlagFavorite), class: pool.Write, signedIn: true},
		{method: patch, pattern: "/api/notes/:id/trash", handle: trashNote, class: pool.Write, signedIn: true},
		{method: patch, pattern: "/api/notes/:id/restore", handle: restoreNote, class: pool.Write, signedIn: true},
		{method: del, pattern: "/api/notes/:id/permanent", handle: deleteTrashedNote, class: pool.Write, signedIn: true},
	}
	if faults != nil {
		routes = append(routes, faults.routes...)
	}
	for i, rt := range routes {
		rt.index = i
	}
	return routes
}

// newEcho returns echo with the middleware in its order, and the routes.
func (s *Server) newEcho() *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.Pre(normalizePath) // before routing: any case, one trailing slash
	// It is first, so that its log line and metrics cover all of the rest. It also sends the
	// response.
	e.Use(s.observe)
	e.Use(s.noteOrigin)        // before anything responds to a page of another origin
	e.Use(s.limitUnrouted)     // around all that rejects requests without a permit
	e.Use(s.refuseHost)        // before anything responds to a page that DNS rebinding led here
	e.Use(s.cors())            // answers preflights before anything counts or rejects them
	e.Use(s.refuseCrossOrigin) // before a handler can act for a page of another origin
	for _, rt := range s.routes {
		h := s.entry(rt)
		e.Add(rt.method, rt.pattern, h)
		if rt.method == http.MethodGet {
			e.Add(http.MethodHead, rt.pattern, h)
		}
	}
	return e
}

// entry returns the handler that the router calls for rt. It runs with a permit of the pool, or
// without one if rt is free.
func (s *Server) entry(rt *route) echo.HandlerFunc {
	inPool := s.pooled(rt)
	return func(c echo.Context) error {
		x := c.(*exchange)
		x.route = rt
		if rt.pooled() {
			// For writes, refuseCrossOrigin decides.
			if rt.method == http.MethodGet && s.isForeignRead(x.Request().Header) {
				return errCrossOrigin
			}
			return inPool(x)
		}
		if rt.admin {
			if err := s.guard.Check(x.Request().Header, netutil.Network(x.addr)); err != nil {
				return err
			}
		}
		return s.unpooled(x)
	}
}

// unpooled runs a handler without a permit of the pool. It handles panics as the pool does for all
// other handlers: one request fails, and the log has the reason.
func (s *Server) unpooled(x *exchange) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = s.pool.Caught(x.pattern(), v, slog.String("request_id", x.id))
		}
	}()
	return x.route.handle(s, x)
}
