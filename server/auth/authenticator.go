package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"notesd/internal/cache"
	"notesd/store"
)

// Authenticate returns the id of the user who is signed in, or "". A missing or malformed cookie
// gives "" without a query to the backend. A forged or stale token, and the token of a signed-out
// session, give "" as well. The error is ErrTwoUsers if the request brings sessions of two users.
// Any other error means that the session backend is unavailable.
func (s *Sessions) Authenticate(ctx context.Context, r *http.Request) (user string, err error) {
	token, sole := tokenOf(r)
	if !sole {
		return s.loadOneOf(ctx, appendTokens(nil, r))
	}
	user, err = s.load(ctx, token)
	if user != "" {
		s.hints.add(token, user)
	}
	return user, err
}

// Cached returns what Authenticate would return, or "" if that is not in the cache.
func (s *Sessions) Cached(r *http.Request) (user string) {
	token, sole := tokenOf(r)
	if !sole {
		return ""
	}
	return s.cached(token)
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

// loadOneOf returns the user that the tokens belong to, or "". Tokens of two users are ErrTwoUsers:
// the server cannot know which of the two users sends the request, and which cookie a stranger has
// planted.
func (s *Sessions) loadOneOf(ctx context.Context, tokens []string) (user string, err error) {
	for _, token := range tokens {
		another, err := s.load(ctx, token)
		switch {
		case err != nil:
			return "", err
		case user != "" && another != "" && another != user:
			return "", ErrTwoUsers
		case another != "":
			user = another
		}
	}
	return user, nil
}

// load returns the user of the session with the token, or "".
func (s *Sessions) load(ctx context.Context, token string) (user string, err error) {
	if token == "" {
		return "", nil
	}
	if user := s.cached(token); user != "" {
		return user, nil
	}
	view := s.cache.Snapshot(s.cache.AnySession())
	key, found, err := s.tokens.find(ctx, token)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("load session: %w", err)
	}
	record := readRecord(found.Data)
	expires := time.UnixMilli(record.Expires)
	// A store whose clock is behind may return an expired session.
	if record.UserID == "" || time.Until(expires) <= 0 {
		return "", nil
	}
	entry := &cachedSession{record.UserID, expires}
	s.cache.PutSession(cacheKey(token), entry, len(entry.user), key, entry.user, view)
	return record.UserID, nil
}

// cachedSession is the cache entry of a session: its user, and when it expires.
type cachedSession struct {
	user    string
	expires time.Time
}

func cacheKey(token string) cache.Key { return cache.Key{Kind: cache.Session, ID: token} }

// cached returns the user of the session with the token, or "" if the session is not in the cache.
func (s *Sessions) cached(token string) (user string) {
	v, ok := s.cache.Get(cacheKey(token))
	if !ok {
		return ""
	}
	entry := v.(*cachedSession)
	if !time.Now().Before(entry.expires) {
		return ""
	}
	return entry.user
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

// tokenOf returns the first well-formed session token in the request's cookies, or "", and whether
// there is at most one.
func tokenOf(r *http.Request) (token string, sole bool) {
	var room [maxTokens]string
	tokens := appendTokens(room[:0], r)
	if len(tokens) == 0 {
		return "", true
	}
	return tokens[0], len(tokens) == 1
}

// appendTokens appends the well-formed session tokens in the request's cookies, each once. It
// parses the Cookie header itself and makes no list of all cookies, because it runs for every
// request. If the request has a cookie that only this host can set (hostCookie), only cookies of
// that name count.
func appendTokens(tokens []string, r *http.Request) []string {
	name := sessionCookie
	for _, line := range r.Header["Cookie"] {
		for line != "" {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			key, value, _ := strings.Cut(textproto.TrimString(pair), "=")
			if key = textproto.TrimString(key); key == hostCookie && name != hostCookie {
				name, tokens = hostCookie, tokens[:0]
			}
			// net/http strips these quotes, too.
			if n := len(value); n > 1 && value[0] == '"' && value[n-1] == '"' {
				value = value[1 : n-1]
			}
			if key == name && isToken(value) && len(tokens) < maxTokens && !slices.Contains(tokens, value) {
				tokens = append(tokens, value)
			}
		}
	}
	return tokens
}

// tokensOf returns the well-formed session tokens among cookies, each once.
func tokensOf(cookies []*http.Cookie) (tokens []string) {
	for _, c := range cookies {
		if isToken(c.Value) && !slices.Contains(tokens, c.Value) && len(tokens) < maxTokens {
			tokens = append(tokens, c.Value)
		}
	}
	return tokens
}

func isToken(s string) bool {
	return len(s) == sessionTokenBytes && strings.IndexFunc(s, notBase64URL) < 0
}

func notBase64URL(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}
