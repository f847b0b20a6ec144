// Package bench puts load on notesd and measures what becomes of it.
//
// Two shapes of load: an open loop sends at a rate that does not wait for the
// answers, and its latencies count from the time at which a request was meant
// to be sent, so that a server which stalls can't hide it by stalling its
// clients too; a closed loop is clients that wait. The generator watches
// itself: a run in which it sent late is void.
//
// What is compared takes turns, on servers started afresh from the same state,
// in rounds of which the medians count. The generator shares the machine with
// the server, so every report says what it used, and promises are held to
// ratios inside one run.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

var (
	// ErrVoid is returned when the generator was late in all runs of a kind, so that its figures mean nothing.
	ErrVoid = errors.New("the generator was late in all runs of a kind: see those in the report (-allow-late exits with 0)")
	// ErrMissed is returned when this is asked for and a goal was missed.
	ErrMissed = errors.New("goals were missed")
)

// A Program is what a load is put on and told about.
type Program struct {
	Executable string   // notesd, started for every run
	Version    string   // of it
	Arguments  []string // of the command line, for the report
	Out        io.Writer
	Progress   io.Writer
	Terminal   bool // Progress is one
	Faults     bool // Executable has routes that fail on purpose
}

// Run measures what the options ask for and prints the report to p.Out.
func Run(ctx context.Context, o Options, p Program) error {
	if err := checkFaults(o, p.Faults); err != nil {
		return err
	}
	testbed, err := NewTestbed(ctx, o, p.Executable)
	if err != nil {
		return err
	}
	progress := &Progress{out: p.Progress, terminal: p.Terminal}
	reports, err := runAll(ctx, o, p, testbed, progress)
	progress.end()
	if err == nil && o.JSON != "" {
		err = writeJSON(o.JSON, reports)
	}
	if closeErr := testbed.close(ctx); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("clean up: %w", closeErr))
	}
	if err != nil {
		return err
	}
	return judgeAll(reports, o.Strict)
}

// judgeAll is an ErrVoid if there is nothing but void runs of a kind, and an
// ErrMissed if goals were missed and strict asks for that.
func judgeAll(reports []*Report, strict bool) error {
	var errs []error
	for _, r := range reports {
		if slices.ContainsFunc(r.Medians, func(m Measurement) bool { return m.Void != "" }) {
			return ErrVoid
		}
		errs = append(errs, r.Judge(strict))
	}
	return errors.Join(errs...)
}

// runAll runs the scenario with one kind of work after the other, and reports each.
func runAll(ctx context.Context, o Options, p Program, testbed *Testbed, progress *Progress) (reports []*Report, err error) {
	for _, work := range o.Works {
		s := &Session{Options: o, Report: newReport(o, p, work), work: work, testbed: testbed, Progress: progress}
		s.Report.Arms = s.theArms()
		err := o.scenario.run(ctx, s)
		progress.end()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.title(), err)
		}
		reports = append(reports, s.Report)
		if err := s.Report.Publish(p.Out, o.Markdown, o.SVG); err != nil {
			return nil, err
		}
	}
	return reports, nil
}

func newReport(o Options, p Program, work Work) *Report {
	r := &Report{Scenario: o.scenario.name, Work: work, Version: p.Version, Date: time.Now(), Machine: thisMachine()}
	words := []string{filepath.Base(p.Executable), "bench"}
	for _, argument := range p.Arguments {
		words = append(words, withoutSecrets(argument))
	}
	r.Command = strings.Join(words, " ")
	for _, set := range o.Settings {
		r.Settings = append(r.Settings, withoutSecrets(set))
	}
	return r
}
