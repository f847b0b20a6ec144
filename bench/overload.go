package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"notesd/bench/format"
)

// open measures one rate on every arm.
func open(ctx context.Context, s *Session) error {
	var turns []Turn
	for _, arm := range s.theArms() {
		turns = append(turns, Turn{Arm: arm, Label: format.Rate(s.Rate) + "/s", Load: s.openLoad(s.Rate)})
	}
	medians, err := s.InTurns(ctx, turns)
	if err != nil {
		return err
	}
	s.loadTable(medians)
	s.classTable(medians)
	return nil
}

// loadTable shows loads of an open loop. It also shows the capacities where they are known.
func (s *Session) loadTable(medians []Measurement) {
	title := fmt.Sprintf("%s, open loop, %s arrivals, %v", s.work.Name, s.arrivalNames(), s.Duration)
	heads := []string{"load", "", "offered/s", "good/s", "of C", "in time/s", "refused/s", "failed", "p50", "p99",
		"max", "CPU",
		"CPU an answer", "memory", "unsent", "late p99", "generator", "what went wrong"}
	if s.Capacities == nil {
		heads = slices.DeleteFunc(heads, func(head string) bool { return head == "of C" })
	}
	s.Tables = append(s.Tables, tableOf(title, medians, heads...))
	if slices.ContainsFunc(medians, func(m Measurement) bool { return m.Unsent > 0 }) {
		s.Notes = append(s.Notes,
			fmt.Sprintf("Unsent: all %d connections were waiting for answers, as so many people do; "+
				"there was nobody left to ask. Latency counts from the intended time of what was sent.",
				s.Connections))
	}
}

func (s *Session) arrivalNames() string {
	if s.Fixed {
		return "evenly spaced"
	}
	return "Poisson"
}

// capacity finds every arm's capacity.
func capacity(ctx context.Context, s *Session) error {
	_, err := s.capacities(ctx, s.theArms())
	return err
}

const (
	probeConnections = 64   // connections of the closed loop that estimates the capacity
	growth           = 1.02 // a step that raises goodput by less than this factor is a last step
	explosion        = 10   // so is a step whose p99 is so many times the first step's
	explodedMs       = 100  // and at least so many milliseconds
	lastSteps        = 2    // so many in a row end the search: a single one may be the machine's

	stepTime = 4 * time.Second // of a step, unless all runs are shorter
)

// steps lists the loads to try, as parts of the estimate.
var steps = []float64{0.4, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.35, 1.5, 1.75, 2, 2.5, 3}

var capacityRule = fmt.Sprintf("Capacity C: a closed loop of %d connections guesses it; an open loop then goes up in "+
	"steps, from %v times the guess, until in %d of them goodput grows by less than %.0f %% or p99 explodes (%d times "+
	"the first step's, and %d ms at least). "+
	"C is the highest goodput of a step in which the generator kept its times.",
	probeConnections, steps[0], lastSteps, 100*(growth-1), explosion, explodedMs)

// capacities finds the capacity of each arm. The arm without admission gets the capacity of the
// sharded arm, so that both are put under the same load.
func (s *Session) capacities(ctx context.Context, arms []Arm) (map[string]float64, error) {
	found := map[string]float64{}
	s.Notes = append(s.Notes, capacityRule)
	var steps []Measurement
	for _, arm := range arms {
		if sharded, ok := found["sharded"]; ok && arm.Name == "unbounded" {
			found[arm.Name] = sharded
			continue
		}
		c, runs, err := s.findCapacity(ctx, arm)
		if err != nil {
			return nil, err
		}
		steps = append(steps, runs...)
		found[arm.Name] = c
		s.Findings = append(s.Findings, fmt.Sprintf("Capacity of %s: C = %s requests/s.", arm.Name, format.Rate(c)))
		s.Progress.Say(s.Findings[len(s.Findings)-1])
	}
	if len(steps) > 0 {
		s.Tables = append(s.Tables, tableOf("Capacity of "+s.work.Name, steps, "", "offered/s", "good/s", "refused/s",
			"failed",
			"p50", "p99", "CPU", "late p99", "generator"))
	}
	s.Capacities = found
	return found, nil
}

// findCapacity raises the load in steps on one server.
func (s *Session) findCapacity(ctx context.Context, arm Arm) (c float64, runs []Measurement, err error) {
	if s.Capacity > 0 {
		return s.Capacity, nil, nil
	}
	on, err := s.testbed.open(ctx, arm)
	if err != nil {
		return 0, nil, err
	}
	defer func() {
		if closeErr := on.close(); err == nil {
			err = closeErr
		}
	}()
	s.Progress.Step(arm.Name + ", a guess at the capacity")
	probe := s.shortened(s.closedLoad(min(probeConnections, s.Connections)))
	guess, err := s.measure(ctx, on, Turn{Arm: arm, Label: "guess", Load: probe}, 1)
	if err != nil {
		return 0, nil, err
	}
	if guess.All.Goodput == 0 {
		return 0, nil, fmt.Errorf("%s answered nothing well: %s", arm.Name, guess.All.wrong())
	}
	best, last := 0.0, 0
	for _, part := range steps {
		rate := part * guess.All.Goodput
		s.Progress.Step(fmt.Sprintf("%s, capacity at %s/s", arm.Name, format.Rate(rate)))
		r, err := s.measure(ctx, on, Turn{Arm: arm, Label: "step " + format.Rate(rate) + "/s",
			Load: s.shortened(s.openLoad(rate))}, 1)
		if err != nil {
			return 0, nil, err
		}
		runs = append(runs, r)
		if last++; !isLast(r, runs[0], best) {
			last = 0
		}
		if r.Void == "" {
			best = max(best, r.All.Goodput)
		}
		if last == lastSteps {
			break
		}
	}
	if best == 0 {
		return 0, nil, fmt.Errorf("%s: no capacity: %s", arm.Name, runs[0].Void)
	}
	return best, runs, nil
}

// shortened returns a load that lasts no longer than a step.
func (s *Session) shortened(l Load) Load {
	l.measured = min(l.measured, stepTime)
	l.warm = warmUp(l.measured)
	return l
}

// isLast reports whether a step shows that goodput cannot be raised further.
func isLast(r, first Measurement, best float64) bool {
	return r.Void != "" || r.All.Goodput < growth*best ||
		r.All.P99Ms > explodedMs && r.All.P99Ms > explosion*first.All.P99Ms
}

// overload puts multiples of the capacity on every arm.
func overload(ctx context.Context, s *Session) error {
	arms := s.theArms()
	capacities, err := s.capacities(ctx, arms)
	if err != nil {
		return err
	}
	var turns []Turn
	for _, multiple := range s.Loads {
		for _, arm := range arms {
			turns = append(turns, Turn{Arm: arm, Label: fmt.Sprintf("%v C", multiple), Multiple: multiple,
				Load: s.openLoad(multiple * capacities[arm.Name])})
		}
	}
	medians, err := s.InTurns(ctx, turns)
	if err != nil {
		return err
	}
	s.loadTable(medians)
	s.overloadPlots(arms, medians)
	for _, arm := range arms {
		if arm.Name != "unbounded" {
			s.overloadGoals(arm.Name, capacities[arm.Name], medians)
		}
	}
	return nil
}

// overloadGoals compares an arm with the goals under overload in RUNTIME.
func (s *Session) overloadGoals(arm string, c float64, medians []Measurement) {
	at := func(multiple float64) *Measurement {
		i := slices.IndexFunc(medians,
			func(r Measurement) bool { return r.Arm == arm && r.Load == multiple && r.Void == "" })
		if i < 0 {
			return nil
		}
		return &medians[i]
	}
	goodput := func(multiple, least float64) {
		g := Goal{What: fmt.Sprintf("%s: goodput at %v C", arm, multiple),
			Goal: "≥ " + format.Percent(least) + " of C"}
		if r := at(multiple); r != nil {
			g.measured(format.Percent(r.All.Goodput/c)+" of C", r.All.Goodput >= least*c)
		}
		s.Goals = append(s.Goals, g)
	}
	goodput(4, 0.95)
	goodput(10, 0.80)
	calm := at(0.7)
	for _, multiple := range []float64{4, 10} {
		g := Goal{What: fmt.Sprintf("%s: p99 of the admitted at %v C", arm, multiple), Goal: "≤ 3 × p99 at 0.7 C"}
		if r := at(multiple); r != nil && calm != nil {
			g.slower(r.All, calm.All, 3)
		}
		s.Goals = append(s.Goals, g)
	}
	g := Goal{What: arm + ": CPU of a refusal", Goal: "≤ 5 % of the request it refuses"}
	if cost, ok := refusalCost(s.Runs, arm); ok {
		g.measured(format.Percent(cost), cost <= 0.05)
	}
	s.Goals = append(s.Goals, g, explainedGoal(arm, medians), errorGoal(arm, medians))
}

// slower compares the p99 of a load with a multiple of the p99 of a calm load.
func (g *Goal) slower(loaded, calm Stats, most float64) {
	switch {
	case calm.Good == 0: // there is nothing to compare with
	case loaded.Good == 0:
		g.measured("nothing asked for in the measured time was answered well", false)
	default:
		g.measured(fmt.Sprintf("%.2f × (%s, %s)", loaded.P99Ms/calm.P99Ms, format.Millis(loaded.P99Ms),
			format.Millis(calm.P99Ms)),
			loaded.P99Ms <= most*calm.P99Ms)
	}
}

// refusalCost returns the CPU time of a refused request, as a part of that of a served request. The
// runs of the arm differ in their numbers of both. Their CPU time is fitted (least squares) as
// a·done + b·refused. The result is b/a.
func refusalCost(runs []Measurement, arm string) (cost float64, ok bool) {
	var gg, gr, rr, gc, rc float64
	for _, r := range runs {
		if r.Arm != arm || r.Load == 0 || r.Void != "" || r.ServerCores == 0 {
			continue
		}
		good, refused := r.All.Goodput, r.All.RefusedRate
		gg += good * good
		gr += good * refused
		rr += refused * refused
		gc += good * r.ServerCores
		rc += refused * r.ServerCores
	}
	det := gg*rr - gr*gr
	if rr == 0 || det < 1e-6*gg*rr { // nothing was refused, or always the same share
		return 0, false
	}
	a, b := (gc*rr-rc*gr)/det, (rc*gg-gc*gr)/det
	return b / a, a > 0 && b >= 0 // a value below 0 is noise
}

// explainedGoal is the goal that every refusal has a reason and a Retry-After.
func explainedGoal(arm string, runs []Measurement) Goal {
	g := Goal{What: arm + ": refusals without reason or Retry-After", Goal: "0"}
	refused, unexplained := 0, 0
	for _, r := range runs {
		if r.Arm == arm {
			refused += r.All.Refused
			unexplained += r.All.Unexplained
		}
	}
	g.measured(fmt.Sprintf("%d of %d", unexplained, refused), unexplained == 0)
	return g
}

// errorGoal is the goal that no connection fails.
func errorGoal(arm string, runs []Measurement) Goal {
	g := Goal{What: arm + ": connection errors and failures but refusals", Goal: "0"}
	all := Stats{Statuses: map[int]int{}, ErrorKinds: map[string]int{}}
	for _, r := range runs {
		if r.Arm == arm {
			all.Failed += r.All.Failed
			all.Errors += r.All.Errors
			addCounts(all.Statuses, r.All.Statuses)
			addCounts(all.ErrorKinds, r.All.ErrorKinds)
		}
	}
	text := format.Number(all.Failed + all.Errors)
	if wrong := all.wrong(); wrong != "" {
		text += " (" + wrong + ")"
	}
	g.measured(text, all.Failed+all.Errors == 0)
	return g
}

// overloadPlots adds plots of latency and goodput against load.
func (s *Session) overloadPlots(arms []Arm, medians []Measurement) {
	latency := Plot{Name: "latency", Title: "Latency against load: p99 of the answered, from the intended time",
		X: "offered requests/s",
		Y: "p99, ms", LogX: true, LogY: true}
	goodput := Plot{Name: "goodput", Title: "Goodput against load: good answers within a second of the intended time",
		X: "offered requests/s", Y: "good answers/s",
		LogX: true}
	for _, arm := range arms {
		line, good := Series{Name: arm.Name}, Series{Name: arm.Name}
		for _, m := range medians {
			if m.Arm == arm.Name && m.Void == "" {
				line.Points = append(line.Points, Point{m.Rate, m.All.P99Ms})
				good.Points = append(good.Points, Point{m.Rate, m.All.InTime})
			}
		}
		latency.Series = append(latency.Series, line)
		goodput.Series = append(goodput.Series, good)
	}
	s.Plots = append(s.Plots, latency, goodput)
}
