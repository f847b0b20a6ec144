package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"notesd/store/storetest"
)

const (
	// noAnswerAfter is how long a client may wait for its 503 while a
	// dependency is away: a second, and what a busy machine adds.
	noAnswerAfter = 1500 * time.Millisecond
	// backAfter is how long it may take after the dependency is back.
	backAfter = 3 * time.Second
)

// newDependencies starts a PostgreSQL and a Redis for a test alone, and
// returns settings that name them.
func newDependencies(t *testing.T) (postgres, redis *storetest.Server, settings []string) {
	t.Helper()
	postgres, redis = storetest.NewPostgres(t), storetest.NewRedis(t)
	return postgres, redis, []string{"DATABASE_URL=" + postgres.URL(), "REDIS_URL=" + redis.URL(), secret}
}

// A dependency that is away at the start keeps nobody from starting: the
// process says so, turns everybody away with a reason, and serves when it comes.
func TestAwayAtStart(t *testing.T) {
	for _, row := range []struct {
		name string
		away func(postgres, redis *storetest.Server) *storetest.Server
		says string // in the log
	}{
		{"PostgreSQL", func(postgres, _ *storetest.Server) *storetest.Server { return postgres },
			"database can't be used yet, trying again"},
		{"Redis", func(_, redis *storetest.Server) *storetest.Server { return redis }, "dependency is down"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel() // with the other rows alone
			postgres, redis, settings := newDependencies(t)
			away := row.away(postgres, redis)
			away.Stop(t)
			p := newProcess(t, settings...)
			p.start()
			p.awaitLog(row.says)
			p.await("health", func() bool { return p.probe("/api/health") == http.StatusOK })
			if status := p.probe("/readyz"); status != http.StatusServiceUnavailable {
				t.Errorf("readiness = %d, want 503", status)
			}
			ada := p.visitor()
			if wrong := ada.signUp("ada@example.com").unavailable("dependency_down"); wrong != "" {
				t.Error(wrong)
			}
			away.Start(t)
			began := time.Now()
			p.awaitReady()
			if took := time.Since(began); took > backAfter {
				t.Errorf("ready %v after %s came, want %v at most", took, row.name, backAfter)
			}
			// Who was turned away halfway may have an account: the session came last.
			if r := ada.signUp("ada@example.com"); r.status == http.StatusBadRequest {
				ada.signIn("ada@example.com", password).want(http.StatusOK)
			} else {
				r.want(http.StatusCreated)
			}
			ada.create("first", "of many")
		})
	}
}

// signUp returns the answer to a sign-up.
func (c *client) signUp(email string) reply {
	c.t.Helper()
	return c.post("/api/auth/register", credentials(email, password))
}

// A dependency that goes away later costs its time and nothing else: 503 with
// the reason, soon, and never a 500; back by itself; what was acknowledged is there.
func TestAwayLater(t *testing.T) {
	for _, row := range []struct {
		name string
		end  func(t *testing.T, postgres, redis *storetest.Server) (back *storetest.Server)
	}{
		{"PostgreSQL stopped", func(t *testing.T, s, _ *storetest.Server) *storetest.Server { s.Stop(t); return s }},
		{"PostgreSQL crashed", func(t *testing.T, s, _ *storetest.Server) *storetest.Server { s.Kill(t); return s }},
		{"Redis stopped", func(t *testing.T, _, s *storetest.Server) *storetest.Server { s.Stop(t); return s }},
		{"Redis crashed", func(t *testing.T, _, s *storetest.Server) *storetest.Server { s.Kill(t); return s }},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel() // with the other rows alone
			postgres, redis, settings := newDependencies(t)
			p := start(t, settings...)
			ada := p.member("ada@example.com")
			people := startLoad(ada, 4, everyday(ada.create("first", "of many")))
			time.Sleep(300 * time.Millisecond)

			ending := time.Now()
			away := row.end(t, postgres, redis)
			gone := time.Now()
			p.await("red readiness", func() bool { return p.probe("/readyz") == http.StatusServiceUnavailable })
			time.Sleep(500 * time.Millisecond)
			starting := time.Now()
			away.Start(t)
			back := time.Now()
			time.Sleep(backAfter + 300*time.Millisecond)
			attempts := people.stop()

			checkOutage(t, attempts, ending, gone, starting, back)
			checkAcknowledged(t, ada, attempts)
			if status := p.probe("/readyz"); status != http.StatusOK {
				t.Errorf("readiness in the end = %d, want 200", status)
			}
		})
	}
}

// checkOutage goes through what a load met: trouble begins at ending, nothing
// can succeed from gone to starting, and everything does soon after back.
func checkOutage(t *testing.T, attempts []attempt, ending, gone, starting, back time.Time) {
	t.Helper()
	refused := 0
	var recovered time.Duration
	for _, a := range attempts {
		switch {
		case a.succeeded():
			if a.sent.After(gone) && a.answered.Before(starting) {
				t.Errorf("%s = %d while the dependency was away", a.reply.call, a.reply.status)
			}
		case a.answered.Before(ending) || a.sent.After(back.Add(backAfter)):
			t.Errorf("%s, sent %v after the dependency was back = %d %.200s, %v", a.reply.call, a.sent.Sub(back), a.reply.status,
				a.reply.text, a.err)
		case a.err != nil:
			t.Errorf("a request met %v, want an answer", a.err)
		default:
			refused++
			recovered = max(recovered, a.answered.Sub(back))
			if wrong := a.reply.unavailable("dependency_down"); wrong != "" || a.took() > noAnswerAfter {
				t.Errorf("after %v: %s", a.took(), wrong)
			}
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d of %d refused, the last %v after it was back", refused, len(attempts), recovered)
	if refused < 20 {
		t.Errorf("only %d requests were refused: nothing was proved", refused)
	}
}

// checkAcknowledged compares the person's notes with those that a load created.
func checkAcknowledged(t *testing.T, person *client, attempts []attempt) {
	t.Helper()
	there, acknowledged := person.titles(), 0
	for _, a := range attempts {
		if a.title == "" || !a.succeeded() {
			continue
		}
		acknowledged++
		if !there[a.title] {
			t.Errorf("%s was acknowledged and is not there", a.title)
		}
	}
	if acknowledged < 20 {
		t.Errorf("only %d notes were acknowledged: nothing was proved", acknowledged)
	}
}

// A password that PostgreSQL refuses is nothing to give up for, and nothing to print.
func TestWrongDatabasePassword(t *testing.T) {
	t.Parallel()
	url := strings.Replace(storetest.Postgres(t), "notes@", storetest.Locked+"@", 1)
	const wrong = "wrong horse battery"
	p := newProcess(t, "DATABASE_URL="+url, "DATABASE_PASSWORD="+wrong, secret)
	p.start()
	e := p.awaitLog("database can't be used yet, trying again")
	if !strings.Contains(fmt.Sprint(e), "password authentication failed") {
		t.Errorf("the log says %v, want that the password is refused", e)
	}
	if status := p.probe("/readyz"); status != http.StatusServiceUnavailable {
		t.Errorf("readiness = %d, want 503", status)
	}
	if wrong := p.visitor().signUp("ada@example.com").unavailable("dependency_down"); wrong != "" {
		t.Error(wrong)
	}
	p.stop()
	if strings.Contains(p.log.String(), wrong) {
		t.Error("the log has the password")
	}
}
