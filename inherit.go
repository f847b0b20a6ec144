package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"notesd/config"
	"notesd/server"
	"notesd/store"
)

// How a process passes its listener on: as systemd does, by LISTEN_FDS
// (sd_listen_fds(3)), without LISTEN_PID, which nobody knows before the process
// is there. handoverName says so, and whether the socket is the predecessor's
// own or held by systemd, too.
const (
	handoverName = "NOTESD_HANDOVER"
	socketOwn    = "own"
	socketHeld   = "held"

	firstFile = 3 // of those passed on
	readyWord = "ready"

	lockMargin = 30 * time.Second // on what a predecessor's leaving should take at most
)

// An inheritance is what a process was started with besides its settings. That
// of most is empty: they open a listener of their own.
type inheritance struct {
	listener    *net.TCPListener
	held        bool     // the listener is systemd's as well, and outlives us
	heir        bool     // the listener came from the notesd before this one
	predecessor *os.File // waits there for the readyWord; nil: nobody does, or it has been said
}

// inherit takes what environ says was passed on.
func inherit(environ []string) (in inheritance, err error) {
	files, how := valueOf(environ, "LISTEN_FDS"), valueOf(environ, handoverName)
	if files == "" || how == "" && valueOf(environ, "LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return in, nil // what is left in the environment was another process's
	}
	if files != "1" {
		return in, fmt.Errorf("LISTEN_FDS=%s: notesd takes one socket", files)
	}
	socket := os.NewFile(firstFile, "inherited socket")
	defer socket.Close() // the listener has a file of its own
	ln, err := net.FileListener(socket)
	if err != nil {
		return in, fmt.Errorf("inherited socket: %w", err)
	}
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return in, errors.Join(fmt.Errorf("inherited socket: %s is no TCP address", ln.Addr()), ln.Close())
	}
	in = inheritance{listener: tcp, held: how != socketOwn}
	if how != "" {
		syscall.CloseOnExec(firstFile + 1)
		in.heir, in.predecessor = true, os.NewFile(firstFile+1, "predecessor")
	}
	return in, nil
}

// listen returns the listener that was inherited, or else one of our own.
func (in inheritance) listen(cfg config.Config) (*net.TCPListener, error) {
	if in.listener != nil {
		return in.listener, nil
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(cfg.Host, strconv.Itoa(cfg.Port)))
	if err != nil {
		return nil, fmt.Errorf("%w (BACKEND_PORT and HOST say where to listen)", err)
	}
	return ln.(*net.TCPListener), nil
}

// sayReady tells the predecessor, if one waits, that it may leave.
func (in *inheritance) sayReady() {
	if in.predecessor == nil {
		return
	}
	_, _ = in.predecessor.WriteString(readyWord) // if it has gone meanwhile, it needs no telling
	_ = in.predecessor.Close()
	in.predecessor = nil
}

// proveWithoutFile has a SQLite file's heir say that it is ready. It can't open
// the file while its predecessor has it, so it proves what it can: its settings
// are right, the schema fits, Redis answers.
func (in *inheritance) proveWithoutFile(ctx context.Context, cfg config.Config, redis *server.Redis) error {
	if in.predecessor == nil || !store.IsFile(cfg.DatabaseURL.Reveal()) {
		return nil
	}
	if err := store.FileFits(ctx, cfg.DatabaseURL.Reveal()); err != nil {
		return err
	}
	if err := answers(ctx, redis); err != nil {
		return err
	}
	in.sayReady()
	return nil
}

// prove has any other heir say so, when it can serve.
func (in *inheritance) prove(ctx context.Context, db *store.Store, redis *server.Redis) error {
	if in.predecessor == nil {
		return nil
	}
	if err := db.WaitReady(ctx); err != nil {
		return err
	}
	if err := answers(ctx, redis); err != nil {
		return err
	}
	in.sayReady()
	return nil
}

// answers returns nil if Redis does and takes what we write, or none is used.
func answers(ctx context.Context, redis *server.Redis) error {
	if redis == nil {
		return nil
	}
	return redis.Writable(ctx)
}

// lockPatience is how long to wait for a data directory that the predecessor
// has promised to leave: longer than it may take.
func (in *inheritance) lockPatience(cfg config.Config) time.Duration {
	if !in.heir {
		return 0
	}
	return cfg.ShutdownDelay + cfg.ShutdownTimeout + lockMargin
}

// environment is environ for an heir.
func (in inheritance) environment(environ []string) (own []string) {
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if name != handoverName && !strings.HasPrefix(name, "LISTEN_") {
			own = append(own, entry)
		}
	}
	how := socketOwn
	if in.held {
		how = socketHeld
	}
	return append(own, "LISTEN_FDS=1", handoverName+"="+how)
}

// valueOf is what environ sets name to. The last one counts, as for os/exec.
func valueOf(environ []string, name string) (value string) {
	for _, entry := range environ {
		if text, ok := strings.CutPrefix(entry, name+"="); ok {
			value = text
		}
	}
	return value
}

// notify tells systemd how it goes with this process (sd_notify(3)), if it
// wants to know. What it does not take in it does not need.
func (p program) notify(state string) {
	name := valueOf(p.environ, "NOTIFY_SOCKET")
	if name == "" {
		return
	}
	conn, err := net.Dial("unixgram", name)
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(state))
}
