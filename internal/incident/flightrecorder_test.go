package incident

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

// The trace begins with a sign of trouble, ends with it or after maxTraceTime, and
// rests; where there is no room it does not begin, and while a file is written
// it does not end.
func TestTape(t *testing.T) {
	var tape flightRecorder
	defer tape.stop()
	now := time.Now()
	type signs struct{ near, room bool }
	trouble, calm := signs{true, true}, signs{false, true}
	tend := func(after time.Duration, s signs, want bool) {
		t.Helper()
		now = now.Add(after)
		tape.update(now, s.near, s.room)
		if got := tape.runs(); got != want {
			t.Fatalf("running is %v after another %v with %+v, want %v", got, after, s, want)
		}
	}
	var out bytes.Buffer
	if err := tape.writeTo(&out); !errors.Is(err, errNoTrace) {
		t.Errorf("writeTo() before the first = %v, want %v", err, errNoTrace)
	}
	tend(0, calm, false)
	tend(0, signs{near: true}, false)
	tend(0, trouble, true)
	tend(maxTraceTime-1, trouble, true)
	tend(1, trouble, false)
	tend(traceInterval-maxTraceTime-1, trouble, false)
	tend(1, trouble, true)
	tend(time.Second, calm, false)
	tend(time.Second, trouble, false)
	tend(traceInterval, trouble, true)
	tend(time.Second, signs{near: true}, false)

	tape.retain(now)
	tend(time.Hour, calm, true)
	if err := tape.writeTo(&out); err != nil || !strings.HasPrefix(out.String(), "go 1.") {
		t.Errorf("writeTo() = %v, %.16q", err, out.String())
	}
	tape.release()
	tend(0, calm, false)
}

// When somebody else traces, the file says so.
func TestTapeTaken(t *testing.T) {
	var other, tape flightRecorder
	other.retain(time.Now())
	defer other.stop()
	tape.retain(time.Now())
	defer tape.stop()
	if err := tape.writeTo(nil); err == nil || errors.Is(err, errNoTrace) || tape.length() != 0 {
		t.Errorf("writeTo() while another traces = %v after %v, want the reason", err, tape.length())
	}
}
