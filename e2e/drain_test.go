package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"notesd/internal/testkit"
	"notesd/internal/testserver"
	"notesd/store/storetest"
)

const (
	shutdownDelay = time.Second
	// balancerTime is how long a load balancer goes on sending requests to a
	// process that has turned unready.
	balancerTime = 300 * time.Millisecond
	// slowest is a request that still runs when the listener has closed.
	slowest = 2 * time.Second
)

// SIGTERM under load: unready at once, everything served during the delay, no
// accepted request fails, later ones are refused, and the last log line adds up.
func TestDrain(t *testing.T) {
	drains := 5
	if testing.Short() {
		drains = 2
	}
	var red []time.Duration
	for i := range drains {
		engine, settings := "SQLite", []string{"SHUTDOWN_DELAY=" + shutdownDelay.String(), "SHUTDOWN_TIMEOUT=5s",
			"WORKERS_PER_SHARD=16"} // so that the slow requests are in nobody's way
		if i == drains-1 {
			engine = "PostgreSQL and Redis"
			settings = append(settings, "DATABASE_URL="+storetest.Postgres(t), "REDIS_URL="+testserver.Redis(t), secret)
		}
		t.Run(fmt.Sprintf("%s %d", engine, i), func(t *testing.T) { red = append(red, drain(t, start(t, settings...))) })
	}
	slices.Sort(red)
	t.Logf("unready after %v", red)
	if len(red) == drains && testkit.TooLong(red[0], 50*time.Millisecond, 50*time.Millisecond) {
		t.Errorf("time from SIGTERM to unready = %v at best, want 50ms at most", red[0])
	}
}

// drain ends p under load and returns the time from the signal to the first red probe.
func drain(t *testing.T, p *process) (red time.Duration) {
	ada := p.member("ada@example.com")
	people := startLoad(ada, 8, everyday(ada.create("first", "of many")))
	slow := startLoad(ada, 4, func(int, int) request { return request{http.MethodGet, "/api/fault/slow?for=800ms", ""} })
	kept := ada.wire() // used before, idle while the process leaves
	defer kept.close()
	if r, err := kept.do(http.MethodGet, "/api/auth/me", ""); err != nil || r.status != http.StatusOK || r.closes {
		t.Fatalf("before the signal: %d, closes %v, %v", r.status, r.closes, err)
	}
	time.Sleep(200 * time.Millisecond) // of ordinary load

	signalled := time.Now()
	p.signal(syscall.SIGTERM)
	unready := awaitRed(t, p, signalled)
	late := sendLate(ada)
	time.Sleep(time.Until(unready.Add(balancerTime)))
	attempts := slices.Concat(people.stop(), slow.stop())

	p.awaitLog("shutdown: listener closed")
	time.Sleep(200 * time.Millisecond) // what had been read by then has its turn
	refused := checkRefused(t, p, kept)
	attempts = append(attempts, late()...)
	state := p.wait(shutdownDelay + 5*time.Second)
	gone := time.Since(signalled)
	if state.ExitCode() != 0 || gone < shutdownDelay {
		t.Errorf("%v after %v, want exit status 0 after %v at least", state, gone, shutdownDelay)
	}

	report(t, failed(attempts), len(attempts), "while the process left")
	checkDelay(t, attempts, unready)
	checkLastLine(t, p, attempts, signalled, refused)
	return unready.Sub(signalled)
}

// awaitRed probes readiness until it is red, as a load balancer does.
func awaitRed(t *testing.T, p *process, signalled time.Time) time.Time {
	t.Helper()
	for {
		status := p.probe("/readyz")
		now := time.Now()
		switch {
		case status == http.StatusServiceUnavailable:
			return now
		case status != http.StatusOK:
			t.Fatalf("the probe = %d, want 200 or 503", status)
		case testkit.TooLong(now.Sub(signalled), 50*time.Millisecond, 450*time.Millisecond):
			t.Fatalf("still ready %v after SIGTERM", now.Sub(signalled))
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// sendLate sends a request of each kind that ends after the listener has
// closed; the function it returns waits for the answers.
func sendLate(person *client) (answers func() []attempt) {
	l := &load{}
	for range 4 {
		w := person.wire()
		l.clients.Go(func() {
			defer w.close()
			l.send(w, request{http.MethodGet, "/api/fault/slow?for=" + slowest.String(), ""})
		})
	}
	return l.stop
}

// checkRefused asks when the listener has closed: a kept connection gets a
// 503, a new one is not accepted. It returns how many requests were shed.
func checkRefused(t *testing.T, p *process, kept *wire) (shed int) {
	t.Helper()
	r, err := kept.do(http.MethodGet, "/api/notes", "")
	if err != nil {
		t.Errorf("late request on a kept connection: %v, want an answer", err)
	} else if wrong := r.unavailable("draining"); wrong != "" || !r.closes {
		t.Errorf("late request on a kept connection: %s, closes %v", wrong, r.closes)
	}
	if status := p.probe("/api/health"); status != 0 {
		t.Errorf("a new connection is answered %d when the listener has closed", status)
	}
	return 1
}

// checkDelay: what is sent while unready is served, and told to let go of the connection.
func checkDelay(t *testing.T, attempts []attempt, unready time.Time) {
	t.Helper()
	during := 0
	for _, a := range attempts {
		if a.sent.Before(unready) {
			continue
		}
		during++
		if !a.reply.closes {
			t.Errorf("%s, sent %v after the probe was red, does not close its connection", a.reply.call, a.sent.Sub(unready))
			break
		}
	}
	if during < 10 {
		t.Errorf("only %d requests came during the delay: nothing was proved", during)
	}
}

// checkLastLine compares what the process says of its leaving with what its clients saw.
func checkLastLine(t *testing.T, p *process, attempts []attempt, signalled time.Time, shed int) {
	t.Helper()
	entries := p.log.Entries()
	last := entries[len(entries)-1]
	if last.Text("msg") != "shutdown: done" || last.Number("cut") != 0 || last.Number("shed") != float64(shed) {
		t.Errorf("the last line is %v, want shutdown: done with %d shed and none cut", last, shed)
	}
	sent, answered := 0, 0
	for _, a := range attempts {
		if a.answered.After(signalled) {
			answered++
		}
		if a.sent.After(signalled.Add(50 * time.Millisecond)) {
			sent++
		}
	}
	const probes = 300 // at most: one every 2 ms, for half a second
	if got := int(last.Number("answered")); got < sent || got > answered+probes {
		t.Errorf("the last line counts %d answered, want %d to %d", got, sent, answered+probes)
	}
}

// Clients that nobody tells where to go send until they find the door shut:
// each request whose connection stood is answered. But for one: between the
// last look into the backlog and the close, the kernel may let another in.
func TestDrainUnannounced(t *testing.T) {
	const clients = 16
	runs := 3
	if testing.Short() {
		runs = 1
	}
	for range runs {
		p := start(t, "SHUTDOWN_DELAY="+shutdownDelay.String())
		ada := p.member("ada@example.com")
		id := ada.create("first", "of many")
		var served, reset atomic.Int64
		var sending sync.WaitGroup
		for range clients {
			sending.Go(func() { untilShut(t, ada, "/api/notes/"+id, &served, &reset) })
		}
		time.Sleep(200 * time.Millisecond)
		p.signal(syscall.SIGTERM)
		sending.Wait()
		if state := p.wait(patience); state.ExitCode() != 0 || served.Load() < 10*clients {
			t.Errorf("%v, %d requests served: nothing was proved", state, served.Load())
		}
		if reset.Load() > 1 {
			t.Errorf("%d requests met a reset", reset.Load())
		}
	}
}

// untilShut sends requests, each on a connection of its own, until none can be
// made any more, and counts those that were served and those that met a reset.
func untilShut(t *testing.T, person *client, path string, served, reset *atomic.Int64) {
	for !t.Failed() {
		w := person.wire()
		if w.dial() != nil {
			return
		}
		r, err := w.do(http.MethodGet, path, "")
		w.close()
		switch {
		case err == nil && r.status == http.StatusOK:
			served.Add(1)
		case errors.Is(err, syscall.ECONNRESET):
			reset.Add(1)
		case err != nil || r.unavailable("draining") != "":
			t.Errorf("GET %s = %d %.200s, %v, want 200 or 503 draining", path, r.status, r.text, err)
		}
	}
}

// A request that does not end within SHUTDOWN_TIMEOUT is cut, counted and said
// aloud; neither one that heeds its context nor one that heeds nothing holds
// the process.
func TestCut(t *testing.T) {
	t.Parallel()
	p := start(t, "SHUTDOWN_TIMEOUT=500ms")
	w := []*wire{p.visitor().wire(), p.visitor().wire()}
	var running sync.WaitGroup
	for i, path := range []string{"/api/fault/slow?for=1h", "/api/fault/stall?for=1h"} {
		running.Go(func() {
			defer w[i].close()
			if r, err := w[i].do(http.MethodGet, path, ""); err == nil {
				t.Errorf("%s = %d %s, want a cut connection", path, r.status, r.text)
			}
		})
	}
	p.await("two requests running", func() bool { return p.runtime().Pool.Busy == 2 })
	signalled := time.Now()
	p.signal(syscall.SIGTERM)
	state := p.wait(patience)
	if took := time.Since(signalled); took < 500*time.Millisecond || testkit.TooLong(took, 500*time.Millisecond, 2500*time.Millisecond) {
		t.Errorf("gone after %v, want little more than 500ms", took)
	}
	running.Wait()
	if state.ExitCode() != 1 || !strings.Contains(p.log.Tail(2), "notesd: requests cut after 500ms: 2") {
		t.Errorf("%v, saying %s, want exit status 1 and the requests cut", state, p.log.Tail(2))
	}
	if e := p.lastLine(); e.Number("cut") != 2 {
		t.Errorf("the last line is %v, want cut 2", e)
	}
}

// lastLine is the line with which an ended process took its leave.
func (p *process) lastLine() testkit.Entry {
	p.t.Helper()
	lines := p.log.With("shutdown: done")
	if len(lines) != 1 {
		p.t.Fatalf("%d lines say that the shutdown is done, want 1", len(lines))
	}
	return lines[0]
}

// A second signal stops at once.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	p := start(t, "SHUTDOWN_DELAY=30s")
	p.signal(syscall.SIGTERM)
	p.awaitLog("shutdown: unready, still serving")
	signalled := time.Now()
	p.signal(syscall.SIGTERM)
	state := p.wait(patience)
	if took := time.Since(signalled); testkit.TooLong(took, 0, time.Second) {
		t.Errorf("gone %v after the second signal, want at once", took)
	}
	if status := state.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("%v, want an end by SIGTERM", state)
	}
}

// A terminal that is closed sends SIGHUP, more than once. It is no other way out than
// SIGTERM; and under nohup it is none.
func TestHangUp(t *testing.T) {
	t.Run("from a terminal", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t, "SHUTDOWN_DELAY=500ms")
		p.wrap = []string{"env", "--default-signal=HUP"} // these tests themselves may run under nohup
		p.start()
		p.awaitReady()
		wait := p.ask(1, "/api/fault/slow?for=1s")
		p.await("the request", func() bool { return p.runtime().Pool.Busy > 0 })
		p.signal(syscall.SIGHUP)
		p.awaitLog("shutdown: unready, still serving")
		p.signal(syscall.SIGHUP)
		wait()
		if state := p.wait(patience); state.ExitCode() != 0 {
			t.Errorf("after SIGHUP: %v, want exit status 0", state)
		}
	})
	t.Run("with nohup", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t, "SHUTDOWN_DELAY=500ms")
		p.wrap = []string{"nohup"}
		p.start()
		p.awaitReady()
		p.signal(syscall.SIGHUP)
		if status := p.probe("/readyz"); status != http.StatusOK {
			t.Errorf("after SIGHUP: readiness %d, want 200", status)
		}
		p.stop() // where SIGHUP counted, this would be the second signal, which kills
	})
}

// When the reader of its log ends, the process serves on.
func TestLogReaderGone(t *testing.T) {
	t.Parallel()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer write.Close()
	p := newProcess(t)
	p.out = write
	p.start()
	p.awaitReady()
	if err := read.Close(); err != nil {
		t.Fatal(err)
	}
	ada := p.member("ada@example.com") // which is logged
	ada.create("kept", "although nobody reads the log")
	p.signal(syscall.SIGTERM)
	if state := p.wait(patience); !state.Exited() {
		t.Errorf("%v, want an exit by itself", state)
	}
}
