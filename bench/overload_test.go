package bench

import (
	"math"
	"strings"
	"testing"
)

// From runs in which a request costs 200 µs and a refusal 9 µs, that is what comes out.
func TestRefusalCost(t *testing.T) {
	run := func(load, good, refused float64) Measurement {
		return Measurement{Arm: "sharded", Load: load, Seconds: 2, ServerCores: good*200e-6 + refused*9e-6,
			All: Stats{Goodput: good, RefusedRate: refused}}
	}
	calm := []Measurement{run(0.5, 2000, 0), run(1, 4000, 0)}
	mixed := append(calm, run(4, 3900, 12_100), run(10, 3500, 36_500))
	if got, ok := refusalCost(mixed, "sharded"); !ok || math.Abs(got-0.045) > 1e-9 {
		t.Errorf("refusalCost() = %v, %v, want 0.045", got, ok)
	}
	for name, runs := range map[string][]Measurement{"nothing refused": calm, "no runs": nil, "one mixture": mixed[2:3],
		"another arm": {{Arm: "single"}}} {
		if got, ok := refusalCost(runs, "sharded"); ok {
			t.Errorf("%s: refusalCost() = %v, want that it is not known", name, got)
		}
	}
}

func TestIsLast(t *testing.T) {
	first := Measurement{All: Stats{Goodput: 100, P99Ms: 5}}
	for name, test := range map[string]struct {
		goodput, p99, best float64
		void               string
		want               bool
	}{
		"grows":                     {150, 5, 100, "", false},
		"grows enough":              {102, 5, 100, "", false},
		"grows too little":          {101.9, 5, 100, "", true},
		"slow, but not exploded":    {150, 100, 100, "", false},
		"ten times, but quick":      {150, 51, 100, "", false},
		"explodes":                  {150, 101, 100, "", true},
		"the generator was late":    {150, 5, 100, "late", true},
		"the first, nothing before": {100, 5, 0, "", false},
	} {
		r := Measurement{All: Stats{Goodput: test.goodput, P99Ms: test.p99}, Void: test.void}
		if got := isLast(r, first, test.best); got != test.want {
			t.Errorf("%s: isLast() = %v, want %v", name, got, test.want)
		}
	}
}

// The goals of an arm, with figures on the edge and just beyond it.
func TestOverloadGoals(t *testing.T) {
	run := func(load, goodput, p99 float64, unexplained, failed int) Measurement {
		f := Stats{Good: 1, Goodput: goodput, P99Ms: p99, Refused: 10, RefusedRate: 10, Unexplained: unexplained,
			Failed:   failed,
			Statuses: map[int]int{500: failed}}
		return Measurement{Arm: "sharded", Load: load, Seconds: 1, ServerCores: goodput/5000 + 10e-6, All: f}
	}
	verdicts := func(runs ...Measurement) string {
		s := &Session{Report: &Report{Runs: runs}}
		s.overloadGoals("sharded", 1000, runs)
		var all []string
		for _, g := range s.Goals {
			all = append(all, g.Verdict)
		}
		return strings.Join(all, ",")
	}
	if got := verdicts(run(0.7, 700, 10, 0, 0), run(4, 950, 30, 0, 0), run(10, 800, 30, 0,
		0)); got != "met,met,met,met,met,met,met" {
		t.Errorf("on the edge: %s", got)
	}
	if got := verdicts(run(0.7, 700, 10, 0, 0), run(4, 949, 30.1, 1, 0), run(10, 799, 31, 0, 1)); got !=
		"missed,missed,missed,missed,met,missed,missed" {
		t.Errorf("beyond it: %s", got)
	}
	if got := verdicts(run(1, 700, 10, 0, 0)); got != ",,,,,met,met" {
		t.Errorf("without these loads: %s", got)
	}
}

func TestVerdict(t *testing.T) {
	run := func(arm string, goodput, micros float64) Measurement {
		return Measurement{Arm: arm, All: Stats{Goodput: goodput}, AnswerMicros: micros}
	}
	for _, test := range []struct {
		sharded, noisy float64
		want           string
	}{
		{180, 180, "Sharding gains 80 %"},
		{104, 104, "Sharding gains nothing here: +4.0 % is within what rounds differ by (5 %)"},
		{120, 90, "Sharding gains nothing here: +20.0 % is within what rounds differ by (25 %)"},
		{70, 70, "Sharding loses 30 %"},
	} {
		single, sharded := run("single", 100, 200), run("sharded", test.sharded, 220)
		s := &Session{Report: &Report{Runs: []Measurement{single, sharded, run("sharded", test.noisy, 220)}}}
		if got := s.verdict(single, sharded); !strings.Contains(got, test.want) || !strings.Contains(got, "(+10 %)") {
			t.Errorf("verdict of 100 and %v: %s, want %q", test.sharded, got, test.want)
		}
	}
}
