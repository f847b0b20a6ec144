package main

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

	"notesd/server"
)

const (
	readyTime = time.Minute     // for a new process to prove itself
	endTime   = 5 * time.Second // for one that has not to end by itself
)

// An upgrader replaces this process by a new one when SIGUSR2 comes. The new
// one is what stands under our path by then. It is given the listener, proves
// that it can serve, and only then this one leaves. Whatever goes wrong before
// that ends the new process, and this one goes on.
type upgrader struct {
	program
	in      inheritance // with the listener that we serve on
	server  *server.Server
	leaving context.Context // ends when this process is told to leave
	guard   *exitGuard
	alerts  *server.Alerts
	log     *slog.Logger
	busy    atomic.Bool
}

// run upgrades whenever it is asked to, until ctx ends or the process leaves.
func (u *upgrader) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(u.leaving, cancel)()
	var running sync.WaitGroup
	defer running.Wait()
	for {
		select {
		case <-u.upgrades:
		case <-ctx.Done():
			return
		}
		if why := u.refusal(os.Getpid()); why != "" {
			u.log.Warn("upgrade: refused", "reason", why)
			continue
		}
		running.Go(func() {
			err := u.upgrade(ctx)
			if err == nil {
				return // there is an heir: nobody replaces this process any more
			}
			if ctx.Err() == nil {
				u.log.Error("upgrade: failed, serving on", "error", err)
				u.alerts.Send(server.Event{Kind: "upgrade_failed", Subject: u.path, Detail: map[string]any{"error": err.Error()}})
			}
			u.busy.Store(false)
		})
	}
}

// refusal says why the process pid can't be replaced now; empty: it can.
func (u *upgrader) refusal(pid int) string {
	switch {
	case pid == 1:
		return "process 1 ends its container when it ends: replace the container instead (docs/DEPLOYMENT.md)"
	case u.busy.Swap(true):
		return "an upgrade is under way"
	}
	return ""
}

// upgrade returns nil when there is an heir and the server has let go of the listener.
func (u *upgrader) upgrade(ctx context.Context) error {
	next, err := u.start()
	if err != nil {
		return fmt.Errorf("start %s: %w", u.path, err)
	}
	defer next.hear.Close()
	pid := next.cmd.Process.Pid
	u.log.Info("upgrade: new process started", "pid", pid, "path", u.path)
	if err := next.awaitReady(ctx, readyTime); err != nil {
		next.end()
		return err
	}
	u.log.Info("upgrade: new process is ready, leaving to it", "pid", pid)
	if err := u.server.HandOver(ctx, next.died); err != nil {
		next.end()
		return err
	}
	u.guard.begin()
	u.notify(fmt.Sprintf("MAINPID=%d", pid))
	return nil
}

// An heir is the process that is to take over.
type heir struct {
	cmd  *exec.Cmd
	hear *os.File      // its word comes from there
	died chan struct{} // closed when it has
}

// start starts what is to be the next notesd, with our arguments, environment and listener.
func (u *upgrader) start() (*heir, error) {
	socket, err := shared(u.in.listener)
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	hear, say, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer say.Close()
	cmd := exec.Command(u.path, u.args...)
	cmd.Env = u.in.environment(u.environ)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{socket, say}
	if err := cmd.Start(); err != nil {
		_ = hear.Close()
		return nil, err
	}
	next := &heir{cmd: cmd, hear: hear, died: make(chan struct{})}
	go func() {
		defer close(next.died)
		_ = cmd.Wait() // how it ended, ProcessState says
	}()
	return next, nil
}

// shared returns a file of ln's socket. ln.File would make that blocking when it
// is passed on, for ln as well: it could no longer be told to stop accepting.
func shared(ln *net.TCPListener) (*os.File, error) {
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

// awaitReady returns nil once the heir has said that it can serve.
func (h *heir) awaitReady(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = h.hear.SetReadDeadline(time.Now()) })()
	word := make([]byte, len(readyWord))
	if _, err := io.ReadFull(h.hear, word); err == nil && string(word) == readyWord {
		return nil
	}
	select {
	case <-h.died:
		return fmt.Errorf("the new process ended before it was ready: %v", h.cmd.ProcessState)
	case <-ctx.Done():
		return fmt.Errorf("the new process was not ready within %v", limit)
	}
}

// end ends an heir that is not wanted.
func (h *heir) end() {
	_ = h.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-h.died:
		return
	case <-time.After(endTime):
	}
	_ = h.cmd.Process.Kill()
	<-h.died
}

// startedAs is the path that this process was started by. Links in it are left
// as they are: one may name a newer program by the time of an upgrade.
func startedAs() string {
	if path, err := exec.LookPath(os.Args[0]); err == nil {
		if path, err = filepath.Abs(path); err == nil {
			return path
		}
	}
	path, _ := os.Executable() // starting "" fails, and says so
	return path
}
