package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// A Contest sets notesd against the plain program (bench/plain), which answers
// the same on the same database and sessions, and shows notesd on SQLite beside
// them. They take turns at each kind of work, on servers started afresh.
type Contest struct {
	Notesd, Plain string        // executables
	Settings      []string      // of both: PostgreSQL, Redis and the secret of sessions
	Rounds        int           // of which the medians count
	Duration      time.Duration // of every measured run
	Progress      io.Writer
}

const (
	contestPeople      = 5
	contestNotes       = 60 // of a kilobyte that each of them begins with
	contestConnections = 64
	contestMemory      = 64 << 20 // bytes that notesd may have resident under the mix
)

// A discipline is a kind of work, under the name that people know it by, and
// what is wanted of notesd in it.
type discipline struct {
	name, work string
	times      float64 // the plain program's requests a second, at least
	cheaper    bool    // a request is to take less CPU than the plain program's
}

var disciplines = []discipline{
	{"health", "health", 0.9, false},
	{"get", "read", 3, true},
	{"list", "list", 5, true},
	{"create", "write", 2, false},
	{"mix", "mix", 2.5, true},
}

// Run measures, and adds goals, tables and runs to the report. The database is
// left with what was written to it: it has to be one for this alone.
func (c Contest) Run(ctx context.Context, r *Report) (err error) {
	o := Options{People: contestPeople, NotesEach: contestNotes, Rounds: c.Rounds, Duration: c.Duration, Retry: RetryNone,
		Connections: contestConnections, Requests: mostRequests, Settings: []string{countRequests}}
	lite, err := newStage(ctx, o, c.Notesd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(lite.root)) }()
	o.Settings = append(o.Settings, c.Settings...)
	shared, err := newStage(ctx, o, c.Notesd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(shared.root)) }()

	s := &session{Options: o, Report: r, stage: shared, progress: &progress{out: c.Progress}}
	plain := *shared // the same people and directory, one turn at a time
	plain.executable = c.Plain
	turns, err := s.contestTurns(&plain, lite)
	if err != nil {
		return err
	}
	medians, err := s.inTurns(ctx, turns)
	if err != nil {
		return err
	}
	s.contestTable(medians)
	s.contestGoals(medians)
	s.Notes = append(s.Notes, fmt.Sprintf("%d people with %d notes of a kilobyte each; %d connections that are kept alive, "+
		"a closed loop; mix: %s; medians of %s of %v.", contestPeople, contestNotes, contestConnections, everyday,
		count(c.Rounds, "round"), c.Duration),
		"plain and notesd use one PostgreSQL and one Redis, which share the machine's "+count(r.Machine.Cores, "core")+
			" with them and with the generator. CPU of a request is the server's own, without theirs.",
		"plain: net/http, pgx and redigo, and none of notesd's admission, limits, log and figures (bench/plain). notesd "+
			"counts requests against a limit that nobody reaches.",
		"Servers are started for each turn, and measured once they trust what they have in memory: on PostgreSQL some seconds later.",
		"Memory is the peak of the resident set in the measured time; failed requests include those that were refused.")
	return nil
}

// countRequests is a limit that nobody reaches: people's requests are counted, by all replicas together, as ever.
const countRequests = "RATE_LIMIT_MAX_REQUESTS=1000000000"

// The contest's arms.
const (
	armPlain  = "plain"
	armNotesd = "notesd"
	armLite   = "notesd on SQLite"
)

// contestTurns are the three arms of each discipline, one after another.
func (s *session) contestTurns(plain, lite *stage) (turns []turn, err error) {
	for _, d := range disciplines {
		if s.work, err = parseWork(d.work); err != nil {
			return nil, err
		}
		l := s.closedLoad(s.Connections)
		onLite := l
		onLite.plan = planFor(lite.host, lite.people, s.work, nil)
		turns = append(turns,
			turn{arm: Arm{Name: armPlain}, label: d.name, load: l, stage: plain},
			turn{arm: Arm{Name: armNotesd}, label: d.name, load: l},
			turn{arm: Arm{Name: armLite}, label: d.name, load: onLite, stage: lite})
	}
	return turns, nil
}

// A heat is the medians of one discipline.
type heat struct {
	discipline
	plain, notesd, lite Measurement
}

// heats puts the medians of contestTurns together.
func heats(medians []Measurement) (all []heat) {
	for i, d := range disciplines {
		all = append(all, heat{d, medians[3*i], medians[3*i+1], medians[3*i+2]})
	}
	return all
}

func (s *session) contestTable(medians []Measurement) {
	t := Table{Title: "Measured", Head: []string{"work", "", "requests/s", "× plain", "CPU a request", "× plain", "p50", "p99",
		"memory", "failed", "CPU", "generator"}}
	for _, h := range heats(medians) {
		for _, m := range []Measurement{h.plain, h.notesd, h.lite} {
			t.Rows = append(t.Rows, []string{h.name, m.Arm, whole(m.All.Goodput), times(m.All.Goodput, h.plain.All.Goodput),
				micros(m.AnswerMicros), times(m.AnswerMicros, h.plain.AnswerMicros), millis(m.All.P50Ms), millis(m.All.P99Ms),
				megabytes(m.PeakRSS), number(m.All.unserved()), cores(m.ServerCores), cores(m.GeneratorCores)})
		}
	}
	s.Tables = append(s.Tables, t)
}

// contestGoals holds notesd on the plain program's database to what is wanted of it.
func (s *session) contestGoals(medians []Measurement) {
	failed, sent := 0, 0
	for _, h := range heats(medians) {
		s.Promise(h.name+": requests/s", fmt.Sprintf("≥ %v × plain", h.times),
			times(h.notesd.All.Goodput, h.plain.All.Goodput)+s.between(h.name),
			h.plain.All.Goodput > 0 && h.notesd.All.Goodput >= h.times*h.plain.All.Goodput)
		if h.cheaper {
			s.Promise(h.name+": CPU a request", "< plain", fmt.Sprintf("%s, plain %s", micros(h.notesd.AnswerMicros),
				micros(h.plain.AnswerMicros)), h.notesd.AnswerMicros > 0 && h.notesd.AnswerMicros < h.plain.AnswerMicros)
		}
		if h.name == "mix" {
			s.Promise("mix: memory", "≤ "+megabytes(contestMemory), megabytes(h.notesd.PeakRSS),
				h.notesd.PeakRSS > 0 && h.notesd.PeakRSS <= contestMemory)
		}
		for _, m := range []Measurement{h.notesd, h.lite} {
			failed, sent = failed+m.All.unserved(), sent+m.All.Sent
		}
	}
	s.Promise("failed requests of notesd", "0", fmt.Sprintf("%s of %s", number(failed), number(sent)), failed == 0 && sent > 0)
}

// between says from what to what notesd's requests a second are those of the
// plain program in single rounds; nothing, if there is one round.
func (s *session) between(label string) string {
	plain, least, most := map[int]float64{}, 0.0, 0.0
	for _, r := range s.Runs {
		if r.Label == label && r.Arm == armPlain {
			plain[r.Round] = r.All.Goodput
		}
	}
	if len(plain) < 2 {
		return ""
	}
	for _, r := range s.Runs {
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
