// Package server is notesd's HTTP server: the routes, access control and shutdown. A handler reads
// the request, calls the store with a permit of the pool, and writes the response. The package
// itself decides only what concerns HTTP.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzhttp"

	"notesd/internal/histogram"
	"notesd/internal/incident"
	"notesd/internal/ratelimit"
	"notesd/internal/redis"
	"notesd/pool"
	"notesd/server/admin"
	"notesd/server/auth"
	"notesd/server/listener"
	"notesd/store"
)

const (
	headerTimeout = 10 * time.Second
	// idleTimeout is longer than a proxy keeps an idle connection, so that the proxy is the one to
	// close it.
	idleTimeout = 75 * time.Second
	// headerBytes is the limit of Node.js, which the old backend ran on. Larger headers, and input
	// that is not HTTP, get net/http's own response in plain text, which our metrics do not count.
	headerBytes  = 16 << 10
	compressFrom = 1 << 10 // bytes; compressing a shorter body costs more than it saves
	// committers is how many requests for each worker may wait for a group commit without a worker.
	committers = 4

	// lastRequests is how long requests are still admitted after the listener has closed. A request
	// that had been read by then reaches the pool within that time.
	lastRequests = 100 * time.Millisecond

	// lastHeaders is how long shutdown then waits for a connection without a request. On a busy
	// machine its request may have arrived and not been read.
	lastHeaders = time.Second
)

// Config is the server's configuration. A zero duration or number does not stand for a default.
type Config struct {
	Version           string
	Production        bool
	DataDir           string // the directory whose free space is reported; empty: none is
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
	// PerformanceLogging adds waiting time, shard and sizes to each request's log line.
	PerformanceLogging bool
	Machine            Machine
	Settings           map[string]string // the settings in force, without secrets, for /api/runtime
	Faults             *Faults           // faults for the proofs; nil: none
}

// Server is the HTTP server. New makes it.
type Server struct {
	cfg   Config
	log   *slog.Logger
	store *store.Store
	// redis is nil if sessions are in the store and limits are counted in the process.
	redis       *redis.Client
	pool        *pool.Pool
	memory      *pool.Monitor         // nil: memory is not monitored
	stages      *pool.PressureMonitor // nil: memory pressure is not watched
	alerts      *admin.Alerts
	incidents   *incident.Recorder // nil: incidents are not recorded
	routes      []*route
	noAdmission bool // handlers start without admission: see NewFaults
	copies      *Copies
	accounts    *auth.Accounts
	general     *ratelimit.Limiter
	guard       *auth.TokenGuard
	hosts       hostGuard
	unrouted    *ratelimit.Buckets // see limitUnrouted
	cursors     cursors
	protection  *http.CrossOriginProtection
	unreadable  unreadableHeaders
	origins     originLog
	compress    func(http.Handler) http.HandlerFunc
	conns       *listener.Tracker
	http        *http.Server
	tally       *tally
	took        []histogram.Histogram // by shard: see Took
	vitals      vitalCounts
	clients     clientCounts
	prometheus  http.Handler
	readiness   readiness
	started     time.Time

	// committing has room for the requests that may wait for a commit without a worker.
	committing chan struct{}

	pacer *pacer
	sheds shedLog

	// leaving: each response closes its connection, because of SIGTERM or a handover.
	leaving  atomic.Bool
	handover handover
	running  atomic.Int64 // exchanges that have begun and not ended
	healthy  atomic.Pointer[healthAnswer]
	answered atomic.Int64
}

// Parts are the components that a Server uses. Redis, Memory, Alerts and Incidents may be nil.
// Copies, if it is not nil, must be the store's Invalidator.
type Parts struct {
	Store     *store.Store
	Copies    *Copies
	Redis     *redis.Client
	Pool      *pool.Pool
	Memory    *pool.Monitor
	Stages    *pool.PressureMonitor
	Alerts    *admin.Alerts
	Incidents *incident.Recorder
	Log       *slog.Logger
}

// New returns a server that is ready to Serve. It fails if the settings contradict themselves.
func New(cfg Config, parts Parts) (*Server, error) {
	protection, err := newProtection(cfg.CORSOrigins)
	if err != nil {
		return nil, fmt.Errorf("CORS_ORIGIN: %w", err)
	}
	s := &Server{cfg: cfg, log: parts.Log, store: parts.Store, redis: parts.Redis, pool: parts.Pool,
		memory: parts.Memory, stages: parts.Stages, alerts: parts.Alerts, incidents: parts.Incidents, routes: allRoutes(cfg.Faults), protection: protection,
		cursors: newCursors(cfg.SessionSecrets), started: time.Now(), handover: handover{done: make(chan struct{})}}
	s.noAdmission = cfg.Faults != nil && cfg.Faults.admissionOff
	s.conns = listener.NewTracker(s.isProxy, &s.clients.conns, listener.MaxConns(cfg.MemoryBound), headerTimeout)
	admission := parts.Pool.Stats()
	s.tally, s.took = newTally(len(admission.Shards), s.routes), make([]histogram.Histogram, len(admission.Shards))
	s.committing = make(chan struct{}, committers*admission.Workers)
	s.pacer = newPacer(admission.QueueTimeout)
	s.copies = cmp.Or(parts.Copies, NewCopies(0, 1))
	if parts.Redis != nil {
		// The new server may lack sessions that the cache has.
		parts.Redis.OnNewServer(s.copies.InvalidateAll)
	}
	s.hosts = newHostGuard(cfg)
	s.guard = auth.NewTokenGuard(cfg.AdminToken, s.tellOfGuesses)
	s.unrouted = ratelimit.NewBuckets()
	s.general = ratelimit.New(parts.Redis, cfg.SessionSecrets[0])
	s.accounts = auth.New(s.accountConfig())
	if parts.Redis == nil && cfg.RateLimitMax > 0 {
		s.log.Info("the general rate limit is counted by this process alone: REDIS_URL is not set")
	}
	s.prometheus = s.newPrometheus()
	handler, err := s.handler()
	if err != nil {
		return nil, err
	}
	s.http = &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerBytes,
		ConnState:         s.conns.Track,
		ConnContext:       listener.WithConn,
		// These errors are mistakes of clients.
		ErrorLog: slog.NewLogLogger(parts.Log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// accountConfig returns the configuration of the accounts.
func (s *Server) accountConfig() auth.Config {
	c := auth.Config{Secrets: s.cfg.SessionSecrets, SessionsPerUser: s.cfg.SessionsPerUser, RegistrationOpen: s.cfg.RegistrationOpen,
		Store: s.store, Redis: s.redis, Cache: s.copies.cache}
	if s.cfg.RateLimitMax > 0 {
		c.Limiter = s.general
	}
	return c
}

// handler returns the complete HTTP handler. Compression wraps echo. Inside echo, an error response
// would be written to a compressing writer that was recycled already.
func (s *Server) handler() (http.Handler, error) {
	compress, err := gzhttp.NewWrapper(gzhttp.MinSize(compressFrom), gzhttp.SuffixETag("-gzip"))
	if err != nil {
		return nil, fmt.Errorf("compression: %w", err)
	}
	e := s.newEcho()
	s.compress = compress
	return s.express(compress(e)), nil
}

// Serve serves on tcp, and closes it, until ctx ends or HandOver has found the new process ready.
// Then it shuts down: see leave and leaveToHeir. It returns an error if requests had to be cut.
func (s *Server) Serve(ctx context.Context, tcp *net.TCPListener) error {
	ln := listener.New(tcp, s.cfg.SharedListener)
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	var background sync.WaitGroup
	background.Go(func() { s.store.Monitor(work) })
	background.Go(func() { s.watch(work) })
	background.Go(func() { s.logSheds(work) })
	background.Go(func() { s.accounts.WatchHashes(work) })
	if s.redis != nil {
		background.Go(func() { s.redis.Follow(work) })
	}
	defer background.Wait()
	defer stop()

	failed := make(chan error, 1)
	background.Go(func() { failed <- s.http.Serve(ln) })
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-s.handover.done:
		return s.leaveToHeir(ln)
	case <-ctx.Done():
		if s.handover.stage.CompareAndSwap(withoutHeir, leftWithoutHeir) {
			return s.leave(ln)
		}
		return s.leaveToHeir(ln)
	}
}

// leave shuts the server down (RUNTIME: "leaves politely"). The server is unready at once. It
// serves all requests for another SHUTDOWN_DELAY, and each response closes its connection. Then the
// listener closes. Requests that were read by then still get a worker, and later requests get a
// 503. Running requests have SHUTDOWN_TIMEOUT to end.
func (s *Server) leave(ln *listener.Listener) error {
	before := s.tallyLeaving()
	s.leaving.Store(true)
	s.log.Info("shutdown: unready, still serving", "delay_ms", milliseconds(s.cfg.ShutdownDelay))
	time.Sleep(s.cfg.ShutdownDelay)

	ln.Drain()
	s.log.Info("shutdown: listener closed", "running", s.running.Load())
	time.Sleep(lastRequests)
	s.pool.Refuse()

	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.ShutdownTimeout)
	defer cancel()
	err := s.pool.Drain(ctx)
	s.conns.ClosePending(ctx, lastHeaders)
	return s.finish(errors.Join(err, s.http.Shutdown(ctx)), before)
}

// finish cuts the running requests if err says that the drain did not complete. It logs the
// shutdown that began with the tally before.
func (s *Server) finish(err error, before leavingTally) error {
	cut := int64(0)
	if err != nil {
		cut = s.running.Load()
		err = errors.Join(fmt.Errorf("requests cut after %v: %d", s.cfg.ShutdownTimeout, cut), s.http.Close())
	}
	s.logShed()
	after := s.tallyLeaving()
	s.log.Info("shutdown: done", "answered", after.answered-before.answered-(after.shed-before.shed),
		"shed", after.shed-before.shed, "cut", cut)
	return err
}

// leavingTally has the counts for the last log line.
type leavingTally struct{ answered, shed int64 }

func (s *Server) tallyLeaving() leavingTally {
	var shed uint64
	for _, n := range s.pool.Stats().Rejected {
		shed += n
	}
	return leavingTally{answered: s.answered.Load(), shed: int64(shed)}
}
