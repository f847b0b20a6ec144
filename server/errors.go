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

	"notesd/internal/redis"
	"notesd/notes"
	"notesd/pool"
	"notesd/store"
)

var (
	errTwoPeople    = errors.New("sessions of two people")
	errTimeout      = errors.New("request timed out")
	errSignedOut    = errors.New("not signed in")
	errNotAdmin     = errors.New("not an administrator")
	errCrossOrigin  = errors.New("cross-origin request")
	errUnknownHost  = errors.New("unknown host name")
	errUnknownRoute = errors.New("no such route")
	errNotInTrash   = errors.New("note is not in the trash")
	errRegistration = errors.New("registration failed")
	errClosed       = errors.New("registration is closed")
	errInputFormat  = errors.New("invalid input format")
	errCredentials  = errors.New("invalid credentials")
	errNobody       = errors.New("not authenticated")
)

// failure is the failure envelope of the API.
type failure struct {
	status     int
	Success    bool              `json:"success"`
	Error      string            `json:"error"`
	Reason     string            `json:"reason,omitempty"`     // why a 429 or 503 turned the request away
	WaitedMs   *int64            `json:"waitedMs,omitempty"`   // how long the request had waited by then
	RetryAfter int               `json:"retryAfter,omitempty"` // seconds
	Fields     map[string]string `json:"fields,omitempty"`     // which members of the input are wrong, and how
	Data       any               `json:"data,omitempty"`       // the current note, with a 412
	RequestID  string            `json:"requestId,omitempty"`
}

// meanings is what each error means to a client: the one table of them.
var meanings = []struct {
	err    error
	status int
	text   string
}{
	{errTwoPeople, http.StatusBadRequest, "Sessions of two people came with this request: sign out and in again"},
	{errUnknownRoute, http.StatusNotFound, "Route not found"},
	{errUnknownHost, http.StatusMisdirectedRequest, "Unknown host name: ALLOWED_HOSTS says which are answered"},
	{errMalformed, http.StatusBadRequest, "Malformed JSON"},
	{errBadCoding, http.StatusBadRequest, "Request body is not what its Content-Encoding says"},
	{errBodyCoding, http.StatusUnsupportedMediaType, "Content-Encoding not supported: gzip and deflate are"},
	{errBodyTooLarge, http.StatusRequestEntityTooLarge, "Request body too large"},
	{errSlowBody, http.StatusRequestTimeout, "Request body came too slowly"},
	{errCrossOrigin, http.StatusForbidden, "Cross-origin request refused"},
	{errNotAdmin, http.StatusUnauthorized, "Administrator access required"},
	{errSignedOut, http.StatusUnauthorized, "Authentication required"},
	{errNobody, http.StatusUnauthorized, "Not authenticated"},
	{errCredentials, http.StatusUnauthorized, "Invalid credentials"},
	{errInputFormat, http.StatusBadRequest, "Invalid input format"},
	{notes.ErrEmailFormat, http.StatusBadRequest, "Invalid email format"},
	{notes.ErrPasswordShort, http.StatusBadRequest, "Password must be at least 8 characters long"},
	{notes.ErrPasswordLong, http.StatusBadRequest, "Password must be at most 1024 bytes long"},
	{errRegistration, http.StatusBadRequest, "Registration failed"},
	{errClosed, http.StatusForbidden, "Registration is closed"},
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
	{store.ErrEpoch, http.StatusUnauthorized, "Invalid credentials"}, // at sign-in: what it verified is valid no more
	{store.ErrOwnerGone, http.StatusUnauthorized, "Authentication required"},
}

// failureFor says what err means to a client. Unknown means our fault: 500.
func failureFor(err error) failure {
	if _, ok := errors.AsType[*pool.PanicError](err); ok { // whatever it panicked with
		return failure{status: http.StatusInternalServerError, Error: "Internal server error"}
	}
	if f, ok := detailedFailure(err); ok { // first: refusals are many, and to look through the table costs 5 µs
		return f
	}
	for _, m := range meanings {
		if errors.Is(err, m.err) {
			return failure{status: m.status, Error: m.text}
		}
	}
	if e, ok := errors.AsType[*echo.HTTPError](err); ok && e.Code < http.StatusInternalServerError {
		return failure{status: http.StatusNotFound, Error: "Route not found"} // no such route, or not by this method
	}
	return failure{status: http.StatusInternalServerError, Error: "Internal server error"}
}

// detailedFailure is for the errors that carry more than their name.
func detailedFailure(err error) (failure, bool) {
	if e, ok := errors.AsType[*notes.InvalidError](err); ok {
		return failure{status: http.StatusBadRequest, Error: "Invalid note data", Fields: e.Fields}, true
	}
	if e, ok := errors.AsType[*locked](err); ok {
		return failure{status: http.StatusLocked, Error: e.text}, true
	}
	if e, ok := errors.AsType[*limited](err); ok {
		return failure{status: http.StatusTooManyRequests, Error: e.text, Reason: e.reason, RetryAfter: seconds(e.after)}, true
	}
	if e, ok := errors.AsType[*pool.Refusal](err); ok {
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

// isUnavailable reports whether err means that the database or Redis can't be used now.
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

// turnedAway is a 503, but for a person who asks for more than a fair share a 429.
func turnedAway(e *pool.Refusal) failure {
	f := unavailable(string(e.Reason), refusalTexts[e.Reason], e.Waited)
	if e.Reason == pool.ErrShare {
		f.status = http.StatusTooManyRequests
	}
	if e.Reason != pool.ErrDraining { // another server is there at once, or this one again in a moment
		f.RetryAfter = seconds(e.RetryAfter)
	}
	return f
}

// unavailable is a 503. Clients are told to come back after one to three
// seconds, not all in the same one: of a lost dependency more is known by then,
// for it is asked several times a second.
func unavailable(reason, text string, waited time.Duration) failure {
	ms := waited.Milliseconds()
	return failure{status: http.StatusServiceUnavailable, Error: text, Reason: reason, WaitedMs: &ms,
		RetryAfter: 1 + rand.IntN(3)}
}

// limited is a refusal by one of the rate limits.
type limited struct {
	reason, text string
	after        time.Duration
}

func (e *limited) Error() string { return e.reason }

// locked is a refusal because the account is locked.
type locked struct{ text string }

func (e *locked) Error() string { return "account locked" }

// fail turns err into the exchange's answer. Once a part of another answer has
// left, nothing but cutting the connection tells the client.
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
		x.cause = err // a full disk, say: what clients and readiness are told has no details
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
	if x.notJSON != "" && f.status == http.StatusBadRequest { // no member is to blame
		f.Fields = map[string]string{"Content-Type": x.notJSON}
	}
	if errors.Is(err, errBodyCoding) {
		x.out.Header().Set("Accept-Encoding", acceptedCoding)
	}
	if f.RetryAfter > 0 {
		x.out.Header().Set("Retry-After", strconv.Itoa(f.RetryAfter))
	}
	if errors.Is(err, errNotAdmin) {
		x.out.Header().Set("WWW-Authenticate", `Bearer realm="notesd"`)
	}
	s.givenUp(x, err)
	_ = x.reply(f.status, f) // into the buffer: can't fail
}

// givenUp counts a body that was not read to its end, and closes the connection
// that the rest of it would still come on.
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

// logFault logs what a client only sees as a 500. A panic is in the log
// already, with its stack; work given up because the client left is no fault.
func (s *Server) logFault(x *exchange, err error) {
	if _, ok := errors.AsType[*pool.PanicError](err); ok || errors.Is(err, context.Canceled) && x.Request().Context().Err() != nil {
		return
	}
	s.log.LogAttrs(context.Background(), slog.LevelError, "unexpected error",
		slog.String("request_id", x.id), slog.String("route", x.pattern()), slog.Any("error", err))
}

// seconds rounds d up: a client must not come back before its time.
func seconds(d time.Duration) int {
	return max(1, int((d+time.Second-1)/time.Second))
}
