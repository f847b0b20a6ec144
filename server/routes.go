package server

import (
	"notesd/server/router"
	"notesd/store"
	"notesd/web"
)

// doors returns the routes of all doors.
func (s *Server) doors() [][]router.Route {
	doors := [][]router.Route{s.admin.Routes(), s.api.Routes(), web.Routes(s.cfg.Web)}
	if s.cfg.Faults != nil {
		doors = append(doors, s.cfg.Faults.Routes)
	}
	return doors
}

// open makes the router for the routes of the doors.
func (s *Server) open(doors [][]router.Route) (err error) {
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
		Log:                s.deps.Log,
		Pool:               s.deps.Pool,
		Limiter:            s.limiter,
		Auth:               s.accounts,
		CheckAdmin:         s.admin.CheckToken,
		Observer:           s.admin.Observer(),
		ErrorFor:           errorFor,
		WithReserve:        store.WithReserve,
	}, doors...)
	if err == nil {
		s.admin.Attach(s.router)
	}
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
