package bench

import (
	"context"
	"fmt"
	"slices"

	"notesd/bench/format"
)

// closed measures a closed loop on every arm.
func closed(ctx context.Context, s *Session) error {
	_, err := s.closedTable(ctx)
	return err
}

// compare measures one shard against all cores, as the table of the old checklist did.
func compare(ctx context.Context, s *Session) error {
	medians, err := s.closedTable(ctx)
	if err != nil {
		return err
	}
	single, sharded, both := theTwo(medians)
	if !both {
		return nil
	}
	t := &s.Tables[0]
	t.Rows = append(t.Rows, []string{"improvement", format.Change(single.All.Goodput, sharded.All.Goodput),
		format.Change(single.All.MeanMs, sharded.All.MeanMs), format.Change(single.All.P95Ms, sharded.All.P95Ms),
		format.Change(single.All.P99Ms, sharded.All.P99Ms), format.Change(single.ServerCores, sharded.ServerCores),
		format.Change(single.AnswerMicros, sharded.AnswerMicros), format.Change(float64(single.PeakRSS),
			float64(sharded.PeakRSS)),
		"", "", ""})
	s.Findings = append(s.Findings, s.verdict(single, sharded))
	return nil
}

// theTwo returns the medians of the two arms that the checklist compares, and whether both were
// measured.
func theTwo(medians []Measurement) (single, sharded Measurement, both bool) {
	first := slices.IndexFunc(medians, func(r Measurement) bool { return r.Arm == "single" })
	second := slices.IndexFunc(medians, func(r Measurement) bool { return r.Arm == "sharded" })
	if first < 0 || second < 0 {
		return Measurement{}, Measurement{}, false
	}
	return medians[first], medians[second], true
}

// closedTable measures a closed loop on every arm, and shows the result in the format of the old
// checklist.
func (s *Session) closedTable(ctx context.Context) ([]Measurement, error) {
	var turns []Turn
	for _, arm := range s.theArms() {
		label := format.Count(s.Connections, "connection")
		turns = append(turns, Turn{Arm: arm, Label: label, Load: s.closedLoad(s.Connections)})
	}
	medians, err := s.InTurns(ctx, turns)
	if err != nil {
		return nil, err
	}
	s.Tables = append(s.Tables, tableOf(s.closedTitle(), medians, "", "requests/s", "average", "p95", "p99", "CPU",
		"CPU a request", "memory", "refused/s", "failed", "generator"))
	s.classTable(medians)
	return medians, nil
}

func (s *Session) closedTitle() string {
	return fmt.Sprintf("%s, %s, closed loop, %v", s.work.Name, format.Count(s.Connections, "connection"), s.Duration)
}

// classTable shows the classes of a load that has more than one, with their errors.
func (s *Session) classTable(medians []Measurement) {
	t := Table{Title: "By class",
		Head: []string{"", "load", "class", "good/s", "average", "p50", "p95", "p99", "max", "refused", "failed",
			"what went wrong"}}
	for _, m := range medians {
		for _, f := range m.Classes {
			t.Rows = append(t.Rows, []string{m.Arm, m.Label, f.Class, format.Rate(f.Goodput), format.Millis(f.MeanMs),
				format.Millis(f.P50Ms),
				format.Millis(f.P95Ms), format.Millis(f.P99Ms), format.Millis(f.MaxMs), format.Number(f.Refused),
				format.Number(f.Failed + f.Errors),
				f.wrong()})
		}
	}
	s.Tables = append(s.Tables, t)
}

// verdict says what sharding gains. A gain that is smaller than the spread of the rounds is none.
func (s *Session) verdict(single, sharded Measurement) string {
	const least = 0.05
	noise := max(least, s.spread(single), s.spread(sharded))
	gain := sharded.All.Goodput/single.All.Goodput - 1
	each := 1 - sharded.AnswerMicros/single.AnswerMicros
	text := fmt.Sprintf("Sharding gains %.0f %% of throughput here.", 100*gain)
	switch {
	case single.All.Goodput == 0:
		return "One shard answered nothing well: there is nothing to compare."
	case gain < -noise:
		text = fmt.Sprintf("Sharding loses %.0f %% of throughput here.", -100*gain)
	case gain < noise:
		text = fmt.Sprintf("Sharding gains nothing here: %+.1f %% is within what rounds differ by (%.0f %%).",
			100*gain, 100*noise)
	}
	return text + fmt.Sprintf(" A request costs the server %s of CPU on one shard and %s sharded (%+.0f %%), while "+
		"the generator took %s and %s: with a generator on a machine of its own the server would have these too.",
		format.Micros(single.AnswerMicros), format.Micros(sharded.AnswerMicros), -100*each,
		format.Cores(single.GeneratorCores),
		format.Cores(sharded.GeneratorCores))
}

// spread returns the range of the rounds of a median, from least to most, as a part of the median.
func (s *Session) spread(m Measurement) float64 {
	least, most := m.All.Goodput, m.All.Goodput
	for _, r := range s.Runs {
		if r.Arm == m.Arm && r.Label == m.Label {
			least, most = min(least, r.All.Goodput), max(most, r.All.Goodput)
		}
	}
	if m.All.Goodput == 0 {
		return 0
	}
	return (most - least) / m.All.Goodput
}
