package router

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"notesd/pool"
)

const (
	// rejectionsPerCore is how many rejections each core may send in a second. A rejected create took
	// 60 to 250 µs of CPU time with 2000 connections, all that net/http does included, so this many
	// take an eighth of a core at most.
	rejectionsPerCore = 500
	// rejectionBurst: the rejections of this time are sent at once.
	rejectionBurst = 100 * time.Millisecond
	// maxDelay is the longest delay of a rejection, unless QUEUE_TIMEOUT is shorter.
	maxDelay = time.Second
)

// A rejectionPacer is a rate limiter for rejections: it sends them at a bounded pace. The first rejections
// of a burst are sent at once. If clients retry at once, each of their rejections is delayed longer
// and longer, so that the retries cannot become the load, however many the clients are. A delayed
// rejection holds neither a permit nor a place in the queue.
type rejectionPacer struct {
	began    time.Time
	interval time.Duration // between two rejections, in the long run
	max      time.Duration // the longest delay of a rejection
	due      atomic.Int64  // since began, when the next rejection may be sent (GCRA)
}

func newRejectionPacer(limit time.Duration) *rejectionPacer {
	p := &rejectionPacer{began: time.Now(), max: min(limit, maxDelay),
		interval: time.Second / time.Duration(rejectionsPerCore*runtime.GOMAXPROCS(0))}
	p.due.Store(-int64(rejectionBurst))
	return p
}

// delay returns how long the next rejection has to wait.
func (p *rejectionPacer) delay() time.Duration {
	for {
		due, now := p.due.Load(), int64(time.Since(p.began))
		next := max(due, now-int64(rejectionBurst)) + int64(p.interval)
		next = min(next, now+int64(p.max))
		if p.due.CompareAndSwap(due, next) {
			return max(0, time.Duration(next-now))
		}
	}
}

// hold waits until a rejection may be sent, until the client is gone or until the server leaves.
func (p *rejectionPacer) hold(gone, leaves <-chan struct{}) { sleep(p.delay(), gone, leaves) }

// sleep waits for d, until the client is gone or until the server leaves. It reports whether the
// server leaves.
func sleep(d time.Duration, gone, leaves <-chan struct{}) (leaving bool) {
	if d == 0 {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-gone:
	case <-leaves:
		return true
	}
	return false
}

// paced delays the pool's rejection of the request until it may be sent. During shutdown a rejection
// is sent at once, so that the client finds another server.
func (c *Context) paced(err error) error {
	rejected, ok := errors.AsType[*pool.RejectedError](err)
	if !ok || c.out.wroteHeader {
		return err
	}
	began := time.Now()
	c.rt.pool.AddDelayed(1)
	defer c.rt.pool.AddDelayed(-1)
	c.rt.pacer.hold(c.client.Done(), c.rt.staying())
	rejected.Waited += time.Since(began)
	return err
}

// countRejection counts an error response that is a rejection, together with those of the pool. The
// pool has already counted its own.
func (c *Context) countRejection(f errorResponse, err error) {
	if f.Reason == "" {
		return
	}
	c.refused = true
	if _, ok := errors.AsType[*pool.RejectedError](err); !ok {
		c.rt.pool.CountRejected(c.asked, pool.Reason(f.Reason))
	}
	if c.cause != nil {
		c.rt.rejections.cause.Store(&c.cause)
	}
}

// A rejectionLog is the log of rejections. It writes one line for each second in which requests were
// rejected.
type rejectionLog struct {
	cause atomic.Pointer[error] // the last error of a dependency that caused a rejection

	mu     sync.Mutex // guards the fields below
	before map[pool.Reason]uint64
}

// Run logs rejections every second until ctx ends.
func (rt *Router) Run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			rt.LogRejections()
		case <-ctx.Done():
			return
		}
	}
}

// LogRejections logs how many requests were rejected since its last call. Run calls it, and the
// server at the end of a shutdown.
func (rt *Router) LogRejections() {
	l := &rt.rejections
	l.mu.Lock()
	defer l.mu.Unlock()
	now := rt.pool.RejectedTotals()
	var attrs []slog.Attr
	for _, why := range slices.Sorted(maps.Keys(now)) {
		if n := now[why] - l.before[why]; n > 0 {
			attrs = append(attrs, slog.Uint64(string(why), n))
		}
	}
	l.before = now
	if len(attrs) == 0 {
		return
	}
	if cause := l.cause.Swap(nil); cause != nil {
		attrs = append(attrs, slog.Any("error", *cause))
	}
	rt.log.LogAttrs(context.Background(), slog.LevelWarn, "turned away", attrs...)
}

var rejectionTexts = map[pool.Reason]string{
	pool.ErrShare:    "Too many requests at once, please try again later.",
	pool.ErrFull:     "Server is busy, please try again",
	pool.ErrTimeout:  "Server is busy, please try again",
	pool.ErrOverload: "Server is busy, please try again",
	pool.ErrMemory:   "Server is short of memory, please try again",
	pool.ErrDraining: "Server is shutting down, please try again",

	pool.ErrQuarantined: "This part of the server keeps failing and is not used for a while",
}

// rejected returns the response for a rejection by the pool. It is a 503, or a 429 for a user who
// sends more requests at once than a fair share.
func rejected(e *pool.RejectedError) errorResponse {
	f := unavailable(string(e.Reason), rejectionTexts[e.Reason], e.Waited)
	if e.Reason == pool.ErrShare {
		f.status = http.StatusTooManyRequests
	}
	// During shutdown, another server is available at once, or this one is again in a moment.
	if e.Reason != pool.ErrDraining {
		f.RetryAfter = seconds(e.RetryAfter)
	}
	return f
}

// unavailable returns a 503. Its Retry-After is one to three seconds at random, so that the clients
// do not all return in the same second. By then more is known of a lost dependency, which is probed
// several times a second.
func unavailable(reason, text string, waited time.Duration) errorResponse {
	ms := waited.Milliseconds()
	return errorResponse{status: http.StatusServiceUnavailable, Error: text, Reason: reason, WaitedMs: &ms,
		RetryAfter: 1 + rand.IntN(3)}
}
