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

// route is one row of the page below.
type route struct {
	method, pattern string
	class           pool.Class // of the turn it takes; meaningless when it is free
	handle          handler
	copied          func(user, id, query string) cache.Key // where a copy of the answer may be
	searches        bool                                   // with ?search= it is of the class Search
	smallBody       bool                                   // its body is a few words: see smallBody
	ends            bool                                   // it ends every session that comes, whosever they are
	signedIn        bool                                   // 401 for everybody else
	free            bool                                   // takes no turn: answers while the pool is full, and is never limited
	admin           bool                                   // for administrators; always free
	quiet           bool                                   // asked all the time by machines: its log lines are debug lines
	index           int                                    // in the statistics
}

func (r *route) pooled() bool { return !r.free && !r.admin }

// pattern is the route as logs and metrics name it, never the raw path.
func (x *exchange) pattern() string {
	if x.route == nil {
		return "unknown"
	}
	return x.route.pattern
}

// allRoutes is every route on one page, and those of faults unless it is nil. HEAD is answered
// wherever GET is.
func allRoutes(faults *Faults) []*route {
	const get, post, patch, del = http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete
	routes := []*route{
		{method: get, pattern: "/api/health", handle: health, free: true, quiet: true},
		{method: get, pattern: "/healthz", handle: health, free: true, quiet: true},
		{method: get, pattern: "/api/health/ready", handle: ready, free: true, quiet: true},
		{method: get, pattern: "/readyz", handle: ready, free: true, quiet: true},

		{method: get, pattern: "/", handle: frontPage, free: true},
		{method: get, pattern: "/status", handle: statusFile("index.html", "text/html; charset=utf-8"), free: true, quiet: true}, // tells nothing: what it shows it asks for with the token
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

// newEcho puts the middleware in order and the routes behind it.
func (s *Server) newEcho() *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.Pre(normalizePath)       // before routing: any case, one trailing slash
	e.Use(s.observe)           // first: its log line and metrics see whatever the rest does, and it sends the answer
	e.Use(s.noteOrigin)        // before anything answers a page that is not ours
	e.Use(s.limitUnrouted)     // around all that refuses without a turn
	e.Use(s.refuseHost)        // before anything is answered for a page that was led here
	e.Use(s.cors())            // answers preflights, before anything counts or refuses them
	e.Use(s.refuseCrossOrigin) // before a handler can act for a page that is not ours
	for _, rt := range s.routes {
		h := s.entry(rt)
		e.Add(rt.method, rt.pattern, h)
		if rt.method == http.MethodGet {
			e.Add(http.MethodHead, rt.pattern, h)
		}
	}
	return e
}

// entry is what the router calls for rt: in a turn, or free of it.
func (s *Server) entry(rt *route) echo.HandlerFunc {
	inPool := s.pooled(rt)
	return func(c echo.Context) error {
		x := c.(*exchange)
		x.route = rt
		if rt.pooled() {
			if rt.method == http.MethodGet && s.isForeignRead(x.Request().Header) { // of writes refuseCrossOrigin decides
				return errCrossOrigin
			}
			return inPool(x)
		}
		if rt.admin {
			if err := s.guard.check(x.Request().Header, netutil.Network(x.addr)); err != nil {
				return err
			}
		}
		return s.unpooled(x)
	}
}

// unpooled runs a handler that takes no turn. What the pool does about the
// panics of all others is done here: one request fails, and the log says why.
func (s *Server) unpooled(x *exchange) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = s.pool.Caught(x.pattern(), v, slog.String("request_id", x.id))
		}
	}()
	return x.route.handle(s, x)
}
