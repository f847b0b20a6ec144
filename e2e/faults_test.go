package e2e

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"notesd/internal/testkit"
)

// runtimeState is what the tests read of /api/runtime.
type runtimeState struct {
	Pool struct {
		Workers, Busy, Idle, Queued, Outside int
		Panics, Goexits, Restarts            uint64
		PanicKinds                           []struct {
			Route, Frame, Fingerprint string
			Count                     uint64
		}
		Stuck struct {
			Found, Recovered uint64
			Replaced, Bound  int
			Turns            []struct{ Worker, Replacement uint64 }
		}
		Shards []struct {
			BytesInFlight int64
			Workers       []struct{ ID uint64 }
		}
	}
	Database map[string]struct{ Most int }
	Limits   struct {
		GOMAXPROCS int
		GOMEMLIMIT int64
		Cores      int
		Settings   map[string]string
	}
}

func (p *process) runtime() (state runtimeState) {
	p.t.Helper()
	p.administrator().get("/api/runtime").want(http.StatusOK).decode(&state)
	return state
}

// workers are the ids of all workers, sorted.
func (s runtimeState) workers() (ids []uint64) {
	for _, shard := range s.Pool.Shards {
		for _, w := range shard.Workers {
			ids = append(ids, w.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// atRest fails the test unless every worker is there, idle, and nothing is held.
func (s runtimeState) atRest(t *testing.T) {
	t.Helper()
	p := s.Pool
	if p.Idle != p.Workers || p.Busy != 0 || p.Queued != 0 || p.Outside != 0 {
		t.Errorf("at the end %d of %d idle, %d busy, %d queued, %d outside, want all idle", p.Idle, p.Workers, p.Busy, p.Queued, p.Outside)
	}
	for i, shard := range p.Shards {
		if shard.BytesInFlight != 0 {
			t.Errorf("at the end shard %d holds %d bytes in flight", i, shard.BytesInFlight)
		}
	}
}

const faults = 200 // more than there are workers, so that one lost each time would be noticed

// A handler that panics costs one request: everyone else is served, a new
// worker takes the slot, and the log has the stack.
func TestPanic(t *testing.T) {
	t.Parallel()
	p := start(t, "RESTART_THRESHOLD=1000000") // no quarantine
	before := p.runtime()
	others := startOthers(p)

	victim := p.visitor().wire()
	defer victim.close()
	for range faults {
		time.Sleep(pause)
		r, err := victim.do(http.MethodGet, "/api/fault/panic", "")
		if err != nil {
			t.Fatalf("a request that panics: %v, want an answer", err)
		}
		f := r.want(http.StatusInternalServerError).failure()
		if f.Error != "Internal server error" || f.RequestID == "" || f.RequestID != r.header.Get("X-Request-Id") {
			t.Fatalf("answer %s with X-Request-Id %q", r.text, r.header.Get("X-Request-Id"))
		}
	}
	others.allServed(t)

	state := p.runtime()
	if got := state.Pool; got.Panics != faults || got.Restarts != faults || got.Workers != before.Pool.Workers {
		t.Errorf("after %d panics: %+v, want as many panics and restarts, and %d workers", faults, got, before.Pool.Workers)
	}
	state.atRest(t)
	checkRestarts(t, p, state, "faultPanic")
}

// startOthers starts people who have nothing to do with the faults.
func startOthers(p *process) *load {
	ada := p.member("ada@example.com")
	return startLoad(ada, 6, everyday(ada.create("first", "of many")))
}

// allServed ends the load and fails the test unless every request succeeded.
func (l *load) allServed(t *testing.T) {
	t.Helper()
	attempts := l.stop()
	report(t, failed(attempts), len(attempts), "beside the faults")
	if len(attempts) < 100 {
		t.Errorf("the others sent only %d requests: nothing was proved", len(attempts))
	}
}

// checkRestarts compares the log's restarts with the workers there are now, and
// with what is known of the panics: all of one kind, whose stack the log has
// once a minute.
func checkRestarts(t *testing.T, p *process, state runtimeState, culprit string) {
	t.Helper()
	restarts := p.log.With("worker restarted")
	if len(restarts) != faults {
		t.Errorf("the log has %d restarts, want %d", len(restarts), faults)
	}
	now := state.workers()
	for _, e := range restarts {
		old, fresh := uint64(e.Number("worker")), uint64(e.Number("replacement"))
		if old == 0 || fresh <= old || slices.Contains(now, old) {
			t.Fatalf("worker %d was replaced by %d, and the workers are now %v", old, fresh, now)
		}
		if !strings.HasPrefix(e.Text("route"), "/api/fault/") || e.Text("fingerprint") != restarts[0].Text("fingerprint") {
			t.Fatalf("restart %v, want it of the same kind as %v", e, restarts[0])
		}
	}
	kinds := state.Pool.PanicKinds
	if len(kinds) != 1 || kinds[0].Count != faults || !strings.Contains(kinds[0].Frame, culprit) || kinds[0].Fingerprint != restarts[0].Text("fingerprint") {
		t.Errorf("kinds of panics %+v, want one, %d times, by %s", kinds, faults, culprit)
	}
	stacks := slices.DeleteFunc(restarts, func(e testkit.Entry) bool { return !strings.Contains(e.Text("stack"), culprit) })
	if len(stacks) < 1 || len(stacks) > 3 {
		t.Errorf("the log has %d stacks, want one a minute", len(stacks))
	}
}

// runtime.Goexit cuts the connection and nothing else.
func TestGoexit(t *testing.T) {
	t.Parallel()
	p := start(t, "RESTART_THRESHOLD=1000000")
	others := startOthers(p)
	for range faults {
		time.Sleep(pause)
		victim := p.visitor().wire()
		if r, err := victim.do(http.MethodGet, "/api/fault/exit", ""); !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			t.Fatalf("a request that exits = %d %s, %v, want a cut connection", r.status, r.text, err)
		}
	}
	others.allServed(t)
	state := p.runtime()
	if got := state.Pool; got.Goexits != faults || got.Restarts != faults || got.Panics != 0 {
		t.Errorf("after %d exits: %+v, want as many goexits and restarts", faults, got)
	}
	state.atRest(t)
	checkRestarts(t, p, state, "faultExit")
}

// An answer that fails after a part of it has left is cut: no client can take
// it for whole.
func TestMidway(t *testing.T) {
	t.Parallel()
	p := start(t, "RESTART_THRESHOLD=1000000")
	others := startOthers(p)
	for range faults {
		time.Sleep(pause)
		victim := p.visitor().wire()
		r, err := victim.do(http.MethodGet, "/api/fault/midway", "")
		if r.status != http.StatusOK || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("an answer cut midway = %d %s, %v, want 200 and an unexpected end", r.status, r.text, err)
		}
	}
	others.allServed(t)
	state := p.runtime()
	state.atRest(t)
	checkRestarts(t, p, state, "faultMidway")
	if got := len(p.log.With("answer cut midway")); got != faults {
		t.Errorf("the log has %d cut answers, want %d", got, faults)
	}
}
