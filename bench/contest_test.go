package bench

import "testing"

// Goals are met at their bounds, and missed beyond.
func TestContestGoals(t *testing.T) {
	figures := func(perSecond, cpu float64, memory int64, failed int) Measurement {
		return Measurement{AnswerMicros: cpu, PeakRSS: memory, All: Figures{Sent: 10, Failed: failed, Goodput: perSecond}}
	}
	for _, row := range []struct {
		name   string
		notesd Measurement
		times  float64 // more than wanted
		missed int
	}{
		{"at the bounds", figures(0, 99.9, contestMemory, 0), 1, 0},
		{"slower", figures(0, 99.9, contestMemory, 0), 0.999, 5},
		{"as dear", figures(0, 100, contestMemory, 0), 1, 3},
		{"too large", figures(0, 99.9, contestMemory+1, 0), 1, 1},
		{"one failed", figures(0, 99.9, contestMemory, 1), 1, 1},
		{"nothing measured", Measurement{}, 1, 10},
	} {
		t.Run(row.name, func(t *testing.T) {
			var medians []Measurement
			for _, d := range disciplines {
				plain, notesd := figures(1000, 100, 1, 0), row.notesd
				if notesd.All.Sent > 0 {
					notesd.All.Goodput = 1000 * d.times * row.times
				} else {
					plain = Measurement{}
				}
				medians = append(medians, plain, notesd, Measurement{})
			}
			s := &session{Report: &Report{}}
			s.contestGoals(medians)
			if len(s.Goals) != 10 {
				t.Errorf("%d goals, want 10", len(s.Goals))
			}
			n := 0
			for _, g := range s.Goals {
				if g.Verdict == missed {
					n++
				}
			}
			if n != row.missed {
				t.Errorf("%d goals missed, want %d: %+v", n, row.missed, s.Goals)
			}
		})
	}
}

// The rounds are compared one by one.
func TestBetween(t *testing.T) {
	s := &session{Report: &Report{}}
	for round, ratio := range []float64{2, 0.5, 3} {
		s.Runs = append(s.Runs,
			Measurement{Arm: armPlain, Label: "get", Round: round + 1, All: Figures{Goodput: 100}},
			Measurement{Arm: armNotesd, Label: "get", Round: round + 1, All: Figures{Goodput: 100 * ratio}},
			Measurement{Arm: armNotesd, Label: "list", Round: round + 1, All: Figures{Goodput: 1}})
	}
	if got, want := s.between("get"), "; single rounds 0.50 to 3.00 ×"; got != want {
		t.Errorf("between() = %q, want %q", got, want)
	}
	if got := s.between("list"); got != "" {
		t.Errorf("between() of no plain rounds = %q, want nothing", got)
	}
}
