// Package router is what all doors of the server share: it admits, limits, times and logs requests,
// finds their users, reads their bodies and sends their responses. A door is a list of routes
// (Route). Its handlers get a Context, which has all that they need of the request, the response and
// the pool.
//
// A pooled request takes this way. The middleware rejects what no handler should see. The pool then
// admits the request, which waits in a queue until it gets a permit. With the permit, the router
// finds the user, counts the request against the user's limit and calls the handler. The handler
// writes into a buffer. The response is sent after the permit is released, so that a slow client
// holds no permit.
//
// What is left to a door: it reads its input and checks that texts are valid (notes.ValidText). It
// names the author of a write (store.WithAuthor with Context.Token or auth.Author) and its idempotency key
// (store.WithIdempotencyKey), turns If-Match into preconditions of the store, and runs each write in
// Context.Commit. Config.ErrorFor gives the errors of the store their responses.
package router

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzhttp"
	"github.com/labstack/echo/v4"

	"notesd/internal/ratelimit"
	"notesd/pool"
)

const (
	compressFrom = 1 << 10 // bytes; compressing a shorter body costs more than it saves
	// committers is how many requests for each worker may wait for a group commit without a permit.
	committers = 4
)

// Config is the router's configuration.
type Config struct {
	Production      bool
	RequestTimeout  time.Duration
	BodyLimit       int64 // bytes
	CORSOrigins     []string
	AllowedHosts    []string // names without ports, in lower case
	TrustedProxies  []netip.Prefix
	RateLimitMax    int // requests of one user in RateLimitWindow; 0: no limit
	RateLimitWindow time.Duration
	// PerformanceLogging adds waiting time, shard and sizes to each request's log line.
	PerformanceLogging bool
	// NoAdmission starts handlers without admission, for proofs of what admission is worth.
	NoAdmission bool

	Log     *slog.Logger
	Pool    *pool.Pool
	Limiter *ratelimit.Limiter
	// Auth finds the users of requests.
	Auth Authenticator
	// CheckAdmin returns nil if a request with the header, from a client of the network, is an
	// administrator's.
	CheckAdmin func(h http.Header, network string) error
	// Observer is told of finished requests. It may be nil.
	Observer Observer
	// ErrorFor returns the response for an error that does not know its own, such as an error of
	// the store. It returns nil for an error that it does not know. It may be nil.
	ErrorFor func(err error) *Error
	// WithReserve returns a context with a function that reserves memory for a large note. The store
	// calls that function before it reads such a note. It may be nil.
	WithReserve func(ctx context.Context, reserve func(bytes int64) error) context.Context
}

// An Authenticator finds the user of a request. Package auth implements it.
type Authenticator interface {
	// Cached returns who sends r, or the zero Identity if that takes a query. The router may call it
	// for every request, before admission.
	Cached(r *http.Request) Identity
	// Hint returns the user whom r probably belongs to, or "". It makes no query. The pool is fair
	// to users by the hint. A hint must not decide on access.
	Hint(r *http.Request) (userID string)
	// Authenticate returns who sends r from the client's IP address.
	Authenticate(ctx context.Context, r *http.Request, address string) (Identity, error)
}

// An Observer counts finished requests. Its methods must not block.
type Observer interface {
	// Handled is called when a handler that had a permit has made its response. took is the time
	// from the request header read, without the time that the request waited for its client.
	Handled(shard int, took time.Duration)
	// Sent is called when a response has been sent. route is the route's place in Router.Routes,
	// or their number for an unknown route. took is the time from the request header read.
	Sent(shard, route, status int, took time.Duration)
}

// Router routes the requests of all doors. It is an http.Handler. New makes it.
type Router struct {
	cfg    Config
	log    *slog.Logger
	pool   *pool.Pool
	routes []*Route
	guards
	pacer      *rejectionPacer
	rejections rejectionLog
	shedRoutes shedRoutes
	fast       []fastRoute
	answering  atomic.Int64 // calls of Answer
	compress   func(http.Handler) http.HandlerFunc
	handler    http.Handler

	// committing has room for the requests that may wait for a commit without a permit.
	committing chan struct{}

	// streams ends when EndStreams is called, and cut when WaitStreams cuts the rest of them.
	streams    context.Context
	endStreams context.CancelCauseFunc
	cut        context.Context
	cutStreams context.CancelFunc
	running    atomic.Int64 // streams

	leaving atomic.Bool // see CloseConnections
	stay    atomic.Pointer[stay]
	counts  Counts
}

// guards are what the middleware rejects requests by.
type guards struct {
	hosts      hostGuard
	protection *http.CrossOriginProtection
	unrouted   *ratelimit.Buckets // see limitUnrouted
	unreadable unreadableHeaders
	origins    originLog
}

// Counts counts requests, since the start.
type Counts struct {
	Running        atomic.Int64 // requests that have begun and not ended
	Answered       atomic.Int64
	OversizeBodies atomic.Uint64 // bodies above the limit
	SlowBodies     atomic.Uint64 // bodies that came too slowly
	SlowReaders    atomic.Uint64 // responses that the client read too slowly
	Gone           atomic.Uint64 // clients that left before their response
}

// New returns a router for the routes of the doors. It fails if the settings or a route contradict
// themselves.
func New(cfg Config, doors ...[]Route) (*Router, error) {
	protection, err := newProtection(cfg.CORSOrigins)
	if err != nil {
		return nil, fmt.Errorf("CORS_ORIGIN: %w", err)
	}
	compress, err := gzhttp.NewWrapper(gzhttp.MinSize(compressFrom), gzhttp.SuffixETag("-gzip"))
	if err != nil {
		return nil, fmt.Errorf("compression: %w", err)
	}
	routes, err := prepare(doors)
	if err != nil {
		return nil, err
	}
	admission := cfg.Pool.Stats()
	rt := &Router{cfg: cfg, log: cfg.Log, pool: cfg.Pool, routes: routes, compress: compress,
		guards:     guards{hosts: newHostGuard(cfg), protection: protection, unrouted: ratelimit.NewBuckets()},
		pacer:      newRejectionPacer(admission.QueueTimeout),
		committing: make(chan struct{}, committers*admission.Workers)}
	rt.shedRoutes, rt.fast = newShedRoutes(routes), rt.fastRoutes()
	rt.stay.Store(newStay())
	rt.streams, rt.endStreams = context.WithCancelCause(context.Background())
	rt.cut, rt.cutStreams = context.WithCancel(context.Background())
	rt.cfg.Observer = cmp.Or[Observer](cfg.Observer, noObserver{})
	// Compression wraps echo. Inside echo, an error response would be written to a compressing
	// writer that was recycled already.
	rt.handler = rt.fastPath(compress(rt.newEcho()))
	return rt, nil
}

type noObserver struct{}

func (noObserver) Handled(int, time.Duration)        {}
func (noObserver) Sent(int, int, int, time.Duration) {}

// ServeHTTP implements http.Handler.
func (rt *Router) ServeHTTP(w http.ResponseWriter, r *http.Request) { rt.handler.ServeHTTP(w, r) }

// Routes returns the routes of all doors.
func (rt *Router) Routes() []*Route { return rt.routes }

// Counts returns the router's counts.
func (rt *Router) Counts() *Counts { return &rt.counts }

// CloseConnections says whether each response closes its connection, because the server is about to
// shut down. A client must not keep a connection that is about to close.
func (rt *Router) CloseConnections(yes bool) {
	rt.pool.LastCalls(yes)
	if yes {
		rt.leaving.Store(true)
		rt.stay.Load().end()
		return
	}
	rt.stay.Store(newStay())
	rt.leaving.Store(false)
}

// A stay ends when CloseConnections says that the server is about to shut down.
type stay struct {
	ctx context.Context
	end context.CancelFunc
}

func newStay() *stay {
	ctx, end := context.WithCancel(context.Background())
	return &stay{ctx, end}
}

// staying returns a channel that is closed when the server is about to shut down.
func (rt *Router) staying() <-chan struct{} { return rt.stay.Load().ctx.Done() }

// ClosesConnections returns what CloseConnections has set.
func (rt *Router) ClosesConnections() bool { return rt.leaving.Load() }

// newEcho returns echo with the middleware in its order, and the routes.
func (rt *Router) newEcho() *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.Pre(rt.normalizePath()) // before routing: any case, one trailing slash
	// It is first, so that its log line and metrics cover all of the rest. It also sends the
	// response.
	e.Use(rt.observe)
	e.Use(rt.logUselessOrigin)  // before anything responds to a page of another origin
	e.Use(rt.limitUnrouted)     // around all that rejects requests without a permit
	e.Use(rt.refuseHost)        // before anything responds to a page that DNS rebinding led here
	e.Use(rt.cors())            // answers preflights before anything counts or rejects them
	e.Use(rt.refuseCrossOrigin) // before a handler can act for a page of another origin
	for _, route := range rt.routes {
		h := rt.entry(route)
		e.Add(route.Method, route.Path, h)
		if route.Method == http.MethodGet {
			e.Add(http.MethodHead, route.Path, h)
		}
	}
	return e
}

// entry returns the handler that echo calls for route.
func (rt *Router) entry(route *Route) echo.HandlerFunc {
	return func(e echo.Context) error {
		c := contextOf(e)
		c.route = route
		if route.Auth == Admin {
			if err := c.checkAdmin(); err != nil {
				return err
			}
		}
		if route.pooled() {
			// For writes, refuseCrossOrigin decides.
			if route.Method == http.MethodGet && rt.isForeignRead(c.r.Header) {
				return errCrossOrigin
			}
			return rt.admit(c, route)
		}
		return rt.unpooled(c)
	}
}
