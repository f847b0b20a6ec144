package server

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"notesd/internal/ratelimit"
)

const (
	tokenGuesses     = 20 // wrong administrators' tokens that one network may send in tokenGuessWindow
	tokenGuessWindow = time.Minute

	// guessesToldEvery is the least time between two events about guesses.
	guessesToldEvery = 10 * time.Minute
)

// tokenGuard knows the administrators' token, and limits and counts guesses at
// it. Each process counts for itself: the status page and Prometheus have to
// work while Redis is away.
//
// A network that has sent the right token is not limited. Otherwise anybody who
// shares an address with Prometheus, because both come through one proxy, could
// keep it out by guessing. What protects the token from guesses is its length.
type tokenGuard struct {
	token   string                               // empty: nobody is an administrator
	tell    func(network string, guesses uint64) // of guesses, at most once in guessesToldEvery
	wrong   *ratelimit.Buckets
	told    *ratelimit.Buckets
	known   sync.Map // networks that have sent the right token
	guesses atomic.Uint64
}

func newTokenGuard(token string, tell func(network string, guesses uint64)) *tokenGuard {
	return &tokenGuard{token: token, tell: tell, wrong: ratelimit.NewBuckets(), told: ratelimit.NewBuckets()}
}

// check returns nil if an administrator asks: one who sends the bearer token.
// Where a request comes from makes nobody an administrator, since a proxy or a
// tunnel on this machine makes everybody come from here.
func (g *tokenGuard) check(h http.Header, network string) error {
	given, ok := bearerToken(h)
	if !ok {
		return errNotAdmin
	}
	_, known := g.known.Load(network)
	if !known {
		if d := g.wrong.Peek(network, tokenGuesses, tokenGuessWindow); !d.Allowed { // the token is not even compared
			g.guesses.Add(1)
			return &limited{"admin_token_limit", "Too many wrong administrator tokens, please try again later.", d.RetryAfter}
		}
	}
	if g.token != "" && equalInConstantTime(given, g.token) {
		if !known {
			g.known.Store(network, true)
		}
		return nil
	}
	guesses := g.guesses.Add(1)
	d := g.wrong.Take(network, tokenGuesses, tokenGuessWindow)
	if d.Remaining == 0 && g.told.Take("", 1, guessesToldEvery).Allowed {
		g.tell(network, guesses)
	}
	return errNotAdmin
}

// tellOfGuesses logs that a network guesses at the administrators' token, and sends an event.
func (s *Server) tellOfGuesses(network string, guesses uint64) {
	s.log.LogAttrs(context.Background(), slog.LevelWarn, "somebody guesses at the administrators' token",
		slog.String("network", network), slog.Uint64("wrong_since_start", guesses))
	s.alerts.Send(Event{Kind: "admin_token_guessed", Subject: network, Detail: map[string]any{"wrongSinceStart": guesses}})
}

// bearerToken is the token in the Authorization header, if there is one.
func bearerToken(h http.Header) (token string, ok bool) {
	scheme, token, _ := strings.Cut(h.Get("Authorization"), " ")
	return token, strings.EqualFold(scheme, "Bearer")
}

// equalInConstantTime compares in a time that says nothing about either text.
func equalInConstantTime(a, b string) bool {
	hashA, hashB := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(hashA[:], hashB[:]) == 1
}
