// Package testkit has what the tests of several packages share and what needs no server: waiting,
// time limits, logs, free ports.
package testkit

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// TooLong reports whether took is longer than promised plus slack. On a machine
// whose threads wait for a core, slack grows by the factor that they are slowed
// down: a bound can be tight on an idle machine and hold on a busy one.
func TooLong(took, promised, slack time.Duration) bool {
	if took <= promised+slack {
		return false
	}
	return took > promised+time.Duration(float64(slack)*slowdown())
}

// slowdown returns how many times longer than on an idle machine a goroutine
// that computes takes at the moment.
func slowdown() float64 {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const sample = 50 * time.Millisecond
	began, used := time.Now(), threadTime()
	for threadTime()-used < sample {
	}
	return float64(time.Since(began)) / float64(sample)
}

// threadTime returns how long this thread has run on a core.
func threadTime() time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &usage); err != nil {
		panic(err) // without this call the time limits of all tests would be guesses
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
