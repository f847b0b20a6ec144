package store_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"notesd/internal/testkit"
	"notesd/internal/testserver"
	"notesd/store"
	"notesd/store/storetest"
)

// beside runs fn until the test ends.
func beside(t *testing.T, fn func(ctx context.Context)) {
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { fn(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
}

// awaitHealth waits until what is wanted is published, and has woken the reader.
func awaitHealth(t *testing.T, s *store.Store, want error) {
	t.Helper()
	for deadline := time.After(30 * time.Second); !errors.Is(s.Health().Err, want); {
		select {
		case <-s.HealthChanged():
		case <-deadline:
			t.Fatalf("Health() = %+v, want %v", s.Health(), want)
		}
	}
}

// What the monitor finds is published, with the time that the answer took, and wakes its reader.
func TestHealth(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		beside(t, s.Monitor)
		testkit.Eventually(t, "answer", func() bool { return s.Health().Latency > 0 })
		if err := s.Health().Err; err != nil {
			t.Fatalf("Health() = %v, want nil", err)
		}
		if err := s.WriterDB().Exec("UPDATE schema_info SET min_binary = 2").Error; err != nil {
			t.Fatal(err)
		}
		awaitHealth(t, s, store.ErrSchema)
		if err := s.WriterDB().Exec("UPDATE schema_info SET min_binary = 1").Error; err != nil {
			t.Fatal(err)
		}
		awaitHealth(t, s, nil)
	})
}

// A server that is gone, or back, is published when the monitor's question tells, or anybody's that
// is left without an answer. A refusal is one.
func TestHealthServerGone(t *testing.T) {
	for _, fault := range testserver.Faults {
		for name, asks := range map[string]func(s *store.Store) func(ctx context.Context){
			"monitor": func(s *store.Store) func(ctx context.Context) { return s.Monitor },
			"requests": func(s *store.Store) func(ctx context.Context) {
				return func(ctx context.Context) {
					for ctx.Err() == nil {
						_ = s.Ready(ctx)
						time.Sleep(10 * time.Millisecond)
					}
				}
			},
		} {
			if fault == testserver.Refuse && name == "requests" {
				continue
			}
			t.Run(fault.String()+", told by the "+name, func(t *testing.T) {
				t.Parallel()
				s, proxy := behindProxy(t)
				beside(t, asks(s))
				proxy.Set(fault)
				awaitHealth(t, s, store.ErrUnavailable)
				proxy.Set(testserver.Pass)
				awaitHealth(t, s, nil)
			})
		}
	}
}

// A server that was never there can't be used, and one that comes later is published.
func TestHealthServerLate(t *testing.T) {
	t.Parallel()
	proxy := testserver.NewProxy(t, storetest.Postgres(t))
	proxy.Set(testserver.Refuse)
	s := openPostgres(t, proxy.URL())
	beside(t, s.Monitor)
	if err := s.Health().Err; !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Health() = %v, want ErrUnavailable", err)
	}
	proxy.Set(testserver.Pass)
	awaitHealth(t, s, nil)
}
