// Package admin is the door for the operators of the server: health probes, metrics, the state of
// the process, alerts and the status page.
package admin

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"notesd/internal/cache"
	"notesd/internal/incident"
	"notesd/internal/ratelimit"
	"notesd/internal/redis"
	"notesd/pool"
	"notesd/server/auth"
	"notesd/server/events"
	"notesd/server/listener"
	"notesd/server/router"
	"notesd/store"
)

// Config is what the door shows, and where it finds it. Redis, Memory, Pressure, Alerts and
// Incidents may be nil.
type Config struct {
	Version  string
	Token    string // the administrator token; empty: there is no administrator
	DataDir  string // the directory whose free space is reported; empty: none is
	Machine  Machine
	Settings map[string]string // the settings in force, without secrets
	// CountResponses counts responses by route and status.
	CountResponses bool

	Log       *slog.Logger
	Store     *store.Store
	Redis     *redis.Client // nil: sessions are in the store
	Pool      *pool.Pool
	Memory    *pool.Monitor
	Pressure  *pool.PressureMonitor
	Alerts    *Alerts
	Incidents *incident.Recorder
	Cache     *cache.Cache
	Limiter   *ratelimit.Limiter
	Conns     *listener.Counts
	// Streams returns the statistics of the streams of events.
	Streams func() events.Stats
	// Vitals calls f for each count of the web vitals that browsers have reported.
	Vitals func(f func(name, rating string, n uint64))
	// HandingOver reports whether a new process takes over, which answers on the same port.
	HandingOver func() bool
}

// Admin is the operators' door. New makes it, and Attach completes it.
type Admin struct {
	cfg        Config
	router     *router.Router
	guard      *auth.TokenGuard
	tally      *tally
	prometheus http.Handler
	readiness  readiness
	healthy    atomic.Pointer[healthResponse]
	started    time.Time
}

// New returns the operators' door.
func New(cfg Config) *Admin {
	a := &Admin{cfg: cfg, tally: newTally(len(cfg.Pool.Stats().Shards), !cfg.CountResponses), started: time.Now()}
	a.guard = auth.NewTokenGuard(cfg.Token, a.logGuesses)
	a.prometheus = a.newPrometheus()
	return a
}

// Attach tells the door which router it is behind. It must be called before the first request.
func (a *Admin) Attach(rt *router.Router) {
	a.router = rt
	a.tally.count(rt.Routes())
}

// Observer returns what counts the responses of the router.
func (a *Admin) Observer() router.Observer { return a.tally }

// CheckToken returns nil if a request with the header h, from a client of the network, brings the
// administrator token. Its error is that of auth.TokenGuard.Check.
func (a *Admin) CheckToken(h http.Header, network string) error { return a.guard.Check(h, network) }

// Routes returns the routes for the operators of the server.
func (a *Admin) Routes() []router.Route {
	const get, post = http.MethodGet, http.MethodPost
	file := func(path, name, contentType string) router.Route {
		return router.Route{Method: get, Path: path, Class: router.Free, Handle: statusFile(name, contentType),
			Quiet: true}
	}
	return []router.Route{
		{Method: get, Path: "/api/health", Class: router.Free, Handle: a.health, Fast: a.healthEntry, Quiet: true},
		{Method: get, Path: "/healthz", Class: router.Free, Handle: a.health, Fast: a.healthEntry, Quiet: true},
		{Method: get, Path: "/api/health/ready", Class: router.Free, Handle: a.ready, Quiet: true},
		{Method: get, Path: "/readyz", Class: router.Free, Handle: a.ready, Quiet: true},

		// The page contains no data: it requests the data with the token.
		file("/status", "index.html", "text/html; charset=utf-8"),
		file("/status/status.css", "status.css", "text/css; charset=utf-8"),
		file("/status/status.js", "status.js", "text/javascript; charset=utf-8"),
		file("/status/icon.svg", "icon.svg", "image/svg+xml"),

		{Method: get, Path: "/api/metrics", Class: router.Free, Auth: router.Admin, Handle: a.requestMetrics,
			Quiet: true},
		{Method: get, Path: "/api/metrics/system", Class: router.Free, Auth: router.Admin, Handle: a.systemMetrics},
		{Method: post, Path: "/api/metrics/reset", Class: router.Free, Auth: router.Admin, Handle: a.resetMetrics},
		{Method: get, Path: "/metrics", Class: router.Free, Auth: router.Admin, Handle: a.prometheusMetrics,
			Quiet: true},
		{Method: get, Path: "/api/runtime", Class: router.Free, Auth: router.Admin, Handle: a.runtimeState,
			Quiet: true},

		{Method: get, Path: "/api/admin/users", Class: router.Read, Auth: router.Admin, Handle: a.listUsers},
		{Method: post, Path: "/api/admin/users", Class: router.Password, Auth: router.Admin, Handle: a.addUser,
			SmallBody: true},
		{Method: http.MethodPatch, Path: "/api/admin/users/:id", Class: router.Write, Auth: router.Admin,
			Handle: a.changeUser, SmallBody: true},
		{Method: http.MethodDelete, Path: "/api/admin/users/:id", Class: router.Bulk, Auth: router.Admin,
			Handle: a.deleteUser},
	}
}

// logGuesses logs that a network guesses at the administrator token, and sends an event.
func (a *Admin) logGuesses(network string, guesses uint64) {
	a.cfg.Log.LogAttrs(context.Background(), slog.LevelWarn, "somebody guesses at the administrators' token",
		slog.String("network", network), slog.Uint64("wrong_since_start", guesses))
	a.cfg.Alerts.TokenGuessed(network, guesses)
}
