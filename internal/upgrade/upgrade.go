// Package upgrade replaces a running server by a new process without refusing a connection. The
// listener is passed on to the new process, as systemd would do it, and the old one leaves only
// when the new one has reported that it is ready. Package upgrade knows what this takes of
// processes and sockets, and nothing of what is served.
package upgrade

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	readyTime = time.Minute     // for a new process to report that it is ready
	endTime   = 5 * time.Second // for one that did not, to end by itself
)

// An Upgrader replaces this process by a new one when it is asked to. The new process runs the
// program that is at Path by then. It is given the listener and reports that it can serve; only
// then this process leaves. Whatever goes wrong before that ends the new process, and this one
// goes on.
type Upgrader struct {
	Path      string           // of the program, see ProgramPath
	Args      []string         // for the program
	Environ   []string         // of this process
	Inherited *Inherited       // with the listener that this process serves on
	Requests  <-chan os.Signal // each asks for an upgrade; nil: none comes

	// HandOver lets go of the listener once the requests that have begun are answered, unless the
	// new process dies before that.
	HandOver   func(ctx context.Context, died <-chan struct{}) error
	HandedOver func()          // is called when the listener is the new process's
	Failed     func(err error) // is called when this process goes on
	Log        *slog.Logger

	busy atomic.Bool
}

// Run upgrades whenever it is asked to, until ctx ends.
func (u *Upgrader) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		select {
		case <-u.Requests:
		case <-ctx.Done():
			return
		}
		if why := u.refusal(os.Getpid()); why != "" {
			u.Log.Warn("upgrade: refused", "reason", why)
			continue
		}
		running.Go(func() {
			err := u.upgrade(ctx)
			if err == nil {
				return // busy stays true: a process is replaced once
			}
			if ctx.Err() == nil {
				u.Log.Error("upgrade: failed, serving on", "error", err)
				u.Failed(err)
			}
			u.busy.Store(false)
		})
	}
}

// refusal says why the process pid can't be replaced now; empty: it can.
func (u *Upgrader) refusal(pid int) string {
	switch {
	case pid == 1:
		return "process 1 ends its container when it ends: replace the container instead (docs/DEPLOYMENT.md)"
	case u.busy.Swap(true):
		return "an upgrade is under way"
	}
	return ""
}

// upgrade returns nil when a child has taken over and the server has let go of the listener.
func (u *Upgrader) upgrade(ctx context.Context) error {
	next, err := u.start()
	if err != nil {
		return fmt.Errorf("start %s: %w", u.Path, err)
	}
	defer next.ready.Close()
	pid := next.cmd.Process.Pid
	u.Log.Info("upgrade: new process started", "pid", pid, "path", u.Path)
	if err := next.awaitReady(ctx, readyTime); err != nil {
		next.end()
		return err
	}
	u.Log.Info("upgrade: new process is ready, leaving to it", "pid", pid)
	if err := u.HandOver(ctx, next.died); err != nil {
		next.end()
		return err
	}
	u.HandedOver()
	Notify(u.Environ, fmt.Sprintf("MAINPID=%d", pid))
	return nil
}

// A child is the process that is to take over.
type child struct {
	cmd   *exec.Cmd
	ready *os.File      // the child writes readyWord there
	died  chan struct{} // closed when it has
}

// start starts the program with our arguments, environment and listener.
func (u *Upgrader) start() (*child, error) {
	socket, err := duplicate(u.Inherited.listener)
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	ready, report, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer report.Close()
	cmd := exec.Command(u.Path, u.Args...)
	cmd.Env = u.Inherited.childEnviron(u.Environ)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{socket, report}
	if err := cmd.Start(); err != nil {
		_ = ready.Close()
		return nil, err
	}
	next := &child{cmd: cmd, ready: ready, died: make(chan struct{})}
	go func() {
		defer close(next.died)
		_ = cmd.Wait() // ProcessState says how it ended
	}()
	return next, nil
}

// duplicate returns a file of ln's socket. That of ln.File becomes blocking when it is passed on,
// and so does ln: it could no longer be told to stop accepting.
func duplicate(ln *net.TCPListener) (*os.File, error) {
	raw, err := ln.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd, errno := uintptr(0), syscall.Errno(0)
	err = raw.Control(func(socket uintptr) {
		fd, _, errno = syscall.Syscall(syscall.SYS_FCNTL, socket, syscall.F_DUPFD_CLOEXEC, 0)
	})
	if err != nil {
		return nil, err
	}
	if errno != 0 {
		return nil, os.NewSyscallError("fcntl", errno)
	}
	return os.NewFile(fd, "listener"), nil
}

// awaitReady returns nil once the child has reported that it can serve.
func (c *child) awaitReady(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = c.ready.SetReadDeadline(time.Now()) })()
	word := make([]byte, len(readyWord))
	if _, err := io.ReadFull(c.ready, word); err == nil && string(word) == readyWord {
		return nil
	}
	select {
	case <-c.died:
		return fmt.Errorf("the new process ended before it was ready: %v", c.cmd.ProcessState)
	case <-ctx.Done():
		return fmt.Errorf("the new process was not ready within %v", limit)
	}
}

// end ends a child that is not to take over.
func (c *child) end() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-c.died:
		return
	case <-time.After(endTime):
	}
	_ = c.cmd.Process.Kill()
	<-c.died
}

// ProgramPath returns the path that this process was started by. Links in it are left as they
// are: one may lead to a newer program by the time of an upgrade.
func ProgramPath() string {
	if path, err := exec.LookPath(os.Args[0]); err == nil {
		if path, err = filepath.Abs(path); err == nil {
			return path
		}
	}
	path, _ := os.Executable() // starting "" fails, and says so
	return path
}
