package cli

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"notesd/config"
	"notesd/internal/incident"
	"notesd/pool"
	"notesd/server/admin"
	"notesd/store"
)

const sweepEvery = 10 * time.Minute

// inBackground starts the loops. The function stop ends them and waits for them.
func inBackground(loops ...func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, loop := range loops {
		running.Go(func() { loop(ctx) })
	}
	return func() {
		cancel()
		running.Wait()
	}
}

// until returns loop with a context that also ends when leaving ends.
func until(leaving context.Context, loop func(context.Context)) func(context.Context) {
	return func(ctx context.Context) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(leaving, cancel)()
		loop(ctx)
	}
}

func memoryLoop(m *pool.Monitor) func(context.Context) {
	return func(ctx context.Context) {
		if m != nil {
			m.Run(ctx)
		}
	}
}

// sweepLoop returns the loop that removes expired sessions, keys, tombstones and trash, and thins
// histories. Several replicas may do so at the same time.
func sweepLoop(db *store.Store, cfg config.Config, log *slog.Logger) func(context.Context) {
	return func(ctx context.Context) {
		if db.WaitReady(ctx) != nil {
			return // ctx has ended before the database was ready
		}
		tick := time.NewTicker(sweepEvery)
		defer tick.Stop()
		for {
			result, err := db.Sweep(ctx, store.SweepConfig{TrashRetention: cfg.TrashRetention, History: cfg.History})
			if err != nil && ctx.Err() == nil {
				log.Warn("sweep failed, trying again later", "error", err)
			} else if result != (store.SweepResult{}) {
				log.Info("swept", "result", result)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}
}

func incidentLoop(r *incident.Recorder, s *admin.Sampler, door *admin.Admin) func(context.Context) {
	return func(ctx context.Context) { r.Run(ctx, s.Sample, func() any { return door.State() }) }
}
