package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
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
			calm := s.work(max(lasts/5, 3*time.Second), false)
			before := s.settled()
			storm := s.work(lasts, true)
			after := s.settled()
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
			p99, was := storm.took.Quantile(0.99), calm.took.Quantile(0.99)
			promise("p99 beside the attacks, of that without", "≤ 2 ×", fmt.Sprintf("%.1f × (%v, %v)", float64(p99)/float64(was),
				p99.Round(time.Millisecond), was.Round(time.Millisecond)), p99 <= 2*was, false)
			promise("memory afterwards without the cache, beside that before", "≤ 1.25 ×, or 16 MB more", fmt.Sprintf("%d MB, %d MB", after>>20, before>>20),
				after <= max(before*5/4, before+16<<20), lasts > 10*time.Second)
			for _, kind := range slices.Sorted(maps.Keys(storm.attacks)) {
				var parts []string
				for _, what := range slices.Sorted(maps.Keys(storm.attacks[kind])) {
					parts = append(parts, fmt.Sprintf("%d × %s", storm.attacks[kind][what], what))
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
	t         *testing.T
	url       string
	alive     func() bool
	memory    func() int64 // that the server holds, without its cache
	people    []soakPerson
	attackers []*client
	apart     bool // attackers have addresses of their own
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
	}
	for i := range soakPeople {
		c := s.visitor(2, i)
		c.post("/api/auth/register", credentials(fmt.Sprintf("person%d@example.com", i), password)).want(http.StatusCreated)
		s.people = append(s.people, soakPerson{c, c.create("mine", "what I am writing now")})
	}
	for i := range soakAttacks {
		c := s.visitor(3, i)
		c.post("/api/auth/register", credentials(attackerEmail(i), password)).want(http.StatusCreated)
		s.attackers = append(s.attackers, c)
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

func attackerEmail(i int) string { return fmt.Sprintf("attacker%d@example.com", i) }

// A soakPerson has a note that is edited again and again.
type soakPerson struct {
	*client
	note string
}

// visitor is a client with an address of its own where the server can see one.
func (s *soak) visitor(net1, i int) *client {
	c := outside(s.t, s.url).visitor()
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

// A soaked is what became of requests, and of attacks.
type soaked struct {
	took histogram.Histogram // of people's requests that were done, without the waits

	mu                    sync.Mutex // guards what follows
	asked, waited, failed int
	examples              []string
	attacks               map[string]map[string]int
}

// work has the people work for d, beside the attacks or without.
func (s *soak) work(d time.Duration, attacked bool) *soaked {
	o := &soaked{attacks: map[string]map[string]int{}}
	ctx, stop := context.WithTimeout(s.t.Context(), d)
	defer stop()
	var all sync.WaitGroup
	for _, c := range s.people {
		all.Go(func() { s.person(ctx, c, o) })
	}
	if attacked {
		for i, a := range soakAttacks {
			all.Go(func() {
				at := &attacker{soak: s, c: s.attackers[i], i: i, o: o, name: a.name}
				for ctx.Err() == nil {
					a.attack(ctx, at)
					pauseFor(ctx, 20*time.Millisecond)
				}
			})
		}
	}
	all.Wait()
	return o
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
			o.took.Record(time.Since(began))
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

// An attacker is somebody with an account and bad manners.
type attacker struct {
	*soak
	c    *client
	i    int
	o    *soaked
	name string
}

// try sends a request and counts its answer.
func (a *attacker) try(method, path string, body any, headers ...string) reply {
	r, err := a.c.try(method, path, body, headers...)
	a.count(r.status, err)
	return r
}

func (a *attacker) count(status int, err error) {
	what := fmt.Sprint(status)
	if err != nil {
		what = "no answer"
	}
	a.o.mu.Lock()
	defer a.o.mu.Unlock()
	if a.o.attacks[a.name] == nil {
		a.o.attacks[a.name] = map[string]int{}
	}
	a.o.attacks[a.name][what]++
}

// open opens n connections, writes text on each, and holds them without a
// further byte, read or written, for a while.
func (a *attacker) open(ctx context.Context, n int, text string) {
	var open []net.Conn
	for j := range n {
		conn, err := a.dialer(4, a.i*50+j%50).DialContext(ctx, "tcp", strings.TrimPrefix(a.url, "http://"))
		if err != nil {
			break
		}
		_ = conn.(*net.TCPConn).SetReadBuffer(4096) // or the kernel takes what the attacker does not
		_, _ = io.WriteString(conn, text)
		open = append(open, conn)
	}
	pauseFor(ctx, 2*time.Second)
	for _, conn := range open {
		_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
		line, err := bufio.NewReader(conn).ReadString('\n')
		status := 0
		if _, e := fmt.Sscanf(line, "HTTP/1.1 %d", &status); e != nil && errors.Is(err, io.EOF) {
			a.count(0, err)
		} else {
			a.count(status, nil)
		}
		_ = conn.Close()
	}
}

// raw is a request as it stands on the wire.
func (a *attacker) raw(method, path string, headers ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, strings.TrimPrefix(a.url, "http://"))
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	return b.String() + "\r\n"
}

// soakAttacks are the kinds of attacks, each a step that is repeated.
var soakAttacks = []struct {
	name   string
	attack func(context.Context, *attacker)
}{
	{"long needles in a long note", func(ctx context.Context, a *attacker) {
		if a.try(http.MethodGet, "/api/notes?limit=1", nil).status == http.StatusOK {
			a.try(http.MethodPost, "/api/notes", note{Title: "hay", Content: strings.Repeat("a", 2_000_000)})
		}
		for _, n := range []int{10_000, 999, 501} {
			a.try(http.MethodGet, "/api/notes?limit=1&search="+strings.Repeat("a", n/2)+"b"+strings.Repeat("a", n/2), nil)
		}
	}},
	{"large answers that nobody reads", func(ctx context.Context, a *attacker) {
		id := a.try(http.MethodPost, "/api/notes", note{Title: "large", Content: strings.Repeat("Eight ch", 1_100_000)})
		if id.status == http.StatusCreated {
			a.open(ctx, 8, a.raw(http.MethodGet, "/api/notes/"+id.note().ID, "Cookie: "+a.c.cookie()))
			a.try(http.MethodDelete, "/api/notes/"+id.note().ID, nil)
		}
	}},
	{"large notes without ASCII", func(ctx context.Context, a *attacker) {
		text := strings.Repeat("ﷺİẞǰΐ", 9_000_000/len("ﷺİẞǰΐ"))
		if r := a.try(http.MethodPost, "/api/notes", note{Title: "ﷺ", Content: text}); r.status == http.StatusCreated {
			a.try(http.MethodDelete, "/api/notes/"+r.note().ID, nil)
		}
	}},
	{"long addresses and passwords at sign-in", func(ctx context.Context, a *attacker) {
		a.try(http.MethodPost, "/api/auth/login", credentials(strings.Repeat("é", 1_000_000)+"@example.com", "x"))
		a.try(http.MethodPost, "/api/auth/login", credentials("person1@example.com", strings.Repeat("x", 1_000_000)))
	}},
	{"wrong passwords", func(ctx context.Context, a *attacker) {
		a.try(http.MethodPost, "/api/auth/login", credentials(fmt.Sprintf("nobody%d@example.com", rand.IntN(1_000_000)), "wrong password"))
	}},
	{"sign-ups", func(ctx context.Context, a *attacker) {
		a.try(http.MethodPost, "/api/auth/register", credentials(fmt.Sprintf("new%d@example.com", rand.IntN(1<<40)), password))
	}},
	{"ten thousand tags", func(ctx context.Context, a *attacker) {
		a.try(http.MethodGet, "/api/notes?tags="+strings.Repeat("tag,", 10_000), nil)
	}},
	{"sessions without end", func(ctx context.Context, a *attacker) {
		a.try(http.MethodPost, "/api/auth/login", credentials(attackerEmail(a.i), password))
	}},
	{"notes made and deleted", func(ctx context.Context, a *attacker) {
		if r := a.try(http.MethodPost, "/api/notes", note{Title: "short", Content: "lived"}); r.status == http.StatusCreated {
			a.try(http.MethodDelete, "/api/notes/"+r.note().ID, nil)
		}
	}},
	{"paths, origins and methods that are none", func(ctx context.Context, a *attacker) {
		a.try(http.MethodGet, "/api/nothing/"+strings.Repeat("x", 2000), nil)
		a.try(http.MethodPost, "/api/notes", note{Title: "x"}, "Origin", "https://elsewhere.example")
		a.try(http.MethodOptions, "/api/notes", nil)
		a.try(strings.Repeat("M", 30_000), "/api/notes", nil)
		a.try(http.MethodGet, "/api/runtime", nil, "Authorization", "Bearer guess")
	}},
	{"bodies that are announced and do not come", func(ctx context.Context, a *attacker) {
		a.open(ctx, 50, a.raw(http.MethodPost, "/api/auth/login", "Content-Type: application/json", "Content-Length: 10485760")+"{")
	}},
	{"headers that do not end", func(ctx context.Context, a *attacker) {
		a.open(ctx, 300, "GET /api/notes HTTP/1.1\r\nHost: x\r\n")
	}},
	{"cookies of others", func(ctx context.Context, a *attacker) {
		a.try(http.MethodGet, "/api/notes", nil, "Cookie", "sessionId="+strings.Repeat("x", 43)+"; sessionId="+strings.Repeat("y", 43))
	}},
	{"conditions without end", func(ctx context.Context, a *attacker) {
		a.try(http.MethodGet, "/api/notes?limit=1", nil, "If-None-Match", strings.Repeat(`"x",`, 5000))
	}},
}
