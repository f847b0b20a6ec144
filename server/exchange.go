package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"notesd/internal/histogram"
	"notesd/internal/ratelimit"
	"notesd/pool"
	"notesd/store"
)

// exchange is one request and its answer on their way through the server. It
// is the echo.Context that every middleware and handler of ours is given.
type exchange struct {
	echo.Context // nil in the express lane
	r            *http.Request
	out          answer
	id           string    // the request's id, in the answer's X-Request-Id and in the log
	began        time.Time // when the header had been read
	route        *route    // nil for an unknown route
	addr         string    // the client's address, forwarded only by trusted proxies
	unread       string    // the header in which a trusted proxy does not say who the client is; "": it does

	ctx      context.Context // bounds the work: REQUEST_TIMEOUT, and the client still there
	stop     func()          // ends ctx
	client   context.Context // only the client still there, and the request not stuck
	asked    pool.Request    // what the pool was told
	turn     *pool.Turn      // the worker, in a pooled route
	shard    int
	waited   time.Duration    // for a worker
	outside  time.Duration    // without one, waiting for the client
	memory   pool.Reservation // for what is large
	held     int64            // bytes in flight on account of this exchange
	arrived  []byte           // the request's body, if it was read before there was a worker
	body     []byte           // the request's, once read and until the answer is made
	bytesIn  int              // its length, from then on
	received bool             // all of the body
	notJSON  string           // why the body was not read as JSON; "": it was, or there is none
	late     bool             // the body, so that reading it was given up
	whole    bool             // the answer has left, all of it
	token    string           // of the session cookie; empty: none
	user     string           // who is signed in; empty: nobody
	reason   string           // why it was refused, for the log
	refused  bool             // with a 429 or 503: it is counted, and has no log line of its own
	cause    error            // what a dependency said to make it so, for the log
}

// Request is the exchange's, with or without an echo.Context.
func (x *exchange) Request() *http.Request { return x.r }

// handler answers one exchange. Its errors are turned into answers by fail.
type handler func(s *Server, x *exchange) error

// hold counts n bytes in flight on the exchange's shard until it ends.
func (s *Server) hold(x *exchange, n int) {
	if n == 0 {
		return
	}
	s.pool.Hold(x.shard, int64(n))
	x.held += int64(n)
}

// pooled runs a route's handler in a worker of the pool. Session, limits and
// body are handled inside: before admission nothing leaves the process. The
// answer is only buffered here; it is sent when the worker is free again.
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
		client, cancel := context.WithCancelCause(store.WithRoom(x.Request().Context(), x.room(s)))
		defer cancel(nil)
		x.client = client
		s.beginWork(x)
		defer func() { x.stop() }()
		if s.noAdmission {
			x.turn = &pool.Turn{}
			return s.inTurn(x, rt)
		}
		x.asked = s.request(x, rt)
		x.asked.Cancel = cancel
		err := s.pool.Do(x.ctx, x.asked, func(_ context.Context, turn *pool.Turn) error {
			x.turn, x.shard, x.waited = turn, turn.Shard(), turn.Waited()
			defer s.recordTook(x)
			err := s.inTurn(x, rt)
			if _, ok := errors.AsType[*store.ChangedError](err); ok { // its answer has the note in it, for which memory is set aside
				s.fail(x, err)
				return nil
			}
			return err
		})
		s.keepAnswer(x)
		if err != nil && context.Cause(client) == pool.ErrStuck { // which err itself calls cancelled
			err = fmt.Errorf("%w: %w", pool.ErrStuck, err)
		}
		return s.paced(x, err)
	}
}

// room sets memory aside for a large note that the store is about to read.
func (x *exchange) room(s *Server) func(bytes int64) error {
	return func(bytes int64) error { return s.reserve(x, bytes, readCopies) }
}

// recordTook records what x took, without the time that its client took.
func (s *Server) recordTook(x *exchange) {
	s.took[x.shard].Record(time.Since(x.began) - x.outside)
}

// Took is how long requests that had a worker were in the server's hands: from
// the header read to the answer ready, without the time outside their turns.
func (s *Server) Took() *histogram.Histogram {
	all := new(histogram.Histogram)
	for i := range s.took {
		all.Merge(&s.took[i])
	}
	return all
}

// beginWork bounds what is done for x from now on by REQUEST_TIMEOUT.
func (s *Server) beginWork(x *exchange) {
	x.ctx, x.stop = context.WithTimeoutCause(x.client, s.cfg.RequestTimeout, errTimeout)
}

// inTurn says who asks, counts it against that person's limit and answers.
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

// identify reads the session cookie into x.user. A request without one asks no store.
func (s *Server) identify(x *exchange) error {
	user, err := s.sessions.load(x.ctx, x.Request())
	if errors.Is(err, errTwoPeople) && x.route.ends {
		return nil
	}
	if err != nil {
		return err
	}
	x.user = user
	if user != "" && x.token != "" {
		x.asked.Person = personOf(user) // which the cookie alone may not have told
		s.persons.learn(x.token, user)
	}
	return nil
}

// limit counts the request against the general limit of the person, or of the
// address while nobody is signed in.
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
	return x.obey(d)
}

// obey refuses the request if the limit says so.
func (x *exchange) obey(d ratelimit.Decision) error {
	if !d.Allowed {
		writeLimitHeaders(x.out.Header(), d)
		return &limited{reason: "rate_limit", text: "Too many requests, please try again later.", after: d.RetryAfter}
	}
	return nil
}

// outside gives the worker back while fn waits for the client, so that a slow
// one holds nothing, and takes it again at the request's old place. The time is
// the client's, not the work's: REQUEST_TIMEOUT begins anew.
func (s *Server) outside(x *exchange, fn func() error) error {
	x.stop()
	err := x.turn.Outside(x.client, func() error {
		began := time.Now()
		defer func() { x.outside += time.Since(began) }()
		return fn()
	})
	s.beginWork(x)
	return err
}

// commit runs fn, which waits for a commit that many share, and what follows is only the answer: so
// without the worker, unless very many wait so already or what is to be written is large.
func (s *Server) commit(x *exchange, fn func() error) error {
	if len(x.body) > largeBody {
		return fn()
	}
	select {
	case s.committing <- struct{}{}:
		defer func() { <-s.committing }()
		return x.turn.Leave(fn)
	default:
		return fn()
	}
}

// become makes the request one of another class, as Turn.Become does.
func (s *Server) become(x *exchange, c pool.Class) error {
	x.asked.Class = c
	return x.turn.Become(x.ctx, c)
}

// jsonType is the value of Content-Type for everything that is JSON. It is not changed.
var jsonType = []string{"application/json; charset=utf-8"}

// reply answers with status and v as JSON.
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
