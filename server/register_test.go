package server

import (
	"net/http"
	"testing"
	"time"

	"notesd/internal/testkit"
	"notesd/internal/testserver"
)

// A sign-up while the sessions are away leaves nothing behind: the next try succeeds.
func TestRegisterWithoutSessions(t *testing.T) {
	t.Parallel()
	redis := testserver.NewRedis(t)
	s := onSQLite(t, onRedis(t, redis.URL()))
	in := map[string]any{"email": "ada@example.com", "password": password}
	redis.Stop(t)
	wantRefusal(t, s.visitor().post("/api/auth/register", in).want(http.StatusServiceUnavailable), "dependency_down")
	redis.Start(t)
	testkit.Eventually(t, "sign-up", func() bool { return s.visitor().post("/api/auth/register", in).status == http.StatusCreated })
}

// An address makes at most 100 accounts in an hour, and tries at no more.
func TestSignUpLimit(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, behind("127.0.0.0/8"))
	const address = "192.0.2.1"
	signUp := func(email, from string) reply {
		return s.visitor().in(t).post("/api/auth/register", credentialsOf(email, password), "X-Forwarded-For", from)
	}
	take := func(n int) {
		for range n {
			if d, err := s.server.limiter.Take(t.Context(), "sign-up ip:"+address, 100, time.Hour); err != nil || !d.Allowed {
				t.Fatal(d, err)
			}
		}
	}
	signUp("no address", address).fails(http.StatusBadRequest, "Invalid email format") // counts nothing
	take(100 - 2)
	signUp("ada@example.com", address).want(http.StatusCreated)
	signUp("ada@example.com", address).fails(http.StatusBadRequest, "Registration failed")
	r := signUp("bob@example.com", address).fails(http.StatusTooManyRequests, "Too many requests, please try again later.")
	wantRefusal(t, r, "rate_limit")
	if wait, err := r.number("Retry-After"); err != nil || wait > 36 {
		t.Errorf("Retry-After is %d, %v; want the 36 seconds until one of 100 in an hour, or less", wait, err)
	}
	signUp("bob@example.com", "192.0.2.2").want(http.StatusCreated)
}

func TestSignUpsWithoutLimit(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, func(cfg *Config, _ *Deps) { cfg.RateLimitMax = 0 })
	for range 100 {
		if _, err := s.server.limiter.Take(t.Context(), "sign-up ip:127.0.0.1", 100, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	s.visitor().post("/api/auth/register", credentialsOf("ada@example.com", password)).want(http.StatusCreated)
}
