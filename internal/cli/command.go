// Package cli has the commands of notesd. Each command is a function of a Process, so that a test
// can run it, too.
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

// A Command is a command that the first argument names. A command with several lines of help is
// listed once for each line; the first entry is run.
type Command struct {
	Name  string // the first argument
	Args  string // the other arguments, as help shows them
	Short string // what the command does
	Run   func(ctx context.Context, p Process, args []string) error
}

// A Process is what a command gets from the operating system: the version, arguments, environment
// and output.
type Process struct {
	Version  string // the version of the build, if it has one
	Path     string // the path of the program
	Args     []string
	Environ  []string
	In       io.Reader
	Out, Err io.Writer
	Exit     func(status int) // ends a server that can't shut down in good order; nil: it waits
	Upgrades <-chan os.Signal // each signal asks a server to be replaced; nil: none comes
	Faults   *server.Faults   // the faults of a server for proofs; nil: none
}

// ThisProcess returns the Process of this process.
func ThisProcess(version string) Process {
	upgrades := make(chan os.Signal, 1)
	// This comes before any process can know that there is a server to signal.
	signal.Notify(upgrades, syscall.SIGUSR2)
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

// Signals returns a context that ends with the first signal to shut down. A second signal kills the
// process at once, unless it is SIGHUP: a terminal that is closed sends several.
func Signals() context.Context {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup ignores it
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	context.AfterFunc(ctx, func() {
		signal.Ignore(syscall.SIGHUP)
		stop()
	})
	return ctx
}

// Main runs the command that the arguments of p name. It runs the first command if they name none.
// It prints the error, and returns the exit status.
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
	if strings.HasPrefix(name, "-") {
		return noSuch("flag", name, []string{"--help", "--version"})
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
			typed = "[" + typed + "]" // the command may be omitted
		}
		fmt.Fprintf(out, "  notesd %-23s %s\n", typed, c.Short)
	}
}

// An exitError is an error with an exit status of its own. Other errors exit with 1.
type exitError struct {
	status int
	err    error
	silent bool // the command has printed everything already
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// These are the exit statuses besides 0 and 1.
const (
	statusUsage    = 2 // the arguments are wrong
	statusFindings = 3 // the command worked, and found something
)

// errUsage is wrapped by errors in the arguments.
var errUsage = &exitError{status: statusUsage, err: errors.New("see notesd help")}
