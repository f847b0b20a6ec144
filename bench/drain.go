package bench

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"notesd/bench/format"
)

const (
	drainLoad  = 0.8         // part of the capacity
	drainDelay = time.Second // the setting SHUTDOWN_DELAY
	drainSpare = drainDelay / 5
	unreadyIn  = 50 * time.Millisecond
)

// A drained is the result of one server that was shut down under load.
type drained struct {
	Measurement
	unready time.Duration // from the signal to the first probe that reports not ready
	gone    time.Duration // from the signal to the end of the process
	exit    int
}

// drain ends servers with SIGTERM under load. A load balancer has seen by the end of SHUTDOWN_DELAY
// that the server is not ready. So the load ends a little before the listener closes.
func drain(ctx context.Context, s *Session) error {
	arm := Arm{"sharded", "the server as it comes, but that it goes on serving for a second after SIGTERM",
		[]string{"SHUTDOWN_DELAY=" + drainDelay.String()}}
	s.Report.Arms = []Arm{arm}
	if s.Duration <= drainDelay {
		return fmt.Errorf("-d %v: a drain takes more than %v: %w", s.Duration, drainDelay, ErrUsage)
	}
	capacities, err := s.capacities(ctx, s.Report.Arms)
	if err != nil {
		return err
	}
	rate := drainLoad * capacities[arm.Name]
	s.Progress.Expect(s.Rounds)
	var all []drained
	for round := range s.Rounds {
		s.Progress.Step(fmt.Sprintf("SIGTERM at %v C, %d", drainLoad, round+1))
		d, err := s.drainOnce(ctx, arm, rate)
		if err != nil {
			return err
		}
		d.Arm, d.Label, d.Load, d.Round = arm.Name, fmt.Sprintf("%v C", drainLoad), drainLoad, round+1
		s.Keep(&d.Measurement)
		all = append(all, d)
	}
	s.drainGoals(all)
	return nil
}

// drainOnce puts a load on a server, and sends SIGTERM in the middle.
func (s *Session) drainOnce(ctx context.Context, arm Arm, rate float64) (d drained, err error) {
	on, err := s.testbed.open(ctx, arm)
	if err != nil {
		return drained{}, err
	}
	l := s.openLoad(rate)
	l.warm = 0
	var leaving sync.WaitGroup
	leaving.Go(func() {
		Pause(ctx, l.measured-(drainDelay-drainSpare))
		signalled := time.Now()
		_ = on.process.cmd.Process.Signal(syscall.SIGTERM) // if it has ended, the result shows it
		d.unready = awaitUnready(ctx, on, signalled)
		select {
		case <-on.process.ended:
		case <-time.After(stopTime):
		}
		d.gone = time.Since(signalled)
	})
	before := on.usage()
	var after usage
	o := l.run(ctx, wires(ctx, on.addr), func() {}, func() { after = on.usage() })
	leaving.Wait()
	d.Measurement = newMeasurement(l, o, usage{after.server - before.server, after.generator - before.generator,
		after.peakRSS}, "")
	d.exit = -1
	if on.process.hasEnded() {
		d.exit = on.process.cmd.ProcessState.ExitCode()
	}
	if err := on.close(); err != nil {
		return drained{}, err
	}
	return d, context.Cause(ctx)
}

// awaitUnready probes readiness until the server reports not ready, and returns how long that took.
// It returns at least SHUTDOWN_DELAY if the server never does.
func awaitUnready(ctx context.Context, on *target, signalled time.Time) time.Duration {
	for ctx.Err() == nil && time.Since(signalled) < drainDelay {
		w := &wire{addr: on.addr.String()}
		a, err := w.exchange(rawRequest("GET", w.addr, "/readyz", "", ""))
		w.close()
		if err == nil && a.status == http.StatusServiceUnavailable {
			return time.Since(signalled)
		}
		Pause(ctx, 2*time.Millisecond)
	}
	return time.Since(signalled)
}

func (s *Session) drainGoals(all []drained) {
	var runs []Measurement
	var unready, gone []time.Duration
	exits := 0
	for _, d := range all {
		runs = append(runs, d.Measurement)
		unready, gone = append(unready, d.unready), append(gone, d.gone)
		if d.exit == 0 {
			exits++
		}
	}
	m := Median(runs)
	s.Medians = append(s.Medians, m)
	resets := 0
	for _, n := range m.All.ErrorKinds {
		resets += n
	}
	s.Promise("drains", "≥ 50", format.Number(len(all)), len(all) >= 50)
	s.Promise("resets and other connection errors", "0", fmt.Sprintf("%s of %s requests", format.Number(resets),
		format.Number(m.All.Sent)),
		resets == 0 && m.All.Sent > 0)
	s.Promise("failed", "0", format.Number(m.All.Failed), m.All.Failed == 0)
	s.Promise("refused, when each answer has cost its client a connection", "0",
		fmt.Sprintf("%s of %s", format.Number(m.All.Refused),
			format.Number(m.All.Sent)), m.All.Refused == 0)
	slices.Sort(unready)
	slices.Sort(gone)
	s.Promise("red readiness after SIGTERM", "≤ 50 ms", fmt.Sprintf("median %s, slowest %s",
		format.Millis(ms(int64(unready[len(unready)/2]))),
		format.Millis(ms(int64(unready[len(unready)-1])))), unready[len(unready)-1] <= unreadyIn)
	s.Promise("exit status 0", "all", fmt.Sprintf("%d of %d", exits, len(all)), exits == len(all))
	s.Findings = append(s.Findings,
		fmt.Sprintf("Gone %.2f s after SIGTERM (median), %.2f s at most; SHUTDOWN_DELAY is %v.",
			gone[len(gone)/2].Seconds(), gone[len(gone)-1].Seconds(), drainDelay))
	s.Tables = append(s.Tables, tableOf(fmt.Sprintf("%s, open loop, %s arrivals, SIGTERM in the middle, all drains",
		s.work.Name, s.arrivalNames()), []Measurement{m}, "load", "offered/s", "good/s", "refused/s", "failed",
		"p50", "p99", "max",
		"CPU", "late p99", "generator", "what went wrong"))
	s.Notes = append(s.Notes,
		fmt.Sprintf("The load begins %v before SIGTERM and ends %v after it, when the listener is about to "+
			"close, as that of a load balancer does. A client whose answer says Connection: close opens "+
			"another connection.",
			s.Duration-(drainDelay-drainSpare), drainDelay-drainSpare))
}
