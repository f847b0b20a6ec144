package auth

import (
	"crypto/sha256"
	"crypto/subtle"
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

// TokenGuard checks the administrator token. It limits and counts guesses at the token. Each
// process counts for itself, because the status page and Prometheus must work while Redis is
// unavailable.
//
// A network that has sent the right token is not limited. Otherwise a client that shares an address
// with Prometheus, because both come through one proxy, could lock Prometheus out by wrong guesses.
// The length of the token is what protects it from guesses.
type TokenGuard struct {
	token string // empty: there is no administrator
	// tell reports guesses. It is called at most once in guessesToldEvery.
	tell    func(network string, guesses uint64)
	wrong   *ratelimit.Buckets
	told    *ratelimit.Buckets
	known   sync.Map // networks that have sent the right token
	guesses atomic.Uint64
}

// NewTokenGuard returns a guard of token, which is empty if there is no administrator. It calls tell
// with a network that has guessed too often and the number of wrong tokens since the start, at most
// once in ten minutes.
func NewTokenGuard(token string, tell func(network string, guesses uint64)) *TokenGuard {
	return &TokenGuard{token: token, tell: tell, wrong: ratelimit.NewBuckets(), told: ratelimit.NewBuckets()}
}

// Check returns nil if the request comes from an administrator, which means that it has the bearer
// token. The client's address never makes a request an administrator's: behind a proxy or a tunnel
// on this machine, every request comes from this machine.
func (g *TokenGuard) Check(h http.Header, network string) error {
	given, ok := bearerToken(h)
	if !ok {
		return ErrNotAdmin
	}
	_, known := g.known.Load(network)
	if !known {
		// The token is not even compared.
		if d := g.wrong.Peek(network, tokenGuesses, tokenGuessWindow); !d.Allowed {
			g.guesses.Add(1)
			return &ratelimit.LimitedError{
				Reason: "admin_token_limit", Text: "Too many wrong administrator tokens, please try again later.",
				Decision: ratelimit.Decision{RetryAfter: d.RetryAfter},
			}
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
	return ErrNotAdmin
}

// Guesses returns how many wrong tokens have come since the start.
func (g *TokenGuard) Guesses() uint64 { return g.guesses.Load() }

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
