package bench

import (
	"context"
	"fmt"

	"notesd/bench/format"
)

// calmConnections is the load whose goodput is the reference for the storm.
const calmConnections = 64

// storm measures many clients that retry at once against a few clients.
func storm(ctx context.Context, s *Session) error {
	var turns []Turn
	for _, arm := range s.theArms() {
		for _, connections := range []int{calmConnections, s.Connections} {
			l := s.closedLoad(connections)
			l.probed = true
			turns = append(turns, Turn{Arm: arm, Label: format.Count(connections, "connection"), Load: l})
		}
	}
	medians, err := s.InTurns(ctx, turns)
	if err != nil {
		return err
	}
	title := fmt.Sprintf("%s, closed loop, retry %s, %v", s.work.Name, s.Retry, s.Duration)
	s.Tables = append(s.Tables, tableOf(title, medians, "", "clients", "good/s", "refused/s", "failed", "p50", "p99",
		"max",
		"slowest probe", "probes failed", "CPU", "memory", "generator"))
	for i := 0; i < len(medians); i += 2 {
		s.stormGoals(medians[i], medians[i+1])
	}
	s.classTable(medians)
	return nil
}

func (s *Session) stormGoals(calm, stormy Measurement) {
	const least, slowest = 0.9, 250 // part of the goodput; milliseconds
	goodput := Goal{What: fmt.Sprintf("%s: goodput of %s", stormy.Arm, stormy.Label),
		Goal: fmt.Sprintf("≥ %s of that of %d", format.Percent(least), calm.Connections)}
	if calm.All.Goodput > 0 {
		goodput.measured(format.Percent(stormy.All.Goodput/calm.All.Goodput),
			stormy.All.Goodput >= least*calm.All.Goodput)
	}
	probes := Goal{What: stormy.Arm + ": health probes throughout",
		Goal: fmt.Sprintf("≤ %d ms, none failed", slowest)}
	probes.measured(fmt.Sprintf("slowest %s, %d of %d failed", format.Millis(stormy.ProbeMs), stormy.ProbeFail,
		stormy.Probes),
		stormy.ProbeMs <= slowest && stormy.ProbeFail == 0 && stormy.Probes > 0)
	runs := []Measurement{stormy}
	s.Goals = append(s.Goals, goodput, probes, explainedGoal(stormy.Arm, runs), errorGoal(stormy.Arm, runs))
}
