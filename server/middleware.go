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
	"notesd/server/auth"
)

const (
	// statusClientGone means that the client closed the connection before the response. It appears
	// in the log only (nginx uses the same number).
	statusClientGone = 499
	slowRequest      = time.Second
	maxMethod        = 16 // letters of a method in a log line
)

// normalizePath makes routes match in any case and with one trailing slash. The id of a note keeps
// its case, because it is data.
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

// observe begins the exchange, sends its response, and records the result in one log line and in
// the metrics.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		x := s.begin(c.Response().Writer, c.Request())
		x.Context, c.Response().Writer = c, &x.out
		defer s.end(x) // a panic or a Goexit may cut the exchange
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

// conclude sends the response, or the error response for err, and records it.
func (s *Server) conclude(x *exchange, err error) {
	if err != nil {
		s.fail(x, err)
	}
	cut := err != nil && x.out.begun || !s.deliver(x)
	s.record(x)
	if cut {
		// The client must not take a partial response for a complete one.
		panic(http.ErrAbortHandler)
	}
}

func (s *Server) end(x *exchange) {
	s.pool.AddInFlight(x.shard, -x.held)
	s.pool.Shrink(&x.memory, 0)
	s.running.Add(-1)
	// net/http reads the rest of the body before it closes the connection; this bounds that time.
	if !x.whole {
		_ = x.out.ctrl.SetReadDeadline(time.Now())
	}
	switch {
	case isTimeout(x.out.failed):
		s.clients.readers.Add(1)
	case x.out.failed != nil || x.out.status == statusClientGone:
		s.clients.gone.Add(1)
	}
}

// deliver sends the response, unless the client has left. It reports whether the response was sent.
// If not, net/http must not send a response in its place.
func (s *Server) deliver(x *exchange) bool {
	// net/http cancels the context for a late body, too, as for a client that has left.
	if x.Request().Context().Err() != nil && !x.late {
		x.out.status = statusClientGone
		return false
	}
	unread := !x.received && x.Request().Body != http.NoBody
	// net/http waits for the rest of the body, at least of a short one, without a time limit.
	if unread {
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

// requestID returns 16 random hexadecimal digits, which are enough to find a request in a log.
func requestID() string {
	var digits [16]byte
	for i, v := 0, rand.Uint64(); i < len(digits); i, v = i+1, v>>4 {
		digits[i] = "0123456789abcdef"[v&15]
	}
	return string(digits[:])
}

// record counts the exchange and writes its log line. The line does not contain the query, because
// a search is a user's private text.
func (s *Server) record(x *exchange) {
	took := time.Since(x.began)
	if s.cfg.MetricsCollection {
		s.tally.add(x.shard, x.route, x.out.status, took)
	}
	s.answered.Add(1)
	level := slog.LevelInfo
	switch {
	case x.refused: // there may be very many of these, and logSheds counts them
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
	method := x.Request().Method
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs, slog.String("request_id", x.id), slog.String("method", strings.ToValidUTF8(method[:min(len(method), maxMethod)], "")),
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

// limitUnrouted limits, by address, the requests that no handler limits: unknown routes, rejected
// origins, requests to administrators' routes without the token, and OPTIONS requests that are not
// the preflight of a trusted origin. Each process counts for itself, because a request without a
// permit must not wait for Redis.
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
		if err != nil && (x.route == nil || errors.Is(err, auth.ErrNotAdmin)) {
			return cmp.Or(s.countUnrouted(x), err)
		}
		return err
	}
}

func (s *Server) countUnrouted(x *exchange) error {
	if s.cfg.RateLimitMax <= 0 {
		return nil
	}
	x.asked = pool.Request{Class: pool.Read, Route: x.pattern(), Flow: addressOf(x)}
	d, _ := ratelimit.TakeAddress(x.addr, s.cfg.RateLimitMax, func(key string, limit int) (ratelimit.Decision, error) {
		return s.unrouted.Take(key, limit, s.cfg.RateLimitWindow), nil
	})
	writeLimitHeaders(x.out.Header(), d)
	return d.Err()
}

func (s *Server) cors() echo.MiddlewareFunc {
	return middleware.CORSWithConfig(middleware.CORSConfig{
		// AllowOrigins is not used: if it is empty, echo allows every origin.
		AllowOriginFunc:  func(origin string) (bool, error) { return slices.Contains(s.cfg.CORSOrigins, origin), nil },
		AllowMethods:     []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"},
		AllowCredentials: true,
		ExposeHeaders: []string{"ETag", "Link", "Location", "Retry-After", "X-Request-Id",
			"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"},
		MaxAge: 600,
	})
}

// newProtection returns a CSRF protection that trusts, for writes, the same origins as for reads.
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

// secure reports whether the session cookie may be sent over TLS only.
func (s *Server) secure(r *http.Request) bool { return s.cfg.Production || s.overTLS(r) }
