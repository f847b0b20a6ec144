// Command faulty is notesd with routes that fail on purpose, for proofs: make prove and the tests in
// e2e and bench start it. It differs from notesd in nothing else.
package main

import (
	"os"

	"notesd/internal/cli"
	"notesd/server"
)

// version is set by the build: -ldflags "-X main.version=…".
var version string

func main() {
	ctx := cli.Signals()
	p := cli.ThisProcess(version)
	p.Faults = &server.Faults{Routes: faultRoutes(), NoAdmission: os.Getenv("FAULT_ADMISSION") == "off"}
	os.Exit(cli.Main(ctx, p, cli.Commands()))
}
