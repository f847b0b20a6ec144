package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"notesd/bench/format"
)

const (
	panicPath   = "/api/fault/panic"
	wellPath    = panicPath + "?well=true" // the same route, but it does not panic
	panicShare  = 0.1                      // part of all requests
	panicLoad   = 0.7                      // part of the capacity
	panicSlower = 1.3                      // maximum of the others' p99, in multiples of that without panics
	panicAnswer = http.StatusInternalServerError

	restTime    = 5 * time.Second // for all workers to become idle after the load
	releaseTime = 30 * time.Second
)

// panics lets one request in ten panic. First the panic budget is so large that it lasts. Then it
// is the default, and the panics put the route into quarantine.
func panics(ctx context.Context, s *Session) error {
	lasting := Arm{"lasting", "the server as it comes, but that no route is quarantined for its panics",
		[]string{"RESTART_THRESHOLD=1000000"}}
	usual := Arm{Name: "usual", About: "the server as it comes"}
	s.Report.Arms = []Arm{lasting, usual}
	capacities, err := s.capacities(ctx, []Arm{lasting})
	if err != nil {
		return err
	}
	rate := panicLoad * capacities[lasting.Name]
	calm := s.openLoad(rate)
	s.Injection = &Injection{panicPath, panicShare}
	panicking := s.openLoad(rate)
	s.Rounds = max(s.Rounds, roundsFor(s.Panics, rate, s.Duration))

	counted := &slots{}
	medians, err := s.InTurns(ctx, []Turn{
		{Arm: lasting, Label: "no panics", Load: calm},
		{Arm: lasting, Label: "1 in 10 panics", Load: panicking, after: counted.count},
	})
	if err != nil {
		return err
	}
	s.loadTable(medians)
	s.panicGoals(medians[0], medians[1], counted)
	if err := s.quarantine(ctx, usual, calm); err != nil {
		return err
	}
	s.classTable(s.Medians)
	s.Notes = append(s.Notes,
		fmt.Sprintf("Both loads are %v C; in the one a tenth of the requests are for a route that "+
			"panics, in the other these are like the rest.", panicLoad))
	return nil
}

// roundsFor returns how many runs it takes to have so many panics, with a margin.
func roundsFor(panics int, rate float64, measured time.Duration) int {
	each := 0.75 * panicShare * rate * (measured + warmUp(measured)).Seconds()
	return min(maxRounds, int(math.Ceil(float64(panics)/each)))
}

// slots is what servers report of their workers after panics.
type slots struct {
	panics uint64
	wrong  []string // what is not as it should be
}

// count examines the workers of an idle server.
func (c *slots) count(ctx context.Context, on *target) error {
	state, err := on.runtime(ctx)
	for deadline := time.Now().Add(restTime); err == nil && !state.atRest() && time.Now().Before(deadline); {
		Pause(ctx, 50*time.Millisecond)
		state, err = on.runtime(ctx)
	}
	if err != nil {
		return err
	}
	c.panics += state.Pool.Panics
	c.wrong = append(c.wrong, state.wrongSlots()...)
	return nil
}

func (s runtimeState) atRest() bool {
	return s.Pool.Busy == 0 && s.Pool.Queued == 0 && s.Pool.Outside == 0
}

// wrongSlots lists what differs from the state before any panic. Every slot must have an idle
// worker with an id of its own, and each panic must have caused one restart.
func (s runtimeState) wrongSlots() (wrong []string) {
	p := s.Pool
	if !s.atRest() {
		wrong = append(wrong, fmt.Sprintf("%d busy, %d queued, %d outside", p.Busy, p.Queued, p.Outside))
	}
	idle := map[uint64]bool{}
	for _, shard := range p.Shards {
		for _, w := range shard.Workers {
			if w.State == "idle" {
				idle[w.ID] = true
			}
		}
	}
	if len(idle) != p.Workers || p.Workers == 0 {
		wrong = append(wrong, fmt.Sprintf("%d of %d workers idle", len(idle), p.Workers))
	}
	if p.Restarts != p.Panics {
		wrong = append(wrong, fmt.Sprintf("%d panics, %d restarts", p.Panics, p.Restarts))
	}
	return wrong
}

func (s *Session) panicGoals(calm, panicking Measurement, counted *slots) {
	s.Promise("panics", "≥ "+format.Number(s.Panics), format.Number(int(counted.panics)),
		counted.panics >= uint64(s.Panics))
	s.othersServed("the others: failed or refused", panicking.All)
	slower := Goal{What: "the others' p99", Goal: fmt.Sprintf("≤ %v × that without panics", panicSlower)}
	slower.slower(panicking.All, calm.All, panicSlower)
	s.Goals = append(s.Goals, slower)
	for _, f := range panicking.Classes {
		if f.Class == panicPath {
			s.Promise("panics answered otherwise than 500", "0",
				fmt.Sprintf("%s of %s", format.Number(f.Sent-f.Statuses[panicAnswer]),
					format.Number(f.Sent)), f.Sent > 0 && f.Statuses[panicAnswer] == f.Sent)
		}
	}
	text := "all"
	if len(counted.wrong) > 0 {
		text = strings.Join(counted.wrong, "; ")
	}
	s.Promise("slots with an idle worker after each run, and as many restarts as panics", "all", text,
		len(counted.wrong) == 0)
}

// othersServed adds the goal that all requests but the panicking ones are served.
func (s *Session) othersServed(what string, others Stats) {
	bad := others.Failed + others.Errors + others.Refused
	text := fmt.Sprintf("%s of %s", format.Number(bad), format.Number(others.Sent))
	if wrong := others.wrong(); wrong != "" {
		text += " (" + wrong + ")"
	}
	s.Promise(what, "0", text, bad == 0 && others.Sent > 0)
}

// quarantine lets one route panic until it is quarantined. It then lets the route succeed until it
// is released. Other requests are served meanwhile.
func (s *Session) quarantine(ctx context.Context, arm Arm, others Load) error {
	var panicked int
	var shown bool
	var released time.Duration
	r, err := s.take(ctx, Turn{Arm: arm, Label: "a route in quarantine", Load: others,
		beside: func(ctx context.Context, on *target) (err error) {
			victim := &wire{addr: on.addr.String(), cut: ctx}
			defer victim.close()
			if panicked, err = provoke(victim); err != nil {
				return err
			}
			if shown, err = showsQuarantine(ctx, on); err != nil {
				return err
			}
			released, err = awaitRelease(ctx, victim)
			return err
		}}, 1)
	if err != nil {
		return err
	}
	s.Medians = append(s.Medians, r)
	s.Promise("panics of one route before it is quarantined, and seen so on /api/runtime", "5, yes",
		fmt.Sprintf("%d, %s", panicked, yesNo(shown)), panicked == 5 && shown)
	s.othersServed("the others meanwhile: failed or refused", r.All)
	s.Promise("released, being well again", "after 1 s of quarantine", fmt.Sprintf("after %.2f s", released.Seconds()),
		released < 2*time.Second)
	return nil
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// provoke causes panics until the route is quarantined, and returns how many there were.
func provoke(victim *wire) (panicked int, err error) {
	for range 1000 {
		a, err := victim.exchange(rawRequest("GET", victim.addr, panicPath, "", ""))
		switch {
		case err != nil:
			return panicked, err
		case a.reason == "route_quarantined":
			return panicked, nil
		case a.status == panicAnswer:
			panicked++
		}
	}
	return panicked, errors.New("the route that panics is never quarantined")
}

func showsQuarantine(ctx context.Context, on *target) (bool, error) {
	state, err := on.runtime(ctx)
	for _, q := range state.Pool.Quarantine {
		if q.Route == panicPath && q.Quarantined {
			return true, nil
		}
	}
	return false, err
}

// awaitRelease requests the route, which does not panic now, until it is served again. It returns
// how long that took.
func awaitRelease(ctx context.Context, victim *wire) (time.Duration, error) {
	began := time.Now()
	for time.Since(began) < releaseTime && ctx.Err() == nil {
		a, err := victim.exchange(rawRequest("GET", victim.addr, wellPath, "", ""))
		if err != nil {
			return 0, err
		}
		if a.good() {
			return time.Since(began), nil
		}
		Pause(ctx, 20*time.Millisecond)
	}
	return 0, errors.Join(errors.New("the route is never released"), context.Cause(ctx))
}
