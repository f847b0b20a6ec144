package e2e

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// A data race in a server fails the test that started it: the tests of this package run without the race detector, and
// the server runs with it.
func TestRaceReported(t *testing.T) {
	if !raced() {
		t.Skip("with PROOFS the servers run without the race detector")
	}
	p := start(t)
	ada := p.member("ada@example.com")
	if races := p.races(); races != "" {
		t.Fatalf("a race before the fault:\n%s", races)
	}
	ada.get("/api/fault/race").want(http.StatusOK)
	if races := p.races(); !strings.Contains(races, "WARNING: DATA RACE") || !strings.Contains(races, "main.faultRace") {
		t.Errorf("the race detector reports %q, want the race of main.faultRace", races)
	}
	p.signal(syscall.SIGTERM)
	if state := p.wait(patience); state.ExitCode() != 66 {
		t.Errorf("%v, want exit status 66, the race detector's", state)
	}
}
