package router

import (
	"testing"
	"time"
)

// Strangers can't fill the log.
func TestOriginLogBounded(t *testing.T) {
	var l originLog
	now := time.Now()
	for i := range 100 {
		if _, due := l.due(now); due != (i == 0) {
			t.Fatalf("line %d: due %v", i, due)
		}
	}
	if hushed, due := l.due(now.Add(originEvery)); !due || hushed != 99 {
		t.Errorf("after %v: due %v with %d hushed, want 99", originEvery, due, hushed)
	}
	if hushed, due := l.due(now.Add(2 * originEvery)); !due || hushed != 0 {
		t.Errorf("later: due %v with %d hushed, want none", due, hushed)
	}
}
