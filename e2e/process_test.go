package e2e

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"notesd/internal/testkit"
)

// patience is how long anything may take that has no deadline of its own.
const patience = 30 * time.Second

// secret is long enough for production.
const secret = "SESSION_SECRET=0123456789abcdef0123456789abcdef"

// A process is notesd with a port, a working directory, settings and a log.
// These outlive the process of the kernel: it can end and be started again.
type process struct {
	t        testing.TB
	dir      string // HOME and the working directory
	port     int
	url      string
	settings []string
	wrap     []string            // a command that runs the one given to it: taskset -c 0
	program  string              // empty: notesd
	user     *syscall.Credential // nil: ours
	files    []*os.File          // that it inherits, from the fourth on
	out      *os.File            // where it writes to; nil: log
	log      *testkit.LogBuffer  // of every start
	reports  string              // the race detector writes to files that begin so

	cmd   *exec.Cmd
	ended chan struct{}
}

// processes counts those made.
var processes atomic.Int64

// newProcess makes a process that is not running yet. It logs JSON, limits no
// rates and has adminToken, unless the settings say otherwise.
func newProcess(t testing.TB, settings ...string) *process {
	t.Helper()
	settings = append([]string{"LOG_FORMAT=json", "RATE_LIMIT_MAX_REQUESTS=0", "ADMIN_TOKEN=" + adminToken}, settings...)
	return bareProcess(t, freePort(t), settings...)
}

// bareProcess is newProcess with nothing set but the port and the settings.
func bareProcess(t testing.TB, port int, settings ...string) *process {
	t.Helper()
	p := &process{t: t, dir: t.TempDir(), port: port, url: fmt.Sprintf("http://127.0.0.1:%d", port), log: &testkit.LogBuffer{},
		settings: append(settings, fmt.Sprintf("BACKEND_PORT=%d", port)), reports: filepath.Join(raceReports, strconv.FormatInt(processes.Add(1), 10))}
	t.Cleanup(func() {
		p.kill()
		if races := p.races(); races != "" {
			t.Errorf("%s has data races:\n%s", p.url, races)
		}
		if t.Failed() {
			t.Logf("log of %s, its last lines:\n%s", p.url, p.log.Tail(60))
		}
	})
	return p
}

// start starts a process and waits until it is ready.
func start(t testing.TB, settings ...string) *process {
	t.Helper()
	p := newProcess(t, settings...)
	p.start()
	p.awaitReady()
	return p
}

// newUnraced is newProcess without the race detector, for a test that measures
// memory, rates or timings, or whose commands run no two things at once.
func newUnraced(t testing.TB, settings ...string) *process {
	t.Helper()
	p := newProcess(t, settings...)
	p.program = unraced(t)
	return p
}

// startUnraced starts newUnraced's and waits until it is ready.
func startUnraced(t testing.TB, settings ...string) *process {
	t.Helper()
	p := newUnraced(t, settings...)
	p.start()
	p.awaitReady()
	return p
}

// start starts the process, for the first time or again, and waits for nothing.
func (p *process) start() {
	p.t.Helper()
	if p.cmd != nil {
		p.t.Fatal("started twice")
	}
	cmd := p.command()
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = p.log, p.log, p.files
	if p.out != nil {
		cmd.Stdout, cmd.Stderr = p.out, p.out
	}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // the kernel ends the process with the thread that started it: this one, which waits
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended, ProcessState says
		}
	}()
	if err := <-started; err != nil {
		p.t.Fatal(err)
	}
	p.cmd, p.ended = cmd, ended
}

// command is the program with arguments, in the process's directory and with its settings.
func (p *process) command(args ...string) *exec.Cmd {
	args = append(append(p.wrap, cmp.Or(p.program, binary)), args...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = p.dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "GORACE=atexit_sleep_ms=0 log_path=" + p.reports}, p.settings...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: p.user}
	return cmd
}

// run runs a subcommand to its end.
func (p *process) run(stdin string, args ...string) (out string, code int) {
	p.t.Helper()
	cmd := p.command(args...)
	cmd.SysProcAttr.Pdeathsig = 0 // it ends by itself
	cmd.Stdin = strings.NewReader(stdin)
	text, err := cmd.CombinedOutput()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		p.t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

// must is run for a subcommand that has to succeed.
func (p *process) must(stdin string, args ...string) string {
	p.t.Helper()
	out, code := p.run(stdin, args...)
	if code != 0 {
		p.t.Fatalf("notesd %v = exit %d, want 0:\n%s", args, code, out)
	}
	return out
}

// awaitReady returns once the readiness probe says 200.
func (p *process) awaitReady() {
	p.t.Helper()
	p.await("readiness", func() bool { return p.probe("/readyz") == http.StatusOK })
}

// await returns once done does, and fails the test if the process ends before.
func (p *process) await(what string, done func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(10 * time.Millisecond) {
		select {
		case <-p.ended:
			p.t.Fatalf("ended (%v) while waiting for %s", p.cmd.ProcessState, what)
		default:
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("no %s after %v", what, patience)
		}
	}
}

// awaitLog returns the first line with a message, once it is there.
func (p *process) awaitLog(message string) testkit.Entry {
	p.t.Helper()
	p.await(fmt.Sprintf("log line %q", message), func() bool { return len(p.log.With(message)) > 0 })
	return p.log.With(message)[0]
}

// probe is the status of one GET on a connection of its own; 0: there was no answer.
func (p *process) probe(path string) int {
	w := &wire{addr: p.addr()}
	defer w.close()
	r, err := w.do(http.MethodGet, path, "")
	if err != nil {
		return 0
	}
	return r.status
}

func (p *process) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)) }

// signal sends s to the process.
func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// wait returns how the process ended. It fails the test unless that happens within limit.
func (p *process) wait(limit time.Duration) *os.ProcessState {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(limit):
		p.t.Fatalf("still running after %v", limit)
	}
	state := p.cmd.ProcessState
	p.cmd = nil
	return state
}

// stop ends the process in good order.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if state := p.wait(patience); state.ExitCode() != 0 {
		p.t.Fatalf("after SIGTERM: %v, want exit status 0", state)
	}
}

// kill ends the process with SIGKILL, if it runs.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
	p.cmd = nil
}

// fails starts a process that must refuse to, and returns what it says.
func (p *process) fails() string {
	p.t.Helper()
	p.start()
	if state := p.wait(patience); state.ExitCode() != 1 {
		p.t.Errorf("%v, want exit status 1", state)
	}
	return p.log.String()
}

// races returns what the race detector has reported of the process, of its
// children and of subcommands, and forgets it.
func (p *process) races() string {
	p.t.Helper()
	files, err := filepath.Glob(p.reports + ".*") // the detector appends the process's id
	if err != nil {
		p.t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err := errors.Join(err, os.Remove(file)); err != nil {
			p.t.Error(err)
		}
		all.Write(text)
	}
	return all.String()
}

// data is a file in the data directory.
func (p *process) data(name string) string { return filepath.Join(p.dir, "data", name) }

// freePort returns a port that nothing listens on. It stays free while its process is stopped.
func freePort(t testing.TB) int {
	t.Helper()
	port, err := testkit.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}
