package router

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"notesd/internal/ratelimit"
	"notesd/pool"
)

// An Error is an error that knows its response. A door declares its errors with NewError, and its
// handlers return them. An error of another package can be turned into one by Config.ErrorFor. Any
// other error is a fault of the server: it gives a 500 and is logged.
type Error struct {
	Status  int
	Message string // for people
	// Reason says why a request is rejected with a 429 or 503, in a word for programs.
	Reason string
	// Code says what is wrong, in a word for programs, where the status does not.
	Code string
	// Fields are the members of the input that are wrong, and how.
	Fields map[string]string
	Data   any // more for programs, such as the current note in a 412
	// Merge says how far a change could be merged with others: the parts of the text, or Null.
	Merge  any
	Header http.Header // headers of the response
}

// Null is a member that is there and has no value.
var Null = json.RawMessage("null")

// NewError returns an error that gives a response with the status and the message.
func NewError(status int, message string) *Error { return &Error{Status: status, Message: message} }

func (e *Error) Error() string { return e.Message }

// These are the router's errors.
var (
	// ErrUnknownRoute says that the server has no such route.
	ErrUnknownRoute = NewError(http.StatusNotFound, "Route not found")
	// ErrUnavailable says that the database or Redis is unavailable. The error that it stands for
	// is logged, and not shown: it may name a host, or a full disk.
	ErrUnavailable = &Error{Status: http.StatusServiceUnavailable, Reason: "dependency_down",
		Message: "Storage is not available, please try again"}

	errTimeout = &Error{Status: http.StatusServiceUnavailable, Reason: "timeout", Message: "The request took too long"}

	errSignedOut = NewError(http.StatusUnauthorized, "Authentication required")
	errOtherUser = &Error{Status: http.StatusPreconditionFailed, Code: "other_user",
		Message: "Another user is signed in"}
	errCrossOrigin = NewError(http.StatusForbidden, "Cross-origin request refused")
	errUnknownHost = NewError(http.StatusMisdirectedRequest,
		"Unknown host name: ALLOWED_HOSTS says which are answered")
	errMalformed    = NewError(http.StatusBadRequest, "Malformed JSON")
	errBadCoding    = NewError(http.StatusBadRequest, "Request body is not what its Content-Encoding says")
	errBodyTooLarge = NewError(http.StatusRequestEntityTooLarge, "Request body too large")
	errSlowBody     = NewError(http.StatusRequestTimeout, "Request body came too slowly")
	errBodyCoding   = &Error{Status: http.StatusUnsupportedMediaType,
		Message: "Content-Encoding not supported: gzip and deflate are",
		Header:  http.Header{"Accept-Encoding": {acceptedCoding}}}
)

// errorResponse is the error envelope of the API.
type errorResponse struct {
	status  int
	header  http.Header
	Success bool   `json:"success"`
	Error   string `json:"error"`
	Code    string `json:"code,omitempty"`
	// Reason says why a request was rejected with 429 or 503.
	Reason string `json:"reason,omitempty"`
	// WaitedMs is how long the request had waited until then.
	WaitedMs   *int64 `json:"waitedMs,omitempty"`
	RetryAfter int    `json:"retryAfter,omitempty"` // seconds
	// Fields are the members of the input that are wrong, and how.
	Fields    map[string]string `json:"fields,omitempty"`
	Data      any               `json:"data,omitempty"` // the current note, in a 409 or 412
	Merge     any               `json:"merge,omitempty"`
	RequestID string            `json:"requestId,omitempty"`
}

// responseFor returns the error response for err. An unknown error is a server fault and gives a
// 500.
func (rt *Router) responseFor(err error) errorResponse {
	internal := errorResponse{status: http.StatusInternalServerError, Error: "Internal server error"}
	if _, ok := errors.AsType[*pool.PanicError](err); ok { // the panic's value does not matter
		return internal
	}
	// Rejections are first, because they are many and each of these checks costs time.
	if e, ok := errors.AsType[*pool.RejectedError](err); ok {
		return rejected(e)
	}
	if e, ok := errors.AsType[*ratelimit.LimitedError](err); ok {
		return errorResponse{status: http.StatusTooManyRequests, Error: e.Text, Reason: e.Reason,
			RetryAfter: seconds(e.Decision.RetryAfter)}
	}
	if e := rt.errorFor(err); e != nil {
		return e.response()
	}
	if e, ok := errors.AsType[*echo.HTTPError](err); ok && e.Code < http.StatusInternalServerError {
		// The route does not exist, or not with this method.
		return ErrUnknownRoute.response()
	}
	return internal
}

// errorFor returns the Error that err is or stands for, or nil.
func (rt *Router) errorFor(err error) *Error {
	if rt.cfg.ErrorFor != nil {
		if e := rt.cfg.ErrorFor(err); e != nil {
			return e
		}
	}
	if errors.Is(err, errTimeout) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, pool.ErrStuck) {
		return errTimeout
	}
	e, _ := errors.AsType[*Error](err)
	return e
}

func (e *Error) response() errorResponse {
	f := errorResponse{status: e.Status, header: e.Header, Error: e.Message, Code: e.Code, Fields: e.Fields,
		Data: e.Data, Merge: e.Merge}
	if e.Reason != "" {
		f = unavailable(e.Reason, e.Message, 0)
		f.status = e.Status
	}
	return f
}

// writeError makes err the response. If a part of another response was sent already, the client can
// only be told by cutting the connection, which conclude does.
func (c *Context) writeError(err error) {
	if c.out.wroteHeader {
		c.reason = "cut midway"
		c.rt.log.LogAttrs(context.Background(), slog.LevelWarn, "answer cut midway",
			slog.String("request_id", c.id), slog.Any("error", err))
		return
	}
	f := c.rt.responseFor(err)
	f.RequestID = c.id
	c.reason = f.Reason
	if f.Reason == ErrUnavailable.Reason {
		// The cause may be a full disk, for example. What clients and readiness probes are told has
		// no details.
		c.cause = err
	}
	if f.status == http.StatusInternalServerError {
		c.logFault(err)
	}
	c.countRejection(f, err)
	c.out.reset()
	h := c.out.Header()
	maps.Copy(h, f.header)
	if c.notJSON != "" && f.status == http.StatusBadRequest { // no member is at fault
		f.Fields = map[string]string{"Content-Type": c.notJSON}
	}
	if e, ok := errors.AsType[*ratelimit.LimitedError](err); ok && e.Decision.Limit > 0 {
		c.out.limit = e.Decision
	}
	if f.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(f.RetryAfter))
	}
	c.countGivenUp(err)
	if c.route != nil && c.route.WriteError != nil {
		c.out.WriteHeader(f.status)
		c.route.WriteError(c, f.status, f.Error)
		return
	}
	_ = c.JSON(f.status, f) // writes into the buffer, which cannot fail
}

// countGivenUp counts a body that was not read to its end. It closes the connection, on which the
// rest of the body would still arrive.
func (c *Context) countGivenUp(err error) {
	switch {
	case errors.Is(err, errBodyTooLarge):
		c.rt.counts.OversizeBodies.Add(1)
	case errors.Is(err, errSlowBody):
		c.rt.counts.SlowBodies.Add(1)
	default:
		return
	}
	c.out.Header().Set("Connection", "close")
}

// logFault logs the cause of a 500, which the client is not told. A panic has been logged already
// with its stack. Work that was abandoned because the client left is no fault.
func (c *Context) logFault(err error) {
	_, panicked := errors.AsType[*pool.PanicError](err)
	if panicked || errors.Is(err, context.Canceled) && c.r.Context().Err() != nil {
		return
	}
	c.rt.log.LogAttrs(context.Background(), slog.LevelError, "unexpected error",
		slog.String("request_id", c.id), slog.String("route", c.pattern()), slog.Any("error", err))
}

// seconds returns d in seconds, rounded up: a client must not come back too early.
func seconds(d time.Duration) int {
	return max(1, int((d+time.Second-1)/time.Second))
}
