package upgrade

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// Process 1 can't hand over, and one upgrade at a time is enough.
func TestRefusal(t *testing.T) {
	u := &Upgrader{}
	for _, row := range []struct {
		pid  int
		want string // in the reason; empty: none
	}{{1, "process 1 ends its container"}, {2, ""}, {2, "under way"}} {
		if why := u.refusal(row.pid); !strings.Contains(why, row.want) || (why == "") != (row.want == "") {
			t.Errorf("refusal(%d) = %q, want %q in it", row.pid, why, row.want)
		}
	}
}

// A new process that never says that it is ready is not waited for longer than
// the limit, and ended.
func TestNeverReady(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	u := &Upgrader{Path: "/bin/sleep", Args: []string{"60"}, Inherited: &Inherited{listener: ln.(*net.TCPListener)}}
	next, err := u.start()
	if err != nil {
		t.Fatal(err)
	}
	defer next.ready.Close()
	const limit = 100 * time.Millisecond
	began := time.Now()
	if err := next.awaitReady(t.Context(), limit); err == nil || !strings.Contains(err.Error(), "not ready within 100ms") || time.Since(began) < limit {
		t.Errorf("awaitReady() = %v after %v, want it not ready within 100ms", err, time.Since(began))
	}
	next.end()
	if state := next.cmd.ProcessState; state == nil || state.Exited() {
		t.Errorf("the new process: %v, want it ended by a signal", state)
	}
}

// A child is given the socket in words of our own, whatever systemd said to its parent.
func TestChildEnviron(t *testing.T) {
	environ := []string{"A=1", "LISTEN_PID=7", "LISTEN_FDS=1", "LISTEN_FDNAMES=x", "NOTESD_HANDOVER=own", "B=2"}
	for held, how := range map[bool]string{false: "own", true: "held"} {
		got := (&Inherited{held: held}).childEnviron(environ)
		if want := []string{"A=1", "B=2", "LISTEN_FDS=1", "NOTESD_HANDOVER=" + how}; !slices.Equal(got, want) {
			t.Errorf("held %v: %v, want %v", held, got, want)
		}
	}
}

// What another process was given is not taken.
func TestInheritNothing(t *testing.T) {
	for name, environ := range map[string][]string{
		"nothing":       nil,
		"another's":     {"LISTEN_FDS=1", "LISTEN_PID=1"},
		"nobody's":      {"LISTEN_FDS=1"},
		"only the word": {"NOTESD_HANDOVER=own"},
	} {
		if in, err := Inherit(environ); err != nil || *in != (Inherited{}) {
			t.Errorf("%s: Inherit() = %+v, %v, want nothing", name, in, err)
		}
	}
	if _, err := Inherit([]string{"LISTEN_FDS=2", "NOTESD_HANDOVER=own"}); err == nil {
		t.Error("Inherit() takes two sockets")
	}
}
