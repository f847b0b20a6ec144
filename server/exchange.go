package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"notesd/internal/histogram"
	"notesd/internal/netutil"
	"notesd/internal/ratelimit"
	"notesd/pool"
	"notesd/server/auth"
	"notesd/store"
)

// exchange is the context of one request and its response. It is the echo.Context that all our
// middleware and handlers get.
type exchange struct {
	echo.Context // nil on the fast path (see express)
	r            *http.Request
	out          answer
	id           string    // the request's id, in the response's X-Request-Id and in the log
	began        time.Time // when the request header had been read
	route        *route    // nil for an unknown route
	// addr is the client's address. It is taken from a header only if a trusted proxy sent that.
	addr string
	// unread is the header in which a trusted proxy fails to name the client; "": the client is
	// known.
	unread string

	// ctx bounds the work. It ends after REQUEST_TIMEOUT, or when the client has left.
	ctx      context.Context
	stop     func()          // ends ctx
	client   context.Context // ends when the client has left or the request is stuck
	asked    pool.Request    // the request as the pool was given it
	turn     *pool.Permit    // the worker's permit, in a pooled route
	shard    int
	waited   time.Duration    // time in the queue for a worker
	outside  time.Duration    // time without a worker, while the request waited for the client
	memory   pool.Reservation // the memory reserved for large bodies and notes
	held     int64            // bytes in flight that are counted for this exchange
	arrived  []byte           // the request's body, if it was read before admission
	body     []byte           // the request's body, from its reading until the response is made
	bytesIn  int              // the length of body, once body is dropped
	received bool             // the whole body has been read
	notJSON  string           // why the body was not read as JSON; "": it was, or there is none
	late     bool             // the body came too slowly, and reading it was given up
	whole    bool             // the whole response has been sent
	user     string           // the id of the signed-in user; empty: no user is signed in
	reason   string           // why the request was rejected, for the log
	refused  bool             // rejected with a 429 or 503: it is counted, but not logged by itself
	cause    error            // the dependency's error behind the rejection, for the log
}

// Request returns the HTTP request, with or without an echo.Context.
func (x *exchange) Request() *http.Request { return x.r }

// handler handles one exchange. fail turns its error into an error response.
type handler func(s *Server, x *exchange) error

// hold counts n more bytes in flight on the exchange's shard, until the exchange ends.
func (s *Server) hold(x *exchange, n int) {
	if n == 0 {
		return
	}
	s.pool.AddInFlight(x.shard, int64(n))
	x.held += int64(n)
}

// pooled runs a route's handler in a worker of the pool. The worker also handles the session, the
// limits and the body, so nothing leaves the process before admission. The worker only buffers the
// response. The response is sent after the worker is released.
func (s *Server) pooled(rt *route) echo.HandlerFunc {
	return func(c echo.Context) error {
		x := c.(*exchange)
		if x.Request().ContentLength > s.bodyLimit(rt) {
			return errBodyTooLarge
		}
		if rt.copied != nil {
			if c, user := s.recall(x.Request(), rt, x.Param("id")); c != nil {
				return s.answerCopy(x, c, user)
			}
		}
		if err := readArrived(x); err != nil {
			return err
		}
		client, cancel := context.WithCancelCause(store.WithReserve(x.Request().Context(), x.room(s)))
		defer cancel(nil)
		x.client = client
		s.beginWork(x)
		defer func() { x.stop() }()
		if s.noAdmission {
			x.turn = &pool.Permit{}
			return s.inTurn(x, rt)
		}
		x.asked = s.request(x, rt)
		x.asked.Cancel = cancel
		err := s.pool.Do(x.ctx, x.asked, func(_ context.Context, turn *pool.Permit) error {
			x.turn, x.shard, x.waited = turn, turn.Shard(), turn.Waited()
			defer s.recordTook(x)
			err := s.inTurn(x, rt)
			// The error response contains the note, for which memory is reserved here.
			if _, ok := errors.AsType[*store.ChangedError](err); ok {
				s.fail(x, err)
				return nil
			}
			return err
		})
		s.keepAnswer(x)
		// Err itself only says that the context was canceled.
		if err != nil && context.Cause(client) == pool.ErrStuck {
			err = fmt.Errorf("%w: %w", pool.ErrStuck, err)
		}
		return s.paced(x, err)
	}
}

// request returns the pool.Request for x.
func (s *Server) request(x *exchange, rt *route) pool.Request {
	r := pool.Request{Class: rt.class, Route: rt.pattern, Flow: s.person(x)}
	if rt.searches && x.Request().URL.RawQuery != "" && parseQuery(x.Request().URL.RawQuery).Get("search") != "" {
		r.Class = pool.Search
	}
	return r
}

// personOf returns the pool's flow for a user.
func personOf(user string) string { return "user:" + user }

// person returns the flow that the pool schedules fairly: the user, if the cookie is known, or else
// the address.
func (s *Server) person(x *exchange) string {
	if user := s.accounts.Sessions.Hint(x.Request()); user != "" {
		return personOf(user)
	}
	return addressOf(x)
}

// addressOf returns the pool's flow for the address of x's client.
func addressOf(x *exchange) string { return "ip:" + netutil.Network(x.addr) }

// room returns a function that reserves memory for a large note that the store is about to read.
func (x *exchange) room(s *Server) func(bytes int64) error {
	return func(bytes int64) error { return s.reserve(x, bytes, readCopies) }
}

// recordTook records the duration of x, without the time that it waited for its client.
func (s *Server) recordTook(x *exchange) {
	s.took[x.shard].Record(time.Since(x.began) - x.outside)
}

// Took returns how long requests with a worker took: from the header read to the response ready,
// without the time that they waited for the client without their worker.
func (s *Server) Took() *histogram.Histogram {
	all := new(histogram.Histogram)
	for i := range s.took {
		all.Merge(&s.took[i])
	}
	return all
}

// beginWork bounds all further work for x by REQUEST_TIMEOUT.
func (s *Server) beginWork(x *exchange) {
	x.ctx, x.stop = context.WithTimeoutCause(x.client, s.cfg.RequestTimeout, errTimeout)
}

// inTurn handles a request that has a permit. It finds the user of the request, counts the request
// against the user's limit and calls the handler.
func (s *Server) inTurn(x *exchange, rt *route) error {
	if err := s.identify(x); err != nil {
		return err
	}
	if err := s.limit(x); err != nil {
		return err
	}
	if rt.signedIn && x.user == "" {
		return errSignedOut
	}
	return rt.handle(s, x)
}

// identify sets x.user by the session cookie. A request without a session cookie makes no query to
// the session store.
func (s *Server) identify(x *exchange) error {
	user, err := s.accounts.Sessions.Authenticate(x.ctx, x.Request())
	if errors.Is(err, auth.ErrTwoUsers) && x.route.ends {
		return nil
	}
	if err != nil {
		return err
	}
	x.user = user
	if user != "" {
		x.asked.Flow = personOf(user) // the pool may not have known the user by the cookie
	}
	return nil
}

// limit counts the request against the general limit of the user, or of the address if the client
// is not signed in.
func (s *Server) limit(x *exchange) error {
	s.warnUnreadClient(x)
	if s.cfg.RateLimitMax <= 0 {
		return nil
	}
	take := func(key string, limit int) (ratelimit.Decision, error) {
		return s.general.Take(x.ctx, key, limit, s.cfg.RateLimitWindow)
	}
	var d ratelimit.Decision
	var err error
	if x.user == "" {
		d, err = ratelimit.TakeAddress(x.addr, s.cfg.RateLimitMax, take)
	} else {
		d, err = take("user:"+x.user, s.cfg.RateLimitMax)
	}
	if err != nil {
		return err
	}
	writeLimitHeaders(x.out.Header(), d)
	return d.Err()
}

// outside yields the worker (pool.Permit.Yield) while fn waits for the client, and then takes a
// worker again at the request's old place in the queue. So a slow client holds no worker. The wait
// is the client's time and not part of the work, so REQUEST_TIMEOUT starts again afterwards.
func (s *Server) outside(x *exchange, fn func() error) error {
	x.stop()
	err := x.turn.Yield(x.client, func() error {
		began := time.Now()
		defer func() { x.outside += time.Since(began) }()
		return fn()
	})
	s.beginWork(x)
	return err
}

// commit runs fn, which waits for a group commit. Only the response is made after it, so fn runs
// without the worker. fn keeps the worker if very many requests wait without one already, or if the
// body is large.
func (s *Server) commit(x *exchange, fn func() error) error {
	if len(x.body) > largeBody {
		return fn()
	}
	select {
	case s.committing <- struct{}{}:
		defer func() { <-s.committing }()
		return x.turn.ReleaseAndRun(fn)
	default:
		return fn()
	}
}

// become changes the class of the request, as Permit.Reclassify does.
func (s *Server) become(x *exchange, c pool.Class) error {
	x.asked.Class = c
	return x.turn.Reclassify(x.ctx, c)
}

// jsonType is the value of Content-Type for all JSON. It must not be changed.
var jsonType = []string{"application/json; charset=utf-8"}

// reply writes the response: status, and v as JSON.
func (x *exchange) reply(status int, v any) error {
	x.out.Header()["Content-Type"] = jsonType
	x.out.WriteHeader(status)
	return encodeJSON(&x.out, v)
}

// envelope is the success envelope of the API.
type envelope struct {
	Success bool   `json:"success"`
	Data    any    `json:"data,omitempty"`
	Message string `json:"message,omitempty"`
}

func (x *exchange) data(status int, data any) error {
	return x.reply(status, envelope{Success: true, Data: data})
}

func (x *exchange) message(text string) error {
	return x.reply(http.StatusOK, envelope{Success: true, Message: text})
}
