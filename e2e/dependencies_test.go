package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"notesd/bench"
	"notesd/internal/testkit"
	"notesd/internal/testserver"
	"notesd/store/storetest"
)

const (
	// noAnswerAfter is how long a client may wait for its 503 while a
	// dependency is away: a second, and what a busy machine adds.
	noAnswerAfter = 1500 * time.Millisecond
	// backAfter is how long it may take after the dependency is back: two, and
	// the same.
	backAfter = 3 * time.Second
)

// newDependencies starts a PostgreSQL and a Redis for a test alone, and
// returns settings that name them.
func newDependencies(t *testing.T) (postgres, redis *testserver.Server, settings []string) {
	t.Helper()
	postgres, redis = testserver.NewPostgres(t), testserver.NewRedis(t)
	return postgres, redis, []string{"DATABASE_URL=" + postgres.URL(), "REDIS_URL=" + redis.URL(), secret}
}

// A dependency that is away at the start keeps nobody from starting: the
// process says so, turns everybody away with a reason, and serves when it comes.
func TestAwayAtStart(t *testing.T) {
	for _, row := range []struct {
		name string
		away func(postgres, redis *testserver.Server) *testserver.Server
		says string // in the log
	}{
		{"PostgreSQL", func(postgres, _ *testserver.Server) *testserver.Server { return postgres },
			"database can't be used yet, trying again"},
		{"Redis", func(_, redis *testserver.Server) *testserver.Server { return redis }, "dependency is down"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel() // with the other rows alone
			postgres, redis, settings := newDependencies(t)
			away := row.away(postgres, redis)
			away.Stop(t)
			p := newUnraced(t, settings...) // its migrations and passwords have to be done within backAfter
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
			if took := time.Since(began); testkit.TooLong(took, 2*time.Second, backAfter-2*time.Second) {
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

// dependencies are a PostgreSQL and a Redis, and the ways to them.
type dependencies struct {
	postgres, redis     *testserver.Server
	toPostgres, toRedis *testserver.Proxy
}

// An outage is a way in which dependencies go away and come back.
type outage struct {
	name       string
	begin, end func(t *testing.T, d dependencies)
}

// outages are all that can become of the PostgreSQL or the Redis that of returns.
func outages(name string, of func(d dependencies) (*testserver.Server, *testserver.Proxy)) []outage {
	stop := func(t *testing.T, d dependencies) { s, _ := of(d); s.Stop(t) }
	kill := func(t *testing.T, d dependencies) { s, _ := of(d); s.Kill(t) }
	start := func(t *testing.T, d dependencies) { s, _ := of(d); s.Start(t) }
	fault := func(f testserver.Fault) func(*testing.T, dependencies) {
		return func(_ *testing.T, d dependencies) { _, p := of(d); p.Set(f) }
	}
	return []outage{
		{name + " stopped", stop, start},
		{name + " crashed", kill, start},
		{name + " out of reach", fault(testserver.Refuse), fault(testserver.Pass)},
		{name + " stalled", fault(testserver.Stall), fault(testserver.Pass)},
		{name + " vanished", fault(testserver.HalfOpen), fault(testserver.Pass)},
		{name + " too slow", fault(testserver.Slow), fault(testserver.Pass)},
	}
}

func thePostgres(d dependencies) (*testserver.Server, *testserver.Proxy) {
	return d.postgres, d.toPostgres
}

func theRedis(d dependencies) (*testserver.Server, *testserver.Proxy) { return d.redis, d.toRedis }

// A dependency that goes away later costs its time and nothing else: 503 with
// the reason, soon, and never a 500; back by itself; what was acknowledged is
// there, and there once.
func TestAwayLater(t *testing.T) {
	long(t, "twelve outages")
	for _, o := range slices.Concat(outages("PostgreSQL", thePostgres), outages("Redis", theRedis)) {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel() // with the other rows alone
			postgres, redis := testserver.NewPostgres(t), testserver.NewRedis(t)
			d := dependencies{postgres, redis, testserver.NewProxy(t, postgres.URL()), testserver.NewProxy(t, redis.URL())}
			p := startUnraced(t, "DATABASE_URL="+d.toPostgres.URL(), "REDIS_URL="+d.toRedis.URL(), secret, nothingFromMemory)
			crowd := gather(p, 1)
			defer crowd.check(t)
			crowd.endure(t, o, d, 1500*time.Millisecond)
		})
	}
}

// PostgreSQL is stopped for ten seconds under the load of several people, then
// Redis, then both. It publishes what that came to.
func TestTenSecondsAway(t *testing.T) {
	long(t, "ten seconds each")
	postgres, redis, settings := newDependencies(t)
	d := dependencies{postgres: postgres, redis: redis}
	crowd := gather(startUnraced(t, append(settings, nothingFromMemory)...), 3)
	both := outage{"PostgreSQL and Redis stopped",
		func(t *testing.T, d dependencies) { d.postgres.Stop(t); d.redis.Stop(t) },
		func(t *testing.T, d dependencies) { d.redis.Start(t); d.postgres.Start(t) }}
	proof := newProof(t, "outage")
	table := bench.Table{Title: "Ten seconds each", Head: []string{"", "first 503 after the stop", "longest wait for a 503",
		"readiness red after", "first success after the return", "last 503 after it", "readiness green after", "refused",
		"succeeded"}}
	for _, o := range []outage{outages("PostgreSQL", thePostgres)[0], outages("Redis", theRedis)[0], both} {
		m := crowd.endure(t, o, d, 10*time.Second)
		proof.Promise(o.name+": 503 with the reason and Retry-After, never a 500, within", "≤ 1s", ms(m.longest).String(),
			m.longest <= time.Second)
		proof.Promise(o.name+": everybody served again after the return within", "≤ 2s", ms(m.last).String(), m.last <= 2*time.Second)
		table.Rows = append(table.Rows, []string{o.name, ms(m.first).String(), ms(m.longest).String(), ms(m.red).String(),
			ms(m.success).String(), ms(m.last).String(), ms(m.green).String(), fmt.Sprint(m.refused), fmt.Sprint(m.succeeded)})
	}
	l := crowd.check(t)
	proof.Promise("acknowledged notes that are missing or there twice", "0", fmt.Sprintf("%d of %d", l.missing+l.double,
		l.acknowledged), l.missing+l.double == 0 && l.acknowledged > 0)
	proof.Promise("acknowledged changes that are missing or were done twice", "0", fmt.Sprintf("%d of %d",
		l.flipsMissing+l.flipsTwice, l.flips), l.flipsMissing+l.flipsTwice == 0 && l.flips > 0)
	proof.Tables = append(proof.Tables, table)
	publish(t, proof)
}

// nothingFromMemory makes every request need what it asks for.
const nothingFromMemory = "CACHE_SIZE_MB=0"

// While the database is away what is in memory is answered, for a second; while
// Redis is, whoever is known goes on as before, and nobody can sign in or out.
func TestAwayFromMemory(t *testing.T) {
	t.Parallel()
	postgres, redis := testserver.NewPostgres(t), testserver.NewRedis(t)
	p := start(t, "DATABASE_URL="+postgres.URL(), "REDIS_URL="+redis.URL(), secret)
	ada := p.member("ada@example.com")
	path := "/api/notes/" + ada.create("kept", "in memory")
	p.awaitCopies()
	ada.get(path).want(http.StatusOK) // reads it once more, and the session

	redis.Stop(t)
	for range 10 {
		ada.get(path).want(http.StatusOK)
		ada.create("written", "without Redis")
	}
	for _, r := range []reply{ada.post("/api/auth/logout", nil), p.visitor().signIn("ada@example.com", password)} {
		if wrong := r.unavailable("dependency_down"); wrong != "" {
			t.Error(wrong)
		}
	}
	redis.Start(t)
	p.awaitReady()

	ada.get(path).want(http.StatusOK)
	postgres.Stop(t)
	time.Sleep(trustTime)
	if wrong := ada.get(path).unavailable("dependency_down"); wrong != "" {
		t.Error(wrong)
	}
	postgres.Start(t)
	p.awaitReady()
	ada.get(path).want(http.StatusOK)
}

// A crowd is several members with a load each, of clients that repeat and of
// clients that don't.
type crowd struct {
	process *process
	members []*member
}

type member struct {
	*client
	loads []*load
	flips []string // the paths at which their clients flip a flag, each its own
}

func gather(p *process, members int) *crowd {
	all := &crowd{process: p}
	for n := range members {
		m := &member{client: p.member(fmt.Sprintf("member%d@example.com", n))}
		for i, start := range []func(*client, int, func(int, int) request) *load{startLoad, startRepeatingLoad} {
			var ids []string
			for client := range 2 {
				ids = append(ids, m.create(fmt.Sprintf("flag %d of load %d", client, i), ""))
				m.flips = append(m.flips, "/api/notes/"+ids[client]+"/pin")
			}
			m.loads = append(m.loads, start(m.client, len(ids), busy(fmt.Sprintf("load %d", i), ids)))
		}
		all.members = append(all.members, m)
	}
	time.Sleep(500 * time.Millisecond) // until all is warm
	return all
}

// busy is what people do: write, change, read, look.
func busy(name string, ids []string) func(client, i int) request {
	return func(client, i int) request {
		switch i % 4 {
		case 0:
			return request{http.MethodPost, "/api/notes", fmt.Sprintf("note %d of client %d in %s", i, client, name)}
		case 1:
			return request{http.MethodPatch, "/api/notes/" + ids[client] + "/pin", ""}
		case 2:
			return request{http.MethodGet, "/api/notes/" + ids[client], ""}
		}
		return request{http.MethodGet, "/api/notes?limit=20", ""}
	}
}

// attempts are all that were made since a time.
func (c *crowd) attempts(since time.Time) (all []attempt) {
	for _, m := range c.members {
		for _, l := range m.loads {
			l.mu.Lock()
			for _, a := range l.attempts {
				if a.sent.After(since) {
					all = append(all, a)
				}
			}
			l.mu.Unlock()
		}
	}
	return all
}

// endure has an outage last, and checks and prints what the people met.
func (c *crowd) endure(t *testing.T, o outage, d dependencies, last time.Duration) met {
	t.Helper()
	ending := time.Now()
	o.begin(t, d)
	gone := time.Now()
	c.process.await("red readiness", func() bool { return c.process.probe("/readyz") == http.StatusServiceUnavailable })
	red := time.Since(gone)
	time.Sleep(time.Until(gone.Add(last)))
	starting := time.Now()
	o.end(t, d)
	back := time.Now()
	c.process.await("green readiness", func() bool { return c.process.probe("/readyz") == http.StatusOK })
	green := time.Since(back)
	time.Sleep(time.Until(back.Add(backAfter + 300*time.Millisecond)))
	m := c.metBetween(t, ending, gone, starting, back)
	m.red, m.green = red, green
	t.Logf(`%s for %v:
	first 503 %v after the stop, the longest wait for one %v (goal: 1s); readiness red after %v
	first success %v after the return, last 503 %v after it (goal: 2s); readiness green after %v
	%d requests refused, each with 503 dependency_down and Retry-After; %d succeeded; other failures: 0`,
		o.name, last, ms(m.first), ms(m.longest), ms(red), ms(m.success), ms(m.last), ms(green), m.refused, m.succeeded)
	if m.refused < 20 {
		t.Errorf("only %d requests were refused: nothing was proved", m.refused)
	}
	if testkit.TooLong(green, 2*time.Second, backAfter-2*time.Second) {
		t.Errorf("readiness green %v after the return, want %v at most", green, backAfter)
	}
	return m
}

func ms(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// met is what people met in an outage.
type met struct {
	refused, succeeded int
	first              time.Duration // refusal, since the dependency was gone
	longest            time.Duration // wait for a refusal
	success            time.Duration // the first, since the dependency was back
	last               time.Duration // refusal, since then
	red, green         time.Duration // readiness, since it was gone, and since it was back
}

// metBetween goes through what people met: trouble begins at ending, nothing
// can succeed from gone to starting, and everything does soon after back.
func (c *crowd) metBetween(t *testing.T, ending, gone, starting, back time.Time) met {
	t.Helper()
	m := met{first: time.Hour, success: time.Hour}
	for _, a := range c.attempts(ending.Add(-time.Second)) {
		switch {
		case a.succeeded():
			m.succeeded++
			if a.sent.After(gone) && a.answered.Before(starting) {
				t.Fatalf("%s = %d while the dependency was away", a.reply.call, a.reply.status)
			}
			if a.sent.After(gone) {
				m.success = min(m.success, max(0, a.answered.Sub(back)))
			}
		case a.err != nil:
			t.Fatalf("a request met %v, want an answer", a.err)
		case a.answered.Before(ending) || a.sent.After(back.Add(backAfter)):
			t.Fatalf("%s, sent %v after the dependency was back = %d %.200s", a.reply.call, a.sent.Sub(back), a.reply.status,
				a.reply.text)
		default:
			m.refused++
			m.first = min(m.first, max(0, a.answered.Sub(gone)))
			m.longest = max(m.longest, a.took())
			m.last = max(m.last, a.answered.Sub(back))
			if wrong := a.reply.unavailable("dependency_down"); wrong != "" || testkit.TooLong(a.took(), time.Second, noAnswerAfter-time.Second) {
				t.Fatalf("after %v: %s", a.took(), wrong)
			}
		}
	}
	return m
}

// check ends the loads, compares what there is with what was acknowledged, and prints it.
func (c *crowd) check(t *testing.T) (sum ledger) {
	t.Helper()
	attempts := make([][]attempt, len(c.members))
	for i, m := range c.members {
		for _, l := range m.loads {
			attempts[i] = append(attempts[i], l.stop()...)
		}
	}
	time.Sleep(time.Second) // another replica may be asked, which answers from what it had a second ago
	for i, m := range c.members {
		sum.addNotes(attempts[i], m.titleCounts())
		for _, path := range m.flips {
			flagged := m.get(strings.TrimSuffix(path, "/pin")).want(http.StatusOK).note()
			sum.addFlips(attempts[i], path, int(flagged.Revision)-1)
		}
	}
	t.Logf(`the ledger in the end:
	notes: %d acknowledged, %d missing, %d there twice; %d never acknowledged, of which %d are there
	flips: %d acknowledged, %d missing, %d done twice; %d not acknowledged, of which %d were done`,
		sum.acknowledged, sum.missing, sum.double, sum.unsure, sum.unsureThere,
		sum.flips, sum.flipsMissing, sum.flipsTwice, sum.flipsUnsure, sum.flipsUnsureDone)
	if sum.missing+sum.double+sum.flipsMissing+sum.flipsTwice > 0 {
		t.Error("what was acknowledged is missing, or something was done twice")
	}
	if sum.acknowledged < 20 || sum.flips < 20 {
		t.Errorf("only %d notes and %d flips were acknowledged: nothing was proved", sum.acknowledged, sum.flips)
	}
	return sum
}

// A ledger counts what clients were told beside what is there.
type ledger struct {
	acknowledged, missing, double, unsure, unsureThere            int
	flips, flipsMissing, flipsTwice, flipsUnsure, flipsUnsureDone int
}

// addNotes compares the notes that there are with those that were to be created.
func (l *ledger) addNotes(attempts []attempt, there map[string]int) {
	acknowledged := map[string]bool{} // by title
	for _, a := range attempts {
		if a.title != "" {
			acknowledged[a.title] = acknowledged[a.title] || a.succeeded()
		}
	}
	for title, ok := range acknowledged {
		switch n := there[title]; {
		case n > 1:
			l.double++
		case ok && n == 0:
			l.missing++
		case !ok:
			l.unsure++
			l.unsureThere += n
		}
		if ok {
			l.acknowledged++
		}
	}
}

// addFlips compares how often a flag was flipped with how often it was to be.
func (l *ledger) addFlips(attempts []attempt, path string, done int) {
	acknowledged, unsure := 0, 0
	for _, a := range attempts {
		switch {
		case a.path != path:
		case a.succeeded():
			acknowledged++
		default:
			unsure++
		}
	}
	l.flips += acknowledged
	l.flipsUnsure += unsure
	l.flipsMissing += max(0, acknowledged-done)
	l.flipsTwice += max(0, done-acknowledged-unsure)
	l.flipsUnsureDone += min(max(0, done-acknowledged), unsure)
}

// A dependency that answers, but not to these settings, ends the first start with
// the reason: once, below the banner, and without the password.
func TestRefusedAtStart(t *testing.T) {
	t.Parallel()
	const wrong = "wrong horse battery"
	locked := strings.Replace(storetest.Postgres(t), "notes@", testserver.Locked+"@", 1)
	user := fmt.Sprintf("powerless%d", rand.Uint32()) // roles are the whole server's
	empty := testserver.PostgresWith(t, "CREATE ROLE "+user+" LOGIN")
	redisURL := testserver.NewRedis(t).URL()
	conn, err := redis.DialURL(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Do("CONFIG", "SET", "requirepass", "right"); err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		settings []string
		want     string
	}{
		"database password": {[]string{"DATABASE_URL=" + locked, "DATABASE_PASSWORD=" + wrong}, "password authentication failed"},
		"missing database":  {[]string{"DATABASE_URL=" + inDatabase(t, locked, "missing"), "DATABASE_PASSWORD=" + testserver.LockedPassword}, `database "missing" does not exist`},
		"missing right":     {[]string{"DATABASE_URL=" + strings.Replace(empty, "notes@", user+"@", 1)}, "permission denied for schema public"},
		"Redis password":    {[]string{"REDIS_URL=" + withPassword(t, redisURL, wrong)}, "WRONGPASS"},
		"no Redis password": {[]string{"REDIS_URL=" + redisURL}, "NOAUTH"},
		"Redis database":    {[]string{"REDIS_URL=" + withPassword(t, redisURL, "right") + "/65535"}, "DB index is out of range"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said := newProcess(t, append(row.settings, "LOG_FORMAT=text", secret)...).fails()
			if n := strings.Count(said, row.want); n != 1 {
				t.Errorf("%q is said %d times, want once:\n%s", row.want, n, said)
			}
			if banner := strings.Index(said, "LOG_FORMAT "); banner < 0 || banner > strings.Index(said, row.want) {
				t.Errorf("the reason is not below the banner:\n%s", said)
			}
			if strings.Contains(said, wrong) {
				t.Errorf("the log has the password:\n%s", said)
			}
		})
	}
}

// A database that does not answer is waited for; the log says why once, in one line.
func TestUnreachableSaidOnce(t *testing.T) {
	t.Parallel()
	p := bareProcess(t, freePort(t), "DATABASE_URL=postgres://notes@127.0.0.1:1/notes", "LOG_FORMAT=text", "REGISTRATON=closed")
	p.start()
	p.await("readiness to fail", func() bool {
		return p.probe("/readyz") == http.StatusServiceUnavailable && strings.Contains(p.log.String(), "dependency is down")
	})
	p.stop()
	said := p.log.String()
	if n := strings.Count(said, "connection refused"); n != 1 {
		t.Errorf("the reason is said %d times, want once:\n%s", n, said)
	}
	_, below, banner := strings.Cut(said, "LOG_FORMAT ")
	if !banner || !strings.Contains(below, "connection refused") {
		t.Errorf("the reason is not below the banner:\n%s", said)
	}
	before, _, listens := strings.Cut(said, "\nListening on ")
	if last := before[strings.LastIndex(before, "\n")+1:]; !listens || !strings.Contains(last, "REGISTRATON is not a setting") {
		t.Errorf("the line above \"Listening\" is %q, want the warning about REGISTRATON", last)
	}
}

// inDatabase is a URL with another database.
func inDatabase(t *testing.T, rawURL, name string) string {
	t.Helper()
	u := parseURL(t, rawURL)
	u.Path = "/" + name
	return u.String()
}

// withPassword is a Redis URL with a password.
func withPassword(t *testing.T, rawURL, password string) string {
	t.Helper()
	u := parseURL(t, rawURL)
	u.User = url.UserPassword("", password)
	return u.String()
}

func parseURL(t *testing.T, rawURL string) *url.URL {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
