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

// A process passes its listener on as systemd does, by the variable LISTEN_FDS (sd_listen_fds(3)), but
// without LISTEN_PID, because the id of the child is not known before it runs. The variable
// handoffName tells the child that its parent passed the socket. Its value is socketHeld if systemd
// keeps the socket open as well, and socketOwn if only the parent does.
const (
	handoffName = "NOTESD_HANDOVER"
	socketOwn   = "own"
	socketHeld  = "held"

	firstFile = 3 // the first file descriptor that is passed on
	readyWord = "ready"
)

// Inherited is what a process inherited besides its settings. Most processes inherited nothing and
// open a listener of their own.
type Inherited struct {
	listener *net.TCPListener
	held     bool     // systemd holds the listener, too, so that it outlives this process
	child    bool     // the listener came from the parent, the previous notesd
	parent   *os.File // where the parent waits for readyWord; nil: none waits, or it was told
}

// Inherit reads from environ what was passed on.
func Inherit(environ []string) (*Inherited, error) {
	files, how := valueOf(environ, "LISTEN_FDS"), valueOf(environ, handoffName)
	if files == "" || how == "" && valueOf(environ, "LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return &Inherited{}, nil // the variables that are left were meant for another process
	}
	if files != "1" {
		return nil, fmt.Errorf("LISTEN_FDS=%s: notesd takes one socket", files)
	}
	socket := os.NewFile(firstFile, "inherited socket")
	defer socket.Close() // the listener has a file descriptor of its own
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

// Listen returns the listener that was inherited. If none was, it opens a new one at address. An
// upgrade passes this listener on.
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

// Held reports whether systemd holds the listener, too, so that the listener outlives this process.
func (in *Inherited) Held() bool { return in.held }

// FromParent reports whether an upgrade started this process. The previous notesd is then its
// parent, and the parent shuts down once ReportReady has told it to.
func (in *Inherited) FromParent() bool { return in.child }

// ReportReady tells the parent, if one waits, that it may shut down. It does so once every check
// has returned nil. If no parent waits, nothing is checked.
func (in *Inherited) ReportReady(ctx context.Context, checks ...func(context.Context) error) error {
	if in.parent == nil {
		return nil
	}
	for _, check := range checks {
		if err := check(ctx); err != nil {
			return err
		}
	}
	_, _ = in.parent.WriteString(readyWord) // a parent that has ended meanwhile needs no message
	_ = in.parent.Close()
	in.parent = nil
	return nil
}

// childEnviron returns environ as a child of this process gets it.
func (in *Inherited) childEnviron(environ []string) (own []string) {
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if name != handoffName && !strings.HasPrefix(name, "LISTEN_") {
			own = append(own, entry)
		}
	}
	how := socketOwn
	if in.held {
		how = socketHeld
	}
	return append(own, "LISTEN_FDS=1", handoffName+"="+how)
}

// valueOf returns the value of name in environ. The last entry counts, as in os/exec.
func valueOf(environ []string, name string) (value string) {
	for _, entry := range environ {
		if text, ok := strings.CutPrefix(entry, name+"="); ok {
			value = text
		}
	}
	return value
}
