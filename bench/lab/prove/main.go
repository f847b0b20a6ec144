// Command prove holds notesd to its promises: each proof measures one, and writes what it found to
// a page of docs/results. It runs in the root of the repository; make prove runs it there.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
)

// program is the server that notesd bench starts: notesd with routes that fail on purpose.
const program = "dist/notesd-faults"

func main() {
	o, chosen, err := parse(os.Args[1:], os.Stdout)
	if err == nil {
		err = runAll(o, chosen)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "prove:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	page   string
	strict bool
	bench  string
}

// parse reads the flags and the names of proofs. Without names it chooses all that are not apart.
func parse(args []string, out io.Writer) (o options, chosen []proof, err error) {
	flags := flag.NewFlagSet("prove", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&o.page, "into", "", "`file` for the figures, with plots beside it (default docs/results/NAME.md)")
	flags.BoolVar(&o.strict, "strict", false, "a goal that notesd bench misses is an error")
	flags.StringVar(&o.bench, "bench", "", "more `arguments` of notesd bench")
	flags.Usage = func() { usage(out, flags) }
	if err := flags.Parse(args); err != nil {
		return o, nil, err
	}
	if flags.Arg(0) == "help" {
		usage(out, flags)
		return o, nil, flag.ErrHelp
	}
	var names []string
	for _, p := range proofs {
		names = append(names, p.name)
		if slices.Contains(flags.Args(), p.name) || flags.NArg() == 0 && !p.apart {
			chosen = append(chosen, p)
		}
	}
	for _, name := range flags.Args() {
		if !slices.Contains(names, name) {
			return o, nil, fmt.Errorf("there is no proof %q, only %s", name, strings.Join(names, ", "))
		}
	}
	return o, chosen, nil
}

func usage(out io.Writer, flags *flag.FlagSet) {
	fmt.Fprint(out, "prove [flags] [NAME…]: all proofs, or those that are named\n\n")
	for _, p := range proofs {
		apart := ""
		if p.apart {
			apart = " (only when it is named)"
		}
		fmt.Fprintf(out, "  %-10s%s%s\n", p.name, p.about, apart)
	}
	fmt.Fprintln(out)
	flags.PrintDefaults()
}

// runAll runs proofs, one after the other, to the last, and returns all their errors.
func runAll(o options, chosen []proof) error {
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt) // the commands get it, too, and leave in good order
	var errs []error
	for _, p := range chosen {
		for _, c := range p.commands(o) {
			fmt.Fprintln(os.Stderr, c.line())
			if err := c.run(); err != nil {
				errs = append(errs, fmt.Errorf("%s: %s: %w", p.name, c.line(), err))
				break
			}
		}
		select {
		case <-interrupted:
			return errors.Join(append(errs, errors.New("interrupted"))...)
		default:
		}
	}
	return errors.Join(errs...)
}

// A command is a program with its arguments, and settings that it has besides the environment.
type command struct {
	settings []string
	args     []string
}

// line is the command as one would type it.
func (c command) line() string { return strings.Join(slices.Concat(c.settings, c.args), " ") }

func (c command) run() error {
	cmd := exec.Command(c.args[0], c.args[1:]...)
	cmd.Env = append(os.Environ(), c.settings...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}

// commands are what a proof consists of.
func (p proof) commands(o options) []command {
	page := cmp.Or(o.page, p.page, "docs/results/"+p.name+".md")
	var strict []string
	if o.strict {
		strict = []string{"-strict"}
	}
	switch {
	case p.module != "":
		if !filepath.IsAbs(page) {
			up := strings.Repeat("../", 1+strings.Count(p.module, "/"))
			page = up + page
		}
		return []command{{args: append([]string{"go", "-C", p.module, "run", ".", "-markdown", page}, strict...)}}
	case p.bench != "":
		args := append([]string{program, "bench"}, strings.Fields(p.bench)...)
		args = append(args, "-markdown", page, "-svg", filepath.Join(filepath.Dir(page), "plots"))
		return []command{build(), {args: slices.Concat(args, strict, strings.Fields(o.bench))}}
	}
	file, err := filepath.Abs(page)
	if err != nil {
		file = page // there is no working directory, and nothing will run
	}
	settings := []string{"PROOFS=" + file}
	for _, s := range p.settings {
		if name, _, _ := strings.Cut(s, "="); os.Getenv(name) == "" {
			settings = append(settings, s)
		}
	}
	return []command{
		{args: []string{".ci/setup.sh", "e2e"}},
		{settings: settings, args: []string{"go", "test", "./e2e", "-run", "^" + p.test + "$", "-count=1", "-v",
			"-timeout", "1h"}},
	}
}

// build builds the program as the Makefile builds notesd.
func build() command {
	return command{settings: []string{"CGO_ENABLED=0"}, args: []string{"go", "build", "-v",
		"-ldflags", "-s -w -X main.version=" + os.Getenv("VERSION"), "-o", program, "./bench/lab/faulty"}}
}
