package upgrade

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// How a process passes its listener on: as systemd does, by LISTEN_FDS (sd_listen_fds(3)), but
// without LISTEN_PID, since nobody knows the process before it is there. handoverName says so, and
// whether the socket is the parent's own or is held by systemd, too.
const (
	handoverName = "NOTESD_HANDOVER"
	socketOwn    = "own"
	socketHeld   = "held"

	firstFile = 3 // of those passed on
	readyWord = "ready"
)

// Inherited is what a process was started with besides its settings. For most processes that is
// nothing: they open a listener of their own.
type Inherited struct {
	listener *net.TCPListener
	held     bool     // systemd has the listener, too: it outlives this process
	child    bool     // the listener came from the parent, the notesd before this one
	parent   *os.File // where the parent waits for readyWord; nil: none waits, or it has been told
}

// Inherit takes what environ says was passed on.
func Inherit(environ []string) (*Inherited, error) {
	files, how := valueOf(environ, "LISTEN_FDS"), valueOf(environ, handoverName)
	if files == "" || how == "" && valueOf(environ, "LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return &Inherited{}, nil // what is left in the environment was another process's
	}
	if files != "1" {
		return nil, fmt.Errorf("LISTEN_FDS=%s: notesd takes one socket", files)
	}
	socket := os.NewFile(firstFile, "inherited socket")
	defer socket.Close() // the listener has a file of its own
	ln, err := net.FileListener(socket)
	if err != nil {
		return nil, fmt.Errorf("inherited socket: %w", err)
	}
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("inherited socket: %s is no TCP address", ln.Addr()), ln.Close())
	}
	in := &Inherited{listener: tcp, held: how != socketOwn}
	if how != "" {
		syscall.CloseOnExec(firstFile + 1)
		in.child, in.parent = true, os.NewFile(firstFile+1, "predecessor")
	}
	return in, nil
}

// Listen returns the listener that was inherited, or else a new one at address. It is the listener
// that an upgrade passes on.
func (in *Inherited) Listen(address string) (*net.TCPListener, error) {
	if in.listener == nil {
		ln, err := net.Listen("tcp", address)
		if err != nil {
			return nil, err
		}
		in.listener = ln.(*net.TCPListener)
	}
	return in.listener, nil
}

// Held reports whether systemd holds the listener, too, so that it outlives this process.
func (in *Inherited) Held() bool { return in.held }

// FromParent reports whether an upgrade started this process: the notesd before it is its parent,
// which leaves once ReportReady has told it to.
func (in *Inherited) FromParent() bool { return in.child }

// ReportReady tells the parent, if one waits, that it may leave, once every check has returned
// nil. Without a parent that waits, nothing is checked.
func (in *Inherited) ReportReady(ctx context.Context, checks ...func(context.Context) error) error {
	if in.parent == nil {
		return nil
	}
	for _, check := range checks {
		if err := check(ctx); err != nil {
			return err
		}
	}
	_, _ = in.parent.WriteString(readyWord) // a parent that has ended meanwhile needs no word
	_ = in.parent.Close()
	in.parent = nil
	return nil
}

// childEnviron returns environ as a child of this process is to have it.
func (in *Inherited) childEnviron(environ []string) (own []string) {
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

// valueOf returns what environ sets name to. The last entry counts, as for os/exec.
func valueOf(environ []string, name string) (value string) {
	for _, entry := range environ {
		if text, ok := strings.CutPrefix(entry, name+"="); ok {
			value = text
		}
	}
	return value
}
