// Package cli has the commands of notesd. Each is a function of what its process was started with,
// so that a test can start one, too.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"notesd/internal/upgrade"
	"notesd/server"
)

// A Command is one of those that the first argument can name. A command with several lines of help
// stands once for each of them; the first is run.
type Command struct {
	Name  string // the first argument
	Args  string // the others, as help shows them
	Short string // what the command does
	Run   func(ctx context.Context, p Process, args []string) error
}

// A Process is what a process is started with.
type Process struct {
	Version  string // of the build, if it has one
	Path     string // of the program
	Args     []string
	Environ  []string
	In       io.Reader
	Out, Err io.Writer
	Exit     func(status int) // for a server that can't leave in good order; nil: it waits
	Upgrades <-chan os.Signal // each asks a server to be replaced; nil: none comes
	Faults   *server.Faults   // of a server for proofs; nil: none
}

// ThisProcess returns what this process was started with.
func ThisProcess(version string) Process {
	upgrades := make(chan os.Signal, 1)
	signal.Notify(upgrades, syscall.SIGUSR2) // before anybody can know that there is a server to send it to
	return Process{
		Version:  version,
		Path:     upgrade.ProgramPath(),
		Args:     os.Args[1:],
		Environ:  os.Environ(),
		In:       os.Stdin,
		Out:      os.Stdout,
		Err:      os.Stderr,
		Exit:     os.Exit,
		Upgrades: upgrades,
	}
}

// Signals returns a context that ends with the first signal to leave. A second signal kills the
// process at once, unless it is SIGHUP: a terminal that is closed sends several.
func Signals() context.Context {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup has it ignored
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	context.AfterFunc(ctx, func() {
		signal.Ignore(syscall.SIGHUP)
		stop()
	})
	return ctx
}

// Main runs the command that the arguments of p name, or the first if they name none. It prints
// the error, and returns the exit status.
func Main(ctx context.Context, p Process, commands []Command) (status int) {
	err := run(ctx, p, commands)
	if err == nil {
		return 0
	}
	exit, ok := errors.AsType[*exitError](err)
	if !ok {
		exit = &exitError{status: 1, err: err}
	}
	if !exit.silent {
		fmt.Fprintln(p.Err, "notesd:", shownError(err))
	}
	return exit.status
}

func run(ctx context.Context, p Process, commands []Command) error {
	name, args := commands[0].Name, p.Args
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	if asksVersion(p.Args) {
		return Version(ctx, p, nil)
	}
	switch name {
	case "help", "-h", "-help", "--help":
		if len(args) == 0 {
			help(p.Out, commands)
			return nil
		}
		name, args = args[0], []string{"-h"}
	}
	var names []string
	for _, c := range commands {
		if c.Name == name {
			return c.Run(ctx, p, args)
		}
		names = append(names, c.Name)
	}
	return noSuch("command", name, names)
}

// help lists the commands.
func help(out io.Writer, commands []Command) {
	fmt.Fprint(out, "notesd: a notes server in one binary\n\n")
	for i, c := range commands {
		typed := strings.TrimSpace(c.Name + " " + c.Args)
		if i == 0 {
			typed = "[" + typed + "]" // it may be left out
		}
		fmt.Fprintf(out, "  notesd %-23s %s\n", typed, c.Short)
	}
}

// An exitError is an error with an exit status of its own. Other errors exit with 1.
type exitError struct {
	status int
	err    error
	silent bool // the command has printed all that there is to say
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// The exit statuses besides 0 and 1.
const (
	statusUsage    = 2 // the arguments are wrong
	statusFindings = 3 // the command did what it should, and found something
)

// errUsage is wrapped by errors in the arguments.
var errUsage = &exitError{status: statusUsage, err: errors.New("see notesd help")}
