package bench

import (
	"context"
	"fmt"
	"slices"

	"notesd/bench/format"
)

const (
	costLoad = 0.4  // part of the capacity: nothing is rejected, and few requests wait
	maxCost  = 1.02 // maximum CPU time of a request, as a multiple of that without the pool
)

// cost measures the server against itself without the pool, at a load that both serve completely.
func cost(ctx context.Context, s *Session) error {
	var arms []Arm
	for _, name := range []string{"sharded", "unbounded"} {
		arm, err := armNamed(name)
		if err != nil {
			return err
		}
		arms = append(arms, arm)
	}
	s.Report.Arms = arms
	capacities, err := s.capacities(ctx, arms)
	if err != nil {
		return err
	}
	var turns []Turn
	for _, arm := range arms {
		turns = append(turns, Turn{Arm: arm, Label: fmt.Sprintf("%v C", costLoad),
			Load: s.openLoad(costLoad * capacities["sharded"])})
	}
	medians, err := s.InTurns(ctx, turns)
	if err != nil {
		return err
	}
	s.loadTable(medians)
	s.costGoal(medians[0], medians[1])
	s.Notes = append(s.Notes,
		fmt.Sprintf("CPU of a request: that of the whole server process, user and system, in the "+
			"measured time, divided by its answers. The arms take turns, on %d servers each, started afresh.",
			s.Rounds))
	return nil
}

// costGoal compares the medians with the goal, and reports the spread of the rounds.
func (s *Session) costGoal(with, without Measurement) {
	ratio := 0.0
	if without.AnswerMicros > 0 {
		ratio = with.AnswerMicros / without.AnswerMicros
	}
	text := fmt.Sprintf("%.3f × (%.1f µs, %.1f µs)", ratio, with.AnswerMicros, without.AnswerMicros)
	if each := s.ratios(with.Arm, without.Arm); len(each) > 1 {
		slices.Sort(each)
		text += fmt.Sprintf("; of the %d rounds half are from %.3f to %.3f ×, all from %.3f to %.3f ×", len(each),
			each[len(each)/4], each[len(each)*3/4], each[0], each[len(each)-1])
	}
	s.Promise("CPU of a whole request", fmt.Sprintf("≤ %v × that without the pool", maxCost), text,
		ratio > 0 && ratio <= maxCost)
	for _, m := range []Measurement{with, without} {
		bad := m.All.Unserved()
		s.Promise(m.Arm+": refused or failed, which would be cheaper", "0", fmt.Sprintf("%s of %s", format.Number(bad),
			format.Number(m.All.Sent)), bad == 0 && m.All.Sent > 0)
	}
}

// ratios returns the ratio of one arm's CPU time to the other's in each sound round.
func (s *Session) ratios(arm, other string) (each []float64) {
	of := func(name string) map[int]float64 {
		rounds := map[int]float64{}
		for _, r := range s.Runs {
			if r.Arm == name && r.Label == fmt.Sprintf("%v C", costLoad) && r.Void == "" {
				rounds[r.Round] = r.AnswerMicros
			}
		}
		return rounds
	}
	with, without := of(arm), of(other)
	for round, micros := range with {
		if without[round] > 0 {
			each = append(each, micros/without[round])
		}
	}
	return each
}
