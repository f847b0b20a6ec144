package config

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestGCPercent(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name                string
		live, garbage, want int64
	}{
		{"nothing alive", 0, 16 * mib, 400},
		{"very little", 1 * mib, 16 * mib, 400},
		{"little", 8 * mib, 16 * mib, 200},
		{"as much as garbage", 16 * mib, 16 * mib, 100},
		{"more", 100 * mib, 16 * mib, 100},
		{"a small container", 4 * mib, 2 * mib, 100},
	} {
		if got := gcPercent(c.live, c.garbage); got != c.want {
			t.Errorf("%s: gcPercent(%d, %d) = %d, want %d", c.name, c.live, c.garbage, got, c.want)
		}
	}
}

func TestGarbage(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct{ limit, cgroup, want int64 }{
		{0, 0, 32 * mib}, {64 * mib, 64 * mib, 2 * mib}, {0, 512 * mib, 16 * mib}, {256 * mib, 512 * mib, 8 * mib}, {1 << 40, 0, 32 * mib},
	} {
		if got := (Runtime{MemoryLimit: c.limit, CgroupMemory: c.cgroup}).garbage(); got != c.want {
			t.Errorf("with a limit of %d in a container of %d: %d bytes, want %d", c.limit, c.cgroup, got, c.want)
		}
	}
}

// The collector is paced after each collection: a heap that has grown is collected as Go does by itself, one that has
// shrunk again gathers garbage.
func TestPaceCollector(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	const garbage = 32 << 20
	paceCollector(garbage)
	var grown []byte
	for _, c := range []struct {
		name  string
		alive int
		paced bool
	}{{"at rest", 0, true}, {"grown", 2 * garbage, false}, {"at rest again", 0, true}} {
		grown = make([]byte, c.alive)
		deadline := time.Now().Add(10 * time.Second)
		for (percentInForce() > 100) != c.paced {
			if time.Now().After(deadline) {
				t.Fatalf("%s: GOGC is %d with %d bytes alive, want above 100: %v", c.name, percentInForce(), heapLive(), c.paced)
			}
			runtime.GC()
			time.Sleep(time.Millisecond)
		}
	}
	runtime.KeepAlive(grown)
}

func percentInForce() uint64 {
	sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
