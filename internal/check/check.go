// Package check judges an installation: settings, machine, container, database, Redis, the running
// server, and the compose file. Gather collects the Facts once and changes nothing. Evaluate
// decides from the Facts alone. The package imports no other package of notesd, and nothing that it
// returns holds a secret.
package check

import (
	"fmt"
	"slices"
	"strings"
)

// A Verdict is the result of a rule.
type Verdict string

// The verdicts are ordered from the best to the worst. Unknown means that something should have
// been looked at, but could not be.
const (
	NotApplicable Verdict = "n/a"
	OK            Verdict = "ok"
	Unknown       Verdict = "unknown"
	Warn          Verdict = "warn"
	Fail          Verdict = "fail"
)

var order = []Verdict{NotApplicable, OK, Unknown, Warn, Fail}

// worst returns the worst of verdicts. It returns NotApplicable if there are none.
func worst(verdicts ...Verdict) Verdict {
	w := NotApplicable
	for _, v := range verdicts {
		if slices.Index(order, v) > slices.Index(order, w) {
			w = v
		}
	}
	return w
}

// Passes reports whether nothing has to be changed. If strict is true, Warn and Unknown do not pass
// either.
func (v Verdict) Passes(strict bool) bool {
	limit := Warn
	if strict {
		limit = OK
	}
	return worst(v, limit) == limit
}

// A Finding is a rule with its verdict.
type Finding struct {
	ID      string  `json:"id"`
	Part    string  `json:"part"`  // part of the checklist
	Title   string  `json:"title"` // what is judged
	Verdict Verdict `json:"verdict"`
	Seen    string  `json:"seen"`
	Fix     string  `json:"fix,omitempty"` // a setting and its value
}

// A Report has all findings, in the order of the checklist.
type Report struct {
	Version string          `json:"version"`
	Verdict Verdict         `json:"verdict"` // the worst verdict
	Counts  map[Verdict]int `json:"counts"`
	Rows    []Finding       `json:"rows"`
}

// An opinion is the result of checking a rule.
type opinion struct {
	verdict   Verdict
	seen, fix string
}

func ok(format string, args ...any) opinion { return opinion{OK, fmt.Sprintf(format, args...), ""} }

func notApplicable(format string, args ...any) opinion {
	return opinion{NotApplicable, fmt.Sprintf(format, args...), ""}
}

func unknown(fix, format string, args ...any) opinion {
	return opinion{Unknown, fmt.Sprintf(format, args...), fix}
}

func warn(fix, format string, args ...any) opinion {
	return opinion{Warn, fmt.Sprintf(format, args...), fix}
}

func fail(fix, format string, args ...any) opinion {
	return opinion{Fail, fmt.Sprintf(format, args...), fix}
}

// A rule is one thing to check.
type rule struct {
	id, part, title string
	evaluate        func(Facts) opinion
}

// Evaluate applies every rule to f and returns each verdict and the worst one.
func Evaluate(f Facts) Report {
	r := Report{Version: f.Version, Verdict: NotApplicable, Counts: map[Verdict]int{}}
	for _, row := range rules {
		o := row.evaluate(f)
		r.Rows = append(r.Rows, Finding{row.id, row.part, row.title, o.verdict, o.seen, o.fix})
		r.Verdict = worst(r.Verdict, o.verdict)
		r.Counts[o.verdict]++
	}
	return r
}

// mistakes returns the mistakes in the settings of these names as an opinion with the fix. The
// value found is false if there are none.
func (f Facts) mistakes(fix string, names ...string) (o opinion, found bool) {
	var texts []string
	for _, m := range f.Settings.Mistakes {
		if slices.Contains(names, m.Name) {
			texts = append(texts, m.Text)
		}
	}
	return fail(fix, "%s", strings.Join(texts, "; ")), len(texts) > 0
}

// size formats a number of bytes for people.
func size(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 1<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}

// count formats a number with its noun: "1 core", "2 cores".
func count[N int | int64 | uint64](n N, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
