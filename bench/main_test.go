package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

// binary is the program to be measured: notesd with routes that fail on purpose.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "bench")
	if err == nil {
		err = build(dir)
	}
	code := 1
	if err == nil {
		code = m.Run()
	}
	if err == nil && code == 0 {
		err = goleak.Find()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		code = 1
	}
	_ = os.RemoveAll(dir) // what is left there hurts nobody
	os.Exit(code)
}

func build(dir string) error {
	binary = filepath.Join(dir, "notesd")
	cmd := exec.Command("go", "build", "-o", binary, "./bench/lab/faulty")
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", cmd, err, out)
	}
	return nil
}
