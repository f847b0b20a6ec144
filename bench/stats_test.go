package bench

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"
)

// Percentiles and mean against the sorted values themselves.
func TestPercentiles(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for name, draw := range map[string]func() time.Duration{
		"even":       func() time.Duration { return time.Duration(random.Int64N(int64(time.Second))) },
		"long tail":  func() time.Duration { return seconds(0.001 / (1e-4 + random.Float64())) },
		"microscale": func() time.Duration { return time.Duration(random.Int64N(int64(100 * time.Microsecond))) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRow()
			var all []time.Duration
			var sum time.Duration
			for range 20_000 {
				d := draw()
				record(r.latency, d)
				all = append(all, d)
				sum += d
			}
			slices.Sort(all)
			f := r.stats("x", time.Second)
			for what, pair := range map[string]struct {
				got  float64
				want time.Duration
			}{
				"p50": {f.P50Ms, all[len(all)*50/100-1]}, "p95": {f.P95Ms, all[len(all)*95/100-1]},
				"p99": {f.P99Ms, all[len(all)*99/100-1]}, "max": {f.MaxMs, all[len(all)-1]},
				"mean": {f.MeanMs, sum / time.Duration(len(all))},
			} {
				if !near(pair.got, pair.want) {
					t.Errorf("%s = %v ms, want %v", what, pair.got, pair.want)
				}
			}
		})
	}
}

// What is beyond the histogram's ends counts at them.
func TestRecordEnds(t *testing.T) {
	h := newHistogram()
	record(h, -time.Second)
	record(h, time.Hour)
	if h.TotalCount() != 2 || h.Max() < int64(2*time.Minute) {
		t.Errorf("%d values up to %v, want 2 up to 2m0s", h.TotalCount(), time.Duration(h.Max()))
	}
}

func TestTally(t *testing.T) {
	begin := time.Now()
	at := func(s float64) time.Time { return begin.Add(seconds(s)) }
	tl := newTally(window{at(1), at(2)}, 2)
	for n, a := range []attempt{
		{row: 0, intended: at(0.5), done: at(0.9), answer: answer{200, -1, ""}},           // before
		{row: 0, intended: at(0.9), done: at(1.1), answer: answer{200, -1, ""}},           // answered within, meant for before
		{row: 0, intended: at(1), done: at(1.2), answer: answer{201, -1, ""}},             // the first that counts
		{row: 0, intended: at(0.4), done: at(1.4), answer: answer{200, -1, ""}},           // in time, just
		{row: 0, intended: at(0.4), done: at(1.401), answer: answer{200, -1, ""}},         // too late
		{row: 1, intended: at(1.5), done: at(1.6), answer: answer{304, -1, ""}},           // another row
		{row: 1, intended: at(1.9), done: at(2), answer: answer{200, -1, ""}},             // meant for it, answered after
		{row: 1, intended: at(2), done: at(2.1), answer: answer{200, -1, ""}},             // after
		{row: 1, intended: at(1.1), done: at(1.2), answer: answer{503, 1, "queue_full"}},  // refused
		{row: 1, intended: at(1.1), done: at(1.2), answer: answer{429, -1, "rate_limit"}}, // without Retry-After
		{row: 1, intended: at(1.1), done: at(1.2), answer: answer{503, 1, ""}},            // without a reason
		{row: 1, intended: at(1.1), done: at(1.2), answer: answer{500, -1, ""}},
		{row: 1, intended: at(1.1), done: at(1.2), answer: answer{404, -1, ""}},
		{row: 1, intended: at(1.1), done: at(1.2), err: io.EOF},
		{row: 1, intended: at(1.1), done: at(1.2), late: time.Second, err: syscall.ECONNRESET},
	} {
		tl.count(n, a)
	}
	s := tl.merged()
	again := tl.merged()
	if s.rows[1].sent != again.rows[1].sent {
		t.Error("merged twice = twice as much")
	}
	l := Load{plan: &Plan{rows: []string{"read", "write"}}}
	m := newMeasurement(l, outcome{stripe: s, measured: time.Second}, usage{server: time.Second}, "")
	read, write := m.Classes[0], m.Classes[1]
	if read.Sent != 1 || read.Good != 1 || read.Goodput != 4 || read.InTime != 3 {
		t.Errorf("read: %+v, want 1 sent, 1 good, 4 a second, 3 of them in time", read)
	}
	if write.RefusedRate != 3 {
		t.Errorf("write: %v refused a second, want 3", write.RefusedRate)
	}
	if write.Sent != 9 || write.Good != 2 || write.Goodput != 1 || write.Refused != 3 || write.Unexplained != 2 ||
		write.Failed != 2 || write.Errors != 2 {
		t.Errorf("write: %+v", write)
	}
	if m.All.Sent != 10 || m.All.Good != 3 || m.All.Goodput != 5 || m.All.InTime != 4 {
		t.Errorf("all: %+v", m.All)
	}
	if want := "1 × connection closed; 1 × connection reset; 1 × refused: queue_full; 1 × refused: rate_limit; " +
		"1 × refused: without a reason; 1 × status 404; 1 × status 500"; m.All.wrong() != want {
		t.Errorf("wrong() = %s, want %s", m.All.wrong(), want)
	}
	if !near(m.LateP99Ms, time.Second) || m.Void == "" {
		t.Errorf("late %v ms, void %q, want 1000, and void", m.LateP99Ms, m.Void)
	}
	if m.AnswerMicros != 100_000 { // 8 were answered in the second, well or not
		t.Errorf("an answer costs %v µs, want 100 000", m.AnswerMicros)
	}

	m = newMeasurement(l, outcome{stripe: s, measured: time.Second}, usage{}, "write")
	if m.All.Sent != 1 {
		t.Errorf("all but what is injected: %d sent, want 1", m.All.Sent)
	}
}

func TestErrorKind(t *testing.T) {
	for want, err := range map[string]error{
		"connection refused": &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)},
		"connection reset":   &net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)},
		"connection closed":  fmt.Errorf("x: %w", io.ErrUnexpectedEOF),
		"no answer in 10s":   &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded},
		"dial: socket: too many open files": &net.OpError{Op: "dial", Addr: &net.TCPAddr{Port: 1},
			Err: os.NewSyscallError("socket", syscall.EMFILE)},
		"mystery": errors.New("mystery"),
	} {
		if got := errorKind(err); got != want {
			t.Errorf("errorKind(%v) = %q, want %q", err, got, want)
		}
	}
}

func TestMedian(t *testing.T) {
	run := func(goodput, p99 float64, refused int, void string) Measurement {
		f := Stats{Goodput: goodput, P99Ms: p99, Refused: refused, Reasons: map[string]int{"overload": refused}}
		return Measurement{Round: 1, All: f, Classes: []Stats{f}, Void: void, PeakRSS: int64(refused), ProbeMs: p99}
	}
	runs := []Measurement{run(100, 9, 1, ""), run(300, 1, 2, ""), run(200, 5, 4, ""), run(9999, 9999, 8, "late")}
	m := Median(runs)
	if m.All.Goodput != 200 || m.All.P99Ms != 5 || m.Classes[0].Goodput != 200 || m.ProbeMs != 9 || m.PeakRSS != 4 ||
		m.Round != 0 {
		t.Errorf("Median() = %+v", m)
	}
	if m.All.Refused != 7 || m.All.Reasons["overload"] != 7 || m.Classes[0].Refused != 7 {
		t.Errorf("Median() counts %d refusals, %v, want 7: counts are added up", m.All.Refused, m.All.Reasons)
	}
	if runs[0].All.Reasons["overload"] != 1 {
		t.Error("Median() changes what it is given")
	}
	if m := Median(runs[:2]); m.All.Goodput != 200 {
		t.Errorf("the median of 100 and 300 = %v, want 200", m.All.Goodput)
	}
	if m := Median(runs[3:]); m.All.Goodput != 9999 || m.Void == "" {
		t.Errorf("the median of void runs = %v, void %q, want them, as void", m.All.Goodput, m.Void)
	}
}
