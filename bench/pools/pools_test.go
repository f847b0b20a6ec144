package main

import (
	"testing"
	"time"

	"github.com/alitto/pond/v2"
	"github.com/panjf2000/ants/v2"

	"notesd/bench"
)

// The names, the numbers and the empty body are those of the benchmarks in
// notesd/pool. A goroutine pool runs a function on a goroutine of its own; who
// asked waits for it, as a request's goroutine has to.

func BenchmarkUncontended(b *testing.B) {
	for _, way := range ways(b, 4) {
		b.Run(way.name, func(b *testing.B) {
			b.ReportAllocs()
			began := bench.CPUTime()
			run := way.runner()
			for b.Loop() {
				run()
			}
			reportCPU(b, began)
		})
	}
}

func BenchmarkContended(b *testing.B) {
	for _, way := range ways(b, 2) {
		b.Run(way.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(16)
			began := bench.CPUTime()
			b.RunParallel(func(pb *testing.PB) {
				for run := way.runner(); pb.Next(); {
					run()
				}
			})
			reportCPU(b, began)
		})
	}
}

func reportCPU(b *testing.B, began time.Duration) {
	b.ReportMetric(float64(bench.CPUTime()-began)/float64(b.N), "cpu-ns/op")
}

// A way makes functions that each run work in the pool and wait for it; one
// for each goroutine.
type way struct {
	name   string
	runner func() (run func())
}

func ways(b *testing.B, workers int) []way {
	goroutines, err := ants.NewPool(workers)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(goroutines.Release)
	ponds := pond.NewPool(workers)
	b.Cleanup(ponds.StopAndWait)
	return []way{
		{"ants", func() func() {
			done := make(chan struct{}, 1)
			task := func() { work(); done <- struct{}{} }
			return func() {
				if err := goroutines.Submit(task); err != nil {
					panic(err)
				}
				<-done
			}
		}},
		{"pond", func() func() {
			return func() {
				if err := ponds.Submit(work).Wait(); err != nil {
					panic(err)
				}
			}
		}},
	}
}

//go:noinline
func work() {}
