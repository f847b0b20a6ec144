// Command notesd is a notes server: one process that uses the machine it is
// given, and keeps every note it has acknowledged.
package main

import (
	"os"

	"notesd/internal/cli"
)

// version is set by the build: -ldflags "-X main.version=…".
var version string

func main() {
	ctx := cli.Signals() // a second signal kills at once
	os.Exit(cli.Main(ctx, cli.ThisProcess(version), cli.Commands()))
}
