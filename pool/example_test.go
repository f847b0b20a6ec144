package pool_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"notesd/pool"
)

// A server has one pool, holds a worker while a handler runs, and drains the
// pool before it closes its stores.
func Example() {
	p := pool.New(pool.Config{
		Shards:          2, // cores
		WorkersPerShard: 4,
		QueueLength:     100,
		QueueTimeout:    time.Second,
	})
	ctx := context.Background()

	err := p.Do(ctx, pool.Request{Class: pool.Read, Route: "GET /api/notes/:id"},
		func(_ context.Context, permit *pool.Permit) error {
			fmt.Println("waited", permit.Waited())
			return nil
		})
	fmt.Println("error:", err)

	fmt.Println("drained:", p.Drain(ctx))
	err = p.Do(ctx, pool.Request{}, nil)
	fmt.Println("draining:", errors.Is(err, pool.ErrDraining))
	// Output:
	// waited 0s
	// error: <nil>
	// drained: <nil>
	// draining: true
}

// A body is read while no worker is held, so that a slow client holds none.
func ExamplePermit_Yield() {
	p := pool.New(pool.Config{Shards: 1, WorkersPerShard: 1, QueueLength: 1, QueueTimeout: time.Second})
	readBody := func() error {
		fmt.Println("reading, busy workers:", p.Stats().Busy)
		return nil
	}
	err := p.Do(context.Background(), pool.Request{Class: pool.Write, Route: "POST /api/notes"},
		func(ctx context.Context, permit *pool.Permit) error {
			if err := permit.Yield(ctx, readBody); err != nil {
				return err
			}
			fmt.Println("storing, busy workers:", p.Stats().Busy)
			return nil
		})
	fmt.Println("error:", err)
	// Output:
	// reading, busy workers: 0
	// storing, busy workers: 1
	// error: <nil>
}

// Why a request was refused, and after how long.
func ExampleRejectedError() {
	p := pool.New(pool.Config{Shards: 1, WorkersPerShard: 1}) // nobody waits
	permit, _ := p.Acquire(context.Background(), pool.Request{})
	defer permit.Release()

	_, err := p.Acquire(context.Background(), pool.Request{})
	if r, ok := errors.AsType[*pool.RejectedError](err); ok {
		fmt.Println(r.Reason == pool.ErrFull, r.Waited < time.Second)
	}
	// Output: true true
}
