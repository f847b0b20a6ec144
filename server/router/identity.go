package router

import (
	"net/http"
	"strings"
)

// An Identity is who sends a request. The zero Identity is nobody that is known.
type Identity struct {
	UserID string
	// Token is the app token by which the user is known. The zero Token: by a session.
	Token Token
}

// A Token is an app token.
type Token struct {
	ID, Name string
	Write    bool // it may also write
}

// The errors of tokens on routes that they do not reach.
var (
	errTokenRoute = NewError(http.StatusForbidden, "App tokens may not do this")
	errTokenReads = NewError(http.StatusForbidden, "This app token may only read")
)

// check returns an error if the identity is another than the one that h names, or has a token that
// route is not for. Browsers share one cookie among all pages, so a page cannot know otherwise
// whose session its request will bring.
func (who *Identity) check(h http.Header, route *Route) error {
	expected, named := h["If-User-Match"]
	switch {
	case named && who.UserID != "" && (len(expected) != 1 || expected[0] != who.UserID):
		return errOtherUser
	case who.Token.ID == "":
		return nil
	case route.Tokens == NoToken:
		return errTokenRoute
	case route.Tokens == WriteToken && !who.Token.Write:
		return errTokenReads
	}
	return nil
}

// hasBearer reports whether h has a bearer token, which then is all that the request is
// authenticated by. No browser sends one by itself, as it does with cookies and Basic, so the page
// that made the request has the token.
func hasBearer(h http.Header) bool {
	values := h["Authorization"]
	if len(values) != 1 {
		return false
	}
	scheme, _, found := strings.Cut(values[0], " ")
	return found && strings.EqualFold(scheme, "Bearer")
}
