package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// An attempt is one request of a load and what became of it.
type attempt struct {
	request
	sent, answered time.Time
	reply          reply
	err            error // no answer, or half of one
}

// took is how long the client waited.
func (a attempt) took() time.Duration { return a.answered.Sub(a.sent) }

// A load is clients that send one request after the other, each on its own
// connection, until they are told to stop.
type load struct {
	// repeats: a note is created under a key of its own, and again until that is
	// acknowledged.
	repeats bool

	stopped atomic.Bool
	clients sync.WaitGroup

	mu       sync.Mutex // guards what follows
	attempts []attempt
}

// Between the requests of a client: a load is to be felt, not to fill the machine.
const (
	pause        = 3 * time.Millisecond
	pauseRefused = 20 * time.Millisecond
)

// startLoad starts clients of person's. The i-th request of the n-th client is next's to choose.
func startLoad(person *client, clients int, next func(client, i int) request) *load {
	l := &load{}
	l.start(person, clients, next)
	return l
}

// startRepeatingLoad is startLoad for clients that repeat.
func startRepeatingLoad(person *client, clients int, next func(client, i int) request) *load {
	l := &load{repeats: true}
	l.start(person, clients, next)
	return l
}

func (l *load) start(person *client, clients int, next func(client, i int) request) {
	person.t.Cleanup(func() { l.stop() })
	for n := range clients {
		w := person.wire()
		l.clients.Go(func() {
			defer w.close()
			for i := 0; !l.stopped.Load(); i++ {
				r := next(n, i)
				for !l.send(w, r) && l.repeats && r.title != "" && !l.stopped.Load() {
					continue
				}
			}
		})
	}
}

// request is what a client of a load sends.
type request struct {
	method, path string
	title        string // of the note to create, if that
}

// send sends r, pauses, and reports whether it succeeded.
func (l *load) send(w *wire, r request) bool {
	body, key := "", []string(nil)
	if r.title != "" {
		body = fmt.Sprintf(`{"title":%q,"content":"under load"}`, r.title)
	}
	if r.title != "" && l.repeats {
		key = []string{"Idempotency-Key", strings.ReplaceAll(r.title, " ", "-")}
	}
	a := attempt{request: r, sent: time.Now()}
	a.reply, a.err = w.do(r.method, r.path, body, key...)
	a.answered = time.Now()
	l.mu.Lock()
	l.attempts = append(l.attempts, a)
	l.mu.Unlock()
	if !a.succeeded() {
		time.Sleep(pauseRefused)
		return false
	}
	time.Sleep(pause)
	return true
}

// stop lets the clients read their last answers, and returns all attempts in
// the order in which they were sent.
func (l *load) stop() []attempt {
	l.stopped.Store(true)
	l.clients.Wait()
	slices.SortFunc(l.attempts, func(a, b attempt) int { return a.sent.Compare(b.sent) })
	return l.attempts
}

// everyday is what people do: write, read, look.
func everyday(id string) func(client, i int) request {
	return func(client, i int) request {
		switch i % 3 {
		case 0:
			return request{http.MethodPost, "/api/notes", fmt.Sprintf("note %d of client %d", i, client)}
		case 1:
			return request{http.MethodGet, "/api/notes/" + id, ""}
		}
		return request{http.MethodGet, "/api/notes?limit=20", ""}
	}
}

// failed are the attempts that did not succeed.
func failed(attempts []attempt) (bad []attempt) {
	for _, a := range attempts {
		if !a.succeeded() {
			bad = append(bad, a)
		}
	}
	return bad
}

func (a attempt) succeeded() bool { return a.err == nil && a.reply.status < http.StatusBadRequest }

// report fails the test and shows the first few of bad attempts.
func report(t *testing.T, bad []attempt, of int, why string) {
	t.Helper()
	for _, a := range bad[:min(5, len(bad))] {
		t.Logf("sent %s, took %v: %s = %d %.200s, %v", a.sent.Format("15:04:05.000"), a.took(), a.reply.call, a.reply.status,
			a.reply.text, a.err)
	}
	if len(bad) > 0 {
		t.Errorf("%d of %d requests failed %s", len(bad), of, why)
	}
}
