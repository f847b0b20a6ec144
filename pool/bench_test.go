package pool_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"

	"notesd/pool"
)

// What holding a worker costs, beside a plain call and the two semaphores that
// people use instead (and beside two goroutine pools: bench/pools). The body is
// empty: all that is measured is the way in and out.
func BenchmarkUncontended(b *testing.B) {
	for _, way := range ways(4) {
		b.Run(way.name, func(b *testing.B) {
			ctx := requestContext(b)
			b.ReportAllocs()
			began := cpuTime(b)
			for b.Loop() {
				way.do(ctx)
			}
			reportCPU(b, began)
		})
	}
}

// The same from all cores at once, with a worker for each.
func BenchmarkParallel(b *testing.B) {
	for _, way := range ways(8) {
		b.Run(way.name, func(b *testing.B) { hammer(b, way, 1) })
	}
}

// The same with 8 times as many goroutines as workers, so that most wait.
func BenchmarkContended(b *testing.B) {
	for _, way := range ways(2) {
		b.Run(way.name, func(b *testing.B) { hammer(b, way, 16) })
	}
}

// What it costs to turn a request away: from a full queue, and while draining.
func BenchmarkReject(b *testing.B) {
	r := pool.Request{Class: pool.Read}
	full := pool.New(pool.Config{Shards: 2, WorkersPerShard: 1})
	for range 2 {
		permit, err := full.Acquire(b.Context(), r)
		if err != nil {
			b.Fatal(err)
		}
		defer permit.Release()
	}
	draining := pool.New(pool.Config{Shards: 2, WorkersPerShard: 1})
	draining.Refuse()
	for _, c := range []struct {
		name string
		pool *pool.Pool
	}{{"full", full}, {"draining", draining}} {
		b.Run(c.name, func(b *testing.B) {
			ctx := requestContext(b)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.pool.Acquire(ctx, r); err == nil {
					b.Fatal("not refused")
				}
			}
		})
	}
}

func hammer(b *testing.B, way way, goroutinesPerCore int) {
	b.ReportAllocs()
	b.SetParallelism(goroutinesPerCore)
	began := cpuTime(b)
	b.RunParallel(func(pb *testing.PB) {
		ctx := requestContext(b)
		for pb.Next() {
			way.do(ctx)
		}
	})
	reportCPU(b, began)
}

// reportCPU adds the CPU time of all cores: ns/op from several at once is less
// than what one of them takes.
func reportCPU(b *testing.B, began time.Duration) {
	b.ReportMetric(float64(cpuTime(b)-began)/float64(b.N), "cpu-ns/op")
}

// cpuTime is what this process has used so far.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

type way struct {
	name string
	do   func(context.Context)
}

// ways is everything that stands beside each other, for so many workers.
func ways(workers int) []way {
	slots := make(chan struct{}, workers)
	weighted := semaphore.NewWeighted(int64(workers))
	r := pool.Request{Class: pool.Read, Route: "/api/notes/:id"}
	acquire := func(p *pool.Pool, r pool.Request) func(context.Context) {
		return func(ctx context.Context) {
			t, err := p.Acquire(ctx, r)
			if err != nil {
				panic(err)
			}
			work()
			t.Release()
		}
	}
	open := pool.Config{Shards: 2, WorkersPerShard: workers / 2, QueueLength: 1000, QueueTimeout: time.Hour,
		DelayTarget: 5 * time.Millisecond, FlowLimit: max(2, workers/4), RestartThreshold: 5, RestartWindow: time.Minute}
	single := open
	single.Shards, single.WorkersPerShard = 1, workers
	limited := open
	limited.Limits[pool.Read] = workers
	p := pool.New(open)
	return []way{
		{"plain call", func(context.Context) { work() }},
		{"channel semaphore", func(ctx context.Context) {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				panic(ctx.Err())
			}
			work()
			<-slots
		}},
		{"x sync semaphore", func(ctx context.Context) {
			if err := weighted.Acquire(ctx, 1); err != nil {
				panic(err)
			}
			work()
			weighted.Release(1)
		}},
		{"pool", acquire(p, r)},
		{"pool of one shard", acquire(pool.New(single), r)},
		{"pool with a limited class", acquire(pool.New(limited), r)},
		{"pool Do", func(ctx context.Context) {
			err := p.Do(ctx, r, func(context.Context, *pool.Permit) error { work(); return nil })
			if err != nil {
				panic(err)
			}
		}},
	}
}

//go:noinline
func work() {}

// requestContext is a context like the one a request comes with.
func requestContext(b *testing.B) context.Context {
	type key struct{}
	ctx, cancel := context.WithTimeout(context.WithValue(b.Context(), key{}, 1), time.Hour)
	b.Cleanup(cancel)
	return context.WithValue(ctx, key{}, 2)
}
