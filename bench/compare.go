package bench

import (
	"context"
	"fmt"
	"slices"
)

// closed measures a closed loop on every arm.
func closed(ctx context.Context, s *session) error {
	_, err := s.closedTable(ctx)
	return err
}

// compare sets one shard against all cores: the table of the old checklist.
func compare(ctx context.Context, s *session) error {
	medians, err := s.closedTable(ctx)
	if err != nil {
		return err
	}
	single, sharded, both := theTwo(medians)
	if !both {
		return nil
	}
	t := &s.Tables[0]
	t.Rows = append(t.Rows, []string{"improvement", change(single.All.Goodput, sharded.All.Goodput),
		change(single.All.MeanMs, sharded.All.MeanMs), change(single.All.P95Ms, sharded.All.P95Ms),
		change(single.All.P99Ms, sharded.All.P99Ms), change(single.ServerCores, sharded.ServerCores),
		change(single.AnswerMicros, sharded.AnswerMicros), change(float64(single.PeakRSS), float64(sharded.PeakRSS)),
		"", "", ""})
	s.Findings = append(s.Findings, s.verdict(single, sharded))
	return nil
}

// theTwo are the arms that the checklist compares, if both were measured.
func theTwo(medians []Measurement) (single, sharded Measurement, both bool) {
	first := slices.IndexFunc(medians, func(r Measurement) bool { return r.Arm == "single" })
	second := slices.IndexFunc(medians, func(r Measurement) bool { return r.Arm == "sharded" })
	if first < 0 || second < 0 {
		return Measurement{}, Measurement{}, false
	}
	return medians[first], medians[second], true
}

// closedTable measures a closed loop on every arm and shows it as the old checklist did.
func (s *session) closedTable(ctx context.Context) ([]Measurement, error) {
	var turns []turn
	for _, arm := range s.theArms() {
		label := count(s.Connections, "connection")
		turns = append(turns, turn{arm: arm, label: label, load: s.closedLoad(s.Connections)})
	}
	medians, err := s.inTurns(ctx, turns)
	if err != nil {
		return nil, err
	}
	s.Tables = append(s.Tables, tableOf(s.closedTitle(), medians, "", "requests/s", "average", "p95", "p99", "CPU",
		"CPU a request", "memory", "refused/s", "failed", "generator"))
	s.classTable(medians)
	return medians, nil
}

func (s *session) closedTitle() string {
	return fmt.Sprintf("%s, %s, closed loop, %v", s.work.Name, count(s.Connections, "connection"), s.Duration)
}

// classTable shows the classes of a load that has more than one, and what went wrong in them.
func (s *session) classTable(medians []Measurement) {
	t := Table{Title: "By class",
		Head: []string{"", "load", "class", "good/s", "average", "p50", "p95", "p99", "max", "refused", "failed",
			"what went wrong"}}
	for _, m := range medians {
		for _, f := range m.Classes {
			t.Rows = append(t.Rows, []string{m.Arm, m.Label, f.Class, whole(f.Goodput), millis(f.MeanMs), millis(f.P50Ms),
				millis(f.P95Ms), millis(f.P99Ms), millis(f.MaxMs), number(f.Refused), number(f.Failed + f.Errors),
				f.wrong()})
		}
	}
	s.Tables = append(s.Tables, t)
}

// verdict says what sharding gains. Less than the rounds differ among themselves is nothing.
func (s *session) verdict(single, sharded Measurement) string {
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
		micros(single.AnswerMicros), micros(sharded.AnswerMicros), -100*each, cores(single.GeneratorCores),
		cores(sharded.GeneratorCores))
}

// spread is by how much the rounds of a median differ: from least to most, as a part of the median.
func (s *session) spread(m Measurement) float64 {
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
