package bench

import (
	"context"
	"fmt"
	"runtime"

	"notesd/bench/format"
)

// scale measures throughput against cores and fits the universal scalability law to it.
func scale(ctx context.Context, s *Session) error {
	var turns []Turn
	s.Report.Arms = nil
	for _, n := range coreCounts(runtime.NumCPU()) {
		arm := onCores(n)
		s.Report.Arms = append(s.Report.Arms, arm)
		turns = append(turns, Turn{Arm: arm, Label: format.Count(s.Connections, "connection"), Multiple: float64(n),
			Load: s.closedLoad(s.Connections)})
	}
	medians, err := s.InTurns(ctx, turns)
	if err != nil {
		return err
	}
	var measured, alone []Point
	for _, m := range medians {
		if m.All.Goodput == 0 || m.ServerCores == 0 {
			return fmt.Errorf("%s answered nothing well: %s", m.Arm, m.All.wrong())
		}
		measured = append(measured, Point{m.Load, m.All.Goodput})
		alone = append(alone, Point{m.Load, m.alone()})
	}
	s.Tables = append(s.Tables, tableOf(s.closedTitle(), medians, "", "requests/s", "p50", "p99", "CPU",
		"CPU a request",
		"requests/s if all its cores were the server's", "memory", "generator"))
	s.scalePlot(measured, alone)
	s.Notes = append(s.Notes,
		"If all its cores were the server's: what it did, divided by the CPU time that it used and "+
			"multiplied by its cores, as if it never waited for a core that the generator has. Waiting for "+
			"locks and disks is "+
			"not in it.")
	return nil
}

// alone returns the throughput of a server on as many cores as the measurement's load says, if the
// server used all of their time.
func (m Measurement) alone() float64 { return m.Load * m.All.Goodput / m.ServerCores }

// coreCounts returns the numbers of cores to measure: every number up to eight, then every
// doubling, and the number of all cores.
func coreCounts(cores int) (counts []int) {
	for n := 1; n < cores; n++ {
		if n <= 8 || n&(n-1) == 0 {
			counts = append(counts, n)
		}
	}
	return append(counts, cores)
}

// scalePlot adds a plot of throughput against cores with the fitted laws, and notes with their
// predictions.
func (s *Session) scalePlot(measured, alone []Point) {
	p := Plot{Name: "cores", Title: "Throughput against cores", X: "cores", Y: "requests/s"}
	for _, series := range []struct {
		name   string
		points []Point
	}{{"measured, the generator beside it", measured}, {"if all cores were the server's", alone}} {
		p.Series = append(p.Series, Series{Name: series.name, Points: series.points, Dots: true})
		law, ok := fitUSL(series.points)
		if !ok {
			continue
		}
		s.Laws = append(s.Laws, law)
		s.Findings = append(s.Findings, fmt.Sprintf("Universal scalability law, %s: %s", series.name, law))
		p.Series = append(p.Series, law.curve("law: "+series.name, 4*measured[len(measured)-1].X))
	}
	if len(s.Laws) == 0 {
		s.Findings = append(s.Findings, "One core shows nothing of how throughput grows with cores.")
	}
	s.Plots = append(s.Plots, p)
}
