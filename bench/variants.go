package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Variants sets notesd as it comes beside itself with one setting changed, on
// the contest's work: what a part of it is worth, and what a change that was left out would have been.
type Variants struct {
	Notesd   string   // executable
	Settings []string // of all: the database and Redis
	Few      bool     // the first of the variants alone, for a quick look
	Rounds   int      // of which the medians count
	Duration time.Duration
	Progress io.Writer
}

type variant struct{ setting, about string }

// variants are the changes. Each was tried for a reason.
var variants = []variant{
	{"CACHE_SIZE_MB=0", "without copies in memory every read asks Redis and the database"},
	{"GOGC=200", "the collector runs half as often, and memory grows"},
	{"GOGC=400", "a quarter as often"},
	{"WORKERS_PER_SHARD=16", "twice the workers and connections: larger batches of writes, and more reads at once in PostgreSQL"},
	{"WORKERS_PER_SHARD=4", "half of them"},
	{"ENABLE_METRICS_COLLECTION=false", "without counting answers"},
}

const asItComes = "as it comes"

// Run measures, and adds a table and runs to the report.
func (v Variants) Run(ctx context.Context, r *Report) (err error) {
	o := Options{People: contestPeople, NotesEach: contestNotes, Rounds: v.Rounds, Duration: v.Duration, Retry: RetryNone,
		Connections: contestConnections, Requests: mostRequests, Settings: append([]string{countRequests}, v.Settings...)}
	on, err := newStage(ctx, o, v.Notesd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(on.root)) }()
	s := &session{Options: o, Report: r, stage: on, progress: &progress{out: v.Progress}}
	among := variants
	if v.Few {
		among = variants[:1]
	}
	turns, err := s.variantTurns(among)
	if err != nil {
		return err
	}
	medians, err := s.inTurns(ctx, turns)
	if err != nil {
		return err
	}
	s.variantTable(turns, medians, len(among)+1)
	for _, variant := range among {
		s.Notes = append(s.Notes, fmt.Sprintf("`%s`: %s.", variant.setting, variant.about))
	}
	return nil
}

// variantWorks are those of the contest that a setting can make a difference to.
var variantWorks = []string{"get", "list", "create", "mix"}

func (s *session) variantTurns(among []variant) (turns []turn, err error) {
	for _, d := range disciplines {
		if d.name == "health" {
			continue
		}
		if s.work, err = parseWork(d.work); err != nil {
			return nil, err
		}
		l := s.closedLoad(s.Connections)
		turns = append(turns, turn{arm: Arm{Name: asItComes}, label: d.name, load: l})
		for _, v := range among {
			turns = append(turns, turn{arm: Arm{Name: v.setting, Settings: []string{v.setting}}, label: d.name, load: l})
		}
	}
	return turns, nil
}

// variantTable has a row for each variant and a pair of columns for each work.
func (s *session) variantTable(turns []turn, medians []Measurement, arms int) {
	t := Table{Title: "Variants", Head: []string{""}}
	for _, work := range variantWorks {
		t.Head = append(t.Head, work+": requests/s", "CPU a request", "memory")
	}
	for i := range arms {
		row := []string{turns[i].arm.Name}
		for j := range variantWorks {
			m, base := medians[j*arms+i], medians[j*arms]
			row = append(row, whole(m.All.Goodput)+", "+times(m.All.Goodput, base.All.Goodput), micros(m.AnswerMicros), megabytes(m.PeakRSS))
		}
		t.Rows = append(t.Rows, row)
	}
	s.Tables = append(s.Tables, t)
}
