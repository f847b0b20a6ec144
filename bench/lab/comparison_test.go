package lab

import (
	"testing"

	"notesd/bench"
)

// Goals are met at their bounds, and missed beyond.
func TestComparisonGoals(t *testing.T) {
	figures := func(perSecond, cpu float64, memory int64, failed int) bench.Measurement {
		return bench.Measurement{AnswerMicros: cpu, PeakRSS: memory, All: bench.Stats{Sent: 10, Failed: failed,
			Goodput: perSecond}}
	}
	for _, row := range []struct {
		name   string
		notesd bench.Measurement
		times  float64 // more than wanted
		missed int
	}{
		{"at the bounds", figures(0, 99.9, maxMemory, 0), 1, 0},
		{"slower", figures(0, 99.9, maxMemory, 0), 0.999, 5},
		{"as dear", figures(0, 100, maxMemory, 0), 1, 3},
		{"too large", figures(0, 99.9, maxMemory+1, 0), 1, 1},
		{"one failed", figures(0, 99.9, maxMemory, 1), 1, 1},
		{"nothing measured", bench.Measurement{}, 1, 10},
	} {
		t.Run(row.name, func(t *testing.T) {
			var medians []bench.Measurement
			for _, d := range workloads {
				plain, notesd := figures(1000, 100, 1, 0), row.notesd
				if notesd.All.Sent > 0 {
					notesd.All.Goodput = 1000 * d.times * row.times
				} else {
					plain = bench.Measurement{}
				}
				medians = append(medians, plain, notesd, bench.Measurement{})
			}
			r := &bench.Report{}
			comparisonGoals(r, medians)
			if len(r.Goals) != 10 {
				t.Errorf("%d goals, want 10", len(r.Goals))
			}
			n := 0
			for _, g := range r.Goals {
				if g.Verdict == "missed" {
					n++
				}
			}
			if n != row.missed {
				t.Errorf("%d goals missed, want %d: %+v", n, row.missed, r.Goals)
			}
		})
	}
}

// The rounds are compared one by one.
func TestBetween(t *testing.T) {
	r := &bench.Report{}
	for round, ratio := range []float64{2, 0.5, 3} {
		r.Runs = append(r.Runs,
			bench.Measurement{Arm: armPlain, Label: "get", Round: round + 1, All: bench.Stats{Goodput: 100}},
			bench.Measurement{Arm: armNotesd, Label: "get", Round: round + 1, All: bench.Stats{Goodput: 100 * ratio}},
			bench.Measurement{Arm: armNotesd, Label: "list", Round: round + 1, All: bench.Stats{Goodput: 1}})
	}
	if got, want := between(r, "get"), "; single rounds 0.50 to 3.00 ×"; got != want {
		t.Errorf("between() = %q, want %q", got, want)
	}
	if got := between(r, "list"); got != "" {
		t.Errorf("between() of no plain rounds = %q, want nothing", got)
	}
}
