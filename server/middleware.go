package server

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"notesd/internal/ratelimit"
	"notesd/pool"
)

const (
	statusClientGone = 499 // the client hung up before its answer: in the log only (nginx's number for it)
	slowRequest      = time.Second
	maxMethod        = 16 // letters of a method in the log
)

// normalizePath makes any case and one trailing slash match. The id of a note
// keeps its case: it is data.
func normalizePath(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		u := c.Request().URL
		u.Path, u.RawPath = canonicalPath(u.Path), canonicalPath(u.RawPath)
		return next(c)
	}
}

func canonicalPath(path string) string {
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	if path == strings.ToLower(path) {
		return path
	}
	parts := strings.Split(path, "/")
	for i, part := range parts {
		if isID := i == 3 && parts[2] == "notes"; !isID {
			parts[i] = strings.ToLower(part)
		}
	}
	return strings.Join(parts, "/")
}

// observe begins the exchange, sends its answer and says in one log line and
// in the metrics how it went.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		x := s.begin(c.Response().Writer, c.Request())
		x.Context, c.Response().Writer = c, &x.out
		defer s.end(x) // also when a panic or a Goexit cuts the exchange
		s.conclude(x, next(x))
		return nil
	}
}

func (s *Server) begin(w http.ResponseWriter, r *http.Request) *exchange {
	id := requestID()
	x := &exchange{r: r, out: newAnswer(w, r, id, &s.leaving), id: id, began: time.Now()}
	x.addr, x.unread = s.clientAddress(r)
	if s.overTLS(r) {
		x.out.Header().Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
	}
	s.running.Add(1)
	return x
}

// conclude sends the answer, or what err means, and records it.
func (s *Server) conclude(x *exchange, err error) {
	if err != nil {
		s.fail(x, err)
	}
	cut := err != nil && x.out.begun || !s.deliver(x)
	s.record(x)
	if cut {
		panic(http.ErrAbortHandler) // the client must not take half an answer for a whole one
	}
}

func (s *Server) end(x *exchange) {
	s.pool.Hold(x.shard, -x.held)
	s.pool.Shrink(&x.memory, 0)
	s.running.Add(-1)
	if !x.whole { // before it closes the connection, net/http reads on in the body: not for ever
		_ = x.out.ctrl.SetReadDeadline(time.Now())
	}
	switch {
	case isTimeout(x.out.failed):
		s.clients.readers.Add(1)
	case x.out.failed != nil || x.out.status == statusClientGone:
		s.clients.gone.Add(1)
	}
}

// deliver sends the answer, unless the client has gone. It reports whether it
// could: where not, net/http must not answer in its place.
func (s *Server) deliver(x *exchange) bool {
	if x.Request().Context().Err() != nil && !x.late { // to net/http a late body is a client that left, too
		x.out.status = statusClientGone
		return false
	}
	unread := !x.received && x.Request().Body != http.NoBody
	if unread { // net/http waits for the rest, at least of a short one, and sets no bound to that
		_ = x.out.ctrl.SetReadDeadline(time.Now().Add(discardTime))
		x.out.early = true
	}
	if x.out.send() != nil {
		x.reason = "client too slow or gone"
		return false
	}
	x.whole = true
	if unread {
		x.discard()
	}
	return true
}

// requestID is 16 random hexadecimal digits: enough to find a request in a log.
func requestID() string {
	var digits [16]byte
	for i, v := 0, rand.Uint64(); i < len(digits); i, v = i+1, v>>4 {
		digits[i] = "0123456789abcdef"[v&15]
	}
	return string(digits[:])
}

// record counts the exchange and writes its log line. The query stays out of
// it: a search is somebody's text.
func (s *Server) record(x *exchange) {
	took := time.Since(x.began)
	if s.cfg.MetricsCollection {
		s.tally.add(x.shard, x.route, x.out.status, took)
	}
	s.answered.Add(1)
	level := slog.LevelInfo
	switch {
	case x.refused: // there may be very many: logSheds counts them
		level = slog.LevelDebug
	case took > slowRequest:
		level = slog.LevelWarn
	case x.route != nil && x.route.quiet:
		level = slog.LevelDebug
	}
	ctx := context.Background()
	if !s.log.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs, slog.String("request_id", x.id), slog.String("method", shortText(x.Request().Method, maxMethod)),
		slog.String("route", x.pattern()), slog.Int("status", x.out.status), slog.String("addr", x.addr),
		slog.Float64("ms", milliseconds(took)))
	if x.user != "" {
		attrs = append(attrs, slog.String("user", x.user))
	}
	if x.reason != "" {
		attrs = append(attrs, slog.String("reason", x.reason))
	}
	if x.cause != nil {
		attrs = append(attrs, slog.Any("error", x.cause))
	}
	if s.cfg.PerformanceLogging || took > slowRequest {
		attrs = append(attrs, slog.Float64("waited_ms", milliseconds(x.waited)), slog.Int("shard", x.shard),
			slog.Int("bytes_in", x.bytesIn), slog.Int64("bytes_out", x.out.sent))
	}
	s.log.LogAttrs(ctx, level, "request", attrs...)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// limitUnrouted limits, by address, what has no handler with a limit of its own:
// unknown routes, refused origins, strangers at administrators' doors, and
// OPTIONS that is no preflight of a trusted origin. Each process counts for
// itself: what has no turn must not wait for Redis.
func (s *Server) limitUnrouted(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		x := c.(*exchange)
		r := x.Request()
		if r.Method == http.MethodOptions {
			asks := r.Header.Get("Access-Control-Request-Method") != ""
			if !asks || !slices.Contains(s.cfg.CORSOrigins, r.Header.Get("Origin")) {
				if err := s.countUnrouted(x); err != nil {
					return err
				}
			}
			return next(c)
		}
		err := next(c)
		if err != nil && (x.route == nil || errors.Is(err, errNotAdmin)) {
			return cmp.Or(s.countUnrouted(x), err)
		}
		return err
	}
}

func (s *Server) countUnrouted(x *exchange) error {
	if s.cfg.RateLimitMax <= 0 {
		return nil
	}
	x.asked = pool.Request{Class: pool.Read, Route: x.pattern(), Person: addressOf(x)}
	d, _ := ratelimit.TakeAddress(x.addr, s.cfg.RateLimitMax, func(key string, limit int) (ratelimit.Decision, error) {
		return s.unrouted.Take(key, limit, s.cfg.RateLimitWindow), nil
	})
	writeLimitHeaders(x.out.Header(), d)
	return x.obey(d)
}

func (s *Server) cors() echo.MiddlewareFunc {
	return middleware.CORSWithConfig(middleware.CORSConfig{
		// Not AllowOrigins: where that is empty, echo lets everybody in.
		AllowOriginFunc:  func(origin string) (bool, error) { return slices.Contains(s.cfg.CORSOrigins, origin), nil },
		AllowMethods:     []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"},
		AllowCredentials: true,
		ExposeHeaders: []string{"ETag", "Link", "Location", "Retry-After", "X-Request-Id",
			"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"},
		MaxAge: 600,
	})
}

// newProtection trusts the same origins for writes as for reads.
func newProtection(origins []string) (*http.CrossOriginProtection, error) {
	p := http.NewCrossOriginProtection()
	var errs []error
	for _, origin := range origins {
		errs = append(errs, p.AddTrustedOrigin(origin))
	}
	return p, errors.Join(errs...)
}

func (s *Server) refuseCrossOrigin(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if s.protection.Check(s.asAsked(c.Request())) != nil {
			return errCrossOrigin
		}
		return next(c)
	}
}

// secure tells whether the session cookie is for TLS only.
func (s *Server) secure(r *http.Request) bool { return s.cfg.Production || s.overTLS(r) }
