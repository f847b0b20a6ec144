package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"notesd/internal/cache"
	"notesd/server/router"
	"notesd/store"
)

// Authenticate returns the id of the user who is signed in, or "". A missing or malformed cookie
// gives "" without a query to the backend. A forged or stale token, and the token of a signed-out
// session, give "" as well. The error is ErrTwoUsers if the request brings sessions of two users.
// Any other error means that the session backend is unavailable.
func (s *Sessions) Authenticate(ctx context.Context, r *http.Request) (user string, err error) {
	token, sole := tokenOf(r)
	if !sole {
		session, err := s.loadOneOf(ctx, appendTokens(nil, r))
		if session == nil {
			return "", err
		}
		return session.UserID, nil
	}
	session, err := s.load(ctx, token)
	if session == nil {
		return "", err
	}
	s.hints.add(token, session.UserID)
	return session.UserID, nil
}

// A Session is a session that is in force, or an app token that is.
type Session struct {
	Key     string // of a session, a hash of its token
	UserID  string
	Expires time.Time

	token router.Token // zero: it is a session
	email string       // of the token's user
}

// Find returns the session of r's user, or nil if r belongs to no user. The error is that of
// Authenticate.
func (s *Sessions) Find(ctx context.Context, r *http.Request) (*Session, error) {
	return s.loadOneOf(ctx, appendTokens(nil, r))
}

// Alive reports whether the session with the key is in force, by the place where sessions are
// stored.
func (s *Sessions) Alive(ctx context.Context, key string) (bool, error) {
	_, err := s.backend.FindSession(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Cached returns what Authenticate would return, or "" if that is not in the cache.
func (s *Sessions) Cached(r *http.Request) (user string) {
	token, sole := tokenOf(r)
	if !sole {
		return ""
	}
	if session := s.cached(token); session != nil {
		return session.UserID
	}
	return ""
}

// Hint returns the user to whom the request's session belonged when it was last seen, or "". The
// session may have ended since, so a hint must never decide on access.
func (s *Sessions) Hint(r *http.Request) (user string) {
	token, sole := tokenOf(r)
	if !sole || token == "" {
		return ""
	}
	return s.hints.lookup(token)
}

// loadOneOf returns the last session that the tokens belong to, or nil. Tokens of two users are
// ErrTwoUsers: the server cannot know which of the two users sends the request, and which cookie a
// stranger has planted.
func (s *Sessions) loadOneOf(ctx context.Context, tokens []string) (session *Session, err error) {
	for _, token := range tokens {
		another, err := s.load(ctx, token)
		switch {
		case err != nil:
			return nil, err
		case session != nil && another != nil && another.UserID != session.UserID:
			return nil, ErrTwoUsers
		case another != nil:
			session = another
		}
	}
	return session, nil
}

// load returns the session with the token, or nil.
func (s *Sessions) load(ctx context.Context, token string) (*Session, error) {
	if token == "" {
		return nil, nil
	}
	if session := s.cached(token); session != nil {
		return session, nil
	}
	view := s.cache.Snapshot(s.cache.AnySession())
	key, found, err := s.tokens.find(ctx, token)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load session: %w", err)
	}
	record := readRecord(found.Data)
	expires := time.UnixMilli(record.Expires)
	// A store whose clock is behind may return an expired session.
	if record.UserID == "" || time.Until(expires) <= 0 {
		return nil, nil
	}
	session := &Session{Key: key, UserID: record.UserID, Expires: expires}
	if seen := found.LastSeenAt; seen.IsZero() {
		s.uses.add(store.Use{Key: key, Expires: expires}, time.UnixMilli(record.Created))
	} else {
		s.uses.add(store.Use{Key: key, Expires: expires}, seen)
	}
	s.cache.PutSession(cacheKey(token), session, len(session.UserID)+len(key), key, session.UserID, view)
	return session, nil
}

func cacheKey(token string) cache.Key { return cache.Key{Kind: cache.Session, ID: token} }

// cached returns the session with the token, or nil if it is not in the cache. It must not be
// changed.
func (s *Sessions) cached(token string) *Session {
	v, ok := s.cache.Get(cacheKey(token))
	if !ok {
		return nil
	}
	session := v.(*Session)
	if !time.Now().Before(session.Expires) {
		return nil
	}
	return session
}

// uncachingSessions is a sessionBackend that removes a session from the cache when it ends.
type uncachingSessions struct {
	sessionBackend
	cache *cache.Cache
}

func (u uncachingSessions) DeleteSession(ctx context.Context, key string) error {
	defer u.cache.BeginEnd(key, "")()
	return u.sessionBackend.DeleteSession(ctx, key)
}

func (u uncachingSessions) DeleteSessions(ctx context.Context, userID, exceptKey string) error {
	defer u.cache.BeginEnd("", userID)()
	return u.sessionBackend.DeleteSessions(ctx, userID, exceptKey)
}
