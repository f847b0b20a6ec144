package router

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/labstack/echo/v4"

	"notesd/internal/netutil"
	"notesd/internal/ratelimit"
	"notesd/pool"
)

// A Context is one request and its response. Handlers get it. It is used by one goroutine, and not
// after the handler has returned.
type Context struct {
	rt    *Router
	echo  echoContext // its Context is nil on the fast path
	r     *http.Request
	out   responseWriter
	id    string    // the request's id, in the response's X-Request-Id and in the log
	began time.Time // when the request header had been read
	route *Route    // nil for an unknown route
	// addr is the client's address. It is taken from a header only if a trusted proxy sent that.
	addr string
	// unread is the header in which a trusted proxy fails to name the client; "": the client is
	// known.
	unread   string
	who      Identity            // who sends the request; zero: no user is signed in
	stream   func(*Stream) error // sends the response; nil: it is what the handler has buffered
	streamed time.Time           // when stream was called
	taken    bool                // the stream has taken the request from net/http's goroutine
	admission
	input
	outcome
}

// admission is what a request has of the pool.
type admission struct {
	// ctx bounds the work. It ends after REQUEST_TIMEOUT, or when the client has left.
	ctx     context.Context
	stop    func()          // ends ctx
	client  context.Context // ends when the client has left or the request is stuck
	asked   pool.Request    // the request as the pool was given it
	permit  *pool.Permit    // nil if the route is free
	shard   int
	waited  time.Duration    // time in the queue for a permit
	outside time.Duration    // time without the permit, while the request waited for the client
	memory  pool.Reservation // the memory reserved for large bodies and notes
	held    int64            // bytes in flight that are counted for this request
}

// input is a request's body.
type input struct {
	arrived  []byte // the body, if it was read before admission
	body     []byte // the body, from its reading until the response is made
	bytesIn  int    // the length of body, once body is dropped
	received bool   // the whole body has been read
	notJSON  string // why the body was not read as JSON; "": it was, or there is none
	late     bool   // the body came too slowly, and reading it was given up
}

// outcome is how a request ended.
type outcome struct {
	whole   bool   // the whole response has been sent
	reason  string // why the request was rejected, for the log
	noAdmin bool   // the request needs the administrator token and has it not
	refused bool   // rejected with a 429 or 503: it is counted, but not logged by itself
	cause   error  // the dependency's error behind the rejection, for the log
}

// echoContext is the echo.Context that echo's middleware and handlers get. It leads to the Context.
type echoContext struct {
	echo.Context
	owner *Context
}

func contextOf(e echo.Context) *Context { return e.(*echoContext).owner }

// Request returns the HTTP request. Its URL has the path in the case of the route.
func (c *Context) Request() *http.Request { return c.r }

// Context returns the context that bounds the handler's work. It ends after REQUEST_TIMEOUT, or
// when the client has left.
func (c *Context) Context() context.Context { return c.ctx }

// Param returns the part of the path that stands for the parameter name of the route. It is "" for
// a path such as /api/notes//pin. The parameter * is the rest of the path.
func (c *Context) Param(name string) string {
	param := c.echo.Param(name)
	if c.r.URL.RawPath == "" {
		return param
	}
	// echo has matched RawPath then.
	if plain, err := url.PathUnescape(param); err == nil {
		return plain
	}
	return param
}

// Query returns the first value of the parameter name in the query, or "".
func (c *Context) Query(name string) string { return c.r.URL.Query().Get(name) }

// ID returns the request's id, which is in the response's X-Request-Id and in the log.
func (c *Context) ID() string { return c.id }

// Began returns when the request header had been read.
func (c *Context) Began() time.Time { return c.began }

// UserID returns the id of the user, or "" if the request belongs to no user. Requests to free
// routes have no user.
func (c *Context) UserID() string { return c.who.UserID }

// Token returns the app token by which the user is known, or the zero Token.
func (c *Context) Token() Token { return c.who.Token }

// Address returns the client's IP address. A trusted proxy names it.
func (c *Context) Address() string { return c.addr }

// Secure reports whether the response's cookies may be sent over TLS only.
func (c *Context) Secure() bool { return c.rt.cfg.Production || c.rt.overTLS(c.r) }

// Header returns the header of the response.
func (c *Context) Header() http.Header { return c.out.Header() }

// SetHeader sets a header of the response.
func (c *Context) SetHeader(name, value string) { c.out.Header().Set(name, value) }

// Writer returns a writer that buffers the response's body.
func (c *Context) Writer() http.ResponseWriter { return &c.out }

// NoRoute returns the error for a request to which the server answers as if it had no such route.
func (c *Context) NoRoute() error {
	c.route = nil
	return ErrUnknownRoute
}

// pattern returns the route's name in logs and metrics. It is never the raw path.
func (c *Context) pattern() string {
	if c.route == nil {
		return "unknown"
	}
	return c.route.Path
}

// identify finds the user of the request.
func (c *Context) identify() error {
	who, err := c.rt.cfg.Auth.Authenticate(c.ctx, c.r, c.addr)
	if err != nil {
		// The request brings the sessions of two users, for example.
		if c.route.EndsSessions && c.rt.responseFor(err).status < http.StatusInternalServerError {
			return nil
		}
		return err
	}
	c.who = who
	if who.UserID != "" {
		c.asked.Flow = flowOf(who.UserID) // Hint may not have known the user
	}
	return nil
}

// flowOf returns the pool's flow for a user.
func flowOf(user string) string { return "user:" + user }

// flow returns the flow that the pool schedules fairly: the user, if Hint knows it, or else the
// address.
func (c *Context) flow() string { return c.rt.flow(c.r, c.addr) }

func (rt *Router) flow(r *http.Request, addr string) string {
	if user := rt.cfg.Auth.Hint(r); user != "" {
		return flowOf(user)
	}
	return addressFlow(addr)
}

// addressFlow returns the pool's flow for the address of the client.
func (c *Context) addressFlow() string { return addressFlow(c.addr) }

func addressFlow(addr string) string { return "ip:" + netutil.Network(addr) }

// limit counts the request against the general limit of the user, or of the address if the client
// is not signed in.
func (c *Context) limit() error {
	cfg := &c.rt.cfg
	c.warnUnreadClient()
	if cfg.RateLimitMax <= 0 {
		return nil
	}
	take := func(key string, limit int) (ratelimit.Decision, error) {
		return cfg.Limiter.Take(c.ctx, key, limit, cfg.RateLimitWindow)
	}
	var d ratelimit.Decision
	var err error
	if c.who.UserID == "" {
		d, err = ratelimit.TakeAddress(c.addr, cfg.RateLimitMax, take)
	} else {
		d, err = take("user:"+c.who.UserID, cfg.RateLimitMax)
	}
	if err != nil {
		return err
	}
	c.out.limit = d
	return d.Err()
}
