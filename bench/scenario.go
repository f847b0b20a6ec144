package bench

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"notesd/bench/format"

	"golang.org/x/sync/errgroup"
)

// A scenario is one thing to measure, with suitable default values of flags.
type scenario struct {
	name, about string
	run         func(context.Context, *Session) error
	starts      bool // it starts its own servers, and can't measure a running one
	rated       bool // it needs -rate
	faults      bool // it needs a program with fault routes

	connections, people, rounds, minPeople int
	duration                               time.Duration
	works                                  []string
	arms                                   string
	retry                                  Retry
}

const defaultScenario = "compare"

// scenarios returns all scenarios in the order of the help. Loads beyond the capacity are sent by
// many users. If there were few, each would exceed a user's share and would be refused for that.
func scenarios() []scenario {
	return []scenario{
		{name: "compare", about: "one shard against all cores, closed loop: the table of the scaling checklist",
			run: compare, starts: true, connections: 100, people: 5, rounds: 3, minPeople: 1,
			duration: 10 * time.Second,
			works:    []string{"health", "mix"}, arms: "single,sharded", retry: RetryNone},
		{name: "closed", about: "closed loop: each of -c clients sends its next request when the last is answered",
			run: closed, connections: 100, people: 5, rounds: 1, minPeople: 1, duration: 30 * time.Second,
			works: []string{"health"}, arms: "sharded", retry: RetryNone},
		{name: "open", about: "open loop: -rate requests a second, whatever the answers", run: open, rated: true,
			connections: 2000, people: 5, rounds: 1, minPeople: 1, duration: 10 * time.Second,
			works: []string{"mix"}, arms: "sharded", retry: RetryNone},
		{name: "capacity", about: "the most requests a second that are answered well, found by steps", run: capacity,
			connections: 2000, people: 50, rounds: 1, minPeople: 1, duration: 4 * time.Second,
			works: []string{"mix"}, arms: "sharded", retry: RetryNone},
		{name: "overload", about: "loads from half to ten times the capacity", run: overload,
			connections: 2000, people: 50, rounds: 3, minPeople: 1, duration: 5 * time.Second,
			works: []string{"mix"}, arms: "sharded,single", retry: RetryNone},
		{name: "storm", about: "-c clients that try again at once when they are turned away", run: storm,
			connections: 2000, people: 50, rounds: 3, minPeople: 1, duration: 10 * time.Second,
			works: []string{"mix"}, arms: "sharded", retry: RetryNow},
		{name: "fairness", about: "people at half the capacity, and one more at ten times a person's share",
			run:         fairness,
			connections: 2000, people: 21, rounds: 3, minPeople: 2, duration: 10 * time.Second,
			works: []string{"mix"}, arms: "sharded", retry: RetryNone},
		{name: "cost", about: "the CPU time of whole requests, with the pool and without", run: cost,
			starts: true, faults: true,
			connections: 2000, people: 50, rounds: 12, minPeople: 1, duration: 4 * time.Second,
			works: []string{"mix"}, retry: RetryNone},
		{name: "panics", about: "one request in ten panics, -panics of them in all; then one route is " +
			"quarantined and released",
			run: panics, starts: true, faults: true, connections: 2000, people: 50, rounds: 3, minPeople: 1,
			duration: 10 * time.Second, works: []string{"mix"}, retry: RetryNone},
		{name: "drain", about: "SIGTERM under load, -rounds times", run: drain, starts: true,
			connections: 2000, people: 50, rounds: 50, minPeople: 1, duration: 1800 * time.Millisecond,
			works: []string{"mix"}, retry: RetryNone},
		{name: "scale", about: "throughput against cores, and what the universal scalability law makes of it",
			run:    scale,
			starts: true, connections: 100, people: 5, rounds: 3, minPeople: 1, duration: 5 * time.Second,
			works: []string{"mix"}, retry: RetryNone},
	}
}

// defaults returns the scenario's values of flags, as they would be typed.
func (s scenario) defaults() string {
	text := fmt.Sprintf("-c %d -d %v -rounds %d -people %d -work %s", s.connections, s.duration, s.rounds, s.people,
		strings.Join(s.works, " -work "))
	if s.arms != "" {
		text += " -arms " + s.arms
	}
	if s.retry != RetryNone {
		text += " -retry " + string(s.retry)
	}
	return text
}

func scenarioNamed(name string) (scenario, error) {
	var names []string
	for _, s := range scenarios() {
		if s.name == name {
			return s, nil
		}
		names = append(names, s.name)
	}
	return scenario{}, fmt.Errorf("no scenario %q: %q", name, names)
}

// A Session is one run of a scenario with one kind of work.
type Session struct {
	Options
	*Report
	work     Work
	testbed  *Testbed
	Progress *Progress
}

// NewSession returns a session of an experiment that is no scenario of notesd bench. The session
// adds its results to r. A turn without a testbed runs on bed.
func NewSession(o Options, r *Report, bed *Testbed, progress io.Writer) *Session {
	return &Session{Options: o, Report: r, testbed: bed, Progress: &Progress{out: progress}}
}

// A Turn is one load on one arm. Turns that are compared alternate.
type Turn struct {
	Arm      Arm
	Testbed  *Testbed // nil: the session's
	Label    string   // names the load
	Multiple float64  // multiple of the capacity
	Load     Load
	beside   func(context.Context, *target) error // runs during the load; nil: nothing does
	after    func(context.Context, *target) error // examines the server after the load; nil: nothing does
}

// InTurns measures every turn in every round, each on a server that was just started. It returns
// the medians in the order of turns. Every other round runs in reverse order, so that a machine
// that slows down favours no turn.
func (s *Session) InTurns(ctx context.Context, turns []Turn) ([]Measurement, error) {
	s.Progress.Expect(s.Rounds * len(turns))
	runs := make([][]Measurement, len(turns))
	for round := range s.Rounds {
		order := make([]int, len(turns))
		for i := range order {
			order[i] = i
		}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, i := range order {
			r, err := s.take(ctx, turns[i], round+1)
			if err != nil {
				return nil, err
			}
			runs[i] = append(runs[i], r)
		}
	}
	medians := make([]Measurement, len(turns))
	for i := range turns {
		medians[i] = Median(runs[i])
	}
	s.Medians = append(s.Medians, medians...)
	return medians, nil
}

// take measures one turn.
func (s *Session) take(ctx context.Context, t Turn, round int) (r Measurement, err error) {
	s.Progress.Step(fmt.Sprintf("%s, %s, round %d", t.Arm.Name, t.Label, round))
	on, err := cmp.Or(t.Testbed, s.testbed).open(ctx, t.Arm)
	if err != nil {
		return Measurement{}, err
	}
	r, err = s.measure(ctx, on, t, round)
	if err == nil && t.after != nil {
		err = t.after(ctx, on)
	}
	if closeErr := on.close(); err == nil {
		err = closeErr
	}
	return r, err
}

// measure runs one turn on an open server, and keeps the measurement.
func (s *Session) measure(ctx context.Context, on *target, t Turn, round int) (Measurement, error) {
	injected := ""
	if s.Injection != nil {
		injected = s.Injection.Path
	}
	var r Measurement
	group, together := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		r, err = on.measure(together, t.Load, injected)
		return err
	})
	if t.beside != nil {
		group.Go(func() error { return t.beside(together, on) })
	}
	if err := group.Wait(); err != nil {
		return Measurement{}, err
	}
	r.Arm, r.Label, r.Load, r.Round = t.Arm.Name, t.Label, t.Multiple, round
	if c := s.Capacities[r.Arm]; c > 0 {
		r.OfCapacity = r.All.Goodput / c
	}
	s.Keep(&r)
	if r.Capped {
		s.Notes = append(s.Notes, fmt.Sprintf("%s, %s, round %d ended after %.1f s, with request %s (-requests).",
			r.Arm, r.Label, round, r.Seconds, format.Number(s.Requests)))
	}
	return r, nil
}

// Keep adds a run to the report, and prints a line if the run is void. A late run is not void if
// late runs are allowed.
func (s *Session) Keep(r *Measurement) {
	what := fmt.Sprintf("%s, %s, round %d: %s", r.Arm, r.Label, r.Round, r.Void)
	switch {
	case r.Void == "":
	case s.AllowLate && r.All.Sent > 0:
		r.Void = ""
		s.Late = append(s.Late, what)
	default:
		s.Void = append(s.Void, what)
		s.Progress.Say("void: " + what)
	}
	s.Runs = append(s.Runs, *r)
}

// theArms returns the arms to measure. A server that is already running is one arm.
func (s *Session) theArms() []Arm {
	if s.URL != "" {
		return []Arm{given(s.URL)}
	}
	return s.Options.Arms
}

// closedLoad returns the closed loop of some clients that do the session's work.
func (s *Session) closedLoad(connections int) Load {
	l := s.openLoad(0)
	l.connections, l.retry = connections, s.Retry
	return l
}

// openLoad returns the session's work as an open loop at a rate.
func (s *Session) openLoad(rate float64) Load {
	return Load{plan: planFor(s.testbed.host, s.testbed.users, s.work, s.Injection),
		connections: s.Connections, rate: rate,
		fixed: s.Fixed, warm: warmUp(s.Duration), measured: s.Duration, maxRequests: s.Requests}
}

// warmUp returns how long a load runs before it is measured.
func warmUp(measured time.Duration) time.Duration { return min(measured/4, 2*time.Second) }
