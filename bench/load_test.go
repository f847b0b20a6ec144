package bench

import (
	"context"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeClients are clients in a bubble's time whose requests are answered by answers.
func fakeClients(answers func(request []byte) (answer, error)) clients {
	return clients{nap: time.Sleep, connect: func(int) (exchange, func()) { return answers, func() {} }}
}

// slow answers well after d.
func slow(d time.Duration) func([]byte) (answer, error) {
	return func([]byte) (answer, error) {
		time.Sleep(d)
		return answer{status: 200, retryAfter: -1}, nil
	}
}

func onePlan() *Plan {
	p := &Plan{}
	p.Add("read", 1, []Request{{raw: []byte("GET")}})
	return p
}

// measured runs a load in a bubble and tells when its measured time began and ended.
func measured(t *testing.T, l Load, c clients) (r Measurement, began, over time.Duration) {
	t.Helper()
	l.plan = onePlan()
	start := time.Now()
	o := l.run(t.Context(), c, func() { began = time.Since(start) }, func() { over = time.Since(start) })
	return newMeasurement(l, o, usage{}, ""), began, over
}

// near tells whether a figure is within the histogram's precision of a duration.
func near(gotMs float64, want time.Duration) bool {
	exact := float64(want) / 1e6
	return gotMs >= exact*0.999-0.001 && gotMs <= exact*1.001+0.001
}

// An open loop on time: every request leaves when it is meant to, and takes what the server takes.
func TestOpenLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Load{rate: 100, fixed: true, connections: 10, warm: time.Second, measured: 2 * time.Second, maxRequests: 1000}
		r, began, over := measured(t, l, fakeClients(slow(25*time.Millisecond)))
		if began != time.Second || over != 3*time.Second {
			t.Errorf("measured from %v to %v, want from 1s to 3s", began, over)
		}
		f := r.All
		if f.Sent != 200 || f.Good != 200 || f.Goodput != 100 {
			t.Errorf("sent %d, good %d, %v a second, want 200, 200, 100", f.Sent, f.Good, f.Goodput)
		}
		for _, got := range []float64{f.MeanMs, f.P50Ms, f.P99Ms, f.MaxMs} {
			if !near(got, 25*time.Millisecond) {
				t.Errorf("latencies %+v, want 25 ms all", f)
				break
			}
		}
		if r.LateP99Ms > 0.001 || r.Unsent != 0 || r.Void != "" {
			t.Errorf("late %v ms, unsent %d, void %q, want none", r.LateP99Ms, r.Unsent, r.Void)
		}
	})
}

// With one connection and answers after 20 ms, every second of 100 requests a second finds nobody
// to send it.
func TestOpenLoopUnsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Load{rate: 100, fixed: true, connections: 1, measured: time.Second, maxRequests: 1000}
		r, _, _ := measured(t, l, fakeClients(slow(19*time.Millisecond)))
		f := r.All
		if f.Sent != 50 || f.Good != 50 || r.Unsent != 50 {
			t.Errorf("sent %d, good %d, unsent %d, want 50 of each", f.Sent, f.Good, r.Unsent)
		}
		if !near(f.MaxMs, 19*time.Millisecond) || !near(f.P50Ms, 19*time.Millisecond) {
			t.Errorf("longest %v ms, middle %v ms, want 19", f.MaxMs, f.P50Ms)
		}
		if r.LateP99Ms > 0.001 || r.Void != "" {
			t.Errorf("late %v ms, void %q: the server was slow, not the generator", r.LateP99Ms, r.Void)
		}
	})
}

// A generator that oversleeps is seen, and latencies still count from the intended times.
func TestOpenLoopLate(t *testing.T) {
	for name, test := range map[string]struct {
		service, over time.Duration
		void          bool
	}{
		"within the bound":         {time.Millisecond, 4900 * time.Microsecond, false},
		"beyond it":                {time.Millisecond, 5100 * time.Microsecond, true},
		"a tenth of what it takes": {93 * time.Millisecond, 10 * time.Millisecond, false},
		"more than that":           {87 * time.Millisecond, 10 * time.Millisecond, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := fakeClients(slow(test.service))
				c.nap = func(d time.Duration) { time.Sleep(d + test.over) }
				l := Load{rate: 5, fixed: true, connections: 10, warm: time.Second, measured: 3 * time.Second,
					maxRequests: 1000}
				r, _, _ := measured(t, l, c)
				if !near(r.All.P50Ms, test.service+test.over) || !near(r.LateP99Ms, test.over) {
					t.Errorf("p50 %v ms, late %v ms, want %v and %v", r.All.P50Ms, r.LateP99Ms,
						test.service+test.over, test.over)
				}
				if (r.Void != "") != test.void {
					t.Errorf("void: %q, want so: %v", r.Void, test.void)
				}
			})
		})
	}
}

func TestClosedLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Load{connections: 4, warm: time.Second, measured: 2 * time.Second, maxRequests: 10_000}
		r, _, _ := measured(t, l, fakeClients(slow(10*time.Millisecond)))
		if r.All.Sent != 800 || r.All.Goodput != 400 || !near(r.All.P99Ms, 10*time.Millisecond) {
			t.Errorf("sent %d, %v a second, p99 %v ms, want 800, 400, 10", r.All.Sent, r.All.Goodput, r.All.P99Ms)
		}
	})
}

// What a client does that is turned away three times before it is served, each time after 10 ms.
func TestRetry(t *testing.T) {
	for retry, want := range map[Retry]struct {
		good, refused int
		latency       time.Duration
	}{
		RetryNone:  {25, 75, 10 * time.Millisecond},
		RetryNow:   {25, 75, 40 * time.Millisecond},
		RetryAfter: {0, 1, 0}, // the second time it comes after the end
	} {
		t.Run(string(retry), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				c := fakeClients(func([]byte) (answer, error) {
					time.Sleep(10 * time.Millisecond)
					if n++; n%4 != 0 {
						return answer{503, 2 * time.Second, "queue_full"}, nil
					}
					return answer{200, -1, ""}, nil
				})
				r, _, _ := measured(t, Load{connections: 1, measured: time.Second, maxRequests: 1000, retry: retry}, c)
				f := r.All
				if f.Good != want.good || f.Refused != want.refused || f.Unexplained != 0 ||
					f.Reasons["queue_full"] != want.refused {
					t.Errorf("good %d, refused %d, unexplained %d, reasons %v, want %+v", f.Good, f.Refused,
						f.Unexplained, f.Reasons, want)
				}
				if !near(f.P50Ms, want.latency) {
					t.Errorf("p50 %v ms, want %v: from when it was first wanted", f.P50Ms, want.latency)
				}
			})
		})
	}
}

// A connection that fails is tried again, but not as fast as one can.
func TestClosedLoopErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fakeClients(func([]byte) (answer, error) { return answer{}, io.ErrUnexpectedEOF })
		r, _, _ := measured(t, Load{connections: 1, measured: time.Second, maxRequests: 10_000, retry: RetryNow}, c)
		if r.All.Errors != 100 || r.All.ErrorKinds["connection closed"] != 100 {
			t.Errorf("%d errors, %v, want 100 of one kind", r.All.Errors, r.All.ErrorKinds)
		}
	})
}

// Both loops end with the last request that they may send, or with their context.
func TestLoadBounds(t *testing.T) {
	for name, rate := range map[string]float64{"open": 50, "closed": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := Load{rate: rate, fixed: true, connections: 1, measured: time.Hour, maxRequests: 10, plan: onePlan()}
				began, calls := time.Now(), 0
				c := fakeClients(func([]byte) (answer, error) {
					time.Sleep(10 * time.Millisecond)
					calls++
					return answer{200, -1, ""}, nil
				})
				o := l.run(t.Context(), c, func() {}, func() {})
				if !o.capped || calls != 10 || time.Since(began) > time.Second {
					t.Errorf("capped %v after %d requests and %v, want after 10", o.capped, calls, time.Since(began))
				}

				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				l.maxRequests = 1_000_000
				began = time.Now()
				var begun, over bool
				l.run(ctx, c, func() { begun = true }, func() { over = true })
				if took := time.Since(began); took < time.Minute || took > time.Minute+100*time.Millisecond || !begun ||
					!over {
					t.Errorf("ended %v after its context's beginning, want after a minute; begun %v, over %v", took,
						begun, over)
				}
			})
		})
	}
}

// Connections are used again, the last used first, and opened only when none is free.
func TestOpenLoopReuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		uses := map[int]int{}
		c := clients{nap: time.Sleep, connect: func(n int) (exchange, func()) {
			return func([]byte) (answer, error) {
				mu.Lock()
				uses[n]++
				mu.Unlock()
				return slow(15 * time.Millisecond)(nil)
			}, func() {}
		}}
		measured(t, Load{rate: 100, fixed: true, connections: 50, measured: time.Second, maxRequests: 1000}, c)
		if len(uses) != 2 || uses[0]+uses[1] != 100 {
			t.Errorf("uses of connections: %v, want 100 of two", uses)
		}
	})
}
