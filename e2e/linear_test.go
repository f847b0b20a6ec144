package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"notesd/internal/testserver"
	"notesd/store/storetest"
)

// Answers of a whole server, or of two replicas, to people who read and write
// the same few notes at once, checked by porcupine: is there an order of all that was done,
// each somewhere between question and answer, in which every answer is the right one?

const (
	trustTime = time.Second // that a replica may answer from memory after others were last heard

	linearNotes   = 3
	linearClients = 6
)

// A history is what clients did and saw.
type history struct {
	began time.Time

	mu  sync.Mutex // guards all
	all []porcupine.Operation
}

// step is an action on one register: a note, whose value is its content, or a
// session, whose value is "alive" or nothing.
type step struct {
	register string
	write    bool
	value    string // written
}

func (h *history) now() int64 { return int64(time.Since(h.began)) }

// add notes what a client did from call on, and the value that it read.
func (h *history) add(client int, s step, call, end int64, read string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, porcupine.Operation{ClientId: client, Input: s, Output: read, Call: call, Return: end})
}

// never is the end of what was never answered: it may be done at any time, or not at all.
const never = int64(1) << 62

// registers is the model: registers that begin with what initial says, each by itself.
func registers(initial string) porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) (parts [][]porcupine.Operation) {
			at := map[string]int{}
			for _, op := range history {
				name := op.Input.(step).register
				i, known := at[name]
				if !known {
					i = len(parts)
					at[name], parts = i, append(parts, nil)
				}
				parts[i] = append(parts[i], op)
			}
			return parts
		},
		Init: func() any { return initial },
		Step: func(state, input, output any) (bool, any) {
			if s := input.(step); s.write {
				return true, s.value
			}
			return output.(string) == state.(string), state
		},
		DescribeOperation: func(input, output any) string {
			if s := input.(step); s.write {
				return fmt.Sprintf("%s := %q", s.register, s.value)
			}
			return fmt.Sprintf("%s is %q", input.(step).register, output)
		},
	}
}

// check fails the test unless the history is right.
func (h *history) check(t *testing.T, initial string) {
	t.Helper()
	result, info := porcupine.CheckOperationsVerbose(registers(initial), h.all, time.Minute)
	if result == porcupine.Ok {
		return
	}
	file := t.ArtifactDir() + "/history.html"
	if err := porcupine.VisualizePath(registers(initial), info, file); err != nil {
		t.Error(err)
	}
	t.Errorf("%d steps: %s; see %s (go test -artifacts)", len(h.all), result, file)
}

// reader is one person's browser at one of the replicas.
type reader struct {
	t        *testing.T
	h        *history
	number   int
	at       []*client // the person's browser at each replica
	notes    []string  // ids
	excepted int64     // how much older what is read may be than the question
	done     *revisions
}

// revisions are the newest that each replica has acknowledged a write of, by
// replica and note.
type revisions struct {
	mu     sync.Mutex // guards newest
	newest map[string]int64
}

func (r *revisions) of(c *client, id string) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.newest[c.url+id]
}

func (r *revisions) wrote(c *client, n note) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.newest[c.url+n.ID] = max(r.newest[c.url+n.ID], n.Revision)
}

// act does something by chance.
func (r *reader) act() {
	c, id := r.at[rand.IntN(len(r.at))], r.notes[rand.IntN(len(r.notes))]
	switch n := rand.IntN(10); {
	case n < 5:
		r.get(c, id)
	case n < 7:
		r.list(c)
	default:
		r.write(c, id)
	}
}

func (r *reader) get(c *client, id string) {
	least, call := r.done.of(c, id), r.h.now()
	answer, err := c.try(http.MethodGet, "/api/notes/"+id, nil)
	if err != nil || answer.status != http.StatusOK {
		return // nothing was read
	}
	n := answer.note()
	r.h.add(r.number, step{register: id}, call-r.excepted, r.h.now(), n.Content)
	r.notBefore(n, least)
}

// notBefore fails the test if n is older than a write that its replica had acknowledged when it was asked for.
func (r *reader) notBefore(n note, least int64) {
	if n.Revision < least {
		r.t.Errorf("note %s: revision %d after %d was acknowledged by the same replica", n.ID, n.Revision, least)
	}
}

// list asks for all notes at once. Each of them is one question: a list is put together from notes as they are.
func (r *reader) list(c *client) {
	least := make(map[string]int64, len(r.notes))
	for _, id := range r.notes {
		least[id] = r.done.of(c, id)
	}
	call := r.h.now()
	answer, err := c.try(http.MethodGet, "/api/notes?limit=50", nil)
	if err != nil || answer.status != http.StatusOK {
		return
	}
	end := r.h.now()
	for i, n := range answer.notes() {
		r.h.add(r.number+100*(i+1), step{register: n.ID}, call-r.excepted, end, n.Content)
		r.notBefore(n, least[n.ID])
	}
	if len(answer.notes()) != len(r.notes) {
		r.t.Errorf("the list has %d notes, want %d", len(answer.notes()), len(r.notes))
	}
}

func (r *reader) write(c *client, id string) {
	text := fmt.Sprintf("%d.%d", r.number, r.h.now())
	call := r.h.now()
	answer, err := c.try(http.MethodPatch, "/api/notes/"+id, map[string]string{"content": text})
	switch {
	case err != nil || answer.status >= http.StatusInternalServerError:
		r.h.add(1000+rand.IntN(1<<30), step{id, true, text}, call, never, "")
	case answer.status == http.StatusOK:
		r.done.wrote(c, answer.note())
		r.h.add(r.number, step{id, true, text}, call, r.h.now(), "")
	default:
		r.t.Errorf("PATCH: %s", answer.text)
	}
}

// together has the readers act for a while.
func together(readers []*reader, last time.Duration, steps int) {
	var wg sync.WaitGroup
	for _, r := range readers {
		wg.Go(func() {
			end := time.Now().Add(last)
			for range steps {
				if time.Now().After(end) {
					return
				}
				r.act()
			}
		})
	}
	wg.Wait()
}

// readersOf are browsers of one person with some notes, at all the replicas.
func readersOf(t *testing.T, h *history, excepted time.Duration, n int, replicas ...*process) (readers []*reader) {
	t.Helper()
	ada := replicas[0].member("ada@example.com")
	var notes []string
	for i := range n {
		notes = append(notes, ada.create(fmt.Sprint("note ", i), "first"))
	}
	done := &revisions{newest: map[string]int64{}}
	for i := range linearClients {
		r := &reader{t: t, h: h, number: i, notes: notes, excepted: int64(excepted), done: done}
		for _, p := range replicas {
			r.at = append(r.at, ada.on(p))
		}
		readers = append(readers, r)
	}
	return readers
}

// On one process nothing is read that is older than anything that was acknowledged, or read, before.
func TestLinearizable(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string][]string{
		"SQLite":     nil,
		"PostgreSQL": {"DATABASE_URL=" + storetest.Postgres(t), "REDIS_URL=" + testserver.Redis(t)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, append(settings, secret, "RATE_LIMIT_MAX_REQUESTS=0")...)
			p.awaitCopies()
			h := &history{began: time.Now()}
			together(readersOf(t, h, 0, linearNotes, p), 4*time.Second, 400)
			h.check(t, "first")
			p.wantCopies(t)
		})
	}
}

// awaitCopies waits until the process trusts what it has in memory.
func (p *process) awaitCopies() {
	p.t.Helper()
	p.await("trust in copies", func() bool { return p.cache().Trusted })
}

// wantCopies fails the test if nothing was answered from memory: then it has shown nothing.
func (p *process) wantCopies(t *testing.T) {
	t.Helper()
	if c := p.cache(); c.Kinds["note"].Hits == 0 || c.Kinds["session"].Hits == 0 {
		t.Errorf("answered from memory: %+v, want some of each", c.Kinds)
	}
}

// cacheState is what /api/runtime says of the copies.
type cacheState struct {
	Trusted bool
	Kinds   map[string]struct{ Hits, Misses uint64 }
}

func (p *process) cache() cacheState {
	p.t.Helper()
	var state struct{ Cache cacheState }
	p.administrator().get("/api/runtime").want(http.StatusOK).decode(&state)
	return state.Cache
}

// replicasOverChannels are two processes on one database, and the proxies
// through which each hears the other.
func replicasOverChannels(t *testing.T, redis bool) (replicas []*process, channels []*testserver.Proxy) {
	t.Helper()
	url := storetest.Postgres(t)
	settings := []string{"DATABASE_URL=" + url, secret, "RATE_LIMIT_MAX_REQUESTS=0"}
	if redis {
		settings = append(settings, "REDIS_URL="+testserver.Redis(t))
	}
	for range 2 {
		proxy := testserver.NewProxy(t, url)
		p := newProcess(t, append(settings, "DATABASE_CHANNEL_URL="+proxy.URL())...)
		p.start()
		replicas, channels = append(replicas, p), append(channels, proxy)
	}
	for _, p := range replicas {
		p.awaitReady()
		p.awaitCopies()
	}
	return replicas, channels
}

// trouble cuts and heals the channels at random until stop is called.
func trouble(channels []*testserver.Proxy) (stop func()) {
	over := make(chan struct{})
	var wg sync.WaitGroup
	for _, channel := range channels {
		wg.Go(func() {
			defer channel.Set(testserver.Pass)
			for {
				faults := []testserver.Fault{testserver.Pass, testserver.Pass, testserver.Refuse, testserver.Stall, testserver.HalfOpen}
				channel.Set(faults[rand.IntN(len(faults))])
				select {
				case <-time.After(time.Duration(rand.IntN(2500)) * time.Millisecond):
				case <-over:
					return
				}
			}
		})
	}
	return func() {
		close(over)
		wg.Wait()
	}
}

// At two replicas what is read is never older than a second, whatever becomes of the
// channel between them, and never older than what the same replica has acknowledged.
func TestLinearizableReplicas(t *testing.T) {
	t.Parallel()
	long(t, "replicas for many seconds")
	replicas, channels := replicasOverChannels(t, true)
	h := &history{began: time.Now()}
	stop := trouble(channels)
	together(readersOf(t, h, trustTime, linearNotes, replicas...), 12*time.Second, 150)
	stop()
	h.check(t, "first")
	for _, p := range replicas {
		p.wantCopies(t)
	}
}

// A session that was signed out is one nowhere, once that was acknowledged. Until then, which takes a second
// at most, another replica may know it or not.
func TestLinearizableSessions(t *testing.T) {
	t.Parallel()
	long(t, "replicas for many seconds")
	for name, redis := range map[string]bool{"in Redis": true, "in PostgreSQL": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			replicas, channels := replicasOverChannels(t, redis)
			replicas[0].member("ada@example.com")
			h := &history{began: time.Now()}
			stop := trouble(channels)
			for round := range 6 {
				var wg sync.WaitGroup
				for i := range 4 {
					ada := replicas[0].visitor()
					ada.signIn("ada@example.com", password).want(http.StatusOK)
					s := &sessionUser{h: h, name: fmt.Sprint(round, ".", i), cookie: ada.cookie(), replicas: replicas}
					for j := range 4 {
						wg.Go(func() { s.act(t, 10*i+j, j == 0) })
					}
				}
				wg.Wait()
			}
			stop()
			h.check(t, "alive")
		})
	}
}

// sessionUser uses one session from several places.
type sessionUser struct {
	h            *history
	name, cookie string
	replicas     []*process
}

// at is the session as a replica knows it.
func (s *sessionUser) at(p *process) string { return s.name + " at " + p.url }

// act asks who is signed in, again and again; one who ends the session does that midway.
func (s *sessionUser) act(t *testing.T, number int, ends bool) {
	c := s.replicas[0].visitor()
	for i := range 60 {
		p := s.replicas[rand.IntN(len(s.replicas))]
		call := s.h.now()
		if ends && i == 20 {
			answer, err := c.on(s.replicas[0]).try(http.MethodPost, "/api/auth/logout", nil, "Cookie", s.cookie)
			end := s.h.now()
			if err != nil || answer.status >= http.StatusInternalServerError {
				end = never
			}
			for _, each := range s.replicas {
				s.h.add(number, step{s.at(each), true, ""}, call, end, "")
			}
			continue
		}
		answer, err := c.on(p).try(http.MethodGet, "/api/notes", nil, "Cookie", s.cookie)
		switch {
		case err != nil || answer.status >= http.StatusInternalServerError:
		case answer.status == http.StatusOK:
			s.h.add(number, step{register: s.at(p)}, call, s.h.now(), "alive")
		case answer.status == http.StatusUnauthorized && p == s.replicas[0]:
			s.h.add(number, step{register: s.at(p)}, call, s.h.now(), "")
		case answer.status == http.StatusUnauthorized: // what it knows of until the end was acknowledged is not promised
		default:
			t.Errorf("GET /api/notes: %s", answer.text)
		}
	}
}
