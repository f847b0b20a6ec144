package bench

import (
	"strings"
	"testing"
)

// The goal is held to the medians, and says how far the rounds are apart; void
// rounds, other loads and rounds without their like are not among these.
func TestCostGoal(t *testing.T) {
	run := func(arm string, round int, micros float64) Measurement {
		return Measurement{Arm: arm, Label: "0.4 C", Round: round, AnswerMicros: micros, All: Stats{Sent: 1}}
	}
	void, step := run("sharded", 4, 900), run("sharded", 5, 900)
	void.Void, step.Label = "late", "step 7/s"
	runs := []Measurement{run("sharded", 1, 101), run("unbounded", 1, 100), run("unbounded", 2, 100),
		run("sharded", 2, 110),
		run("sharded", 3, 99), run("unbounded", 3, 100), void, run("unbounded", 4, 100), step, run("unbounded", 5, 100),
		run("sharded", 6, 900)}
	for with, want := range map[float64]string{102: "met", 102.1: missed, 0: missed} {
		s := &Session{Report: &Report{Runs: runs}}
		s.costGoal(run("sharded", 0, with), run("unbounded", 0, 100))
		if g := s.Goals[0]; g.Verdict != want || !strings.Contains(g.Measured, "of the 3 rounds") ||
			!strings.Contains(g.Measured, "all from 0.990 to 1.100 ×") {
			t.Errorf("%v µs and 100 µs: %+v, want %s", with, g, want)
		}
	}
	s := &Session{Report: &Report{}}
	refused := run("sharded", 0, 100)
	refused.All.Refused = 1
	s.costGoal(refused, run("unbounded", 0, 100))
	if s.Goals[1].Verdict != missed || s.Goals[2].Verdict != "met" {
		t.Errorf("with a refusal: %+v", s.Goals)
	}
}
