// Package server is notesd's HTTP server. It puts the doors (routes.go) behind one router, and
// serves and shuts down. What all doors share is in package router, and who sends a request is
// decided by package auth.
package server

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"notesd/internal/incident"
	"notesd/internal/ratelimit"
	"notesd/internal/redis"
	"notesd/pool"
	"notesd/server/admin"
	"notesd/server/api"
	"notesd/server/auth"
	"notesd/server/events"
	"notesd/server/listener"
	"notesd/server/router"
	"notesd/store"
)

const (
	headerTimeout = 10 * time.Second
	// idleTimeout is longer than a proxy keeps an idle connection, so that the proxy is the one to
	// close it.
	idleTimeout = 75 * time.Second
	// headerBytes is the limit of Node.js, which the old backend ran on. Larger headers, and input
	// that is not HTTP, get net/http's own response in plain text, which our metrics do not count.
	headerBytes = 16 << 10
)

// Streams of events may take 1/streamShare of the memory, at streamBytes each (measured: see
// docs/results/streams.md). The cache of responses gives way to them.
const (
	streamShare = 2
	streamBytes = 24 << 10
)

// Config is the server's configuration. A zero duration or number does not stand for a default.
type Config struct {
	Version           string
	Production        bool
	DataDir           string // the directory whose free space is reported, and of the operators' socket; empty: none
	RequestTimeout    time.Duration
	ShutdownDelay     time.Duration // time between becoming unready and closing the listener
	ShutdownTimeout   time.Duration // time for running requests to end
	SharedListener    bool          // another process, such as systemd, keeps the listener open
	BodyLimit         int64         // bytes
	MemoryBound       int64         // bytes that the process may use; 0: no limit
	CORSOrigins       []string
	AllowedHosts      []string // names without ports, in lower case
	TrustedProxies    []netip.Prefix
	SessionsPerUser   int // 0: any number
	RateLimitMax      int // requests of one user in RateLimitWindow; 0: no limit
	RateLimitWindow   time.Duration
	RegistrationOpen  bool
	SessionSecrets    []string // the first one signs, and all verify
	AdminToken        string   // empty: there is no administrator
	MetricsCollection bool
	WebVitalsLogging  bool
	Web               bool // the web app is served
	// PerformanceLogging adds waiting time, shard and sizes to each request's log line.
	PerformanceLogging bool
	Machine            admin.Machine
	Settings           map[string]string // the settings in force, without secrets, for /api/runtime
	Faults             *Faults           // faults for the proofs; nil: none
}

// Server is the HTTP server. New makes it.
type Server struct {
	cfg      Config
	deps     Deps
	accounts *auth.Accounts
	limiter  *ratelimit.Limiter
	admin    *admin.Admin
	api      *api.API
	router   *router.Router
	conns    *listener.Tracker
	counts   listener.Counts
	http     *http.Server
	handoff  handoff
}

// Deps are the components that a Server uses. Redis, Memory, Alerts and Incidents may be nil.
// Cache, if it is not nil, must be the store's Invalidator, and Hub its Changes.
type Deps struct {
	Store     *store.Store
	Cache     *api.ResponseCache
	Hub       *events.Hub
	Redis     *redis.Client
	Pool      *pool.Pool
	Memory    *pool.Monitor
	Stages    *pool.PressureMonitor
	Alerts    *admin.Alerts
	Incidents *incident.Recorder
	Log       *slog.Logger
}

// New returns a server that is ready to Serve. It fails if the settings contradict themselves.
func New(cfg Config, deps Deps) (*Server, error) {
	deps.Cache = cmp.Or(deps.Cache, api.NewResponseCache(0, 1))
	deps.Hub = cmp.Or(deps.Hub, events.NewHub(deps.Log))
	if deps.Redis != nil {
		// The new server may lack sessions that the cache has.
		deps.Redis.OnNewServer(func() {
			deps.Cache.InvalidateAll()
			deps.Hub.Missed()
		})
	} else if cfg.RateLimitMax > 0 {
		deps.Log.Info("the general rate limit is counted by this process alone: REDIS_URL is not set")
	}
	deps.Hub.SetMax(int(cfg.MemoryBound / streamShare / streamBytes))
	s := &Server{cfg: cfg, deps: deps, limiter: ratelimit.New(deps.Redis, cfg.SessionSecrets[0]),
		handoff: handoff{done: make(chan struct{})}}
	accounts := auth.Config{Secrets: cfg.SessionSecrets, SessionsPerUser: cfg.SessionsPerUser,
		RegistrationOpen: cfg.RegistrationOpen, Store: deps.Store, Redis: deps.Redis, Cache: deps.Cache.Shared(),
		SessionEnded: deps.Hub.SessionRevoked, Log: deps.Log}
	if cfg.RateLimitMax > 0 {
		accounts.Limiter = s.limiter
	}
	s.accounts = auth.New(accounts)
	s.api = api.New(api.Config{Store: deps.Store, Accounts: s.accounts, Cache: deps.Cache, Hub: deps.Hub,
		Secrets: cfg.SessionSecrets, MaxContent: cfg.BodyLimit, LogVitals: cfg.WebVitalsLogging, Log: deps.Log})
	s.admin = admin.New(s.adminConfig())
	if err := s.open(s.doors()); err != nil {
		return nil, err
	}
	s.conns = listener.NewTracker(s.router.IsProxy, &s.counts, listener.MaxConns(cfg.MemoryBound), headerTimeout)
	s.http = &http.Server{
		Handler:           s.router,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerBytes,
		ConnState:         s.conns.Track,
		ConnContext:       listener.WithConn,
		// These errors are mistakes of clients.
		ErrorLog: slog.NewLogLogger(deps.Log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// adminConfig returns the configuration of the operators' door.
func (s *Server) adminConfig() admin.Config {
	return admin.Config{
		Version:        s.cfg.Version,
		Token:          s.cfg.AdminToken,
		DataDir:        s.cfg.DataDir,
		Machine:        s.cfg.Machine,
		Settings:       s.cfg.Settings,
		CountResponses: s.cfg.MetricsCollection,
		Log:            s.deps.Log,
		Store:          s.deps.Store,
		Redis:          s.deps.Redis,
		Pool:           s.deps.Pool,
		Memory:         s.deps.Memory,
		Pressure:       s.deps.Stages,
		Alerts:         s.deps.Alerts,
		Incidents:      s.deps.Incidents,
		Cache:          s.deps.Cache.Shared(),
		Limiter:        s.limiter,
		Conns:          &s.counts,
		Streams:        s.deps.Hub.Stats,
		Vitals:         s.api.EachVital,
		HandingOver:    s.handoff.begun,
	}
}

// Admin returns the operators' door, which knows the state of the process.
func (s *Server) Admin() *admin.Admin { return s.admin }

// changeSource returns what the hub looks at for what it may have missed.
func (s *Server) changeSource() events.Source {
	return events.Source{Newest: s.deps.Store.NewestChanges, Complete: s.deps.Store.HearsOthers,
		Alive: s.accounts.Alive}
}

// Serve serves on tcp, and closes it, until ctx ends or HandOver has found the new process ready.
// Then it shuts down: see shutdown and shutdownForChild. It returns an error if requests had to be cut.
func (s *Server) Serve(ctx context.Context, tcp *net.TCPListener) error {
	ln := listener.New(tcp, s.cfg.SharedListener)
	ln.ShedWith(s.router, s.http, s.conns)
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	var background sync.WaitGroup
	background.Go(func() { s.deps.Store.Monitor(work) })
	background.Go(func() { s.admin.WatchDependencies(work) })
	background.Go(func() { s.router.Run(work) })
	background.Go(func() { s.accounts.WatchHashes(work) })
	background.Go(func() { s.accounts.WriteUses(work) })
	background.Go(func() { s.accounts.RenewTOTP(work) })
	background.Go(func() { s.deps.Hub.Run(work, s.changeSource()) })
	if s.deps.Redis != nil {
		background.Go(func() { s.deps.Redis.Follow(work) })
	}
	if s.cfg.DataDir != "" {
		socket := admin.Socket{Dir: s.cfg.DataDir, Database: s.deps.Store.Identity(), Handler: s.router,
			Log: s.deps.Log}
		background.Go(func() { socket.Run(work) })
	}
	defer background.Wait()
	defer stop()

	failed := make(chan error, 1)
	background.Go(func() { failed <- s.http.Serve(ln) })
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-s.handoff.done:
		return s.shutdownForChild(ln)
	case <-ctx.Done():
		if s.handoff.stage.CompareAndSwap(noChild, leftWithoutChild) {
			return s.shutdown(ln)
		}
		return s.shutdownForChild(ln)
	}
}
