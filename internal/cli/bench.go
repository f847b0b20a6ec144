package cli

import (
	"context"
	"errors"
	"flag"
	"os"

	"notesd/bench"
)

// Bench puts load on notesd. It writes the report to standard output and its progress to standard
// error.
func Bench(ctx context.Context, p Process, args []string) error {
	err := p.runBench(ctx, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return errHelp
	case errors.Is(err, bench.ErrUsage):
		return &exitError{status: statusUsage, err: err}
	}
	return err
}

func (p Process) runBench(ctx context.Context, args []string) error {
	options, err := bench.Parse(args, p.Out)
	if err != nil {
		return err
	}
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	return bench.Run(ctx, options, bench.Program{Executable: executable, Version: p.version(), Arguments: args,
		Out:      p.Out,
		Progress: os.Stderr, Terminal: isTerminal(os.Stderr), Faults: p.Faults != nil})
}
