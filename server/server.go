// Package server is notesd's HTTP side: the routes, who may use them, and how
// the process takes its leave. It reads, asks the store inside a turn of the
// pool, and writes; what it decides itself is only about HTTP.
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
	"notesd/server/listener"
	"notesd/store"
)

const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 75 * time.Second // longer than a proxy keeps a connection, so that it is the one to close
	headerBytes   = 16 << 10         // as Node.js, which the old backend ran on; above, net/http itself answers, as to all that is no HTTP: in plain text, uncounted
	compressFrom  = 1 << 10          // bytes; below, compressing costs more than it saves
	committers    = 4                // for each worker, who may wait for a commit without one

	// lastRequests is how long requests are still taken in once the listener
	// has closed: what had been read by then reaches the pool within it.
	lastRequests = 100 * time.Millisecond

	// lastHeaders is how long a connection that has asked for nothing yet is
	// waited for then: on a busy machine its request may be there unread.
	lastHeaders = time.Second
)

// Config is what the server is told. The zero value of a duration or number is no default.
type Config struct {
	Version           string
	Production        bool
	DataDir           string // whose free space is told; empty: none's
	RequestTimeout    time.Duration
	ShutdownDelay     time.Duration // unready before closing
	ShutdownTimeout   time.Duration // for running requests
	SharedListener    bool          // another process keeps the listener open: systemd, for one
	BodyLimit         int64         // bytes
	MemoryBound       int64         // bytes that the process may use; 0: no limit
	CORSOrigins       []string
	AllowedHosts      []string // names without ports, in lower case
	TrustedProxies    []netip.Prefix
	SessionsPerUser   int // 0: any number
	RateLimitMax      int // requests of a person in RateLimitWindow; 0: no limit
	RateLimitWindow   time.Duration
	RegistrationOpen  bool
	SessionSecrets    []string // the first signs, all verify
	AdminToken        string   // empty: nobody is an administrator
	MetricsCollection bool
	WebVitalsLogging  bool
	// PerformanceLogging adds waiting time, shard and sizes to each request's log line.
	PerformanceLogging bool
	Machine            Machine
	Settings           map[string]string // in force, without secrets; shown on /api/runtime
	Faults             *Faults           // for proofs; nil: none
}

// Server answers HTTP. Make it with New.
type Server struct {
	cfg         Config
	log         *slog.Logger
	store       *store.Store
	redis       *redis.Client // nil: sessions and limits are in the store and the process
	pool        *pool.Pool
	memory      *pool.Monitor // nil: not monitored
	stages      *pool.Stages  // nil: not watched
	alerts      *Alerts
	incidents   *incident.Recorder // nil: none are recorded
	routes      []*route
	noAdmission bool // every handler begins at once: see NewFaults
	copies      *Copies
	sessions    *sessions
	persons     *persons
	general     *ratelimit.Limiter
	guard       *tokenGuard
	hosts       hostGuard
	unrouted    *ratelimit.Buckets // see limitUnrouted
	signInLimit *signInLimit
	bcryptCost  bcryptCost
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

	committing chan struct{} // has room for those who wait for a commit without a worker

	pacer *pacer
	sheds shedLog

	leaving  atomic.Bool // each answer closes its connection: SIGTERM came, or an heir
	handover handover
	running  atomic.Int64 // exchanges begun and not ended
	healthy  atomic.Pointer[healthAnswer]
	answered atomic.Int64
}

// Parts are what a Server works with; Redis, Memory, Alerts and Incidents may be
// nil. Copies, if there are any, are the store's Witness.
type Parts struct {
	Store     *store.Store
	Copies    *Copies
	Redis     *redis.Client
	Pool      *pool.Pool
	Memory    *pool.Monitor
	Stages    *pool.Stages
	Alerts    *Alerts
	Incidents *incident.Recorder
	Log       *slog.Logger
}

// New makes a server that is ready to Run. It fails on settings that contradict themselves.
func New(cfg Config, parts Parts) (*Server, error) {
	protection, err := newProtection(cfg.CORSOrigins)
	if err != nil {
		return nil, fmt.Errorf("CORS_ORIGIN: %w", err)
	}
	s := &Server{cfg: cfg, log: parts.Log, store: parts.Store, redis: parts.Redis, pool: parts.Pool,
		memory: parts.Memory, stages: parts.Stages, alerts: parts.Alerts, incidents: parts.Incidents, routes: allRoutes(cfg.Faults), protection: protection,
		cursors: newCursors(cfg.SessionSecrets), persons: newPersons(), started: time.Now(), handover: handover{done: make(chan struct{})}}
	s.noAdmission = cfg.Faults != nil && cfg.Faults.admissionOff
	s.conns = listener.NewTracker(s.isProxy, &s.clients.conns, listener.MaxConns(cfg.MemoryBound), headerTimeout)
	admission := parts.Pool.Stats()
	s.tally, s.took = newTally(len(admission.Shards), s.routes), make([]histogram.Histogram, len(admission.Shards))
	s.committing = make(chan struct{}, committers*admission.Workers)
	s.pacer = newPacer(admission.QueueTimeout)
	s.copies = cmp.Or(parts.Copies, NewCopies(0, 1))
	if parts.Redis != nil {
		parts.Redis.OnNewServer(s.copies.Forget) // the new server may lack sessions that the cache has
	}
	s.sessions = newSessions(backendFor(parts.Store, parts.Redis), cfg.SessionSecrets, s.copies)
	s.hosts = newHostGuard(cfg)
	s.guard = newTokenGuard(cfg.AdminToken, s.tellOfGuesses)
	s.sessions.most = cfg.SessionsPerUser
	s.unrouted = ratelimit.NewBuckets()
	s.general = ratelimit.New(parts.Redis, cfg.SessionSecrets[0])
	s.signInLimit = newSignInLimit(parts.Redis, parts.Store, cfg.SessionSecrets[0])
	nobodysHash() // so that the first sign-in to no account takes no longer than the next
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
		ErrorLog:          slog.NewLogLogger(parts.Log.Handler(), slog.LevelDebug), // clients' mistakes
	}
	return s, nil
}

// handler is the whole of it. Compression is around echo: inside, an error's
// answer would meet a writer that has been put back.
func (s *Server) handler() (http.Handler, error) {
	compress, err := gzhttp.NewWrapper(gzhttp.MinSize(compressFrom), gzhttp.SuffixETag("-gzip"))
	if err != nil {
		return nil, fmt.Errorf("compression: %w", err)
	}
	e := s.newEcho()
	s.compress = compress
	return s.express(compress(e)), nil
}

// Serve serves on tcp, which it closes, until ctx ends or HandOver has found
// the heir fit; then it leaves: see leave and leaveToHeir. It returns an error
// when requests had to be cut.
func (s *Server) Serve(ctx context.Context, tcp *net.TCPListener) error {
	ln := listener.New(tcp, s.cfg.SharedListener)
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	var background sync.WaitGroup
	background.Go(func() { s.store.Monitor(work) })
	background.Go(func() { s.watch(work) })
	background.Go(func() { s.logSheds(work) })
	background.Go(func() { s.watchHashes(work) })
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

// leave is the way out (RUNTIME: "leaves politely"). Unready at once;
// everything still served for SHUTDOWN_DELAY, each answer closing its
// connection; then the listener closes, what was read by then still gets its
// turn, later requests get a 503, and what runs has SHUTDOWN_TIMEOUT to end.
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

// finish cuts what still runs if err says that the drain did not come to its
// end, and logs the leaving that began with the tally before.
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

// leavingTally is what the last log line counts.
type leavingTally struct{ answered, shed int64 }

func (s *Server) tallyLeaving() leavingTally {
	var shed uint64
	for _, n := range s.pool.Stats().Refused {
		shed += n
	}
	return leavingTally{answered: s.answered.Load(), shed: int64(shed)}
}
