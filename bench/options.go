package bench

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrUsage is wrapped by errors in the arguments.
var ErrUsage = errors.New("see notesd bench -h")

const (
	minTime        = 100 * time.Millisecond // for a measured run
	maxTime        = time.Hour
	maxRate        = 1_000_000
	maxConnections = 50_000
	maxRounds      = 100
	maxPeople      = 1000
	maxNotes       = 10_000
	MaxRequests    = 1_000_000_000
	maxPanics      = 1_000_000
)

// Options are what the command line asks for.
type Options struct {
	scenario scenario

	URL         string // of a server that is already running; empty: servers are started
	AllowRemote bool
	Connections int
	Duration    time.Duration // of each measured run
	Rate        float64       // requests a second of the open loop
	Fixed       bool          // arrivals are evenly spaced
	Works       []Work
	Injection   *Injection
	People      int
	NotesEach   int // notes of each user
	Rounds      int
	Arms        []Arm
	Loads       []float64 // multiples of the capacity
	Capacity    float64   // requests a second; 0: it is found in steps
	Panics      int       // minimum number of panics in the scenario panics
	Retry       Retry
	Requests    int      // maximum of one run
	Settings    []string // settings of every server that is started
	Dir         string   // for the servers' data; empty: the system's temporary directory
	JSON        string   // file to write; empty: none
	SVG         string
	Markdown    string
	AllowLate   bool
	Strict      bool // a missed goal is an error
}

// Parse parses the arguments of `notesd bench`, with flags before and after the name of a scenario.
// It writes help to out and then returns flag.ErrHelp. Every other error is an ErrUsage.
func Parse(args []string, out io.Writer) (Options, error) {
	var o Options
	flags := o.flags()
	err := flags.Parse(args)
	name := defaultScenario
	if err == nil && flags.NArg() > 0 {
		name = flags.Arg(0)
		err = flags.Parse(flags.Args()[1:])
	}
	if errors.Is(err, flag.ErrHelp) {
		help(flags, out)
		return Options{}, err
	}
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("%q: one scenario, and flags", flags.Args())
	}
	if err == nil {
		o.scenario, err = scenarioNamed(name)
	}
	if err == nil {
		o.fill()
		err = o.check()
	}
	if err != nil {
		return Options{}, fmt.Errorf("%w: %w", err, ErrUsage)
	}
	return o, nil
}

// flags returns the flags, which store into o. A scenario's own values replace only what is not
// set.
func (o *Options) flags() *flag.FlagSet {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(io.Discard) // Parse returns errors and prints its own help
	f.Usage = func() {}
	// The usage text of a flag begins with the name of its value.
	f.StringVar(&o.URL, "url", "", "URL|of a server that runs already; otherwise one is started for every run")
	f.BoolVar(&o.AllowRemote, "allow-remote", false, "|the server at -url may be elsewhere, and you may put load on it")
	f.IntVar(&o.Connections, "c", unset, "N|connections: of a closed loop, or the most that an open one may use")
	f.Func("d", "TIME|measured in every run, like 30s or 30",
		func(s string) error { return parseSeconds(s, &o.Duration) })
	f.Float64Var(&o.Rate, "rate", 0, "N|requests a second of the scenario open")
	f.BoolVar(&o.Fixed, "fixed", false, "|an open loop sends evenly spaced; otherwise at random, as a Poisson process")
	f.Func("work", "WORK|may be repeated: "+workHelp, o.addWork)
	f.Func("inject", "PATH=SHARE|send a share of all requests to another path, like /api/fault/panic=0.1",
		func(s string) (err error) {
			o.Injection, err = parseInjection(s)
			return err
		})
	f.IntVar(&o.People, "people", unset, "N|people who are signed up for it")
	f.IntVar(&o.NotesEach, "notes", 60, "N|notes of a kilobyte that each of them begins with")
	f.IntVar(&o.Rounds, "rounds", unset, "N|rounds in which arms and loads take turns: figures are medians")
	f.Func("arms", "ARMS|ways to run the server, comma-separated: "+armNames(), o.addArms)
	f.Func("loads", "LOADS|of overload, multiples of the capacity, comma-separated", o.addLoads)
	f.Float64Var(&o.Capacity, "capacity", 0,
		"N|capacity in requests a second, where it is known; otherwise found by steps")
	f.IntVar(&o.Panics, "panics", 10_000, "N|panics that the scenario of that name takes, at least")
	f.Func("retry", "WHEN|a client that is turned away tries again: none, now or after (as Retry-After says)",
		o.setRetry)
	f.IntVar(&o.Requests, "requests", 10_000_000, "N|requests of one run at most")
	f.Func("set", "NAME=VALUE|a setting of every server that is started; may be repeated", o.addSetting)
	f.StringVar(&o.Dir, "dir", "", "DIR|for the servers' data")
	f.StringVar(&o.JSON, "json", "", "FILE|for everything that was measured")
	f.StringVar(&o.SVG, "svg", "", "DIR|for plots")
	f.StringVar(&o.Markdown, "markdown", "", "FILE|of reports to put this one into, in place of the last of its kind")
	f.BoolVar(&o.AllowLate, "allow-late", false, "|count runs in which the generator was late")
	f.BoolVar(&o.Strict, "strict", false, "|exit with an error when a goal is missed; otherwise a miss is only printed")
	return f
}

// unset is the value of a number that was not set.
const unset = math.MinInt

// help prints the usage text.
func help(f *flag.FlagSet, out io.Writer) {
	fmt.Fprint(out, "notesd bench [flags] [scenario]: put load on notesd and measure it\n\nScenarios:\n")
	for _, s := range scenarios() {
		fmt.Fprintf(out, "  %-10s%s\n%12s%s\n", s.name, s.about, "", s.defaults())
	}
	fmt.Fprint(out, "\nFlags:\n")
	f.VisitAll(func(each *flag.Flag) {
		value, about, _ := strings.Cut(each.Usage, "|")
		fmt.Fprintf(out, "  %-18s %s\n", strings.TrimSpace("-"+each.Name+" "+value), about)
	})
	fmt.Fprint(out, "\nThe report is Markdown on standard output. Without -url every run starts a server of its own,\n"+
		"in an empty directory on SQLite, or as -set DATABASE_URL=… and -set REDIS_URL=… say.\n")
}

func armNames() string {
	var names []string
	for _, a := range arms() {
		names = append(names, a.Name)
	}
	return strings.Join(names, ", ")
}

// parseSeconds parses a duration. A number without a unit is seconds.
func parseSeconds(text string, d *time.Duration) (err error) {
	if _, bare := strconv.ParseFloat(text, 64); bare == nil {
		text += "s"
	}
	if *d, err = time.ParseDuration(text); err != nil {
		return errors.New("not a duration like 30s")
	}
	if *d < minTime || *d > maxTime {
		return fmt.Errorf("a run takes from %v to %v", minTime, maxTime)
	}
	return nil
}

func (o *Options) addWork(text string) error {
	w, err := ParseWork(text)
	o.Works = append(o.Works, w)
	return err
}

func (o *Options) addArms(text string) error {
	for name := range strings.SplitSeq(text, ",") {
		a, err := armNamed(name)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(o.Arms, func(b Arm) bool { return a.Name == b.Name }) {
			return fmt.Errorf("%s twice", name)
		}
		o.Arms = append(o.Arms, a)
	}
	return nil
}

func (o *Options) addLoads(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.ParseFloat(part, 64)
		if err != nil || !(n > 0 && n <= 100) {
			return fmt.Errorf("%q is not a multiple above 0, 100 at most", part)
		}
		o.Loads = append(o.Loads, n)
	}
	slices.Sort(o.Loads)
	o.Loads = slices.Compact(o.Loads)
	return nil
}

func (o *Options) setRetry(text string) error {
	o.Retry = Retry(text)
	if !slices.Contains([]Retry{RetryNone, RetryNow, RetryAfter}, o.Retry) {
		return errors.New("none, now or after")
	}
	return nil
}

func (o *Options) addSetting(text string) error {
	if name, _, ok := strings.Cut(text, "="); !ok || name == "" {
		return errors.New("not NAME=VALUE")
	}
	o.Settings = append(o.Settings, text)
	return nil
}

// fill sets the options that are not set to the scenario's values.
func (o *Options) fill() {
	s := o.scenario
	for _, number := range []struct {
		set   *int
		value int
	}{{&o.Connections, min(s.connections, FileLimit())}, {&o.People, s.people}, {&o.Rounds, s.rounds}} {
		if *number.set == unset {
			*number.set = number.value
		}
	}
	if o.Duration == 0 {
		o.Duration = s.duration
	}
	if o.Retry == "" {
		o.Retry = s.retry
	}
	if o.Loads == nil {
		o.Loads = []float64{0.5, 0.7, 1, 2, 4, 10}
	}
	if o.Works == nil {
		for _, name := range s.works {
			_ = o.addWork(name) // the names of scenarios are valid: it can't fail
		}
	}
	if o.Arms == nil && o.URL == "" && s.arms != "" {
		_ = o.addArms(s.arms) // nor can this
	}
}

// FileLimit returns how many connections this process, and each server that it starts, may have
// open. Each connection is a file, and the processes have other files.
func FileLimit() int {
	const others = 200
	var most syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &most); err != nil {
		return maxConnections
	}
	return max(1, int(min(most.Cur, maxConnections+others))-others)
}

// check returns an error for options that make no sense.
func (o *Options) check() error {
	for _, number := range []struct {
		flag              string
		value, from, upTo int
	}{
		{"-c", o.Connections, 1, maxConnections}, {"-people", o.People, o.scenario.minPeople, maxPeople},
		{"-notes", o.NotesEach, 1, maxNotes}, {"-rounds", o.Rounds, 1, maxRounds},
		{"-requests", o.Requests, 1, MaxRequests}, {"-panics", o.Panics, 1, maxPanics},
	} {
		if number.value < number.from || number.value > number.upTo {
			return fmt.Errorf("%s %d: from %d to %d", number.flag, number.value, number.from, number.upTo)
		}
	}
	switch s := o.scenario; {
	case o.Connections > FileLimit():
		return fmt.Errorf("-c %d: this process may have %d open (ulimit -n says how many files)", o.Connections,
			FileLimit())
	case s.rated && !(o.Rate > 0 && o.Rate <= maxRate):
		return fmt.Errorf("-rate %v: the scenario %s sends at a rate above 0, %d a second at most", o.Rate, s.name,
			maxRate)
	case !s.rated && o.Rate != 0:
		return fmt.Errorf("-rate is for the scenario open, not for %s", s.name)
	case !(o.Capacity >= 0 && o.Capacity <= maxRate):
		return fmt.Errorf("-capacity %v: above 0, %d a second at most", o.Capacity, maxRate)
	case s.starts && o.URL != "":
		return fmt.Errorf("-url: the scenario %s starts the servers that it compares", s.name)
	case o.URL != "" && (o.Arms != nil || o.Settings != nil):
		return errors.New("-arms and -set are for servers that are started, not for one that runs already at -url")
	}
	return nil
}
