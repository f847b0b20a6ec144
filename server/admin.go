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
	// tokenGuesses is how many wrong administrator tokens one network may send in tokenGuessWindow.
	tokenGuesses     = 20
	tokenGuessWindow = time.Minute

	// guessesToldEvery is the minimum time between two events about token guesses.
	guessesToldEvery = 10 * time.Minute
)

// tokenGuard checks the administrator token. It limits and counts guesses at the token. Each
// process counts for itself, because the status page and Prometheus must work while Redis is
// unavailable.
//
// A network that has sent the right token is not limited. Otherwise a client that shares an address
// with Prometheus, because both come through one proxy, could lock Prometheus out by wrong guesses.
// The length of the token is what protects it from guesses.
type tokenGuard struct {
	token string // empty: there is no administrator
	// tell reports guesses. It is called at most once in guessesToldEvery.
	tell    func(network string, guesses uint64)
	wrong   *ratelimit.Buckets
	told    *ratelimit.Buckets
	known   sync.Map // networks that have sent the right token
	guesses atomic.Uint64
}

func newTokenGuard(token string, tell func(network string, guesses uint64)) *tokenGuard {
	return &tokenGuard{token: token, tell: tell, wrong: ratelimit.NewBuckets(), told: ratelimit.NewBuckets()}
}

// check returns nil if the request comes from an administrator, which means that it has the bearer
// token. The client's address never makes a request an administrator's: behind a proxy or a tunnel
// on this machine, every request comes from this machine.
func (g *tokenGuard) check(h http.Header, network string) error {
	given, ok := bearerToken(h)
	if !ok {
		return errNotAdmin
	}
	_, known := g.known.Load(network)
	if !known {
		// The token is not even compared.
		if d := g.wrong.Peek(network, tokenGuesses, tokenGuessWindow); !d.Allowed {
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

// tellOfGuesses logs that a network guesses at the administrator token, and sends an event.
func (s *Server) tellOfGuesses(network string, guesses uint64) {
	s.log.LogAttrs(context.Background(), slog.LevelWarn, "somebody guesses at the administrators' token",
		slog.String("network", network), slog.Uint64("wrong_since_start", guesses))
	s.alerts.Send(Event{Kind: "admin_token_guessed", Subject: network, Detail: map[string]any{"wrongSinceStart": guesses}})
}

// bearerToken returns the token in the Authorization header, if there is one.
func bearerToken(h http.Header) (token string, ok bool) {
	scheme, token, _ := strings.Cut(h.Get("Authorization"), " ")
	return token, strings.EqualFold(scheme, "Bearer")
}

// equalInConstantTime reports whether a and b are equal. Its duration reveals nothing about either
// text.
func equalInConstantTime(a, b string) bool {
	hashA, hashB := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(hashA[:], hashB[:]) == 1
}
