package server

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"notesd/internal/ratelimit"
	"notesd/internal/redis"
	"notesd/notes"
	"notesd/pool"
	"notesd/server/auth"
	"notesd/store"
)

var (
	errTimeout      = errors.New("request timed out")
	errSignedOut    = errors.New("not signed in")
	errCrossOrigin  = errors.New("cross-origin request")
	errUnknownHost  = errors.New("unknown host name")
	errUnknownRoute = errors.New("no such route")
	errNotInTrash   = errors.New("note is not in the trash")
	errInputFormat  = errors.New("invalid input format")
	errNobody       = errors.New("not authenticated")
)

// failure is the error envelope of the API.
type failure struct {
	status  int
	Success bool   `json:"success"`
	Error   string `json:"error"`
	// Reason says why a request was rejected with 429 or 503.
	Reason string `json:"reason,omitempty"`
	// WaitedMs is how long the request had waited until then.
	WaitedMs   *int64 `json:"waitedMs,omitempty"`
	RetryAfter int    `json:"retryAfter,omitempty"` // seconds
	// Fields are the members of the input that are wrong, and how.
	Fields    map[string]string `json:"fields,omitempty"`
	Data      any               `json:"data,omitempty"` // the current note, in a 412
	RequestID string            `json:"requestId,omitempty"`
}

// meanings is the table of all errors with their HTTP status and text.
var meanings = []struct {
	err    error
	status int
	text   string
}{
	{auth.ErrTwoUsers, http.StatusBadRequest, "Sessions of two people came with this request: sign out and in again"},
	{errUnknownRoute, http.StatusNotFound, "Route not found"},
	{errUnknownHost, http.StatusMisdirectedRequest, "Unknown host name: ALLOWED_HOSTS says which are answered"},
	{errMalformed, http.StatusBadRequest, "Malformed JSON"},
	{errBadCoding, http.StatusBadRequest, "Request body is not what its Content-Encoding says"},
	{errBodyCoding, http.StatusUnsupportedMediaType, "Content-Encoding not supported: gzip and deflate are"},
	{errBodyTooLarge, http.StatusRequestEntityTooLarge, "Request body too large"},
	{errSlowBody, http.StatusRequestTimeout, "Request body came too slowly"},
	{errCrossOrigin, http.StatusForbidden, "Cross-origin request refused"},
	{auth.ErrNotAdmin, http.StatusUnauthorized, "Administrator access required"},
	{errSignedOut, http.StatusUnauthorized, "Authentication required"},
	{errNobody, http.StatusUnauthorized, "Not authenticated"},
	{auth.ErrCredentials, http.StatusUnauthorized, "Invalid credentials"},
	{errInputFormat, http.StatusBadRequest, "Invalid input format"},
	{notes.ErrEmailFormat, http.StatusBadRequest, "Invalid email format"},
	{notes.ErrPasswordShort, http.StatusBadRequest, "Password must be at least 8 characters long"},
	{notes.ErrPasswordLong, http.StatusBadRequest, "Password must be at most 1024 bytes long"},
	{auth.ErrRegistration, http.StatusBadRequest, "Registration failed"},
	{auth.ErrRegistrationClosed, http.StatusForbidden, "Registration is closed"},
	{errNotInTrash, http.StatusNotFound, "Note not found in trash"},
	{errBadLimit, http.StatusBadRequest, "Invalid limit: a whole number from 1 to 500"},
	{errBadCursor, http.StatusBadRequest, "Invalid cursor: start again from the first page"},
	{errCursorAlone, http.StatusBadRequest, "Invalid cursor: it needs the limit of the page it came with"},
	{errBadSearch, http.StatusBadRequest, "Invalid search: not valid UTF-8 text"},
	{errLongSearch, http.StatusBadRequest, "Search text too long"},
	{errManyTags, http.StatusBadRequest, "Too many tags"},
	{errBadKey, http.StatusBadRequest, "Invalid Idempotency-Key: 1 to 255 visible ASCII characters"},
	{errVitals, http.StatusBadRequest, "Invalid web vital"},
	{store.ErrNotFound, http.StatusNotFound, "Note not found"},
	{store.ErrChanged, http.StatusPreconditionFailed, "Note has changed"},
	{errListCondition, http.StatusPreconditionFailed, "A new note has no version: send it without If-Match and If-None-Match"},
	{store.ErrIdempotency, http.StatusUnprocessableEntity, "Idempotency-Key was used with another body"},
	{store.ErrQuota, http.StatusInsufficientStorage, "Quota exceeded"},
	{store.ErrOwnerGone, http.StatusUnauthorized, "Authentication required"},
}

// failureFor returns the error response for err. An unknown error is a server fault and gives a
// 500.
func failureFor(err error) failure {
	if _, ok := errors.AsType[*pool.PanicError](err); ok { // the panic's value does not matter
		return failure{status: http.StatusInternalServerError, Error: "Internal server error"}
	}
	// These are first, because rejections are many and a search of the table costs 5 µs.
	if f, ok := detailedFailure(err); ok {
		return f
	}
	for _, m := range meanings {
		if errors.Is(err, m.err) {
			return failure{status: m.status, Error: m.text}
		}
	}
	if e, ok := errors.AsType[*echo.HTTPError](err); ok && e.Code < http.StatusInternalServerError {
		// The route does not exist, or not with this method.
		return failure{status: http.StatusNotFound, Error: "Route not found"}
	}
	return failure{status: http.StatusInternalServerError, Error: "Internal server error"}
}

// detailedFailure returns the error response for errors that carry details.
func detailedFailure(err error) (failure, bool) {
	if e, ok := errors.AsType[*notes.InvalidError](err); ok {
		return failure{status: http.StatusBadRequest, Error: "Invalid note data", Fields: e.Fields}, true
	}
	if e, ok := errors.AsType[*auth.LockedError](err); ok {
		return failure{status: http.StatusLocked, Error: e.Text}, true
	}
	if e, ok := errors.AsType[*ratelimit.LimitedError](err); ok {
		return failure{status: http.StatusTooManyRequests, Error: e.Text, Reason: e.Reason, RetryAfter: seconds(e.Decision.RetryAfter)}, true
	}
	if e, ok := errors.AsType[*pool.RejectedError](err); ok {
		return turnedAway(e), true
	}
	if isUnavailable(err) {
		return unavailable("dependency_down", "Storage is not available, please try again", 0), true
	}
	if errors.Is(err, errTimeout) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, pool.ErrStuck) {
		return unavailable("timeout", "The request took too long", 0), true
	}
	return failure{}, false
}

// isUnavailable reports whether err means that the database or Redis is unavailable.
func isUnavailable(err error) bool {
	return errors.Is(err, store.ErrUnavailable) || errors.Is(err, redis.ErrUnavailable)
}

var refusalTexts = map[pool.Reason]string{
	pool.ErrShare:    "Too many requests at once, please try again later.",
	pool.ErrFull:     "Server is busy, please try again",
	pool.ErrTimeout:  "Server is busy, please try again",
	pool.ErrOverload: "Server is busy, please try again",
	pool.ErrMemory:   "Server is short of memory, please try again",
	pool.ErrDraining: "Server is shutting down, please try again",

	pool.ErrQuarantined: "This part of the server keeps failing and is not used for a while",
}

// turnedAway returns the response for a rejection by the pool. It is a 503, or a 429 for a user who
// sends more requests at once than a fair share.
func turnedAway(e *pool.RejectedError) failure {
	f := unavailable(string(e.Reason), refusalTexts[e.Reason], e.Waited)
	if e.Reason == pool.ErrShare {
		f.status = http.StatusTooManyRequests
	}
	// During shutdown, another server is available at once, or this one is again in a moment.
	if e.Reason != pool.ErrDraining {
		f.RetryAfter = seconds(e.RetryAfter)
	}
	return f
}

// unavailable returns a 503. Its Retry-After is one to three seconds at random, so that the clients
// do not all return in the same second. By then more is known of a lost dependency, which is probed
// several times a second.
func unavailable(reason, text string, waited time.Duration) failure {
	ms := waited.Milliseconds()
	return failure{status: http.StatusServiceUnavailable, Error: text, Reason: reason, WaitedMs: &ms,
		RetryAfter: 1 + rand.IntN(3)}
}

// fail makes err the exchange's response. If a part of another response was sent already, the
// client can only be told by cutting the connection, which conclude does.
func (s *Server) fail(x *exchange, err error) {
	if x.out.begun {
		x.reason = "cut midway"
		s.log.LogAttrs(context.Background(), slog.LevelWarn, "answer cut midway",
			slog.String("request_id", x.id), slog.Any("error", err))
		return
	}
	f := failureFor(err)
	f.RequestID = x.id
	x.reason = f.Reason
	if isUnavailable(err) {
		// The cause may be a full disk, for example. What clients and readiness probes are told has
		// no details.
		x.cause = err
	}
	if f.status == http.StatusInternalServerError {
		s.logFault(x, err)
	}
	s.shed(x, f, err)
	x.out.reset()
	if e, ok := errors.AsType[*store.ChangedError](err); ok {
		f.Data = noteOutput(e.Current)
		x.out.Header().Set("Etag", etag(e.Current))
	}
	if x.notJSON != "" && f.status == http.StatusBadRequest { // no member is at fault
		f.Fields = map[string]string{"Content-Type": x.notJSON}
	}
	if errors.Is(err, errBodyCoding) {
		x.out.Header().Set("Accept-Encoding", acceptedCoding)
	}
	if e, ok := errors.AsType[*ratelimit.LimitedError](err); ok && e.Decision.Limit > 0 {
		writeLimitHeaders(x.out.Header(), e.Decision)
	}
	if f.RetryAfter > 0 {
		x.out.Header().Set("Retry-After", strconv.Itoa(f.RetryAfter))
	}
	if errors.Is(err, auth.ErrNotAdmin) {
		x.out.Header().Set("WWW-Authenticate", `Bearer realm="notesd"`)
	}
	s.givenUp(x, err)
	_ = x.reply(f.status, f) // writes into the buffer, which cannot fail
}

// givenUp counts a body that was not read to its end. It closes the connection, on which the rest
// of the body would still arrive.
func (s *Server) givenUp(x *exchange, err error) {
	switch {
	case errors.Is(err, errBodyTooLarge):
		s.clients.oversize.Add(1)
	case errors.Is(err, errSlowBody):
		s.clients.bodies.Add(1)
	default:
		return
	}
	x.out.Header().Set("Connection", "close")
}

// logFault logs the cause of a 500, which the client is not told. A panic has been logged already
// with its stack. Work that was abandoned because the client left is no fault.
func (s *Server) logFault(x *exchange, err error) {
	if _, ok := errors.AsType[*pool.PanicError](err); ok || errors.Is(err, context.Canceled) && x.Request().Context().Err() != nil {
		return
	}
	s.log.LogAttrs(context.Background(), slog.LevelError, "unexpected error",
		slog.String("request_id", x.id), slog.String("route", x.pattern()), slog.Any("error", err))
}

// seconds returns d in seconds, rounded up: a client must not come back too early.
func seconds(d time.Duration) int {
	return max(1, int((d+time.Second-1)/time.Second))
}
