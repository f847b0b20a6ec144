package auth

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"notesd/internal/ratelimit"
)

// Guesses at the token are limited by network, counted and told of. A network
// that has sent the right token is not limited.
func TestTokenGuesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		const adminToken = "a token for the administrators of a test"
		g := NewTokenGuard(adminToken, func(network string, guesses uint64) { told = append(told, fmt.Sprint(network, " ", guesses)) })
		check := func(network, token string) error {
			return g.Check(http.Header{"Authorization": {"Bearer " + token}}, network)
		}
		guess := func(network string, n int, want error) {
			t.Helper()
			for i := range n {
				if err := check(network, "wrong"); !errors.Is(err, want) {
					t.Fatalf("guess %d from %s = %v, want %v", i+1, network, err, want)
				}
			}
		}
		refused := func(network, token string, after time.Duration) {
			t.Helper()
			var e *ratelimit.LimitedError
			if err := check(network, token); !errors.As(err, &e) || e.Reason != "admin_token_limit" || e.Decision.RetryAfter != after {
				t.Fatalf("check(%s) = %+v, want a refusal for %v", network, err, after)
			}
		}
		const each = tokenGuessWindow / tokenGuesses
		guess("a", tokenGuesses, ErrNotAdmin)
		refused("a", "wrong", each)
		refused("a", adminToken, each) // any other answer would tell a guess that it is right
		guess("b", 1, ErrNotAdmin)
		time.Sleep(each)
		guess("a", 1, ErrNotAdmin)
		refused("a", "wrong", each)
		if err := g.Check(http.Header{}, "a"); !errors.Is(err, ErrNotAdmin) {
			t.Errorf("without a token: %v, want %v, since it is no guess", err, ErrNotAdmin)
		}

		for range 3 {
			if err := check("known", adminToken); err != nil {
				t.Fatal(err)
			}
			guess("known", 2*tokenGuesses, ErrNotAdmin)
		}
		const wrong = tokenGuesses + 2 + 1 + 1 + 1 + 6*tokenGuesses
		if n := g.Guesses(); n != wrong {
			t.Errorf("%d guesses counted, want %d", n, wrong)
		}
		time.Sleep(guessesToldEvery)
		guess("c", tokenGuesses, ErrNotAdmin)
		want := []string{fmt.Sprint("a ", tokenGuesses), fmt.Sprint("c ", wrong+tokenGuesses)}
		if !slices.Equal(told, want) {
			t.Errorf("told of %q, want %q", told, want)
		}
	})
}
