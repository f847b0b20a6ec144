package config

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	maxGarbage = 32 << 20 // bytes that a small heap may gather before a collection
	maxPercent = 400      // of what is alive: how far garbage may outgrow it until the next look
)

// paceCollector lets a small heap gather garbage bytes between two collections, where Go would collect as soon as
// garbage is as large as what is alive. A server at rest keeps a few megabytes alive; under load it would be collected
// thirty times a second. A heap that is larger than garbage is collected as Go does by itself.
func paceCollector(garbage int64) {
	inForce := int64(100)
	type cycle struct{ _ *byte } // a pointer, or it may share a block with something that lives on
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

// gcPercent is the GOGC at which a heap of live bytes gathers garbage bytes, in steps of 25.
func gcPercent(live, garbage int64) int64 {
	return min(maxPercent, max(100, garbage*4/max(live, 1)*25))
}

func heapLive() int64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}
