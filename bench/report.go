package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"notesd/bench/format"
)

// A Report has the results of one scenario with one kind of work, or of another kind of proof. All
// output is made from it.
type Report struct {
	Scenario   string             `json:"scenario"`
	Work       Work               `json:"work"`
	Command    string             `json:"command"` // the command that made the report
	Version    string             `json:"version"`
	Date       time.Time          `json:"date"`
	Machine    Machine            `json:"machine"`
	Arms       []Arm              `json:"arms,omitempty"`
	Settings   []string           `json:"settings,omitempty"` // settings of every server
	Capacities map[string]float64 `json:"capacities,omitempty"`
	Findings   []string           `json:"findings,omitempty"`
	Goals      []Goal             `json:"goals,omitempty"`
	Tables     []Table            `json:"tables"`
	Plots      []Plot             `json:"plots,omitempty"`
	Laws       []USL              `json:"laws,omitempty"`
	Notes      []string           `json:"notes,omitempty"`
	Void       []string           `json:"void,omitempty"` // runs whose figures mean nothing
	Late       []string           `json:"late,omitempty"` // runs that would be void, but are allowed
	Medians    []Measurement      `json:"medians,omitempty"`
	Runs       []Measurement      `json:"runs,omitempty"`
}

// NewReport returns an empty report of a proof that is no scenario. The command is the one that
// makes the report, as users would type it.
func NewReport(title, command, version string) *Report {
	return &Report{Scenario: title, Command: command, Version: version, Date: time.Now(), Machine: thisMachine()}
}

// A Table is a table in the form in which it is printed.
type Table struct {
	Title string     `json:"title"`
	Head  []string   `json:"head"`
	Rows  [][]string `json:"rows"`
}

// A Goal is a goal and its result.
type Goal struct {
	What     string `json:"what"`
	Goal     string `json:"goal"`
	Measured string `json:"measured"`
	Verdict  string `json:"verdict"` // met or missed; empty: not measured
}

const missed = "missed"

func (g *Goal) measured(text string, met bool) {
	g.Measured, g.Verdict = text, missed
	if met {
		g.Verdict = "met"
	}
}

// Promise adds a goal and its result.
func (r *Report) Promise(what, goal, measured string, met bool) {
	g := Goal{What: what, Goal: goal}
	g.measured(measured, met)
	r.Goals = append(r.Goals, g)
}

// Judge returns an ErrMissed that names the missed goals, if strict is true. Otherwise a missed
// goal is printed and is no error: the report says what is, not what should be.
func (r *Report) Judge(strict bool) error {
	var missing []string
	for _, g := range r.Goals {
		if g.Verdict == missed {
			missing = append(missing, g.What)
		}
	}
	if !strict || len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w: %s", r.title(), ErrMissed, strings.Join(missing, "; "))
}

// title returns the title of the report. In a file of reports, the title identifies the report's
// section.
func (r *Report) title() string {
	if r.Work.Name == "" {
		return r.Scenario
	}
	return r.Scenario + ": " + r.Work.Name
}

// Markdown returns the report for people. It links to plots in the directory plots, unless that is
// empty.
func (r *Report) Markdown(plots string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n", r.title())
	fmt.Fprintf(&b, "`%s`  \nnotesd %s, %s, %s\n\n", r.Command, r.Version, r.Date.UTC().Format("2006-01-02 15:04 UTC"),
		r.Machine)
	for _, bad := range []struct {
		what  string
		lines []string
	}{
		{"Void: left out of the medians, unless there are no other runs of their kind", r.Void},
		{"The generator was late, and it was allowed: these figures are better than none, no more", r.Late},
	} {
		if len(bad.lines) > 0 {
			fmt.Fprintf(&b, "**%s.**\n\n", bad.what)
			writeList(&b, bad.lines)
		}
	}
	writeList(&b, r.Findings)
	if len(r.Goals) > 0 {
		r.goalTable().write(&b)
	}
	for _, t := range r.Tables {
		t.write(&b)
	}
	if plots != "" {
		for _, p := range r.Plots {
			fmt.Fprintf(&b, "![%s](%s)\n\n", p.Title, filepath.ToSlash(filepath.Join(plots, r.plotFile(p))))
		}
	}
	writeList(&b, r.notes())
	return b.String()
}

// goalTable returns a table of the results beside the goals.
func (r *Report) goalTable() Table {
	t := Table{Title: "Goals", Head: []string{"what", "goal", "measured", ""}}
	for _, g := range r.Goals {
		measured, verdict := g.Measured, "**"+g.Verdict+"**"
		switch g.Verdict {
		case "met":
			verdict = "met"
		case "":
			measured, verdict = "–", "not measured"
		}
		t.Rows = append(t.Rows, []string{g.What, g.Goal, measured, verdict})
	}
	return t
}

// notes returns the notes of the report, and what a reader has to know of any load.
func (r *Report) notes() []string {
	if r.Arms == nil {
		return r.Notes
	}
	notes := []string{fmt.Sprintf("The generator and the server share the machine's %s: what one uses the other "+
		"lacks. Ratios inside one run say more than the figures themselves.", format.Count(r.Machine.Cores, "core"))}
	for _, a := range r.Arms {
		notes = append(notes, fmt.Sprintf("%s: %s.", a.Name, a.About))
	}
	if len(r.Settings) > 0 {
		notes = append(notes, "Every server: "+strings.Join(r.Settings, " "))
	}
	if len(r.Work.Shares) > 1 {
		var parts []string
		for _, s := range r.Work.Shares {
			parts = append(parts, fmt.Sprintf("%v %s", s.Weight, s.Work))
		}
		notes = append(notes, fmt.Sprintf("%s: %s.", r.Work.Name, strings.Join(parts, ", ")))
	}
	notes = append(notes, "Memory is the peak of the resident set in the measured time, CPU the server's in it; "+
		"latencies are those of requests that were answered well.")
	return append(notes, r.Notes...)
}

func writeList(b *strings.Builder, lines []string) {
	for _, line := range lines {
		fmt.Fprintf(b, "- %s\n", line)
	}
	if len(lines) > 0 {
		b.WriteByte('\n')
	}
}

// write writes the table as Markdown. It escapes a bar in a cell.
func (t Table) write(b *strings.Builder) {
	cell := strings.NewReplacer("|", `\|`, "\n", " ")
	line := func(cells []string) {
		b.WriteByte('|')
		for _, c := range cells {
			fmt.Fprintf(b, " %s |", cell.Replace(c))
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(b, "### %s\n\n", t.Title)
	line(t.Head)
	b.WriteString("|" + strings.Repeat("---|", len(t.Head)) + "\n")
	for _, row := range t.Rows {
		line(row)
	}
	b.WriteByte('\n')
}

// plotFile returns the name of a plot's file.
func (r *Report) plotFile(p Plot) string {
	name := r.Scenario + "-" + r.Work.Name + "-" + p.Name
	return strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' {
			return c
		}
		return '_'
	}, strings.ToLower(name)) + ".svg"
}

// writePlots writes the plots to dir.
func (r *Report) writePlots(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var errs []error
	for _, p := range r.Plots {
		errs = append(errs, os.WriteFile(filepath.Join(dir, r.plotFile(p)), p.svg(), 0o644))
	}
	return errors.Join(errs...)
}

// writeJSON writes reports with all single runs.
func writeJSON(file string, reports []*Report) error {
	text, err := json.MarshalIndent(reports, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

const reportHead = `# Results

A command wrote this file, and no figure here is typed: each section names the command, the date and the machine.

`

// Publish prints the report. It also writes the report into the file of reports markdown, and its
// plots into the directory svg. An empty name means that the file or the plots are not written.
func (r *Report) Publish(out io.Writer, markdown, svg string) error {
	if _, err := io.WriteString(out, r.Markdown(svg)); err != nil {
		return err
	}
	if svg != "" {
		if err := r.writePlots(svg); err != nil {
			return err
		}
	}
	if markdown != "" {
		return r.update(markdown, svg)
	}
	return nil
}

// update writes the report into a file of reports. It replaces the last report with the same title,
// or is appended. The plots are in the directory plots; empty: there are none.
func (r *Report) update(file, plots string) error {
	old, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		old, err = []byte(reportHead), nil
	}
	if err != nil {
		return err
	}
	if plots != "" {
		if plots, err = relative(filepath.Dir(file), plots); err != nil {
			return err
		}
	}
	begin, end := []byte("<!-- "+r.title()+" -->\n"), []byte("<!-- end -->\n")
	section := bytes.Join([][]byte{begin, []byte(r.Markdown(plots)), end}, nil)
	before, rest, found := bytes.Cut(old, begin)
	if !found {
		return os.WriteFile(file, append(old, section...), 0o644)
	}
	_, after, ended := bytes.Cut(rest, end)
	if !ended {
		return fmt.Errorf("%s: %q has no end", file, bytes.TrimSpace(begin))
	}
	return os.WriteFile(file, bytes.Join([][]byte{before, section, after}, nil), 0o644)
}

// relative returns the path of file relative to dir. Both are given as the user typed them.
func relative(dir, file string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if file, err = filepath.Abs(file); err != nil {
		return "", err
	}
	return filepath.Rel(dir, file)
}
