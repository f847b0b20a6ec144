package server

import (
	"errors"
	"net/http"

	"notesd/internal/redis"
	"notesd/notes"
	"notesd/server/auth"
	"notesd/server/events"
	"notesd/server/router"
	"notesd/store"
)

// errSignedOut is the response to a request whose account has been deleted since its session was
// found.
var errSignedOut = router.NewError(http.StatusUnauthorized, "Authentication required")

// domainErrors are the errors of the packages that know no HTTP, with their responses.
var domainErrors = []struct {
	err      error
	response *router.Error
}{
	{store.ErrUnavailable, router.ErrUnavailable},
	{redis.ErrUnavailable, router.ErrUnavailable},
	{auth.ErrTwoUsers, router.NewError(http.StatusBadRequest,
		"Sessions of two people came with this request: sign out and in again")},
	{auth.ErrNotAdmin, &router.Error{Status: http.StatusUnauthorized, Message: "Administrator access required",
		Header: http.Header{"Www-Authenticate": {`Bearer realm="notesd"`}}}},
	{auth.ErrCredentials, router.NewError(http.StatusUnauthorized, "Invalid credentials")},
	{auth.ErrDisabled, router.NewError(http.StatusForbidden, "Account is disabled")},
	{auth.ErrEmailTaken, router.NewError(http.StatusBadRequest, "Email address is taken")},
	{auth.ErrTOTPRequired, &router.Error{Status: http.StatusUnauthorized, Code: "totp_required",
		Message: "A code from your authenticator app is required"}},
	{auth.ErrTOTPInvalid, &router.Error{Status: http.StatusUnauthorized, Code: "totp_invalid",
		Message: "Wrong code, or one that was used before"}},
	{auth.ErrTOTPUnreadable, &router.Error{Status: http.StatusUnauthorized, Code: "totp_invalid",
		Message: "Codes of your authenticator app cannot be verified any more: use a recovery code"}},
	{auth.ErrTOTPOff, router.NewError(http.StatusConflict, "Codes are not set up")},
	{store.ErrTOTPOn, router.NewError(http.StatusConflict, "Codes are on already")},
	{auth.ErrRegistration, router.NewError(http.StatusBadRequest, "Registration failed")},
	{auth.ErrRegistrationClosed, router.NewError(http.StatusForbidden, "Registration is closed")},
	{notes.ErrEmailFormat, router.NewError(http.StatusBadRequest, "Invalid email format")},
	{notes.ErrPasswordShort, router.NewError(http.StatusBadRequest, "Password must be at least 8 characters long")},
	{notes.ErrPasswordCommon, router.NewError(http.StatusBadRequest, "Password is too common")},
	{notes.ErrPasswordLong, router.NewError(http.StatusBadRequest, "Password must be at most 1024 bytes long")},
	{store.ErrNoUser, errSignedOut},
	{store.ErrNotFound, router.NewError(http.StatusNotFound, "Note not found")},
	{store.ErrVersionGone, router.NewError(http.StatusNotFound, "Version not found")},
	{store.ErrRenameGone, router.NewError(http.StatusNotFound, "Nothing to undo: a rename is remembered for a day")},
	{store.ErrDeleted, router.NewError(http.StatusGone, "Note was deleted")},
	{store.ErrChanged, router.NewError(http.StatusPreconditionFailed, "Note has changed")},
	{store.ErrIdempotency, router.NewError(http.StatusUnprocessableEntity,
		"Idempotency-Key was used with another body")},
	{store.ErrQuota, router.NewError(http.StatusInsufficientStorage, "Quota exceeded")},
	{store.ErrGone, router.NewError(http.StatusGone, "Changes since then are not known: start over with since=0")},
	{events.ErrUserFull, &router.Error{Status: http.StatusTooManyRequests, Reason: "user_share",
		Message: "Too many event streams at once, please close some."}},
	{events.ErrFull, &router.Error{Status: http.StatusServiceUnavailable, Reason: "memory",
		Message: "Server is short of memory, please try again"}},
	{store.ErrOwnerGone, errSignedOut},
}

// errorFor returns the response for an error of the packages that know no HTTP, or nil for any other
// error.
func errorFor(err error) *router.Error {
	if e, ok := errors.AsType[*notes.InvalidError](err); ok {
		return &router.Error{Status: http.StatusBadRequest, Message: "Invalid note data", Fields: e.Fields}
	}
	if e, ok := errors.AsType[*auth.LockedError](err); ok {
		return router.NewError(http.StatusLocked, e.Text)
	}
	for _, d := range domainErrors {
		if errors.Is(err, d.err) {
			return d.response
		}
	}
	return nil
}
