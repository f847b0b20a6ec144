package router

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
	"notesd/server/listener"
)

const (
	// statusClientGone means that the client closed the connection before the response. It appears
	// in the log only (nginx uses the same number).
	statusClientGone = 499
	slowRequest      = time.Second
	maxMethod        = 16 // letters of a method in a log line
	strictTransport  = "max-age=31536000; includeSubDomains"
)

// normalizePath makes routes match in any case and with one trailing slash. A part of the path that
// is data, such as the id of a note, keeps its case.
func (rt *Router) normalizePath() echo.MiddlewareFunc {
	data := dataParts(rt.routes) // here, because echo calls the function below for every request
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(e echo.Context) error {
			u := e.Request().URL
			u.Path, u.RawPath = canonicalPath(u.Path, data), canonicalPath(u.RawPath, data)
			return next(e)
		}
	}
}

// dataParts returns the beginnings of the routes' paths after which a parameter follows (:) or the
// rest of the path is data (*). A parameter in a beginning is a colon.
func dataParts(routes []*Route) map[string]byte {
	data := map[string]byte{}
	for _, route := range routes {
		prefix := ""
		for part := range strings.SplitSeq(strings.TrimPrefix(route.Path, "/"), "/") {
			if part != "" && (part[0] == ':' || part[0] == '*') {
				data[prefix] = part[0]
				part = ":"
			}
			prefix += "/" + part
		}
	}
	return data
}

func canonicalPath(path string, data map[string]byte) string {
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	if path == strings.ToLower(path) {
		return path
	}
	parts, prefix := strings.Split(path, "/"), ""
	for i, part := range parts[1:] {
		switch data[prefix] {
		case '*':
			return strings.Join(parts, "/")
		case ':':
			prefix += "/:"
		default:
			parts[i+1] = strings.ToLower(part)
			prefix += "/" + parts[i+1]
		}
	}
	return strings.Join(parts, "/")
}

// observe begins the request, sends its response, and records the result in one log line and in the
// metrics.
func (rt *Router) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(e echo.Context) error {
		c := rt.begin(e.Response().Writer, e.Request(), time.Now())
		c.echo = echoContext{e, c}
		e.Response().Writer = &c.out
		defer c.end() // a panic or a Goexit may cut the request
		c.conclude(next(&c.echo))
		return nil
	}
}

// begin returns the Context of r, whose header had been read at now.
func (rt *Router) begin(w http.ResponseWriter, r *http.Request, now time.Time) *Context {
	return rt.beginOn(listener.ConnOf(r), w, r, now)
}

// beginOn is begin for a request that came over conn.
func (rt *Router) beginOn(conn *listener.Conn, w http.ResponseWriter, r *http.Request, now time.Time) *Context {
	id := requestID()
	c := &Context{rt: rt, r: r, out: newResponseWriter(conn, w, r, id, &rt.leaving), id: id, began: now}
	if c.addr = operatorOf(r.Context()); c.addr == "" {
		c.addr, c.unread = rt.clientAddress(r)
	}
	if rt.overTLS(r) {
		c.out.Header().Set("Strict-Transport-Security", strictTransport)
	}
	rt.counts.Running.Add(1)
	return c
}

// conclude sends the response, or the error response for err, and records it.
func (c *Context) conclude(err error) {
	if err == nil && c.stream != nil {
		c.beginStream()
		return
	}
	if err != nil {
		if c.stream != nil && !c.out.head {
			c.dropStream()
		}
		c.writeError(err)
	}
	cut := err != nil && c.out.wroteHeader || !c.deliver()
	c.record()
	if cut {
		// The client must not take a partial response for a complete one.
		panic(http.ErrAbortHandler)
	}
}

// end releases what the request holds, and counts a client that did not take its response.
func (c *Context) end() {
	if c.taken {
		return // the stream's goroutine finishes it
	}
	c.finish()
	// net/http reads the rest of the body before it closes the connection; this bounds that time.
	if !c.whole {
		_ = c.out.ctrl.SetReadDeadline(time.Now())
	}
}

// finish gives back what the request holds, and counts how it ended.
func (c *Context) finish() {
	c.rt.pool.AddInFlight(c.shard, -c.held)
	c.rt.pool.Shrink(&c.memory, 0)
	c.rt.counts.Running.Add(-1)
	switch {
	case isTimeout(c.out.failed):
		c.rt.counts.SlowReaders.Add(1)
	case c.out.failed != nil || c.out.status == statusClientGone:
		c.rt.counts.Gone.Add(1)
	}
}

// deliver sends the response, unless the client has left. It reports whether the response was sent.
// If not, net/http must not send a response in its place.
func (c *Context) deliver() bool {
	// net/http cancels the context for a late body, too, as for a client that has left.
	if c.r.Context().Err() != nil && !c.late {
		c.out.status = statusClientGone
		return false
	}
	unread := !c.received && c.r.Body != http.NoBody
	// net/http waits for the rest of the body, at least of a short one, without a time limit.
	if unread {
		_ = c.out.ctrl.SetReadDeadline(time.Now().Add(discardTime))
		c.out.flushFirst = true
	}
	if c.out.send() != nil {
		c.reason = "client too slow or gone"
		return false
	}
	c.whole = true
	if unread {
		c.discard()
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

// record counts the request and writes its log line. The line does not contain the query, because
// a search is a user's private text.
func (c *Context) record() {
	took := time.Since(c.began)
	if !c.streamed.IsZero() {
		took = c.streamed.Sub(c.began)
	}
	route := len(c.rt.routes)
	if c.route != nil {
		route = c.route.index
	}
	c.rt.cfg.Observer.Sent(c.shard, route, c.out.status, took)
	c.rt.counts.Answered.Add(1)
	level := slog.LevelInfo
	switch {
	case c.refused: // there may be very many of these, and LogRejections counts them
		level = slog.LevelDebug
	case took > slowRequest:
		level = slog.LevelWarn
	case c.route != nil && c.route.Quiet:
		level = slog.LevelDebug
	}
	ctx := context.Background()
	if !c.rt.log.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs, slog.String("request_id", c.id), slog.String("method", shortText(c.r.Method, maxMethod)),
		slog.String("route", c.pattern()), slog.Int("status", c.out.status), slog.String("addr", c.addr),
		slog.Float64("ms", milliseconds(took)))
	if c.who.UserID != "" {
		attrs = append(attrs, slog.String("user", c.who.UserID))
	}
	if c.who.Token.ID != "" {
		attrs = append(attrs, slog.String("token_id", c.who.Token.ID))
	}
	if c.reason != "" {
		attrs = append(attrs, slog.String("reason", c.reason))
	}
	if c.cause != nil {
		attrs = append(attrs, slog.Any("error", c.cause))
	}
	if !c.streamed.IsZero() {
		attrs = append(attrs, slog.Float64("stream_ms", milliseconds(time.Since(c.streamed))))
	}
	if c.rt.cfg.PerformanceLogging || took > slowRequest {
		attrs = append(attrs, slog.Float64("waited_ms", milliseconds(c.waited)), slog.Int("shard", c.shard),
			slog.Int("bytes_in", c.bytesIn), slog.Int64("bytes_out", c.out.sent))
	}
	c.rt.log.LogAttrs(ctx, level, "request", attrs...)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// limitUnrouted limits, by address, the requests that no handler limits: unknown routes, rejected
// origins, requests to administrators' routes without the token, and OPTIONS requests that are not
// the preflight of a trusted origin. Each process counts for itself, because a request without a
// permit must not wait for Redis.
func (rt *Router) limitUnrouted(next echo.HandlerFunc) echo.HandlerFunc {
	return func(e echo.Context) error {
		c := contextOf(e)
		if c.r.Method == http.MethodOptions {
			asks := c.r.Header.Get("Access-Control-Request-Method") != ""
			if !asks || !slices.Contains(rt.cfg.CORSOrigins, c.r.Header.Get("Origin")) {
				if err := c.countUnrouted(); err != nil {
					return err
				}
			}
			return next(e)
		}
		err := next(e)
		if err != nil && (c.route == nil || c.noAdmin) {
			return cmp.Or(c.countUnrouted(), err)
		}
		return err
	}
}

func (c *Context) countUnrouted() error {
	cfg := &c.rt.cfg
	if cfg.RateLimitMax <= 0 {
		return nil
	}
	c.asked = pool.Request{Class: pool.Read, Route: c.pattern(), Flow: c.addressFlow()}
	d, _ := ratelimit.TakeAddress(c.addr, cfg.RateLimitMax, func(key string, limit int) (ratelimit.Decision, error) {
		return c.rt.unrouted.Take(key, limit, cfg.RateLimitWindow), nil
	})
	c.out.limit = d
	return d.Err()
}

func (rt *Router) cors() echo.MiddlewareFunc {
	return middleware.CORSWithConfig(middleware.CORSConfig{
		// AllowOrigins is not used: if it is empty, echo allows every origin.
		AllowOriginFunc:  func(origin string) (bool, error) { return slices.Contains(rt.cfg.CORSOrigins, origin), nil },
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

func (rt *Router) refuseCrossOrigin(next echo.HandlerFunc) echo.HandlerFunc {
	return func(e echo.Context) error {
		if r := e.Request(); !hasBearer(r.Header) && rt.protection.Check(rt.asRequested(r)) != nil {
			return errCrossOrigin
		}
		return next(e)
	}
}

// shortText returns the first limit bytes of s, without what is not valid UTF-8.
func shortText(s string, limit int) string {
	return strings.ToValidUTF8(s[:min(len(s), limit)], "")
}
