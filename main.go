// Command notesd is a notes server: one process that uses the machine it is
// given, and keeps every note it has acknowledged.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"notesd/backup"
	"notesd/bench"
	"notesd/internal/upgrade"
	"notesd/store"
)

// version is set by the build: -ldflags "-X main.version=…".
var version string

func main() {
	ctx := leaveOnSignal()
	upgrades := make(chan os.Signal, 1)
	signal.Notify(upgrades, syscall.SIGUSR2) // before anybody can know that there is a server to send it to
	err := run(ctx, program{path: upgrade.ProgramPath(), args: os.Args[1:], environ: os.Environ(), in: os.Stdin, out: os.Stdout, err: os.Stderr,
		exit: os.Exit, upgrades: upgrades})
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage), errors.Is(err, bench.ErrUsage):
		fmt.Fprintln(os.Stderr, "notesd:", shownError(err))
		os.Exit(2)
	case errors.Is(err, errLeftOut), errors.Is(err, backup.ErrDamaged), errors.Is(err, store.ErrNotBackup):
		fmt.Fprintln(os.Stderr, "notesd:", shownError(err))
		os.Exit(3)
	case errors.Is(err, errFindings):
		os.Exit(3) // the report says what
	case err != nil:
		fmt.Fprintln(os.Stderr, "notesd:", shownError(err))
		os.Exit(1)
	}
}

// leaveOnSignal returns a context that ends with the first signal to leave. A second
// one kills at once, unless it is SIGHUP: a terminal that is closed sends several.
func leaveOnSignal() context.Context {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	context.AfterFunc(ctx, func() {
		signal.Ignore(syscall.SIGHUP)
		stop()
	})
	return ctx
}

// program is what a process is started with, so that a test can start one too.
type program struct {
	path          string // of itself
	args, environ []string
	in            io.Reader
	out, err      io.Writer
	exit          func(code int)   // for a server that can't leave in good order; nil: it waits
	upgrades      <-chan os.Signal // asks a server to be replaced; nil: nobody does
}

var errUsage = errors.New("see notesd help")

const usage = `notesd: a notes server in one binary

  notesd [serve]                 serve; settings come from the environment (docs/CONFIGURATION.md)
  notesd healthcheck             exit 0 if the server on this machine is ready, 1 if not
  notesd migrate                 bring the database's schema up to date and say which it is
  notesd user add EMAIL          make an account; prints a password unless -password-stdin gives one
  notesd user reset EMAIL        give it a new password and end its sessions
  notesd user unlock EMAIL       let it sign in though too many passwords were wrong
  notesd user list               every account
  notesd user quota EMAIL        what it stores and may store; -notes and -mb change that
  notesd user delete EMAIL       delete it with all of its notes
  notesd import-legacy           bring the old backend's accounts and notes over (docs/IMPORT.md)
  notesd check                   judge this set-up and say what to set; exit 3 if something must be; notesd check -h says how
  notesd backup FILE             save the database, also while it is served; -h: into a directory, verify (docs/BACKUP.md)
  notesd restore FILE            put a backup into an empty database of either engine
  notesd bench [SCENARIO]        put load on notesd and measure it; notesd bench -h says how
  notesd version                 which build this is
`

// commands are what the first argument can be, besides help.
var commands = map[string]func(p program, ctx context.Context, args []string) error{
	"serve":         program.serve,
	"healthcheck":   program.healthcheck,
	"migrate":       program.migrate,
	"user":          program.user,
	"import-legacy": program.importLegacy,
	"check":         program.check,
	"backup":        program.backup,
	"restore":       program.restore,
	"bench":         program.bench,
	"version":       program.printVersion,
}

// run does what the arguments say.
func run(ctx context.Context, p program) error {
	name, args := "serve", p.args
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	if asksVersion(p.args) {
		return p.printVersion(ctx, nil)
	}
	switch name {
	case "help", "-h", "-help", "--help":
		if len(args) == 0 {
			fmt.Fprint(p.out, usage)
			return nil
		}
		name, args = args[0], []string{"-h"}
	}
	command, ok := commands[name]
	if !ok {
		return noSuch("command", name, commands)
	}
	return command(p, ctx, args)
}

// printVersion says which build this is.
func (p program) printVersion(_ context.Context, args []string) error {
	if err := p.noArguments("notesd version\nSays which build this is.", args); err != nil {
		return err
	}
	fmt.Fprintln(p.out, "notesd", buildVersion())
	return nil
}

// buildVersion is the version of the build, or the commit it was made of.
func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "commit " + s.Value[:min(12, len(s.Value))]
		}
	}
	return "unreleased"
}
