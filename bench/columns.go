package bench

import (
	"fmt"

	"notesd/bench/format"
)

// columns maps the heads of columns to the functions that format a measurement.
var columns = map[string]func(m Measurement) string{
	"":              func(m Measurement) string { return m.Arm },
	"load":          func(m Measurement) string { return m.Label },
	"clients":       func(m Measurement) string { return format.Number(m.Connections) },
	"offered/s":     func(m Measurement) string { return format.Rate(m.Rate) },
	"good/s":        func(m Measurement) string { return format.Rate(m.All.Goodput) },
	"in time/s":     func(m Measurement) string { return format.Rate(m.All.InTime) },
	"requests/s":    func(m Measurement) string { return format.Rate(m.All.Goodput) },
	"of C":          func(m Measurement) string { return format.Percent(m.OfCapacity) },
	"refused/s":     func(m Measurement) string { return format.Rate(m.All.RefusedRate) },
	"failed":        func(m Measurement) string { return format.Number(m.All.Failed + m.All.Errors) },
	"average":       func(m Measurement) string { return format.Millis(m.All.MeanMs) },
	"p50":           func(m Measurement) string { return format.Millis(m.All.P50Ms) },
	"p95":           func(m Measurement) string { return format.Millis(m.All.P95Ms) },
	"p99":           func(m Measurement) string { return format.Millis(m.All.P99Ms) },
	"max":           func(m Measurement) string { return format.Millis(m.All.MaxMs) },
	"CPU":           func(m Measurement) string { return format.Cores(m.ServerCores) },
	"CPU a request": func(m Measurement) string { return format.Micros(m.AnswerMicros) },
	"CPU an answer": func(m Measurement) string { return format.Micros(m.AnswerMicros) },
	"memory":        func(m Measurement) string { return format.Megabytes(m.PeakRSS) },
	"unsent":        func(m Measurement) string { return format.Number(m.Unsent) },
	"late p99":      func(m Measurement) string { return format.Millis(m.LateP99Ms) },
	"generator":     func(m Measurement) string { return format.Cores(m.GeneratorCores) },
	"slowest probe": func(m Measurement) string { return format.Millis(m.ProbeMs) },
	"probes failed": func(m Measurement) string { return fmt.Sprintf("%d of %d", m.ProbeFail, m.Probes) },

	"what went wrong": func(m Measurement) string { return m.All.wrong() },
	"requests/s if all its cores were the server's": func(m Measurement) string { return format.Rate(m.alone()) },
}

// tableOf returns a table with a line for each measurement, under the heads of columns.
func tableOf(title string, rows []Measurement, heads ...string) Table {
	t := Table{Title: title, Head: heads}
	for _, m := range rows {
		var line []string
		for _, head := range heads {
			line = append(line, columns[head](m))
		}
		t.Rows = append(t.Rows, line)
	}
	return t
}
