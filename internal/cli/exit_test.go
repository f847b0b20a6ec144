package cli

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"notesd/config"
)

// A process that is stuck on its way out is ended a second after SHUTDOWN_DELAY and
// SHUTDOWN_TIMEOUT, with a word on what is stuck; one that has ended is left alone.
func TestExitGuard(t *testing.T) {
	const limit = 5*time.Second + 10*time.Second + time.Second
	tests := []struct {
		name  string
		stuck bool          // what it writes to
		takes time.Duration // to leave
		want  time.Duration // after which exit is called; 0: it is not
	}{
		{"it leaves in time", false, limit - 200*time.Millisecond, 0},
		{"it is stuck", false, time.Hour, limit - lastWords},
		{"so is what it writes to", true, time.Hour, limit},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reads, writes := io.Pipe()
				err := io.Writer(writes) // nobody reads
				if !test.stuck {
					err = io.Discard
				}
				began, got := time.Now(), time.Duration(0)
				g := newExitGuard(config.Config{ShutdownDelay: 5 * time.Second, ShutdownTimeout: 10 * time.Second},
					Process{Err: err, Exit: func(code int) {
						if got = time.Since(began); code != 1 {
							t.Errorf("exit(%d), want exit(1)", code)
						}
					}})
				g.begin()
				time.Sleep(time.Second)
				g.begin() // which changes nothing
				time.Sleep(test.takes - time.Second)
				g.stop()
				synctest.Wait() // for exit
				if got != test.want {
					t.Errorf("exit after %v, want %v", got, test.want)
				}
				_ = reads.Close() // lets the last write go
			})
		})
	}
}

// What is written tells which goroutine is stuck.
func TestExitGuardStacks(t *testing.T) {
	var said strings.Builder
	g := newExitGuard(config.Config{}, Process{Err: &said, Exit: func(int) {}})
	g.end()
	if text := said.String(); !strings.Contains(text, "stuck") || !strings.Contains(text, "TestExitGuardStacks") {
		t.Errorf("it says %q, want the stack of this test", text)
	}
}
