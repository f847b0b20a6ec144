package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"notesd/internal/ratelimit"
	"notesd/notes"
	"notesd/server/router"
	"notesd/store"
)

const (
	// tokenPrefix is what all app tokens begin with, so that scanners for secrets know them.
	tokenPrefix = "notesd_"
	tokenBytes  = 20 // random bytes of an app token
	tokenLength = len(tokenPrefix) + tokenBytes*8/5
	// maxBasic is the maximum length of the credentials of Basic: an e-mail address and a token.
	maxBasic = 4 * (notes.MaxImportedEmail + tokenLength) / 3

	// tokenKeyPrefix begins the keys of app tokens among those of sessions, which are hexadecimal.
	tokenKeyPrefix = "token "
)

var tokenEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// never is when a token ends that does not expire.
var never = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// newAppToken returns a new app token, and the hash under which it is stored.
func newAppToken() (token string, hash []byte) {
	var random [tokenBytes]byte
	_, _ = rand.Read(random[:]) // never fails
	token = tokenPrefix + tokenEncoding.EncodeToString(random[:])
	return token, hashAppToken(token)
}

// hashAppToken returns the hash of an app token. The token has 160 random bits, so no salt and no
// slow hash is needed.
func hashAppToken(token string) []byte {
	hash := sha256.Sum256([]byte(token))
	return hash[:]
}

// isAppToken reports whether s looks like an app token.
func isAppToken(s string) bool {
	if len(s) != tokenLength || s[:len(tokenPrefix)] != tokenPrefix {
		return false
	}
	for i := len(tokenPrefix); i < len(s); i++ {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// givenToken is the app token in an Authorization header.
type givenToken struct {
	token string // "": the header has no well-formed one
	basic bool   // it came by Basic, with email
	email string
}

// readAuthorization returns the app token in the Authorization header. there is false if the
// request has no such header.
func readAuthorization(h http.Header) (given givenToken, there bool) {
	values := h["Authorization"]
	if len(values) != 1 { // of two, it cannot be known which one counts
		return givenToken{}, len(values) > 0
	}
	scheme, credentials, _ := strings.Cut(values[0], " ")
	credentials = strings.Trim(credentials, " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		given.token = credentials
	case strings.EqualFold(scheme, "Basic") && len(credentials) <= maxBasic:
		given.basic = true
		var room [256]byte
		plain, err := base64.StdEncoding.AppendDecode(room[:0], []byte(credentials))
		if err != nil {
			return givenToken{}, true
		}
		given.email, given.token, _ = strings.Cut(string(plain), ":")
	}
	if !isAppToken(given.token) {
		return givenToken{}, true
	}
	return given, true
}

// fits reports whether a token of the user with the e-mail address may be given so.
func (given *givenToken) fits(email string) bool {
	return !given.basic || given.email == email || notes.Fold(given.email) == notes.Fold(email)
}

// Cached implements router.Authenticator.
func (a *Accounts) Cached(r *http.Request) router.Identity {
	given, there := readAuthorization(r.Header)
	if !there {
		return router.Identity{UserID: a.Sessions.Cached(r)}
	}
	if session := a.cachedToken(given); session != nil {
		return session.identity()
	}
	return router.Identity{}
}

// Hint implements router.Authenticator.
func (a *Accounts) Hint(r *http.Request) (userID string) {
	given, there := readAuthorization(r.Header)
	if !there {
		return a.Sessions.Hint(r)
	}
	if given.token == "" {
		return ""
	}
	return a.Sessions.hints.lookup(given.token)
}

// Authenticate implements router.Authenticator. A request with an Authorization header is that of
// the app token in it, or nobody's: then its cookies are not read. The errors are those of
// Sessions.Authenticate, and a *ratelimit.LimitedError after too many wrong tokens.
func (a *Accounts) Authenticate(ctx context.Context, r *http.Request, address string) (router.Identity, error) {
	given, there := readAuthorization(r.Header)
	if !there {
		user, err := a.Sessions.Authenticate(ctx, r)
		return router.Identity{UserID: user}, err
	}
	session, err := a.loadToken(ctx, given, address)
	if session == nil {
		return router.Identity{}, err
	}
	return session.identity(), nil
}

// Find returns what r is signed in by, or nil. It is Authenticate for a request that needs to know
// when that ends.
func (a *Accounts) Find(ctx context.Context, r *http.Request, address string) (*Session, error) {
	given, there := readAuthorization(r.Header)
	if !there {
		return a.Sessions.Find(ctx, r)
	}
	return a.loadToken(ctx, given, address)
}

// Alive reports whether the session or app token with the key is in force, by the place where it is
// stored.
func (a *Accounts) Alive(ctx context.Context, key string) (bool, error) {
	if id, is := strings.CutPrefix(key, tokenKeyPrefix); is {
		return a.store.AppTokenInForce(ctx, id)
	}
	return a.Sessions.Alive(ctx, key)
}

// identity returns who the session or token stands for.
func (s *Session) identity() router.Identity {
	return router.Identity{UserID: s.UserID, Token: s.token}
}

// cachedToken returns the given token, or nil if it is not in the cache.
func (a *Accounts) cachedToken(given givenToken) *Session {
	if given.token == "" {
		return nil
	}
	if session := a.Sessions.cached(given.token); session != nil && given.fits(session.email) {
		return session
	}
	return nil
}

// loadToken returns the given token, or nil if it is malformed, or not in force. A wrong one counts
// for the address.
func (a *Accounts) loadToken(ctx context.Context, given givenToken, address string) (*Session, error) {
	if given.token == "" {
		return nil, nil
	}
	if session := a.cachedToken(given); session != nil {
		return session, nil
	}
	// A token that was right before is no guess. So whoever guesses from the same address does not
	// lock it out.
	if a.Sessions.hints.lookup(given.token) == "" {
		if err := a.wrongTokens.check(address); err != nil {
			return nil, err
		}
	}
	c := a.Sessions.cache
	view := c.Snapshot(c.AnySession())
	t, err := a.store.FindAppToken(ctx, hashAppToken(given.token))
	if errors.Is(err, store.ErrNotFound) || err == nil && !given.fits(t.Email) {
		a.Sessions.hints.remove(given.token)
		a.wrongTokens.count(address)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load app token: %w", err)
	}
	session := &Session{Key: tokenKeyPrefix + t.ID, UserID: t.UserID, Expires: t.ExpiresAt, email: t.Email,
		token: router.Token{ID: t.ID, Name: t.Name, Write: t.Write}}
	if session.Expires.IsZero() {
		session.Expires = never
	}
	if !time.Now().Before(session.Expires) { // the database's clock is behind
		return nil, nil
	}
	size := len(session.Key) + len(t.UserID) + len(t.Email) + len(t.Name)
	c.PutSession(cacheKey(given.token), session, size, session.Key, t.UserID, view)
	a.Sessions.hints.add(given.token, t.UserID)
	a.tokenUses.add(store.Use{Key: t.ID}, t.LastUsedAt)
	return session, nil
}

// wrongTokens limits wrong app tokens, by address, as wrong passwords are. Each process counts for
// itself: a look-up is cheap, and no number of guesses finds a token.
type wrongTokens struct{ buckets *ratelimit.Buckets }

// check returns an error if the address has sent too many wrong tokens.
func (w wrongTokens) check(address string) error {
	d, _ := ratelimit.TakeAddress(address, signInsPerAddress, func(key string, limit int) (ratelimit.Decision, error) {
		return w.buckets.Peek(key, limit, signInWindow), nil
	})
	if d.Allowed {
		return nil
	}
	return tooManySignIns(d)
}

// count counts a wrong token of the address.
func (w wrongTokens) count(address string) {
	_, _ = ratelimit.TakeAddress(address, signInsPerAddress, func(key string, limit int) (ratelimit.Decision, error) {
		return w.buckets.Take(key, limit, signInWindow), nil
	})
}

// MakeToken creates the app token t of its user, and returns it with the text that its programs
// send. The text cannot be had again. Errors: store.ErrTokens, store.ErrOwnerGone.
func (a *Accounts) MakeToken(ctx context.Context, c Client, t store.AppToken) (
	made store.AppToken, text string, err error,
) {
	text, hash := newAppToken()
	if made, err = a.store.CreateAppToken(ctx, t, hash); err != nil {
		return store.AppToken{}, "", err
	}
	a.Sessions.hints.add(text, t.UserID) // it is no guess
	a.Record(ctx, c, t.UserID, store.EventTokenMade)
	return made, text, nil
}

// EndToken ends the user's app token with the id, or returns store.ErrNotFound. By then no process
// accepts it any more, and its streams have ended.
func (a *Accounts) EndToken(ctx context.Context, c Client, userID, id string) error {
	key := tokenKeyPrefix + id
	done := a.Sessions.cache.BeginEnd(key, "")
	err := a.store.DeleteAppToken(ctx, userID, id)
	done()
	if errors.Is(err, store.ErrNotFound) {
		return err
	}
	a.ended(key, "") // also after another error: it may have ended all the same
	if err == nil {
		a.Record(ctx, c, userID, store.EventTokenRevoked)
		err = a.store.AnnounceRevoked(ctx, key, "")
	}
	return err
}
