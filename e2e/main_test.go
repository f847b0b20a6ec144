// Package e2e starts the program itself, as people and containers do, and
// holds it to its promises on good days and on bad ones.
package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"notesd/internal/testserver"
)

// faulty is the program under test: notesd with routes that fail on purpose.
const faulty = "./bench/lab/faulty"

// binary is faulty with the race detector: a race that it finds fails the test (see
// process.races). plainBinary is for tests that measure.
var binary string

// raceReports is the directory to which the race detector of binary writes.
var raceReports string

// plainBinary builds binary without the race detector, which takes ten times
// the memory and several times the CPU.
var plainBinary = sync.OnceValues(func() (string, error) {
	file := filepath.Join(filepath.Dir(binary), "plain", "notesd")
	return file, goBuild("-o", file, faulty)
})

func TestMain(m *testing.M) {
	if os.Getenv(neighbourEnv) != "" {
		os.Exit(m.Run()) // it needs nothing of what follows
	}
	dir, err := os.MkdirTemp("", "e2e")
	if err == nil {
		err = build(dir)
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
	} else {
		code = testserver.Run(m)
	}
	_ = os.RemoveAll(dir) // what is left there hurts nobody
	os.Exit(code)
}

// long skips a test under -short, which CI runs: `make e2e` runs every test.
func long(t testing.TB, why string) {
	t.Helper()
	if testing.Short() {
		t.Skip("not with -short: " + why)
	}
}

// raced tells whether binary has the race detector. Figures that go into the
// documents are of a binary without.
func raced() bool { return os.Getenv("PROOFS") == "" }

// build makes the binary in dir, where any user may run it.
func build(dir string) error {
	raceReports = filepath.Join(dir, "races")
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(raceReports, 0o700), os.Chmod(raceReports, 0o777)); err != nil {
		return err
	}
	binary = filepath.Join(dir, "notesd")
	args := []string{"-o", binary, faulty}
	if raced() {
		args = append([]string{"-race"}, args...)
	}
	return goBuild(args...)
}

// unraced returns plainBinary for a test that measures.
func unraced(t testing.TB) string {
	t.Helper()
	file, err := plainBinary()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// goBuild is go build in the module's root. It sets CGO_ENABLED, which the race
// detector needs and tests of the static binary do not have.
func goBuild(args ...string) error {
	cmd := exec.Command("go", append([]string{"build"}, args...)...)
	cmd.Dir = ".."
	cgo := "CGO_ENABLED=0"
	if slices.Contains(args, "-race") {
		cgo = "CGO_ENABLED=1"
	}
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", cmd, err, out)
	}
	return nil
}
