// Package testserver starts the servers that tests need: PostgreSQL, Redis, Redis Sentinel,
// PgBouncer, and a proxy that fails on purpose. PostgreSQL and Redis are started on first use, one
// of each for a test binary. All servers and their files are removed when the binary ends, no
// matter how it ends.
package testserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// startTimeout is how long a server may take to start or stop.
const startTimeout = time.Minute

// Main runs the tests of a package and exits: see Run.
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run runs the tests of a package, stops the servers that they started, and
// fails if a goroutine is left. It returns the exit code.
func Run(m *testing.M) int {
	code := m.Run()
	if err := stopAll(); err != nil {
		fmt.Fprintln(os.Stderr, "testserver:", err)
		code = max(code, 1)
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "testserver:", err)
			code = 1
		}
	}
	return code
}

// A Server is a server for one test, which may stop and start it. The server keeps its address and
// its data.
type Server struct {
	url  string
	path string // of the program
	args []string
	dir  string
	attr *syscall.SysProcAttr
	stop syscall.Signal // ends it in good order
	kill syscall.Signal // ends it at once, as a crash does
	ping func(ctx context.Context, url string) error

	mu   sync.Mutex // guards what follows
	cmd  *exec.Cmd  // nil while stopped
	done chan struct{}
}

// URL returns the URL of the server.
func (s *Server) URL() string { return s.url }

// Start starts a stopped server and waits until it answers.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
}

// Stop shuts the server down in good order. Its clients lose their connections.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if err := s.end(s.stop); err != nil {
		t.Fatal(err)
	}
}

// Kill ends the server as a crash does.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	if err := s.end(s.kill); err != nil {
		t.Fatal(err)
	}
}

// Crash ends the server and its child processes at once with SIGKILL, as when the machine runs out
// of memory. None of them can clean up.
func (s *Server) Crash(t testing.TB) {
	t.Helper()
	children := s.children()
	if err := s.end(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, pid := range children {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended with its parent
	}
	for deadline := time.Now().Add(startTimeout); slices.ContainsFunc(children, runs); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("processes of %s do not end", s.path)
		}
	}
}

// children returns the processes that the server has started.
func (s *Server) children() (pids []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return nil
	}
	// Without the file, no children are known.
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", s.cmd.Process.Pid))
	for pid := range strings.FieldsSeq(string(text)) {
		if n, err := strconv.Atoi(pid); err == nil {
			pids = append(pids, n)
		}
	}
	return pids
}

// runs reports whether a process has not ended. A process that has ended does not run, even if its
// parent has not waited for it yet.
func runs(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, _ := strings.Cut(string(text), ") ")
	return err == nil && !strings.HasPrefix(after, "Z")
}

func (s *Server) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		return fmt.Errorf("%s runs already", s.path)
	}
	logPath := filepath.Join(s.dir, "log")
	out, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(s.path, s.args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = s.dir, out, out, s.attr
	if err := fork(cmd); err != nil {
		return err
	}
	s.cmd, s.done = cmd, make(chan struct{})
	go func() {
		defer close(s.done)
		_ = cmd.Wait() // its log says how it ended
	}()
	if err := s.await(); err != nil {
		said, _ := os.ReadFile(logPath)
		return fmt.Errorf("%s does not start: %w\n%s", s.path, err, said)
	}
	return nil
}

// await returns once the server answers.
func (s *Server) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		err := s.ping(ctx, s.url)
		if err == nil {
			return nil
		}
		select {
		case <-s.done:
			return errors.New("it has ended")
		case <-ctx.Done():
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// end sends a signal and waits until the server has ended. It is no error if the server had ended
// already.
func (s *Server) end(signal syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return nil
	}
	_ = s.cmd.Process.Signal(signal) // it may have ended already
	select {
	case <-s.done:
		s.cmd = nil
		return nil
	case <-time.After(startTimeout):
		return fmt.Errorf("%s does not stop", s.path)
	}
}

// home holds the files of the servers of this process. It ends the servers and removes the files
// when the process ends.
var home struct {
	mu      sync.Mutex
	dir     string
	janitor *exec.Cmd
	alive   io.Closer // the janitor's input, which ends with this process
	forks   chan func()
	servers []*Server
}

// newDir makes a directory for a server.
func newDir(name string) (string, error) {
	home.mu.Lock()
	defer home.mu.Unlock()
	if home.dir == "" {
		if err := openHome(); err != nil {
			return "", err
		}
	}
	return os.MkdirTemp(home.dir, name)
}

// janitorScript waits until its input ends, and then removes the directory. The input ends with
// this process, even if the process is killed. The servers are killed at the same moment and may
// still be writing.
const janitorScript = `cat
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
	rm -rf "$1" && exit
	sleep 0.2
done`

func openHome() (err error) {
	if home.dir, err = os.MkdirTemp("", "testserver"); err != nil {
		return err
	}
	// A server that runs as another user must reach its files.
	if err = os.Chmod(home.dir, 0o711); err != nil {
		return err
	}
	home.janitor = exec.Command("sh", "-c", janitorScript, "janitor", home.dir)
	// In a session of its own, it gets no signal that is meant for the tests.
	home.janitor.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if home.alive, err = home.janitor.StdinPipe(); err != nil {
		return err
	}
	home.forks = make(chan func())
	go func() {
		runtime.LockOSThread() // never unlocked: see fork
		for start := range home.forks {
			start()
		}
	}()
	return home.janitor.Start()
}

// fork starts a process that the kernel kills when this process ends. The kernel kills the process
// when the thread that started it ends. So one thread that lives as long as this process starts all
// of them.
func fork(cmd *exec.Cmd) error {
	err := make(chan error)
	home.forks <- func() { err <- cmd.Start() }
	return <-err
}

// launch starts a new server, which stopAll will end.
func launch(s *Server) (*Server, error) {
	home.mu.Lock()
	home.servers = append(home.servers, s)
	home.mu.Unlock()
	return s, s.start()
}

// discard ends a server and removes its files.
func (s *Server) discard(t testing.TB) {
	s.Kill(t)
	if err := os.RemoveAll(s.dir); err != nil {
		t.Error(err)
	}
}

// stopAll ends the servers and removes their files.
func stopAll() error {
	home.mu.Lock()
	defer home.mu.Unlock()
	if home.dir == "" {
		return nil
	}
	var errs []error
	for _, s := range home.servers {
		errs = append(errs, s.end(s.kill))
	}
	close(home.forks)
	errs = append(errs, home.alive.Close(), home.janitor.Wait())
	home.dir, home.servers = "", nil
	return errors.Join(errs...)
}
