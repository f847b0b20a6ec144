// Package upgrade replaces a running server by a new process without refusing a connection. The
// listener is passed on to the new process, as systemd would do it. The old process shuts down only
// when the new one has reported that it is ready. The package handles the processes and sockets,
// and does not know what is served.
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
	readyTime = time.Minute     // how long a new process may take to report that it is ready
	endTime   = 5 * time.Second // how long a new process that failed may take to end by itself
)

// An Upgrader replaces this process by a new one on request. The new process runs the program that
// is at Path at that time. It gets the listener and reports that it can serve. Only then does this
// process shut down. If anything fails before that, the new process is ended, and this process
// serves on.
type Upgrader struct {
	Path      string           // of the program, see ProgramPath
	Args      []string         // for the program
	Environ   []string         // of this process
	Inherited *Inherited       // with the listener that this process serves on
	Requests  <-chan os.Signal // each signal asks for an upgrade; nil: none comes

	// HandOver closes the listener once the requests that have begun are answered, unless the new
	// process dies before that.
	HandOver   func(ctx context.Context, died <-chan struct{}) error
	HandedOver func()          // is called when the new process has the listener
	Failed     func(err error) // is called when the upgrade failed and this process serves on
	Log        *slog.Logger

	busy atomic.Bool
}

// Run starts an upgrade for each request, until ctx ends.
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

// refusal says why the process pid can't be replaced now. It returns "" if it can.
func (u *Upgrader) refusal(pid int) string {
	switch {
	case pid == 1:
		return "process 1 ends its container when it ends: replace the container instead (docs/DEPLOYMENT.md)"
	case u.busy.Swap(true):
		return "an upgrade is under way"
	}
	return ""
}

// upgrade returns nil when a child has taken over and the server has closed the listener.
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

// A child is the process that will take over.
type child struct {
	cmd   *exec.Cmd
	ready *os.File      // the child writes readyWord there
	died  chan struct{} // closed when the child has died
}

// start starts the program with the arguments, environment and listener of this process.
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

// duplicate returns a file of ln's socket. The file of ln.File becomes blocking when it is passed
// on, and ln becomes blocking with it, so that ln could no longer be told to stop accepting.
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

// awaitReady returns nil once the child has reported that it is ready.
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

// end ends a child that will not take over.
func (c *child) end() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-c.died:
		return
	case <-time.After(endTime):
	}
	_ = c.cmd.Process.Kill()
	<-c.died
}

// ProgramPath returns the path by which this process was started. It does not resolve links,
// because a link may lead to a newer program by the time of an upgrade.
func ProgramPath() string {
	if path, err := exec.LookPath(os.Args[0]); err == nil {
		if path, err = filepath.Abs(path); err == nil {
			return path
		}
	}
	path, _ := os.Executable() // starting "" fails with an error that says so
	return path
}
