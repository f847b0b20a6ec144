package server

import (
	"net/http"
	"slices"

	"notesd/server/router"
	"notesd/store"
)

// doors returns the routes of all doors.
func (s *Server) doors() [][]router.Route {
	doors := [][]router.Route{s.adminRoutes(), docsRoutes(), s.api.Routes()}
	if s.cfg.Faults != nil {
		doors = append(doors, s.cfg.Faults.Routes)
	}
	return doors
}

// open makes the router for the routes of the doors.
func (s *Server) open(doors [][]router.Route) (err error) {
	s.tally = newTally(len(s.pool.Stats().Shards), !s.cfg.MetricsCollection, slices.Concat(doors...))
	s.router, err = router.New(router.Config{
		Production:         s.cfg.Production,
		RequestTimeout:     s.cfg.RequestTimeout,
		BodyLimit:          s.cfg.BodyLimit,
		CORSOrigins:        s.cfg.CORSOrigins,
		AllowedHosts:       s.cfg.AllowedHosts,
		TrustedProxies:     s.cfg.TrustedProxies,
		RateLimitMax:       s.cfg.RateLimitMax,
		RateLimitWindow:    s.cfg.RateLimitWindow,
		PerformanceLogging: s.cfg.PerformanceLogging,
		NoAdmission:        s.cfg.Faults != nil && s.cfg.Faults.NoAdmission,
		Log:                s.log,
		Pool:               s.pool,
		Limiter:            s.limiter,
		Auth:               s.accounts.Sessions,
		CheckAdmin:         s.guard.Check,
		Observer:           s.tally,
		ErrorFor:           errorFor,
		WithReserve:        store.WithReserve,
	}, doors...)
	return err
}

// Faults are failures on purpose, so that proofs can show their consequences. The released program
// has none.
type Faults struct {
	Routes []router.Route
	// NoAdmission starts every handler at once, as plain net/http does. The benefit and the cost of
	// the pool are measured against that.
	NoAdmission bool
}

// adminRoutes returns the routes for the operators of the server, and the front page.
func (s *Server) adminRoutes() []router.Route {
	const get, post = http.MethodGet, http.MethodPost
	file := func(path, name, contentType string) router.Route {
		return router.Route{Method: get, Path: path, Class: router.Free, Handle: statusFile(name, contentType), Quiet: true}
	}
	return []router.Route{
		{Method: get, Path: "/api/health", Class: router.Free, Handle: s.health, Fast: s.healthEntry, Quiet: true},
		{Method: get, Path: "/healthz", Class: router.Free, Handle: s.health, Fast: s.healthEntry, Quiet: true},
		{Method: get, Path: "/api/health/ready", Class: router.Free, Handle: s.ready, Quiet: true},
		{Method: get, Path: "/readyz", Class: router.Free, Handle: s.ready, Quiet: true},

		{Method: get, Path: "/", Class: router.Free, Handle: frontPage},
		// The page contains no data: it requests the data with the token.
		file("/status", "index.html", "text/html; charset=utf-8"),
		file("/status/status.css", "status.css", "text/css; charset=utf-8"),
		file("/status/status.js", "status.js", "text/javascript; charset=utf-8"),
		file("/status/icon.svg", "icon.svg", "image/svg+xml"),

		{Method: get, Path: "/api/metrics", Class: router.Free, Auth: router.Admin, Handle: s.requestMetrics, Quiet: true},
		{Method: get, Path: "/api/metrics/system", Class: router.Free, Auth: router.Admin, Handle: s.systemMetrics},
		{Method: post, Path: "/api/metrics/reset", Class: router.Free, Auth: router.Admin, Handle: s.resetMetrics},
		{Method: get, Path: "/metrics", Class: router.Free, Auth: router.Admin, Handle: s.prometheusMetrics, Quiet: true},
		{Method: get, Path: "/api/runtime", Class: router.Free, Auth: router.Admin, Handle: s.runtimeState, Quiet: true},
	}
}
