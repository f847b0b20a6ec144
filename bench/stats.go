package bench

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"notesd/bench/format"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Stats are the results of one class of requests, or of all classes.
type Stats struct {
	Class       string         `json:"class"`
	Sent        int            `json:"sent"`
	Good        int            `json:"good"`
	Refused     int            `json:"refused"`     // with 429 or 503
	Unexplained int            `json:"unexplained"` // refused without a reason or without Retry-After
	Failed      int            `json:"failed"`      // with any other failure
	Errors      int            `json:"errors"`      // without a complete response
	Goodput     float64        `json:"goodput"`     // successful responses a second
	InTime      float64        `json:"inTime"`      // goodput within a second of the intended time
	MeanMs      float64        `json:"meanMs"`      // of good requests, from the intended time
	P50Ms       float64        `json:"p50Ms"`
	P95Ms       float64        `json:"p95Ms"`
	P99Ms       float64        `json:"p99Ms"`
	MaxMs       float64        `json:"maxMs"`
	RefusedMs   float64        `json:"refusedP99Ms"`
	RefusedRate float64        `json:"refusedRate"` // refused requests a second
	Reasons     map[string]int `json:"reasons,omitempty"`
	Statuses    map[int]int    `json:"statuses,omitempty"` // of the failed requests
	ErrorKinds  map[string]int `json:"errorKinds,omitempty"`
}

// stats converts a row of the tally to statistics.
func (r *row) stats(class string, measured time.Duration) Stats {
	f := Stats{Class: class, Sent: r.sent, Good: r.good, Refused: r.refused, Unexplained: r.unexplained,
		Failed: r.failed,
		MeanMs: r.latency.Mean() / 1e6, P50Ms: quantile(r.latency, 50), P95Ms: quantile(r.latency, 95),
		P99Ms: quantile(r.latency, 99), MaxMs: quantile(r.latency, 100), RefusedMs: quantile(r.turnedAway, 99),
		Reasons: r.reasons, Statuses: r.statuses, ErrorKinds: r.errors}
	for _, n := range r.errors {
		f.Errors += n
	}
	if measured > 0 {
		f.Goodput = float64(r.done) / measured.Seconds()
		f.InTime = float64(r.inTime) / measured.Seconds()
		f.RefusedRate = float64(r.shed) / measured.Seconds()
	}
	return f
}

// Unserved returns how many requests were not served, for whatever reason.
func (f Stats) Unserved() int { return f.Refused + f.Failed + f.Errors }

// wrong says briefly which errors occurred, the most frequent first.
func (f Stats) wrong() string {
	kinds := map[string]int{}
	for status, n := range f.Statuses {
		kinds[fmt.Sprintf("status %d", status)] = n
	}
	for reason, n := range f.Reasons {
		if reason == "" {
			reason = "without a reason"
		}
		kinds["refused: "+reason] = n
	}
	addCounts(kinds, f.ErrorKinds)
	names := slices.SortedFunc(maps.Keys(kinds), func(a, b string) int {
		if kinds[a] != kinds[b] {
			return kinds[b] - kinds[a]
		}
		return strings.Compare(a, b)
	})
	for i, name := range names {
		names[i] = fmt.Sprintf("%s × %s", format.Number(kinds[name]), name)
	}
	return strings.Join(names, "; ")
}

func quantile(h *hdrhistogram.Histogram, percent float64) float64 {
	return ms(h.ValueAtQuantile(percent))
}

func ms(ns int64) float64 { return float64(ns) / 1e6 }

// A Measurement is the result of one load on one arm, or the medians of several.
type Measurement struct {
	Arm         string  `json:"arm"`
	Label       string  `json:"label,omitempty"`      // which load was measured
	Load        float64 `json:"load,omitempty"`       // multiple of the capacity, or number of cores
	OfCapacity  float64 `json:"ofCapacity,omitempty"` // the goodput as a part of the capacity
	Rate        float64 `json:"rate,omitempty"`       // requests offered a second, in an open loop
	Connections int     `json:"connections"`
	Round       int     `json:"round"` // 0: the medians of all rounds
	Seconds     float64 `json:"seconds"`
	All         Stats   `json:"all"` // all classes except the injected requests
	Classes     []Stats `json:"classes"`

	ServerCores    float64 `json:"serverCores"`  // CPU seconds a second; 0: not known
	AnswerMicros   float64 `json:"answerMicros"` // CPU microseconds of the server for any response
	PeakRSS        int64   `json:"peakRSS"`      // bytes; 0: not known
	GeneratorCores float64 `json:"generatorCores"`

	LateP99Ms float64 `json:"lateP99Ms"`         // how late the generator sent its requests
	Unsent    int     `json:"unsent"`            // because every connection was waiting for a response
	ProbeMs   float64 `json:"probeMs,omitempty"` // the slowest health probe
	Probes    int     `json:"probes,omitempty"`
	ProbeFail int     `json:"probesFailed,omitempty"`
	Capped    bool    `json:"capped,omitempty"` // the bound on requests ended the run early
	Void      string  `json:"void,omitempty"`   // why the figures mean nothing
}

// usage is the CPU time and memory that the processes used between the beginning and the end of the
// measured time.
type usage struct {
	server, generator time.Duration // CPU time
	peakRSS           int64
}

// newMeasurement converts an outcome to a Measurement.
func newMeasurement(l Load, o outcome, u usage, injected string) Measurement {
	r := Measurement{Rate: l.rate, Connections: l.connections, Seconds: o.measured.Seconds(), PeakRSS: u.peakRSS,
		Unsent: o.unsent, Capped: o.capped}
	all, answered := newRow(), 0
	for i, row := range o.rows {
		r.Classes = append(r.Classes, row.stats(l.plan.rows[i], o.measured))
		answered += row.answered
		if l.plan.rows[i] != injected {
			all.merge(row)
		}
	}
	r.All = all.stats("all", o.measured)
	if r.Seconds > 0 {
		r.ServerCores, r.GeneratorCores = u.server.Seconds()/r.Seconds, u.generator.Seconds()/r.Seconds
	}
	if answered > 0 {
		r.AnswerMicros = float64(u.server.Microseconds()) / float64(answered)
	}
	r.LateP99Ms = quantile(o.lateness, 99)
	r.judge()
	return r
}

// judge marks the run as void if the generator was late, or if nothing was sent.
func (r *Measurement) judge() {
	switch {
	case r.All.Sent+r.Unsent == 0:
		r.Void = "nothing was sent in the measured time"
	case r.LateP99Ms > max(lateBoundMs, latePart*r.All.P99Ms):
		r.Void = fmt.Sprintf("the generator sent one request in a hundred more than %s late",
			format.Millis(r.LateP99Ms))
	}
}

// Median returns the medians of the sound runs. If no run is sound, it uses all runs. Counts are
// summed instead. The latencies of a class are medians as well.
func Median(runs []Measurement) Measurement {
	sound := slices.DeleteFunc(slices.Clone(runs), func(r Measurement) bool { return r.Void != "" })
	if len(sound) == 0 {
		sound = runs
	}
	m := sound[0]
	m.Round = 0
	for _, field := range []func(*Measurement) *float64{
		func(r *Measurement) *float64 { return &r.Seconds }, func(r *Measurement) *float64 { return &r.ServerCores },
		func(r *Measurement) *float64 { return &r.AnswerMicros },
		func(r *Measurement) *float64 { return &r.GeneratorCores },
		func(r *Measurement) *float64 { return &r.OfCapacity },
		func(r *Measurement) *float64 { return &r.LateP99Ms },
	} {
		*field(&m) = middle(sound, field)
	}
	m.PeakRSS, m.Unsent, m.Probes, m.ProbeFail = 0, 0, 0, 0
	for _, r := range sound {
		m.PeakRSS = max(m.PeakRSS, r.PeakRSS)
		m.ProbeMs = max(m.ProbeMs, r.ProbeMs)
		m.Unsent += r.Unsent
		m.Probes += r.Probes
		m.ProbeFail += r.ProbeFail
		m.Capped = m.Capped || r.Capped
	}
	m.All = medianStats(sound, func(r *Measurement) *Stats { return &r.All })
	m.Classes = slices.Clone(m.Classes)
	for i := range m.Classes {
		m.Classes[i] = medianStats(sound, func(r *Measurement) *Stats { return &r.Classes[i] })
	}
	return m
}

func medianStats(runs []Measurement, of func(*Measurement) *Stats) Stats {
	m := *of(&runs[0])
	for _, field := range []func(*Stats) *float64{
		func(f *Stats) *float64 { return &f.Goodput }, func(f *Stats) *float64 { return &f.MeanMs },
		func(f *Stats) *float64 { return &f.P50Ms }, func(f *Stats) *float64 { return &f.P95Ms },
		func(f *Stats) *float64 { return &f.P99Ms }, func(f *Stats) *float64 { return &f.MaxMs },
		func(f *Stats) *float64 { return &f.RefusedMs }, func(f *Stats) *float64 { return &f.InTime },
		func(f *Stats) *float64 { return &f.RefusedRate },
	} {
		*field(&m) = middle(runs, func(r *Measurement) *float64 { return field(of(r)) })
	}
	m.Reasons, m.Statuses, m.ErrorKinds = maps.Clone(m.Reasons), maps.Clone(m.Statuses), maps.Clone(m.ErrorKinds)
	for i := range runs[1:] {
		f := of(&runs[1+i])
		m.Sent += f.Sent
		m.Good += f.Good
		m.Refused += f.Refused
		m.Unexplained += f.Unexplained
		m.Failed += f.Failed
		m.Errors += f.Errors
		addCounts(m.Reasons, f.Reasons)
		addCounts(m.Statuses, f.Statuses)
		addCounts(m.ErrorKinds, f.ErrorKinds)
	}
	return m
}

// middle returns the median of a field of runs.
func middle(runs []Measurement, field func(*Measurement) *float64) float64 {
	values := make([]float64, len(runs))
	for i := range runs {
		values[i] = *field(&runs[i])
	}
	slices.Sort(values)
	half := len(values) / 2
	if len(values)%2 == 1 {
		return values[half]
	}
	return (values[half-1] + values[half]) / 2
}
