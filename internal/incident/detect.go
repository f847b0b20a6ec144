package incident

import (
	"fmt"
	"time"
)

// These constants define trouble, over the last window of samples.
const (
	slowShare = 100 // trouble if one request in so many is slow: the 99th percentile is above Config.Slow
	minSlow   = 3   // fewer slow requests are coincidence

	shedShare   = 10 // trouble if one request in so many is shed
	minShed     = 20
	shedSeconds = 8 // of the window, in which requests were shed: a standing queue, not a burst
)

// These are the reasons that detect gives.
const (
	reasonSlow     = "slow"
	reasonOverload = "overload"
)

// detection is the result of examining the last samples.
type detection struct {
	near           bool   // trouble may be coming: trace, to see what led to it
	reason, detail string // why a file is due; empty: none is due
}

// detect examines the last samples; there is at least one. A request is slow if it took longer than
// slow. Shed requests do not start a trace: a trace takes resources from a server that has too few,
// and standing overload can be seen as well when its file is due.
func detect(last []Sample, slow time.Duration) (v detection) {
	var all Sample
	seconds := 0
	for _, s := range last {
		all.Timed += s.Timed
		all.Slow += s.Slow
		all.Done += s.Done
		all.Shed += s.Shed
		all.Panics += s.Panics
		if s.Shed > 0 {
			seconds++
		}
	}
	now := last[len(last)-1]
	came := all.Done + all.Shed
	highMemory := now.MemoryAlert > 0 && now.RSS >= now.MemoryAlert/10*9
	v.near = all.Slow > 0 || all.Panics > 0 || highMemory
	switch {
	case all.Shed >= minShed && all.Shed*shedShare >= came && seconds >= shedSeconds:
		v.reason = reasonOverload
		v.detail = fmt.Sprintf("%d of %d requests of the last %d s were shed", all.Shed, came, len(last))
	case all.Slow >= minSlow && all.Slow*slowShare >= all.Timed:
		v.reason = reasonSlow
		v.detail = fmt.Sprintf("%d of %d requests of the last %d s took longer than %v", all.Slow,
			all.Timed, len(last), slow)
	}
	return v
}
