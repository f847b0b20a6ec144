package e2e

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// alert is what the tests read of an event.
type alert struct {
	Event, Subject string
	Detail         struct{ Worker, Replacement, HeldMs uint64 }
}

// receive is a webhook and what it is sent.
func receive(t *testing.T) (url string, alerts chan alert) {
	alerts = make(chan alert, 100)
	in := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var a alert
		if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
			t.Error(err)
		}
		alerts <- a
	}))
	t.Cleanup(in.Close)
	return in.URL, alerts
}

// stall has n requests mind nothing for d, and returns a function that waits for their answers.
func (p *process) stall(n int, d time.Duration) (wait func()) {
	return p.ask(n, "/api/fault/stall?for="+d.String())
}

// ask sends n requests for path at once, and returns a function that waits for their answers.
func (p *process) ask(n int, path string) (wait func()) {
	answers := make(chan error, n)
	for range n {
		go func() {
			w := &wire{addr: p.addr()}
			defer w.close()
			_, err := w.do(http.MethodGet, path, "")
			answers <- err
		}()
	}
	return func() {
		p.t.Helper()
		for range n {
			if err := <-answers; err != nil {
				p.t.Errorf("a request that took long: %v, want an answer", err)
			}
		}
	}
}

const (
	requestTimeout = 2 * time.Second // of everyone: a busy machine needs some
	stuckAfter     = 2 * requestTimeout
)

// Handlers that mind nothing are found, reported with their stacks, and replaced
// within bounds; above these the process is unready. Everyone else is served all
// the time, and when they end nothing is missing.
func TestStuck(t *testing.T) {
	t.Parallel()
	url, alerts := receive(t)
	// With the race detector a password of a sign-up can take a busy machine longer than requestTimeout.
	p := startUnraced(t, "REQUEST_TIMEOUT="+requestTimeout.String(), "MAX_WORKERS=1", "WORKERS_PER_SHARD=8", "ALERT_WEBHOOK_URL="+url)
	others := startOthers(p)
	const stuck, bound = 3, 2 // a quarter of eight
	const lasts = 3 * stuckAfter
	wait := p.stall(stuck, lasts)
	began := time.Now()

	p.await("readiness red", func() bool { return p.probe("/readyz") == http.StatusServiceUnavailable })
	if red := time.Since(began); red < stuckAfter || red > lasts {
		t.Errorf("unready after %v, want some %v", red, stuckAfter)
	}
	state := p.runtime().Pool
	if s := state.Stuck; s.Found != stuck || s.Replaced != bound || s.Bound != bound || len(s.Turns) != stuck {
		t.Errorf("/api/runtime has %+v, want %d stuck, %d replaced", s, stuck, bound)
	}
	p.wantMetrics(t, fmt.Sprintf(`notesd_pool_stuck_workers{replaced="true"} %d`, bound))
	lines := p.log.With("worker stuck")
	replaced := 0
	for _, e := range lines {
		if e.Number("replacement") > 0 {
			replaced++
		}
		if stack := e.Text("stack"); !strings.Contains(stack, "faultStall") || strings.Contains(stack, "goroutine profile") ||
			strings.Contains(stack, "Watch") {
			t.Errorf("a stuck request's stack is\n%s\nwant its own alone", stack)
		}
	}
	if len(lines) != stuck || replaced != bound {
		t.Errorf("the log has %d stuck requests, %d replaced, want %d and %d", len(lines), replaced, stuck, bound)
	}

	wait()
	p.awaitReady()
	others.allServed(t)
	p.await("rest", func() bool { return p.runtime().Pool.Stuck.Recovered == stuck })
	state = p.runtime().Pool
	if state.Workers != 8 || state.Idle != 8 || state.Restarts != 0 || len(state.Stuck.Turns) != 0 {
		t.Errorf("at the end %+v, want eight workers, all idle", state)
	}
	if got := len(p.log.With("stuck worker recovered")); got != stuck {
		t.Errorf("the log has %d recovered, want %d", got, stuck)
	}
	told := map[string]int{}
	for told["worker_stuck"]+told["worker_recovered"] < 2*stuck {
		select {
		case a := <-alerts:
			if a.Event == "incident" { // the first leaves a file
				continue
			}
			told[a.Event]++
			if a.Subject != "/api/fault/stall" || a.Detail.Worker == 0 || a.Detail.HeldMs < uint64(stuckAfter.Milliseconds()) {
				t.Errorf("told %+v", a)
			}
		case <-time.After(patience):
			t.Fatalf("told %v, want %d of each", told, stuck)
		}
	}
	if told["worker_stuck"] != stuck || told["worker_recovered"] != stuck {
		t.Errorf("told %v, want %d of each", told, stuck)
	}
}

// A process with stuck handlers leaves when SHUTDOWN_TIMEOUT is over, and says
// how many it cut.
func TestStuckDrain(t *testing.T) {
	t.Parallel()
	p := start(t, "REQUEST_TIMEOUT="+requestTimeout.String(), "MAX_WORKERS=1", "WORKERS_PER_SHARD=4", "SHUTDOWN_TIMEOUT=2s")
	p.stall(2, time.Hour) // one is replaced, one is not
	p.await("stuck requests", func() bool { return len(p.runtime().Pool.Stuck.Turns) == 2 })
	began := time.Now()
	p.signal(syscall.SIGTERM)
	state := p.wait(patience)
	if took := time.Since(began); state.ExitCode() != 1 || took < 2*time.Second || took > 8*time.Second {
		t.Errorf("%v after %v, want exit status 1 after 2 s", state, took)
	}
	if e := p.log.With("shutdown: done"); len(e) != 1 || e[0].Number("cut") != 2 {
		t.Errorf("the log ends with %v, want two requests cut", e)
	}
}

// Whatever is stuck, a second after SHUTDOWN_TIMEOUT the process is gone, and its
// last words are its stacks.
func TestStuckExit(t *testing.T) {
	const timeout = time.Second
	const busy = 2 * time.Second // what a busy machine adds; who waits takes longer than all of it
	gone := func(t *testing.T, p *process) {
		t.Helper()
		began := time.Now()
		p.signal(syscall.SIGTERM)
		state := p.wait(patience)
		if took := time.Since(began); state.ExitCode() != 1 || took > timeout+time.Second+busy {
			t.Errorf("%v after %v, want exit status 1 after 2 s", state, took)
		}
	}
	t.Run("a commit", func(t *testing.T) {
		t.Parallel()
		p := start(t, "SHUTDOWN_TIMEOUT="+timeout.String())
		ada := p.member("ada@example.com")
		db, err := sql.Open("sqlite", p.data("notes.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Exec("BEGIN IMMEDIATE"); err != nil { // and nobody else writes: the server waits 5 s
			t.Fatal(err)
		}
		asked := make(chan struct{})
		go func() {
			defer close(asked)
			_, _ = ada.try(http.MethodPost, "/api/notes", map[string]string{"title": "stuck", "content": "in a commit"}) // it is cut
		}()
		p.await("a write", func() bool { return p.runtime().Pool.Outside > 0 || p.runtime().Pool.Busy > 0 })
		gone(t, p)
		<-asked
		if text := p.log.String(); !strings.Contains(text, "something is stuck") || !strings.Contains(text, "(*groupCommitter).close") {
			t.Errorf("its last words are\n%s\nwant what is stuck", p.log.Tail(20))
		}
	})
	t.Run("the log", func(t *testing.T) {
		t.Parallel()
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer read.Close()
		defer write.Close()
		if _, _, errno := syscall.Syscall(syscall.SYS_FCNTL, write.Fd(), syscall.F_SETPIPE_SZ, 4096); errno != 0 {
			t.Fatal(errno)
		}
		p := newProcess(t, "SHUTDOWN_TIMEOUT="+timeout.String())
		p.out = write
		p.start()
		buffer := make([]byte, 1<<16)
		p.await("readiness", func() bool {
			_ = read.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			_, _ = read.Read(buffer) // from here on nobody reads
			return p.probe("/readyz") == http.StatusOK
		})
		var stuck sync.WaitGroup
		defer stuck.Wait()
		answers := make(chan struct{}, 1)
		for ok := true; ok; { // until the log is full, and so nobody is answered
			stuck.Go(func() {
				w := &wire{addr: p.addr()}
				defer w.close()
				if _, err := w.do(http.MethodGet, "/api/notes", ""); err == nil {
					answers <- struct{}{}
				}
			})
			select {
			case <-answers:
			case <-time.After(time.Second):
				ok = false
			}
		}
		gone(t, p)
	})
}
