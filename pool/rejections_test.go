package pool_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"notesd/pool"
)

// When there is k times as much demand as is served, who is turned away is
// told to come back after k seconds, a half more or less, and a minute and a
// half at most.
func TestRetryAfter(t *testing.T) {
	for _, demand := range []int{1, 2, 4, 10, 100} {
		synctest.Test(t, func(t *testing.T) {
			p := pool.New(pool.Config{Shards: 1, WorkersPerShard: 1})
			var sum time.Duration
			seen := 0
			for i := range 1000 {
				permit := acquire(t, p, read)
				for range demand - 1 {
					_, err := p.Acquire(t.Context(), read)
					r := err.(*pool.RejectedError)
					if r.RetryAfter < time.Second || r.RetryAfter > 90*time.Second {
						t.Fatalf("RetryAfter = %v", r.RetryAfter)
					}
					if i > 100 {
						sum += r.RetryAfter
						seen++
					}
				}
				permit.Release()
				time.Sleep(ms)
			}
			if demand == 1 {
				return // nobody was turned away
			}
			want := min(time.Duration(demand)*time.Second, time.Minute)
			if got := sum / time.Duration(seen); got < want*9/10 || got > want*11/10+100*ms {
				t.Errorf("demand %d times what is served: come back after %v on average, want %v", demand, got, want)
			}
		})
	}
}

// Rejections tells of the last quarter of an hour, and of nothing older.
func TestRejections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool.New(pool.Config{Shards: 1, WorkersPerShard: 1})
		acquire(t, p, read)
		began := time.Now()
		for minute := range 30 {
			for i := range minute + 1 {
				p.Acquire(t.Context(), by(fmt.Sprint("person ", i%3)))
			}
			p.CountRejected(by("person 0"), "rate_limit")
			time.Sleep(time.Minute)
		}
		got := p.Rejections() // in minute 30, of which there is nothing yet
		want := pool.Rejections{Flows: []pool.RejectedFlow{
			{Flow: "person 0", Reason: pool.ErrFull}, {Flow: "person 1", Reason: pool.ErrFull}, {Flow: "person 2", Reason: pool.ErrFull},
			{Flow: "person 0", Reason: "rate_limit", Count: 14},
		}}
		for minute := 16; minute < 30; minute++ {
			want.Minutes = append(want.Minutes, pool.RejectedMinute{Begins: began.Add(time.Duration(minute) * time.Minute),
				Rejected: map[pool.Reason]uint64{pool.ErrFull: uint64(minute + 1), "rate_limit": 1}})
			for i := range 3 {
				want.Flows[i].Count += uint64((minute + 1 + 2 - i) / 3)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Rejections() (-want +got):\n%s", diff)
		}
		if got := p.RejectedTotals(); got["rate_limit"] != 30 || got[pool.ErrFull] != 465 {
			t.Errorf("ShedTotals() = %v, want 30 and 465", got)
		}
		time.Sleep(time.Hour)
		if got := p.Rejections(); len(got.Minutes)+len(got.Flows) > 0 {
			t.Errorf("an hour later: %v, want nobody", got)
		}
	})
}

// Of however many people, those who are turned away more often than one time
// in 64 are named, and none with less than their count.
func TestMostRejectedAreNamed(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			p := pool.New(pool.Config{Shards: 1, WorkersPerShard: 1})
			acquire(t, p, read)
			counts := map[string]uint64{}
			total := rapid.IntRange(1, 1000).Draw(rt, "requests")
			for range total {
				i := rapid.OneOf(rapid.IntRange(0, 3), rapid.IntRange(0, 500)).Draw(rt, "person")
				who := fmt.Sprint(i)
				counts[who]++
				p.Acquire(t.Context(), by(who))
			}
			named := map[string]uint64{}
			for _, s := range p.Rejections().Flows {
				named[s.Flow] = s.Count
			}
			if len(named) > 64 {
				rt.Errorf("%d are named, want 64 at most", len(named))
			}
			for who, n := range counts {
				if got, ok := named[who]; n > uint64(total)/64 && !ok || ok && got < n {
					rt.Errorf("%s was turned away %d times of %d: named %v, %d times", who, n, total, ok, got)
				}
			}
		})
	})
}
