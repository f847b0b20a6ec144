package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"notesd/internal/testserver"
	"notesd/store/storetest"
)

// Two replicas on one database, started at the same moment on an empty one,
// are one server to their clients.
func TestReplicas(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		redis bool
	}{{"sessions in Redis", true}, {"sessions in PostgreSQL", false}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			settings := []string{"DATABASE_URL=" + testserver.EmptyPostgres(t), secret}
			if row.redis {
				settings = append(settings, "REDIS_URL="+testserver.Redis(t))
			}
			one, other := newProcess(t, settings...), newProcess(t, settings...)
			one.start()
			other.start()
			one.awaitReady()
			other.awaitReady()

			migrated := len(one.log.With("schema migrated")) + len(other.log.With("schema migrated"))
			if migrated != 1 {
				t.Errorf("the schema was migrated %d times, want once", migrated)
			}
			checkShared(t, one, other)
			checkSharedLock(t, one, other)
			checkSharedLimit(t, one, other)
		})
	}
}

// checkShared: what is done at one replica holds at the other.
func checkShared(t *testing.T, one, other *process) {
	t.Helper()
	ada := one.member("ada@example.com")
	id := ada.create("first", "of many")
	if n := ada.on(other).get("/api/notes/" + id).want(http.StatusOK).note(); n.Content != "of many" {
		t.Errorf("the other replica has the content %q", n.Content)
	}
	token := ada.cookie()
	ada.on(other).post("/api/auth/logout", nil).want(http.StatusOK)
	late := one.visitor().call(http.MethodGet, "/api/auth/me", nil, "Cookie", token)
	late.want(http.StatusUnauthorized)
}

// checkSharedLock: five wrong passwords lock the account, wherever they are tried.
func checkSharedLock(t *testing.T, one, other *process) {
	t.Helper()
	one.member("bob@example.com")
	guesser := one.visitor()
	for i, p := range []*process{one, other, one, other, one} {
		r, want := guesser.on(p).signIn("bob@example.com", "a guess of mine"), http.StatusUnauthorized
		if i == 4 {
			want = http.StatusLocked
		}
		r.want(want)
	}
	for _, p := range []*process{one, other} {
		locked := guesser.on(p).signIn("bob@example.com", password).want(http.StatusLocked)
		if f := locked.failure(); !strings.HasPrefix(f.Error, "Account locked. Try again in 15 minute") {
			t.Errorf("the right password meets %q", f.Error)
		}
	}
}

// addressLimit is how many sign-ins of one address may fail in 15 minutes.
const addressLimit = 50

// checkSharedLimit: an address that guesses at many accounts is stopped, wherever it tries.
func checkSharedLimit(t *testing.T, one, other *process) {
	t.Helper()
	guesser := one.visitor()
	const before = 5 // of checkSharedLock
	for i := before; i < addressLimit; i++ {
		guesser.on([]*process{one, other}[i%2]).signIn(fmt.Sprintf("nobody%d@example.com", i), "a guess of mine").
			want(http.StatusUnauthorized)
	}
	for _, p := range []*process{one, other} {
		limited := guesser.on(p).signIn("nobody@example.com", "a guess of mine").want(http.StatusTooManyRequests)
		f := limited.failure()
		if f.Reason != "sign_in_limit" || f.Error != "Too many authentication attempts, please try again later." ||
			limited.header.Get("Retry-After") == "" {
			t.Errorf("the guess after the limit meets %s", limited.text)
		}
	}
}

// The general limit is one for all replicas that share a Redis.
func TestReplicasLimit(t *testing.T) {
	t.Parallel()
	const most = 10
	settings := []string{"DATABASE_URL=" + storetest.Postgres(t), "REDIS_URL=" + testserver.Redis(t), secret,
		fmt.Sprintf("RATE_LIMIT_MAX_REQUESTS=%d", most), "RATE_LIMIT_WINDOW_MS=3600000"}
	one, other := start(t, settings...), start(t, settings...)
	ada := one.member("ada@example.com") // which counts for the address, not for her
	for i := range most {
		ada.on([]*process{one, other}[i%2]).get("/api/auth/me").want(http.StatusOK)
	}
	for _, p := range []*process{one, other} {
		if f := ada.on(p).get("/api/auth/me").want(http.StatusTooManyRequests).failure(); f.Reason != "rate_limit" {
			t.Errorf("the request after the limit meets reason %q", f.Reason)
		}
	}
}
