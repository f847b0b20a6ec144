package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"notesd/internal/testkit"
	"notesd/internal/testserver"
	"notesd/store/storetest"
)

// Redis is killed under two replicas and comes back. With its append-only file
// all is as before; without it everybody is signed out at both, and limits begin
// anew. Neither is ever an error of ours.
func TestRedisRestarted(t *testing.T) {
	long(t, "two replicas, twice")
	for _, row := range []struct {
		name  string
		keeps string // appendonly
		me    int    // the answer to who was signed in
	}{{"with what it had", "yes", http.StatusOK}, {"empty", "no", http.StatusUnauthorized}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			redis := testserver.NewRedis(t, "--appendonly", row.keeps)
			settings := []string{"DATABASE_URL=" + storetest.Postgres(t), "REDIS_URL=" + redis.URL(), secret,
				fmt.Sprintf("RATE_LIMIT_MAX_REQUESTS=%d", rateLimit), fmt.Sprintf("RATE_LIMIT_WINDOW_MS=%d", rateWindow.Milliseconds())}
			one, other := start(t, settings...), start(t, settings...)
			carl := one.member("carl@example.com")
			id := carl.create("kept", "in PostgreSQL")
			const asked = 2 * inAdvance
			for _, p := range []*process{one, other} {
				p.awaitCopies()
				for range asked {
					carl.on(p).get("/api/auth/me").want(http.StatusOK) // and knows him by now
				}
			}
			redis.Kill(t)
			redis.Start(t)
			for _, p := range []*process{one, other} {
				carl.on(p).awaitMe(row.me)
				p.awaitReady()
			}

			if row.me != http.StatusOK {
				carl.signIn("carl@example.com", password).want(http.StatusOK)
			}
			used := limitUsed(carl.on(other).get("/api/notes/" + id).want(http.StatusOK))
			if kept := used > 2*asked; kept != (row.me == http.StatusOK) {
				t.Errorf("after %d requests and the restart the limit has counted %d", 2*asked, used)
			}
			checkShared(t, one, other)
			checkSharedLock(t, one, other)
		})
	}
}

// awaitMe returns once it is settled whether the client is signed in; until
// then it may be told that Redis is away, or still be known.
func (c *client) awaitMe(status int) {
	c.t.Helper()
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		r := c.get("/api/auth/me")
		switch {
		case r.status == status:
			return
		case r.status != http.StatusOK && r.unavailable("dependency_down") != "":
			c.t.Fatalf("after Redis was restarted: %s = %d %s", r.call, r.status, r.text)
		case testkit.TooLong(time.Since(began), 2*time.Second, backAfter-2*time.Second):
			c.t.Fatalf("%v after Redis was restarted: %s = %d %s, want %d", backAfter, r.call, r.status, r.text, status)
		}
	}
}

// The Redis that Sentinels call the master is killed under load, and another is
// made the master: meanwhile it is as when Redis is away, afterwards sessions go
// on. The one that was killed comes back as a replica.
func TestSentinel(t *testing.T) {
	t.Parallel()
	long(t, "a failover takes many seconds")
	redis := testserver.NewSentinel(t)
	settings := []string{"DATABASE_URL=" + storetest.Postgres(t), "REDIS_URL=redis://" + testserver.SentinelMaster,
		"REDIS_SENTINELS=127.0.0.1:1," + strings.Join(redis.Addresses, ","), secret, nothingFromMemory}
	one, other := start(t, settings...), start(t, settings...)
	carl := one.member("carl@example.com")
	load := startRepeatingLoad(carl, 2, everyday(carl.create("first", "of many")))
	carl.awaitCopied(redis)

	killed := time.Now()
	redis.Master.Kill(t)
	one.await("red readiness", func() bool { return one.probe("/readyz") == http.StatusServiceUnavailable })
	for _, p := range []*process{one, other} {
		p.awaitReady()
	}
	t.Logf("both are ready again %v after the master was killed", time.Since(killed))
	redis.Master.Start(t)
	for _, p := range []*process{one, other} {
		carl.on(p).get("/api/auth/me").want(http.StatusOK)
	}
	checkShared(t, one, other)
	checkSharedLock(t, one, other)

	attempts := load.stop()
	var wrong []attempt
	for _, a := range failed(attempts) {
		if a.err != nil || a.reply.unavailable("dependency_down") != "" {
			wrong = append(wrong, a)
		}
	}
	report(t, wrong, len(attempts), "otherwise than with 503 and the reason")
	sum := ledger{}
	sum.addNotes(attempts, carl.titleCounts())
	if sum.missing+sum.double > 0 || sum.acknowledged < 10 {
		t.Errorf("%+v, want nothing missing nor double of at least 10 notes", sum)
	}
}

// awaitCopied returns once the replica has the client's session, which a master
// that dies at once may take with it.
func (c *client) awaitCopied(redis *testserver.Sentinel) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); redis.Replica.Keys(c.t, "scs:session:*") == 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatal("the session did not reach the replica")
		}
	}
}
