package bench

import (
	"context"
	"fmt"
)

const (
	otherPeople = "others"
	greedyOne   = "greedy"
	othersLoad  = 0.5 // part of the capacity, of all other users together
	greed       = 10  // multiple of a user's share, which is the capacity divided by the number of users
)

// fairness measures the effect on other users of one user that sends too many requests.
func fairness(ctx context.Context, s *Session) error {
	arms := s.theArms()
	capacities, err := s.capacities(ctx, arms)
	if err != nil {
		return err
	}
	var turns []Turn
	for _, arm := range arms {
		c := capacities[arm.Name]
		greedy := greed * c / float64(s.People)
		turns = append(turns,
			Turn{Arm: arm, Label: "alone", Load: s.peopleLoad(othersLoad*c, 0)},
			Turn{Arm: arm, Label: "with the greedy one", Load: s.peopleLoad(othersLoad*c, greedy)})
	}
	medians, err := s.InTurns(ctx, turns)
	if err != nil {
		return err
	}
	s.loadTable(medians)
	s.classTable(medians)
	for i := 0; i < len(medians); i += 2 {
		s.fairnessGoals(medians[i].Classes[0], medians[i+1].Classes[0], medians[i].Arm)
	}
	s.Notes = append(s.Notes,
		fmt.Sprintf("%d people ask for %v C together; one more for %d times a person's share (C/%d).",
			s.People-1, othersLoad, greed, s.People))
	return nil
}

// peopleLoad returns the open loop of several users. All users but the last send at one rate
// together, and the last sends at another rate.
func (s *Session) peopleLoad(others, greedy float64) Load {
	l := s.openLoad(others + greedy)
	last := len(s.testbed.users) - 1
	l.plan = &Plan{}
	l.plan.addWork(s.testbed.host, s.testbed.users[:last], s.work, others, func(string) string { return otherPeople })
	if greedy > 0 {
		l.plan.addWork(s.testbed.host, s.testbed.users[last:], s.work, greedy, func(string) string { return greedyOne })
	}
	return l
}

func (s *Session) fairnessGoals(alone, beside Stats, arm string) {
	const most = 1.2
	p99 := Goal{What: arm + ": the others' p99", Goal: fmt.Sprintf("≤ %v × that without the greedy one", most)}
	p99.slower(beside, alone, most)
	refused := Goal{What: arm + ": the others' refusals", Goal: "0"}
	refused.measured(fmt.Sprintf("%d of %d", beside.Refused, beside.Sent), beside.Refused == 0 && beside.Sent > 0)
	s.Goals = append(s.Goals, p99, refused)
}
