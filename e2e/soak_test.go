package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"notesd/bench"
	"notesd/internal/histogram"
	"notesd/internal/testserver"
)

const (
	soakPeople  = 50
	soakPause   = 500 * time.Millisecond // between two requests of one person, on average
	soakLongest = time.Minute            // that a person follows a Retry-After for
)

// TestSoak runs every attack of soakAttacks at once, again and again, while 50
// people work with their notes. No request of theirs may fail beyond one wait
// that Retry-After names, their p99 may at most double, and memory must come
// back. SOAK is how long the attacks last: make prove NAME=soak takes ten minutes.
func TestSoak(t *testing.T) {
	long(t, "every attack at once")
	lasts := durationOf(t, "SOAK", 4*time.Second)
	proof := newProof(t, "soak", fmt.Sprintf("SOAK=%v", lasts))
	rows := []struct {
		name string
		mb   int
		full bool // it runs with SOAK only
		url  func() string
	}{
		{"64 MiB, SQLite", 64, false, nil},
		{"512 MiB, SQLite", 512, true, nil},
		{"512 MiB, PostgreSQL", 512, true, func() string { return testserver.EmptyPostgres(t) }},
	}
	for _, row := range rows {
		if row.full && lasts < 10*time.Second {
			continue
		}
		t.Run(row.name, func(t *testing.T) {
			s := newSoak(t, row.mb, row.url)
			calm := s.work(max(lasts/5, 3*time.Second))
			before := s.settled()
			used := s.cpu()
			attackers := s.beside(neighbour{Nice: neighbourNice})
			storm := s.work(lasts)
			attacks := attackers.end()
			burned := float64(s.cpu()-used) / float64(lasts)
			after := s.settled()
			theirs, both := s.floors(max(lasts/10, 3*time.Second), attacks.Cores, burned)
			promise := func(what, goal, measured string, met, hard bool) {
				t.Helper()
				proof.Promise(row.name+": "+what, goal, measured, met)
				if !met && hard {
					t.Errorf("%s: %s, want %s", what, measured, goal)
				}
			}
			alive := s.alive()
			promise("killed, or ended", "no", map[bool]string{true: "no", false: "yes"}[alive], alive, true)
			promise("people's requests that failed beyond one wait", "0",
				fmt.Sprintf("%d of %d %v", storm.failed, storm.asked, storm.examples), storm.failed == 0, true)
			proof.Promise(row.name+": people's requests that had to wait", "–", fmt.Sprint(storm.waited), true)
			p99 := storm.took.Quantile(0.99)
			promise("p99 beside the attacks, of that without", "≤ 2 ×", storm.against(calm),
				p99 <= 2*calm.took.Quantile(0.99), false)
			proof.Promise(row.name+": p99 beside processes that only burn the same CPU time", "–", both.against(calm), true)
			table := bench.Table{Title: row.name + ": how long people wait",
				Head: []string{"beside", "requests", "reads, p50", "reads, p99", "writes, p50", "writes, p99"}}
			for _, o := range []struct {
				name string
				*soaked
			}{
				{"nothing", calm},
				{fmt.Sprintf("CPU time like the attackers': %.2f cores, at nice %d", attacks.Cores, neighbourNice), theirs},
				{fmt.Sprintf("that, and CPU time like the server's: %.2f cores", burned), both},
				{"the attacks", storm},
			} {
				table.Rows = append(table.Rows, append([]string{o.name, fmt.Sprint(o.asked)}, quantiles(&o.reads, &o.writes)...))
			}
			proof.Tables = append(proof.Tables, table)
			promise("memory afterwards without the cache, beside that before", "≤ 1.25 ×, or 16 MB more", fmt.Sprintf("%d MB, %d MB", after>>20, before>>20),
				after <= max(before*5/4, before+16<<20), lasts > 10*time.Second)
			for _, kind := range slices.Sorted(maps.Keys(attacks.Answers)) {
				var parts []string
				for _, what := range slices.Sorted(maps.Keys(attacks.Answers[kind])) {
					parts = append(parts, fmt.Sprintf("%d × %s", attacks.Answers[kind][what], what))
				}
				t.Logf("%s: %s", kind, strings.Join(parts, ", "))
				proof.Notes = append(proof.Notes, fmt.Sprintf("%s, %s: %s.", row.name, kind, strings.Join(parts, ", ")))
			}
		})
	}
	publish(t, proof)
}

// A soak is a server with little memory, and the people on it.
type soak struct {
	t      *testing.T
	url    string
	alive  func() bool
	cpu    func() time.Duration // that the server has used
	memory func() int64         // that the server holds, without its cache
	people []soakPerson
	apart  bool // attackers have addresses of their own
}

func newSoak(t *testing.T, mb int, url func() string) *soak {
	s := &soak{t: t}
	if url == nil && engine() == nil {
		needEngine(t)
		limit := fmt.Sprintf("%dm", mb)
		c, id := startContainer(t, "--memory", limit, "--memory-swap", limit, "--cpus", "1", "-e", "LOG_LEVEL=error")
		s.url = c.url
		s.alive = func() bool { it := inspect(t, id)[0].State; return it.Running && !it.OOMKilled }
		s.memory = func() int64 { used, cached := s.usage(); return used - cached }
		s.cpu = func() time.Duration { return cpuTimeOf(t, inspect(t, id)[0].State.Pid) }
	} else {
		settings := []string{fmt.Sprintf("GOMEMLIMIT=%dMiB", mb), "LOG_LEVEL=error", "RATE_LIMIT_MAX_REQUESTS=1000",
			"ADMIN_TOKEN=" + adminToken, secret}
		if url != nil {
			settings = append(settings, "DATABASE_URL="+url())
		}
		p := startUnraced(t, settings...)
		s.url, s.apart = p.url, true
		s.alive = func() bool { return p.probe("/healthz") == http.StatusOK }
		s.memory = func() int64 {
			_, cached := s.usage()
			return anonymous(t, p.cmd.Process.Pid) - cached
		}
		s.cpu = func() time.Duration { return cpuTimeOf(t, p.cmd.Process.Pid) }
	}
	for i := range soakPeople {
		c := s.visitor(2, i)
		c.post("/api/auth/register", credentials(fmt.Sprintf("person%d@example.com", i), password)).want(http.StatusCreated)
		s.people = append(s.people, soakPerson{c, c.create("mine", "what I am writing now")})
	}
	return s
}

// usage is what the server says of its memory: what its container uses, and what is in the cache, which is bounded by
// CACHE_SIZE_MB and stays.
func (s *soak) usage() (used, cached int64) {
	var state struct {
		Memory struct{ CgroupUsed int64 }
		Cache  struct{ Bytes int64 }
	}
	admin := outside(s.t, s.url).visitor().as("Authorization", "Bearer "+adminToken)
	if r, err := admin.try(http.MethodGet, "/api/runtime", nil); err == nil && r.status == http.StatusOK {
		r.decode(&state)
	}
	return state.Memory.CgroupUsed, state.Cache.Bytes
}

// A soakPerson has a note that is edited again and again.
type soakPerson struct {
	*client
	note string
}

// visitor is a client with an address of its own where the server can see one.
func (s *soak) visitor(net1, i int) *client {
	c := outside(s.t, s.url).visitor()
	c.unchecked = true
	if s.apart {
		c.http.Transport = &http.Transport{DialContext: s.dialer(net1, i).DialContext}
		s.t.Cleanup(c.http.CloseIdleConnections)
	}
	return c
}

func (s *soak) dialer(net1, i int) *net.Dialer {
	d := &net.Dialer{Timeout: patience}
	if s.apart {
		d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, byte(net1), byte(i/250), byte(1+i%250))}
	}
	return d
}

// settled is the memory that the server holds once that has stopped to fall. A server at rest gives memory back every
// five seconds.
func (s *soak) settled() int64 {
	least := s.memory()
	for second := range 60 {
		time.Sleep(time.Second)
		now := s.memory()
		if second > 30 && now > least*99/100 {
			return min(now, least)
		}
		least = now
	}
	return least
}

// A soaked is what became of people's requests.
type soaked struct {
	took          histogram.Histogram // of those that were done, without the waits
	reads, writes histogram.Histogram // the same, apart

	mu                    sync.Mutex // guards what follows
	asked, waited, failed int
	examples              []string
}

// work has the people work for d.
func (s *soak) work(d time.Duration) *soaked {
	o := &soaked{}
	ctx, stop := context.WithTimeout(s.t.Context(), d)
	defer stop()
	var all sync.WaitGroup
	for _, c := range s.people {
		all.Go(func() { s.person(ctx, c, o) })
	}
	all.Wait()
	return o
}

// floors has the people work for d beside a process that burns as much CPU time as the attackers'
// did, and for d beside that one and another that burns as much as the server did meanwhile. No
// server that does this work can make them wait less.
func (s *soak) floors(d time.Duration, attackers, server float64) (theirs, both *soaked) {
	s.t.Helper()
	first := s.beside(neighbour{Nice: neighbourNice, Burns: attackers})
	theirs = s.work(d)
	second := s.beside(neighbour{Burns: server})
	both = s.work(d)
	first.end()
	second.end()
	return theirs, both
}

// against says how much longer people waited than calm's.
func (o *soaked) against(calm *soaked) string {
	p99, was := o.took.Quantile(0.99), calm.took.Quantile(0.99)
	return fmt.Sprintf("%.1f × (%v, %v)", float64(p99)/float64(was), p99.Round(time.Millisecond),
		was.Round(time.Millisecond))
}

// quantiles are the median and the p99 of each histogram.
func quantiles(all ...*histogram.Histogram) (texts []string) {
	for _, h := range all {
		for _, q := range []float64{0.5, 0.99} {
			texts = append(texts, h.Quantile(q).Round(100*time.Microsecond).String())
		}
	}
	return texts
}

func pauseFor(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// person lists, reads, writes and searches, as people do.
func (s *soak) person(ctx context.Context, p soakPerson, o *soaked) {
	c, id := p.client, p.note
	for n := 0; ; n++ {
		pauseFor(ctx, time.Duration(rand.Int64N(2*int64(soakPause))))
		if ctx.Err() != nil {
			return
		}
		switch n % 6 {
		case 0, 3:
			o.ask(c, http.MethodPatch, "/api/notes/"+id, map[string]string{"content": fmt.Sprintf("what I am writing now, %d words", n)})
		case 1:
			o.ask(c, http.MethodGet, "/api/notes?limit=20", nil)
		case 2:
			o.ask(c, http.MethodPost, "/api/notes", note{Title: "another", Content: strings.Repeat("a few words ", 30)})
		case 4:
			o.ask(c, http.MethodGet, "/api/notes?search=writing&limit=20", nil)
		case 5:
			o.ask(c, http.MethodGet, "/api/notes/"+id, nil)
		}
	}
}

// ask sends a request, and again after the wait that a refusal names.
func (o *soaked) ask(c *client, method, path string, body any) {
	for again := range 2 {
		began := time.Now()
		r, err := c.try(method, path, body)
		done := err == nil && r.status < http.StatusMultipleChoices
		if done {
			took := time.Since(began)
			o.took.Record(took)
			if method == http.MethodGet {
				o.reads.Record(took)
			} else {
				o.writes.Record(took)
			}
		}
		wait := time.Duration(0)
		if err == nil && (r.status == http.StatusServiceUnavailable || r.status == http.StatusTooManyRequests) {
			seconds, _ := strconv.Atoi(r.header.Get("Retry-After"))
			wait = time.Duration(seconds) * time.Second
		}
		o.mu.Lock()
		if again == 0 {
			o.asked++
		}
		failed := !done && (again == 1 || wait == 0 || wait > soakLongest)
		if failed {
			o.failed++
			o.examples = append(o.examples[:min(len(o.examples), 5)], fmt.Sprintf("%s %.30s: %d %.150s %v", method, path, r.status, r.text, err))
		}
		if !done && !failed {
			o.waited++
		}
		o.mu.Unlock()
		if done || failed {
			return
		}
		time.Sleep(wait)
	}
}
