package incident

import (
	"fmt"
	"time"
)

// What trouble is, over the last window of samples.
const (
	slowShare = 100 // one in so many is slow: the 99th percentile is above Config.Slow
	leastSlow = 3   // fewer than that are somebody's bad luck

	shedShare   = 10 // one in so many is shed
	leastShed   = 20
	shedSeconds = 8 // of the window, in which some were: a queue that stands, not a burst
)

// The reasons that judge gives.
const (
	reasonSlow     = "slow"
	reasonOverload = "overload"
)

// verdict is what the last samples say.
type verdict struct {
	near           bool   // trouble may come: trace, to see what led to it
	reason, detail string // why a file is due; empty: it is not
}

// judge looks at the last samples, of which there is at least one. Slow
// requests are those that took longer than slow. Sheds are no sign to trace by:
// a trace takes from a server that has too little, and overload that stands can
// be seen as well when its file is due.
func judge(last []Sample, slow time.Duration) (v verdict) {
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
	case all.Shed >= leastShed && all.Shed*shedShare >= came && seconds >= shedSeconds:
		v.reason = reasonOverload
		v.detail = fmt.Sprintf("%d of %d requests of the last %d s were shed", all.Shed, came, len(last))
	case all.Slow >= leastSlow && all.Slow*slowShare >= all.Timed:
		v.reason = reasonSlow
		v.detail = fmt.Sprintf("%d of %d requests of the last %d s took longer than %v", all.Slow, all.Timed, len(last), slow)
	}
	return v
}
