package bench

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	startTime = 30 * time.Second // how long a server may take to become ready
	stopTime  = 20 * time.Second // how long a server may take to shut down before it is killed
	logBytes  = 16 << 20         // bytes of the log that are kept
)

// A Process is a notesd that was started to be measured. It ends when this process ends, no matter
// how.
type Process struct {
	cmd   *exec.Cmd
	log   *os.File
	ended chan struct{}
	url   string
	token string // ADMIN_TOKEN
}

// StartProcess starts executable with settings in dir. It returns when the process is ready.
func StartProcess(ctx context.Context, executable, dir string, settings []string) (*Process, error) {
	log, err := openLog(dir)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(executable, "serve")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.Env = Environment(dir, settings)
	// In its own process group, the child gets no Ctrl-C. This process tells it to shut down.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	p := &Process{cmd: cmd, log: log, ended: make(chan struct{}), token: lastValue(cmd.Env, "ADMIN_TOKEN")}
	if err := p.start(); err != nil {
		return nil, errors.Join(err, p.closeLog())
	}
	if err := p.awaitReady(ctx); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

// Environment returns the environment of a notesd in dir: the settings, and nothing of this
// process's environment.
func Environment(dir string, settings []string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "HOST=127.0.0.1", "BACKEND_PORT=0",
		"DATA_DIR=" + dir, "LOG_FORMAT=json", "RATE_LIMIT_MAX_REQUESTS=0", "ADMIN_TOKEN=" + rand.Text()}, settings...)
}

// lastValue returns the value of name in environ. The last entry counts.
func lastValue(environ []string, name string) (value string) {
	for _, entry := range environ {
		if text, ok := strings.CutPrefix(entry, name+"="); ok {
			value = text
		}
	}
	return value
}

// openLog makes the file that a server logs to. It is in memory if possible, so that the log does
// not compete with the database for the disk.
func openLog(dir string) (*os.File, error) {
	const memory = "/dev/shm"
	if name, err := os.MkdirTemp(memory, "notesd-bench"); err == nil {
		dir = name
	}
	return os.OpenFile(filepath.Join(dir, "log"), os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
}

// closeLog closes and removes the log.
func (p *Process) closeLog() error {
	err := errors.Join(p.log.Close(), os.Remove(p.log.Name()))
	// This removes the directory in memory. Any other directory is not empty.
	_ = os.Remove(filepath.Dir(p.log.Name()))
	return err
}

// start starts the process on a thread that lives as long as the process: Pdeathsig refers to the
// end of the thread.
func (p *Process) start() error {
	started := make(chan error)
	go func() {
		defer close(p.ended)
		runtime.LockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // ProcessState says how it ended
		}
	}()
	return <-started
}

// awaitReady returns once the process reports that it is ready.
func (p *Process) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{}, Timeout: time.Second}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.ended:
			return fmt.Errorf("the server ended: %v; its last words:\n%s", p.cmd.ProcessState, p.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("the server is not ready: %w; its last words:\n%s", context.Cause(ctx), p.lastWords())
		case <-tick.C:
		}
		if p.url == "" {
			p.url = p.listening()
		}
		if p.url != "" && isReady(client, p.url) {
			return nil
		}
	}
}

func isReady(client *http.Client, url string) bool {
	answer, err := client.Get(url + "/readyz")
	if err != nil {
		return false
	}
	_ = answer.Body.Close() // it is not read
	return answer.StatusCode == http.StatusOK
}

// awaitTrust waits until the server trusts its cache. On PostgreSQL that is the case some seconds
// after the start. Loads should find the server in the state that it has from then on. If a server
// does not report its state, awaitTrust does not wait for it.
func (p *Process) awaitTrust(ctx context.Context) {
	client := &http.Client{Transport: &http.Transport{}, Timeout: time.Second}
	defer client.CloseIdleConnections()
	const interval = 50 * time.Millisecond
	for end := time.Now().Add(startTime); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(interval) {
		if trusted, says := p.trust(client); trusted || !says {
			return
		}
	}
}

// trust returns whether the server trusts its cache, and whether it reports this at all.
func (p *Process) trust(client *http.Client) (trusted, says bool) {
	r, err := http.NewRequest(http.MethodGet, p.url+"/api/runtime", nil)
	if err != nil {
		return false, false
	}
	r.Header.Set("Authorization", "Bearer "+p.token)
	answer, err := client.Do(r)
	if err != nil {
		return false, false
	}
	defer answer.Body.Close()
	var state struct{ Cache *struct{ Trusted bool } }
	if json.NewDecoder(answer.Body).Decode(&state) != nil || state.Cache == nil {
		return false, false
	}
	return state.Cache.Trusted, true
}

// listening returns the address that the process listens on, according to its log.
func (p *Process) listening() string {
	for line := range bytes.Lines(p.readLog()) {
		var entry struct{ Msg, URL string }
		if json.Unmarshal(line, &entry) == nil && entry.Msg == "listening" {
			return entry.URL
		}
	}
	return ""
}

// readLog returns the beginning of the log.
func (p *Process) readLog() []byte {
	text := make([]byte, 64<<10)
	n, _ := p.log.ReadAt(text, 0) // reads as much as there is
	return text[:n]
}

// lastWords returns the end of the log.
func (p *Process) lastWords() string {
	const lines = 10
	info, err := p.log.Stat()
	if err != nil {
		return err.Error()
	}
	text := make([]byte, 8<<10)
	n, _ := p.log.ReadAt(text, max(0, info.Size()-int64(len(text)))) // reads as much as there is
	all := strings.Split(strings.TrimSpace(string(text[:n])), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// boundLog empties the log if it has grown too long.
func (p *Process) boundLog() {
	if info, err := p.log.Stat(); err == nil && info.Size() > logBytes {
		_ = p.log.Truncate(0) // otherwise it grows on
	}
}

// URL returns the URL of the process.
func (p *Process) URL() string { return p.url }

// PID returns the id of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Address returns the address that the process listens on.
func (p *Process) Address() (netip.AddrPort, error) {
	u, err := url.Parse(p.url)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return resolve(context.Background(), u.Host) // the host is localhost
}

// hasEnded reports whether the process has ended.
func (p *Process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// Stop ends the process in good order. It kills the process if that takes too long.
func (p *Process) Stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-p.ended:
	case <-time.After(stopTime):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	return p.closeLog()
}
