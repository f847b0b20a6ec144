package testkit

import (
	"testing"
	"time"
)

// eventuallyTimeout is longer than anything that a test waits for takes, even on a busy machine.
const eventuallyTimeout = 30 * time.Second

// Eventually returns once there is true, and fails the test if that takes too long. It asks often
// at first and then less and less.
func Eventually(t testing.TB, what string, there func() bool) {
	t.Helper()
	pause := 100 * time.Microsecond
	for deadline := time.Now().Add(eventuallyTimeout); !there(); time.Sleep(pause) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within %v", what, eventuallyTimeout)
		}
		pause = min(2*pause, 10*time.Millisecond)
	}
}
