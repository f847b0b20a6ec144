package bench

import (
	"math/rand/v2"
	"syscall"
	"time"
)

// arrivals says when the requests of an open loop are to be sent: at a rate
// that does not wait for answers, as people do not wait for each other.
type arrivals struct {
	rate    float64    // a second
	poisson *rand.Rand // nil: evenly spaced
	sent    int
	clock   float64 // seconds, of the last Poisson arrival
}

// next is when the next request is to leave, counted from the beginning.
// Evenly spaced, the first leaves at 0; else gaps are drawn from the
// exponential distribution, which makes arrivals a Poisson process.
func (a *arrivals) next() time.Duration {
	if a.poisson == nil {
		at := float64(a.sent) / a.rate
		a.sent++
		return seconds(at)
	}
	a.clock += a.poisson.ExpFloat64() / a.rate
	return seconds(a.clock)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// napFor sleeps for about d. The runtime's timers are rounded up to a
// millisecond while nothing else runs, many times a quick answer's latency; the
// kernel's are late by less than a tenth of that.
func napFor(d time.Duration) {
	ts := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&ts, nil) // woken early by a signal: the caller looks at the clock again
}
