package auth

import (
	"context"
	"sync"
	"time"

	"notesd/store"
)

const (
	// useEvery is how often uses are written.
	useEvery = time.Second
	// maxUses bounds the uses that wait to be written, and those that are known to be. What is more
	// is written when the session or token is read again, a minute later.
	maxUses = 1 << 14
	// usesAtOnce is how many uses one statement writes.
	usesAtOnce = 500
)

// uses notes in which hour sessions and app tokens were last used. It writes behind the requests,
// and each session or token once an hour.
type uses struct {
	write func(ctx context.Context, used []store.Use, hour time.Time) error

	mu      sync.Mutex // guards what follows
	hour    time.Time  // of both maps
	waiting map[string]store.Use
	written map[string]struct{}
}

func newUses(write func(context.Context, []store.Use, time.Time) error) *uses {
	return &uses{write: write}
}

// add notes that the session or token of u, which was last seen at seen, is being used.
func (u *uses) add(use store.Use, seen time.Time) {
	hour := time.Now().Truncate(time.Hour)
	if !seen.Before(hour) {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.hour.Equal(hour) || len(u.written) >= maxUses {
		u.hour, u.waiting, u.written = hour, map[string]store.Use{}, map[string]struct{}{}
	}
	if _, done := u.written[use.Key]; !done && len(u.waiting) < maxUses {
		u.waiting[use.Key] = use
	}
}

// take returns some of the uses that wait, and their hour.
func (u *uses) take() (used []store.Use, hour time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for key, use := range u.waiting {
		if len(used) == usesAtOnce {
			break
		}
		used = append(used, use)
		delete(u.waiting, key)
	}
	return used, u.hour
}

// done keeps what was written from being written again in this hour.
func (u *uses) done(used []store.Use, hour time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, use := range used {
		if u.hour.Equal(hour) {
			u.written[use.Key] = struct{}{}
		}
	}
}

// flush writes the uses that wait. What cannot be written now is added again by the next request.
func (u *uses) flush(ctx context.Context) error {
	for {
		used, hour := u.take()
		if len(used) == 0 {
			return nil
		}
		if err := u.write(ctx, used, hour); err != nil {
			return err
		}
		u.done(used, hour)
	}
}

// WriteUses writes when sessions and app tokens were last used, until ctx ends.
func (a *Accounts) WriteUses(ctx context.Context) {
	tick := time.NewTicker(useEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = a.Sessions.uses.flush(ctx)
			_ = a.tokenUses.flush(ctx)
		}
	}
}
