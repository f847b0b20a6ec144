package auth

import (
	"context"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"time"
)

// writeCookie sets the session cookie. Over TLS it sets the cookie under both names. An empty token
// clears the cookie.
func (s *Sessions) writeCookie(ctx context.Context, w http.ResponseWriter, token string, expiry time.Time,
	secure bool) {
	manager := s.scs
	if secure {
		manager = s.secure
		defer s.host.WriteSessionCookie(ctx, w, token, expiry)
	}
	manager.WriteSessionCookie(ctx, w, token, expiry)
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
