// Package heavy keeps one core free of work that keeps a core busy for long.
//
// Go takes a core from a goroutine only after 10 ms, and while every core is busy it looks for
// requests that the network has brought only every 10 ms. Beside as much heavy work as there are
// cores, each step of a request that needs microseconds would wait that long, and longer if more
// heavy work is ready to run.
package heavy

import "runtime"

// turns holds an element for each piece of heavy work that runs. It is made here and not where it
// is first used, since a channel that is made in a bubble of testing/synctest stays there.
var turns = newTurns(runtime.GOMAXPROCS(0))

// newTurns leaves one of the cores to other work.
func newTurns(cores int) chan struct{} { return make(chan struct{}, max(1, cores-1)) }

// SetCores says how many cores Go uses. It is called before the first Do, unless that is as many as
// there were at the start of the process.
func SetCores(cores int) { turns = newTurns(cores) }

// Do runs work, which keeps a core busy for a millisecond or more, when at most as much other heavy
// work runs as leaves one core free; on a single core, when none does. Those that wait take turns.
// Work that takes longer than some 50 ms should be cut into pieces with a Do each. Work must wait
// for nothing that takes as long: no lock, no network, and no Do of its own.
func Do(work func()) {
	in := turns
	in <- struct{}{}
	defer func() { <-in }()
	work()
}

// If calls work, which is heavy if large is true.
func If(large bool, work func()) {
	if large {
		Do(work)
	} else {
		work()
	}
}
