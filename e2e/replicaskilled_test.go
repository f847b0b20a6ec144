package e2e

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"notesd/bench"
	"notesd/internal/testserver"
)

const (
	killEvery = 5 * time.Second // at most
	// rateLimit a week is refilled so slowly that whatever is counted stays counted.
	rateLimit  = 100_000
	rateWindow = 7 * 24 * time.Hour
	// brokenFor is how long after a kill a request may still be sent on a
	// connection whose end the proxy has not been told of.
	brokenFor = 50 * time.Millisecond
)

// Three replicas on one PostgreSQL and one Redis behind Caddy. For KILLED one of
// them is killed every 5 s, whichever, and started again at once: that costs
// what was in flight on it. Every write that was acknowledged is there, once and
// as it was last; every session goes on, or has ended everywhere; limits count once.
func TestReplicasKilled(t *testing.T) {
	long(t, "Caddy")
	lasts := durationOf(t, "KILLED", 6*time.Second)
	settings := []string{"LOG_LEVEL=warn", "DATABASE_URL=" + testserver.EmptyPostgres(t), "REDIS_URL=" + testserver.Redis(t), secret,
		"TRUSTED_PROXIES=127.0.0.1/32", fmt.Sprintf("RATE_LIMIT_MAX_REQUESTS=%d", rateLimit),
		fmt.Sprintf("RATE_LIMIT_WINDOW_MS=%d", rateWindow.Milliseconds())}
	var replicas []*process
	for range 3 {
		p := newProcess(t, settings...)
		p.start()
		replicas = append(replicas, p)
	}
	for _, p := range replicas {
		p.awaitReady()
	}
	front := behindCaddy(t, replicas...)
	crowd, writers := gather(front, 2), startWriters(front)
	counted, roamer := startCounted(front), startRoamer(front, replicas)
	kills := killInTurn(replicas, lasts)
	for _, p := range replicas {
		p.awaitReady()
	}
	proof := newProof(t, "replicas", fmt.Sprintf("KILLED=%v", lasts))
	roamer.stop()
	count := counted.stop()
	written := writers.stop(t)
	everything := crowd.attempts(time.Time{})
	ledger := crowd.check(t)
	harm := harmOf(t, everything, kills)
	strangers := signedOut(everything, crowd, writers, replicas)

	promise(proof, "those who try again", len(kills), written)
	proof.Promise("those who don't: acknowledged notes missing, or there twice", "0", fmt.Sprintf("%d of %d",
		ledger.missing+ledger.double, ledger.acknowledged), ledger.missing+ledger.double == 0 && ledger.acknowledged > 0)
	proof.Promise("acknowledged flips of a flag missing, or done twice", "0", fmt.Sprintf("%d of %d", ledger.flipsMissing+ledger.flipsTwice,
		ledger.flips), ledger.flipsMissing+ledger.flipsTwice == 0 && ledger.flips > 0)
	proof.Promise("requests that failed and were not in flight on the replica that was killed", "0", fmt.Sprintf("%d of %d", harm.stray, len(everything)),
		harm.stray == 0)
	proof.Promise("requests that one kill cost, at most the connections of the load", fmt.Sprintf("≤ %d", crowd.clients()),
		fmt.Sprint(harm.worst), harm.worst <= crowd.clients())
	proof.Promise("answers 401 to somebody signed in, at any time or any replica", "0", fmt.Sprintf("%d of %d", strangers.unknown,
		strangers.asked), strangers.unknown == 0)
	proof.Promise("changes not seen at every replica within a second", "0", fmt.Sprintf("%d of %d", roamer.stale, roamer.read),
		roamer.stale == 0 && roamer.read > len(kills))
	proof.Promise("sessions that outlive their sign-out at a replica", "0", fmt.Sprintf("%d of %d", roamer.alive, roamer.gone+roamer.alive),
		roamer.alive == 0 && roamer.gone > 0)
	proof.Promise("what the rate limit has counted of one person's requests", count.goal(len(kills)), fmt.Sprint(count.used),
		count.once(len(kills)))
	proof.Tables = append(proof.Tables, bench.Table{Title: "Load", Head: []string{"kills", "requests", "failed: connection", "502", "503",
		"p50", "p99", "slowest answer", "change seen everywhere within"}, Rows: [][]string{{fmt.Sprint(len(kills)), fmt.Sprint(len(everything)), fmt.Sprint(harm.cut),
		fmt.Sprint(harm.statuses[http.StatusBadGateway]), fmt.Sprint(harm.statuses[http.StatusServiceUnavailable]),
		ms(harm.percentile(50)).String(), ms(harm.percentile(99)).String(), ms(harm.percentile(100)).String(), ms(roamer.latest).String()}}})
	proof.Notes = append(proof.Notes, fmt.Sprintf("Three processes behind Caddy, which runs deploy/Caddyfile; one PostgreSQL, one Redis. "+
		"Two people send from %d connections and never try again, %d others until they have an answer; one changes a note, reads it at "+
		"every replica past Caddy, and signs out and in; one does nothing but being counted.", crowd.clients(), writersAtOnce),
		"The percentiles are those of the load's answers, those during the kills among them.")
	publish(t, proof)
	if err := proof.Judge(true); err != nil {
		t.Error(err)
	}
}

// durationOf is the setting of a proof, or its quick default.
func durationOf(t *testing.T, name string, quick time.Duration) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(cmp.Or(os.Getenv(name), quick.String()))
	if err != nil || d < time.Second {
		t.Fatalf("%s=%s, want a duration of a second or more", name, os.Getenv(name))
	}
	return d
}

// A killing is from before a process was killed until it had ended.
type killing struct{ began, ended time.Time }

// killInTurn kills one of the replicas, whichever, time and again, three times at least.
func killInTurn(replicas []*process, lasts time.Duration) (kills []killing) {
	every := min(killEvery, lasts/3)
	for range lasts / every {
		time.Sleep(every)
		p := replicas[rand.IntN(len(replicas))]
		s := killing{began: time.Now()}
		p.kill()
		s.ended = time.Now()
		kills = append(kills, s)
		p.start()
	}
	time.Sleep(every)
	return kills
}

// Harm is the requests of a load that failed.
type harm struct {
	stray    int // far from any kill
	worst    int // most of one kill
	cut      int // without an answer
	statuses map[int]int
	waits    []time.Duration // for all answers, sorted
}

// harmOf goes through attempts, and shows those that no kill explains. Beside
// other tests a machine may have to refuse some; when this is a proof, none.
func harmOf(t *testing.T, attempts []attempt, kills []killing) harm {
	t.Helper()
	h := harm{statuses: map[int]int{}}
	of := make([]int, len(kills))
	for _, a := range attempts {
		h.waits = append(h.waits, a.took())
		if a.succeeded() {
			continue
		}
		if a.err != nil {
			h.cut++
		} else {
			h.statuses[a.reply.status]++
		}
		i := slices.IndexFunc(kills, func(s killing) bool {
			return a.sent.Before(s.ended.Add(brokenFor)) && a.answered.After(s.began)
		})
		if i < 0 && a.err == nil && a.reply.unavailable("dependency_down") == "" && os.Getenv("KILLED") == "" {
			continue
		}
		if i < 0 {
			h.stray++
			t.Logf("no kill explains: sent %s, took %v: %s %s = %d %.200s, %v", a.sent.Format("15:04:05.000"), a.took(), a.method, a.path,
				a.reply.status, a.reply.text, a.err)
			continue
		}
		of[i]++
	}
	h.worst = slices.Max(of)
	slices.Sort(h.waits)
	return h
}

// percentile is what p percent of the answers took at most.
func (h harm) percentile(p int) time.Duration { return h.waits[(len(h.waits)-1)*p/100] }

// clients are the connections of the crowd's loads.
func (c *crowd) clients() (n int) {
	for _, m := range c.members {
		n += len(m.flips) // each has its own
	}
	return n
}

// known counts answers to people who are signed in.
type known struct{ asked, unknown int }

// signedOut counts the answers that took somebody for a stranger, and asks every replica who people are.
func signedOut(attempts []attempt, crowd *crowd, writers *writers, replicas []*process) (k known) {
	for _, a := range attempts {
		k.add(a.reply)
	}
	for _, p := range replicas {
		for _, m := range crowd.members {
			k.add(m.on(p).get("/api/auth/me"))
		}
		for _, w := range writers.all {
			k.add(w.client.on(p).get("/api/auth/me"))
		}
	}
	return k
}

func (k *known) add(r reply) {
	k.asked++
	if r.status == http.StatusUnauthorized {
		k.unknown++
	}
}

// A counted person asks one request after the other, and knows how many the
// limit should have seen.
type counted struct {
	client   *client
	began    time.Time
	answered int
	lost     int // without an answer of a replica: counted or not
	used     int // what the limit says, in the end
	stopped  atomic.Bool
	running  sync.WaitGroup
}

func startCounted(front *process) *counted {
	c := &counted{client: front.member("counted@example.com"), began: time.Now()}
	front.t.Cleanup(func() { c.stopped.Store(true); c.running.Wait() })
	c.running.Go(func() {
		w := c.client.wire()
		defer w.close()
		for !c.stopped.Load() {
			r, err := w.do(http.MethodGet, "/api/auth/me", "")
			if err == nil && r.status == http.StatusOK {
				c.answered++
				c.used = limitUsed(r)
			} else {
				c.lost++
			}
			time.Sleep(pause)
		}
	})
	return c
}

// limitUsed is how much of the rate limit is used up.
func limitUsed(r reply) int {
	remaining, err := strconv.Atoi(r.header.Get("RateLimit-Remaining"))
	if err != nil {
		return -1
	}
	return rateLimit - remaining
}

func (c *counted) stop() *counted {
	c.stopped.Store(true)
	c.running.Wait()
	return c
}

// inAdvance is how many requests a replica has counted at most before they are made.
const inAdvance = 256

// most is what the limit can have counted: Caddy may have sent again, to another
// replica, the one request that was in flight at a kill, and what a replica had
// counted in advance is lost with it.
func (c *counted) most(kills int) int { return c.answered + c.lost + kills + inAdvance*(kills+3) }

// least leaves out what has been refilled since.
func (c *counted) least() int {
	return c.answered - int(time.Since(c.began)/(rateWindow/rateLimit)) - 1
}

func (c *counted) once(kills int) bool { return c.used >= c.least() && c.used <= c.most(kills) }

func (c *counted) goal(kills int) string {
	return fmt.Sprintf("%d answered: %d to %d, as each replica counts up to %d in advance, which a kill loses",
		c.answered, c.least(), c.most(kills), inAdvance)
}

// A roamer changes a note, and signs out and in, behind the proxy, and asks
// each replica directly whether it knows.
type roamer struct {
	front    *client
	replicas []*process
	writer   *writer // for its insistence
	note     string

	read, stale int           // answers after a change: with it, and without it for too long
	latest      time.Duration // after its acknowledgement that a change was not known
	gone, alive int           // answers after a sign-out
	stopped     atomic.Bool
	running     sync.WaitGroup
}

// signOutEvery is after how many changes a roamer signs out.
const signOutEvery = 10

func startRoamer(front *process, replicas []*process) *roamer {
	const email = "roamer@example.com"
	c := front.member(email)
	r := &roamer{front: c, replicas: replicas, writer: &writer{client: c}, note: "/api/notes/" + c.create(changeTitle(0), "")}
	front.t.Cleanup(r.stop)
	r.running.Go(func() {
		for i := 1; !r.stopped.Load(); i++ {
			r.change(i)
			if i%signOutEvery == 0 {
				r.signOut(email)
			}
		}
	})
	return r
}

func (r *roamer) stop() {
	r.stopped.Store(true)
	r.running.Wait()
}

// change changes the note, and reads it everywhere.
func (r *roamer) change(i int) {
	if _, ok := r.writer.insist(&r.stopped, http.StatusOK, http.MethodPatch, r.note, note{Title: changeTitle(i)}); !ok {
		return
	}
	acknowledged := time.Now()
	for _, p := range r.replicas {
		for asked := acknowledged; ; asked = time.Now() {
			found, ok := r.ask(p, r.note)
			if !ok {
				break
			}
			if found.status == http.StatusOK && found.note().Title == changeTitle(i) {
				r.read++
				r.latest = max(r.latest, asked.Sub(acknowledged))
				break
			}
			if asked.Sub(acknowledged) > trustTime {
				r.stale++
				r.front.t.Logf("%v after change %d: %d %s", asked.Sub(acknowledged), i, found.status, found.text)
				break
			}
		}
	}
}

// signOut ends the session, asks everywhere who has its cookie, and begins another.
func (r *roamer) signOut(email string) {
	cookie := r.front.cookie()
	if _, ok := r.writer.insist(&r.stopped, http.StatusOK, http.MethodPost, "/api/auth/logout", nil); !ok {
		return
	}
	for _, p := range r.replicas {
		if found, ok := r.ask(p, "/api/auth/me", "Cookie", cookie); !ok {
			continue
		} else if found.status == http.StatusUnauthorized {
			r.gone++
		} else {
			r.alive++
			r.front.t.Logf("after the sign-out: %d %s", found.status, found.text)
		}
	}
	r.writer.insist(&r.stopped, http.StatusOK, http.MethodPost, "/api/auth/login", credentials(email, password))
}

// ask asks one replica, and tells whether it is there and ready.
func (r *roamer) ask(p *process, path string, headers ...string) (reply, bool) {
	found, err := r.front.on(p).try(http.MethodGet, path, nil, headers...)
	return found, err == nil && found.status != http.StatusServiceUnavailable
}
