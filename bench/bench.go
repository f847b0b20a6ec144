// Package bench puts load on notesd and measures the result.
//
// A load has one of two shapes. An open loop sends at a rate that does not depend on the responses.
// Its latencies count from the intended time of sending, so that a server that stalls cannot hide
// this by also stalling its clients. A closed loop has clients that wait for each response. The
// generator monitors itself: a run in which it sent late is void.
//
// Turns that are compared alternate, on servers that are started afresh from the same state, in
// several rounds. The medians of the rounds count. The generator shares the machine with the
// server. So every report says how much the generator used, and goals are ratios within one run.
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
	// ErrVoid is returned if the generator was late in all runs of a kind, so that the figures mean
	// nothing.
	ErrVoid = errors.New("the generator was late in all runs of a kind: see those in the report " +
		"(-allow-late exits with 0)")
	// ErrMissed is returned if a goal was missed and Options.Strict asks for the error.
	ErrMissed = errors.New("goals were missed")
)

// A Program is the program that is put under load, and the context of the measurement.
type Program struct {
	Executable string   // path of notesd, which is started for every run
	Version    string   // the version of Executable
	Arguments  []string // the command-line arguments, for the report
	Out        io.Writer
	Progress   io.Writer
	Terminal   bool // Progress is a terminal
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

// judgeAll returns ErrVoid if all runs of a kind are void. It returns ErrMissed if goals were
// missed and strict is true.
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

// runAll runs the scenario with one kind of work after the other, and makes a report of each.
func runAll(
	ctx context.Context, o Options, p Program, testbed *Testbed, progress *Progress,
) (reports []*Report, err error) {
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
