// Package e2e starts the program itself, as people and containers do, and
// holds it to its promises on good days and on bad ones.
package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"notesd/store/storetest"
)

// binary is the program under test, with the routes that fail on purpose.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "e2e")
	if err == nil {
		err = build(dir)
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
	} else {
		code = storetest.Run(m)
	}
	_ = os.RemoveAll(dir) // what is left there hurts nobody
	os.Exit(code)
}

// build makes the binary in dir, where any user may run it.
func build(dir string) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	binary = filepath.Join(dir, "notesd")
	return goBuild("-tags", "faults", "-o", binary, ".")
}

// goBuild is go build in the module's root.
func goBuild(args ...string) error {
	cmd := exec.Command("go", append([]string{"build"}, args...)...)
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", cmd, err, out)
	}
	return nil
}
