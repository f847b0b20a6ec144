package config

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	maxGarbage = 32 << 20 // bytes of garbage that a small heap may gather before a collection
	maxPercent = 400      // percent of the live heap that garbage may reach until the next adjustment
)

// paceCollector lets a small heap gather garbage bytes between two collections. Go would collect as
// soon as the garbage is as large as the live heap. An idle server keeps a few megabytes alive, so
// that under load Go would collect thirty times a second. A heap that is larger than garbage is
// collected as Go does by default.
func paceCollector(garbage int64) {
	inForce := int64(100)
	// The pointer keeps a cycle out of a block that is shared with objects that live on.
	type cycle struct{ _ *byte }
	var begin func()
	begin = func() { // the cleanup runs after the next collection
		runtime.AddCleanup(new(cycle), func(int) {
			if p := gcPercent(heapLive(), garbage); p != inForce {
				debug.SetGCPercent(int(p)) // stops the world for some microseconds
				inForce = p
			}
			begin()
		}, 0)
	}
	begin()
}

// gcPercent returns the GOGC at which a heap of live bytes gathers garbage bytes, in steps of 25.
func gcPercent(live, garbage int64) int64 {
	return min(maxPercent, max(100, garbage*4/max(live, 1)*25))
}

func heapLive() int64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}
