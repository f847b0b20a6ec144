// Package lab makes measurements that notesd bench does not: notesd against a plain program,
// against itself with one setting changed, and on a database that has grown. The tests in e2e run
// them. The command make prove NAME=plain, variants or growth runs them with figures for the
// documents.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"notesd/bench"
	"notesd/bench/format"
)

// A Comparison measures notesd against the plain program (bench/plain), which gives the same
// responses from the same database and sessions. It also measures notesd on SQLite beside the two.
// The three take turns at each workload, on servers that are started afresh.
type Comparison struct {
	Notesd, Plain string        // executables
	Settings      []string      // settings of both: PostgreSQL, Redis and the secret of sessions
	Rounds        int           // the medians of so many rounds count
	Duration      time.Duration // of each measured run
	Progress      io.Writer
}

const (
	users       = 5
	notesEach   = 60 // notes of a kilobyte that each user begins with
	connections = 64
	maxMemory   = 64 << 20 // peak of notesd's resident memory under the mix, in bytes
)

// A workload is a kind of requests, under its common name, with the goals that notesd has for it.
type workload struct {
	name, work string
	times      float64 // minimum throughput, as a multiple of the plain program's
	cheaper    bool    // a request has to take less CPU time than the plain program's
}

var workloads = []workload{
	{"health", "health", 0.9, false},
	{"get", "read", 3, true},
	{"list", "list", 5, true},
	{"create", "write", 2, false},
	{"mix", "mix", 2.5, true},
}

// options returns the options of the testbeds of a Comparison and of Variants.
func options(rounds int, duration time.Duration, settings []string) bench.Options {
	return bench.Options{People: users, NotesEach: notesEach, Rounds: rounds, Duration: duration,
		Retry:       bench.RetryNone,
		Connections: connections, Requests: bench.MaxRequests, Settings: append([]string{countRequests}, settings...)}
}

// Run measures, and adds goals, tables and runs to the report. It writes to the database, which has
// to be empty and must not be used for anything else.
func (c Comparison) Run(ctx context.Context, r *bench.Report) (err error) {
	lite, err := bench.NewTestbed(ctx, options(c.Rounds, c.Duration, nil), c.Notesd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lite.Remove()) }()
	o := options(c.Rounds, c.Duration, c.Settings)
	shared, err := bench.NewTestbed(ctx, o, c.Notesd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shared.Remove()) }()

	s := bench.NewSession(o, r, shared, c.Progress)
	turns, err := comparisonTurns(o, shared, shared.With(c.Plain), lite)
	if err != nil {
		return err
	}
	medians, err := s.InTurns(ctx, turns)
	if err != nil {
		return err
	}
	s.Tables = append(s.Tables, comparisonTable(medians))
	comparisonGoals(s.Report, medians)
	s.Notes = append(s.Notes,
		fmt.Sprintf("%d people with %d notes of a kilobyte each; %d connections that are kept alive, "+
			"a closed loop; mix: %s; medians of %s of %v.", users, notesEach, connections, bench.Everyday,
			format.Count(c.Rounds, "round"), c.Duration),
		"plain and notesd use one PostgreSQL and one Redis, which share the machine's "+format.Count(r.Machine.Cores,
			"core")+
			" with them and with the generator. CPU of a request is the server's own, without theirs.",
		"plain: net/http, pgx and redigo, and none of notesd's admission, limits, log and figures "+
			"(bench/plain). notesd "+
			"counts requests against a limit that nobody reaches.",
		"Servers are started for each turn, and measured once they trust what they have in memory: on PostgreSQL "+
			"some seconds later.",
		"Memory is the peak of the resident set in the measured time; failed requests include those that were refused.")
	return nil
}

// countRequests sets a rate limit that is never reached. Requests are counted against it across all
// replicas, as in production.
const countRequests = "RATE_LIMIT_MAX_REQUESTS=1000000000"

// These are the arms of a Comparison.
const (
	armPlain  = "plain"
	armNotesd = "notesd"
	armLite   = "notesd on SQLite"
)

// comparisonTurns returns the turns of the three arms for each workload, one after another.
func comparisonTurns(o bench.Options, shared, plain, lite *bench.Testbed) (turns []bench.Turn, err error) {
	for _, w := range workloads {
		work, err := bench.ParseWork(w.work)
		if err != nil {
			return nil, err
		}
		load := shared.ClosedLoad(o, work)
		turns = append(turns,
			bench.Turn{Arm: bench.Arm{Name: armPlain}, Label: w.name, Load: load, Testbed: plain},
			bench.Turn{Arm: bench.Arm{Name: armNotesd}, Label: w.name, Load: load},
			bench.Turn{Arm: bench.Arm{Name: armLite}, Label: w.name, Load: lite.ClosedLoad(o, work), Testbed: lite})
	}
	return turns, nil
}

// An outcome has the medians of one workload.
type outcome struct {
	workload
	plain, notesd, lite bench.Measurement
}

// outcomes returns the medians of comparisonTurns, by workload.
func outcomes(medians []bench.Measurement) (all []outcome) {
	for i, w := range workloads {
		all = append(all, outcome{w, medians[3*i], medians[3*i+1], medians[3*i+2]})
	}
	return all
}

func comparisonTable(medians []bench.Measurement) bench.Table {
	t := bench.Table{Title: "Measured", Head: []string{"work", "", "requests/s", "× plain", "CPU a request",
		"× plain", "p50", "p99",
		"memory", "failed", "CPU", "generator"}}
	for _, o := range outcomes(medians) {
		for _, m := range []bench.Measurement{o.plain, o.notesd, o.lite} {
			t.Rows = append(t.Rows, []string{o.name, m.Arm, format.Rate(m.All.Goodput), format.Times(m.All.Goodput,
				o.plain.All.Goodput),
				format.Micros(m.AnswerMicros), format.Times(m.AnswerMicros, o.plain.AnswerMicros),
				format.Millis(m.All.P50Ms), format.Millis(m.All.P99Ms),
				format.Megabytes(m.PeakRSS), format.Number(m.All.Unserved()), format.Cores(m.ServerCores),
				format.Cores(m.GeneratorCores)})
		}
	}
	return t
}

// comparisonGoals adds the results for the goals of notesd on the plain program's database.
func comparisonGoals(r *bench.Report, medians []bench.Measurement) {
	failed, sent := 0, 0
	for _, o := range outcomes(medians) {
		r.Promise(o.name+": requests/s", fmt.Sprintf("≥ %v × plain", o.times),
			format.Times(o.notesd.All.Goodput, o.plain.All.Goodput)+between(r, o.name),
			o.plain.All.Goodput > 0 && o.notesd.All.Goodput >= o.times*o.plain.All.Goodput)
		if o.cheaper {
			r.Promise(o.name+": CPU a request", "< plain", fmt.Sprintf("%s, plain %s",
				format.Micros(o.notesd.AnswerMicros),
				format.Micros(o.plain.AnswerMicros)),
				o.notesd.AnswerMicros > 0 && o.notesd.AnswerMicros < o.plain.AnswerMicros)
		}
		if o.name == "mix" {
			r.Promise("mix: memory", "≤ "+format.Megabytes(maxMemory), format.Megabytes(o.notesd.PeakRSS),
				o.notesd.PeakRSS > 0 && o.notesd.PeakRSS <= maxMemory)
		}
		for _, m := range []bench.Measurement{o.notesd, o.lite} {
			failed, sent = failed+m.All.Unserved(), sent+m.All.Sent
		}
	}
	r.Promise("failed requests of notesd", "0", fmt.Sprintf("%s of %s", format.Number(failed), format.Number(sent)),
		failed == 0 && sent > 0)
}

// between returns the range of notesd's throughput, as a multiple of the plain program's in the
// same round. It returns nothing for a single round.
func between(report *bench.Report, label string) string {
	plain, least, most := map[int]float64{}, 0.0, 0.0
	for _, r := range report.Runs {
		if r.Label == label && r.Arm == armPlain {
			plain[r.Round] = r.All.Goodput
		}
	}
	if len(plain) < 2 {
		return ""
	}
	for _, r := range report.Runs {
		if other := plain[r.Round]; r.Label == label && r.Arm == armNotesd && other > 0 {
			ratio := r.All.Goodput / other
			if least == 0 || ratio < least {
				least = ratio
			}
			most = max(most, ratio)
		}
	}
	return fmt.Sprintf("; single rounds %.2f to %.2f ×", least, most)
}
