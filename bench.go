package main

import (
	"context"
	"os"

	"notesd/bench"
)

// bench puts load on notesd. Its report is the output; how far it is goes to
// standard error.
func (p program) bench(ctx context.Context, args []string) error {
	options, err := bench.Parse(args, p.out)
	if err != nil {
		return err
	}
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	return bench.Run(ctx, options, bench.Program{Executable: executable, Version: buildVersion(), Arguments: args,
		Out:      p.out,
		Progress: os.Stderr, Terminal: isTerminal(os.Stderr)})
}
