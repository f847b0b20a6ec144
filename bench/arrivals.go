package bench

import (
	"math/rand/v2"
	"syscall"
	"time"
)

// arrivals decides when an open loop sends its requests. The rate does not depend on the responses,
// because users do not wait for each other.
type arrivals struct {
	rate    float64    // requests a second
	poisson *rand.Rand // nil: evenly spaced
	sent    int
	clock   float64 // time of the last Poisson arrival, in seconds
}

// next returns when the next request is to be sent, as the time since the beginning. If requests
// are evenly spaced, the first is sent at 0. Otherwise the gaps are drawn from the exponential
// distribution, so that the arrivals are a Poisson process.
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

// napFor sleeps for about d. The runtime's timers are rounded up to a millisecond while nothing
// else runs, which is many times the latency of a quick response. The kernel's timers are late by
// less than a tenth of that.
func napFor(d time.Duration) {
	ts := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&ts, nil) // a signal may wake it early; the caller checks the clock again
}
