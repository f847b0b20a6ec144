package testkit

import (
	"testing"
	"time"
)

// On any machine, a time within the bound passes and one far beyond it does not.
func TestTooLong(t *testing.T) {
	for took, want := range map[time.Duration]bool{0: false, time.Second: false, 1500 * time.Millisecond: false, time.Hour: true} {
		if got := TooLong(took, time.Second, 500*time.Millisecond); got != want {
			t.Errorf("TooLong(%v, 1s, 500ms) = %v, want %v", took, got, want)
		}
	}
	if s := slowdown(); s < 0.9 { // the clocks of the kernel differ by a tick
		t.Errorf("a goroutine takes %.2f times as long as on an idle machine", s)
	}
}
