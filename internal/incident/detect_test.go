package incident

import (
	"slices"
	"testing"
	"time"
)

// What is trouble, what is a sign of it and what is neither; each edge from both sides.
func TestJudge(t *testing.T) {
	const slow = time.Second
	quiet := Sample{Done: 100, Timed: 100}
	seconds := func(n int, s Sample) []Sample { return slices.Repeat([]Sample{s}, n) }
	with := func(last []Sample, s Sample) []Sample { return append(last[:len(last)-1], s) }
	for _, row := range []struct {
		name string
		last []Sample
		want detection
	}{
		{"nothing happens", seconds(window, Sample{}), detection{}},
		{"all is well", seconds(window, quiet), detection{}},
		{"the first second", seconds(1, quiet), detection{}},

		{"one slow request of one", seconds(1, Sample{Timed: 1, Slow: 1}), detection{near: true}},
		{"two slow requests of two", seconds(1, Sample{Timed: 2, Slow: 2}), detection{near: true}},
		{"three slow requests of three", seconds(1, Sample{Timed: 3, Slow: 3}),
			detection{true, reasonSlow, "3 of 3 requests of the last 1 s took longer than 1s"}},
		{"one in a hundred is slow", with(seconds(window, quiet), Sample{Timed: 100, Slow: 10}),
			detection{true, reasonSlow, "10 of 1000 requests of the last 10 s took longer than 1s"}},
		{"not quite one in a hundred", with(seconds(window, quiet), Sample{Timed: 101, Slow: 10}), detection{near: true}},

		{"one in ten is shed in eight seconds", append(seconds(2, Sample{Done: 232}), seconds(8, Sample{Done: 50, Shed: 12})...),
			detection{false, reasonOverload, "96 of 960 requests of the last 10 s were shed"}},
		{"not quite one in ten", append(seconds(2, Sample{Done: 233}), seconds(8, Sample{Done: 50, Shed: 12})...), detection{}},
		{"a burst of seven seconds", append(seconds(3, quiet), seconds(7, Sample{Done: 100, Shed: 100})...), detection{}},
		{"twenty are shed", with(seconds(8, Sample{Shed: 2}), Sample{Shed: 6}),
			detection{false, reasonOverload, "20 of 20 requests of the last 8 s were shed"}},
		{"nineteen are shed", with(seconds(8, Sample{Shed: 2}), Sample{Shed: 5}), detection{}},
		{"shed and slow", seconds(8, Sample{Done: 4, Shed: 4, Timed: 4, Slow: 4}),
			detection{true, reasonOverload, "32 of 64 requests of the last 8 s were shed"}},

		{"a panic", append(seconds(1, Sample{Panics: 1}), seconds(9, quiet)...), detection{near: true}},
		{"memory near the alert", with(seconds(window, quiet), Sample{RSS: 900, MemoryAlert: 1000}), detection{near: true}},
		{"memory not near the alert", with(seconds(window, quiet), Sample{RSS: 899, MemoryAlert: 1000}), detection{}},
		{"memory was near the alert", append(seconds(9, Sample{RSS: 900, MemoryAlert: 1000}), Sample{MemoryAlert: 1000}), detection{}},
		{"no alert is set", seconds(1, Sample{RSS: 1 << 40}), detection{}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := detect(row.last, slow); got != row.want {
				t.Errorf("judge() = %+v, want %+v", got, row.want)
			}
		})
	}
}
