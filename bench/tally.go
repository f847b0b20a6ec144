package bench

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// newHistogram returns a histogram for latencies from a microsecond to two minutes, with an error
// of at most 0.1 %.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(int64(time.Microsecond), int64(2*time.Minute), 3)
}

// record records d. A value beyond the histogram's range is recorded as the largest one.
func record(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(min(max(int64(d), 0), h.HighestTrackableValue())) // the value is in range now
}

// A row of a tally counts the requests of one class during the measured time.
type row struct {
	sent        int                     // requests that were to be sent in the measured time, and were sent
	good        int                     // of those, served
	refused     int                     // of those, refused
	unexplained int                     // refused without a reason or without Retry-After
	failed      int                     // of those, answered with any other failure
	done        int                     // served within the measured time, whenever sent: the goodput
	inTime      int                     // of done, within a second of the intended time
	answered    int                     // answered within the measured time, served or not
	shed        int                     // refused within the measured time
	latency     *hdrhistogram.Histogram // of the good requests
	turnedAway  *hdrhistogram.Histogram // of the refused requests
	reasons     map[string]int          // of refused requests
	statuses    map[int]int             // of failed requests
	errors      map[string]int          // requests without a complete response
}

func newRow() *row {
	return &row{latency: newHistogram(), turnedAway: newHistogram(), reasons: map[string]int{}, statuses: map[int]int{},
		errors: map[string]int{}}
}

// A window is the measured part of a load.
type window struct{ begin, end time.Time }

func (w window) holds(t time.Time) bool { return !t.Before(w.begin) && t.Before(w.end) }

// An attempt is one request and its result.
type attempt struct {
	row      int
	intended time.Time     // when it was to be sent: its latency counts from here
	late     time.Duration // how late the generator sent it
	done     time.Time
	answer   answer
	err      error
}

// A tally counts attempts. Several goroutines may count concurrently. Each client counts in one of
// the stripes, so that the goroutines rarely contend for a lock.
type tally struct {
	window  window
	stripes []*stripe
}

type stripe struct {
	mu       sync.Mutex // guards what follows
	rows     []*row
	lateness *hdrhistogram.Histogram
}

const stripes = 4

// inTime is how long users wait before they give up or try again.
const inTime = time.Second

func newTally(w window, rows int) *tally {
	t := &tally{window: w}
	for range stripes {
		s := &stripe{lateness: newHistogram()}
		for range rows {
			s.rows = append(s.rows, newRow())
		}
		t.stripes = append(t.stripes, s)
	}
	return t
}

// count counts an attempt of the n-th client.
func (t *tally) count(n int, a attempt) {
	s := t.stripes[n%len(t.stripes)]
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rows[a.row]
	if a.err == nil && t.window.holds(a.done) {
		r.answered++
		switch {
		case a.answer.good():
			r.done++
			if a.done.Sub(a.intended) <= inTime {
				r.inTime++
			}
		case a.answer.refused():
			r.shed++
		}
	}
	if t.window.holds(a.intended) {
		record(s.lateness, a.late)
		r.count(a)
	}
}

func (r *row) count(a attempt) {
	r.sent++
	took := a.done.Sub(a.intended)
	switch {
	case a.err != nil:
		r.errors[errorKind(a.err)]++
	case a.answer.good():
		r.good++
		record(r.latency, took)
	case a.answer.refused():
		r.refused++
		record(r.turnedAway, took)
		r.reasons[a.answer.reason]++
		if !a.answer.explained() {
			r.unexplained++
		}
	default:
		r.failed++
		r.statuses[a.answer.status]++
	}
}

// errorKind returns a short description of a connection error. Errors are counted by it.
func errorKind(err error) string {
	timeout, ok := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	case errors.Is(err, os.ErrDeadlineExceeded), ok && timeout.Timeout():
		return "no answer in " + Patience.String()
	case errors.Is(err, errNotHTTP):
		return errNotHTTP.Error()
	}
	// The addresses are left out, because they differ between clients.
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}

// merged returns the sums of all stripes. It is called when counting has ended.
func (t *tally) merged() *stripe {
	first := t.stripes[0]
	for _, s := range t.stripes[1:] {
		first.lateness.Merge(s.lateness)
		for i, r := range s.rows {
			first.rows[i].merge(r)
		}
	}
	t.stripes = t.stripes[:1]
	return first
}

func (r *row) merge(other *row) {
	r.sent += other.sent
	r.good += other.good
	r.refused += other.refused
	r.unexplained += other.unexplained
	r.failed += other.failed
	r.done += other.done
	r.inTime += other.inTime
	r.answered += other.answered
	r.shed += other.shed
	r.latency.Merge(other.latency)
	r.turnedAway.Merge(other.turnedAway)
	addCounts(r.reasons, other.reasons)
	addCounts(r.statuses, other.statuses)
	addCounts(r.errors, other.errors)
}

func addCounts[K comparable](to, from map[K]int) {
	for k, n := range from {
		to[k] += n
	}
}
