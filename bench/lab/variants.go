package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"notesd/bench"
	"notesd/bench/format"
)

// Variants measures notesd with its defaults against notesd with one setting changed, on the
// workloads of a Comparison. It shows what a part of notesd is worth, and what a change that was
// rejected would have brought.
type Variants struct {
	Notesd   string   // executable
	Settings []string // settings of all variants: the database and Redis
	Few      bool     // only the first of the variants, for a quick look
	Rounds   int      // the medians of so many rounds count
	Duration time.Duration
	Progress io.Writer
}

type variant struct{ setting, about string }

// variants lists the changes. Each was tried for a reason.
var variants = []variant{
	{"CACHE_SIZE_MB=0", "without copies in memory every read asks Redis and the database"},
	{"GOGC=200", "the collector runs half as often, and memory grows"},
	{"GOGC=400", "a quarter as often"},
	{"WORKERS_PER_SHARD=16",
		"twice the workers and connections: larger batches of writes, and more reads at once in PostgreSQL"},
	{"WORKERS_PER_SHARD=4", "half of them"},
	{"ENABLE_METRICS_COLLECTION=false", "without counting answers"},
}

const asItComes = "as it comes"

// Run measures, and adds a table and runs to the report.
func (v Variants) Run(ctx context.Context, r *bench.Report) (err error) {
	o := options(v.Rounds, v.Duration, v.Settings)
	bed, err := bench.NewTestbed(ctx, o, v.Notesd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bed.Remove()) }()
	among := variants
	if v.Few {
		among = variants[:1]
	}
	turns, err := variantTurns(o, bed, among)
	if err != nil {
		return err
	}
	s := bench.NewSession(o, r, bed, v.Progress)
	medians, err := s.InTurns(ctx, turns)
	if err != nil {
		return err
	}
	s.Tables = append(s.Tables, variantTable(turns, medians, len(among)+1))
	for _, variant := range among {
		s.Notes = append(s.Notes, fmt.Sprintf("`%s`: %s.", variant.setting, variant.about))
	}
	return nil
}

// variantWorks lists the workloads of a Comparison that a setting can affect.
var variantWorks = []string{"get", "list", "create", "mix"}

func variantTurns(o bench.Options, bed *bench.Testbed, among []variant) (turns []bench.Turn, err error) {
	for _, w := range workloads {
		if !slices.Contains(variantWorks, w.name) {
			continue
		}
		work, err := bench.ParseWork(w.work)
		if err != nil {
			return nil, err
		}
		load := bed.ClosedLoad(o, work)
		turns = append(turns, bench.Turn{Arm: bench.Arm{Name: asItComes}, Label: w.name, Load: load})
		for _, v := range among {
			arm := bench.Arm{Name: v.setting, Settings: []string{v.setting}}
			turns = append(turns, bench.Turn{Arm: arm, Label: w.name, Load: load})
		}
	}
	return turns, nil
}

// variantTable returns a table with a row for each variant, and three columns for each workload.
func variantTable(turns []bench.Turn, medians []bench.Measurement, arms int) bench.Table {
	t := bench.Table{Title: "Variants", Head: []string{""}}
	for _, work := range variantWorks {
		t.Head = append(t.Head, work+": requests/s", "CPU a request", "memory")
	}
	for i := range arms {
		row := []string{turns[i].Arm.Name}
		for j := range variantWorks {
			m, base := medians[j*arms+i], medians[j*arms]
			row = append(row, format.Rate(m.All.Goodput)+", "+format.Times(m.All.Goodput, base.All.Goodput),
				format.Micros(m.AnswerMicros), format.Megabytes(m.PeakRSS))
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}
