package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"notesd/config"
	"notesd/internal/logging"
)

// errHelp is returned by a command that has printed its help. It is no failure.
var errHelp = &exitError{err: flag.ErrHelp, silent: true}

// A flagSet has the flags of a command and the text of its help.
type flagSet struct {
	*flag.FlagSet
	out   io.Writer
	usage string // begins with the command, as it is typed
}

func (p Process) newFlags(usage string) flagSet {
	f := flagSet{flag.NewFlagSet("", flag.ContinueOnError), p.Out, usage}
	f.SetOutput(io.Discard) // the flagSet returns errors and prints its own help
	f.Usage = func() {}
	return f
}

// parse reads flags anywhere among the arguments, up to "--", and returns the other arguments. For
// -h it prints the help and returns errHelp.
func (f flagSet) parse(args []string) (others []string, err error) {
	for {
		if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
			f.help()
			return nil, errHelp
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", f.describe(err), errUsage)
		}
		rest := f.Args()
		if read := len(args) - len(rest); len(rest) == 0 || read > 0 && args[read-1] == "--" {
			return append(others, rest...), nil
		}
		others, args = append(others, rest[0]), rest[1:]
	}
}

func (f flagSet) help() {
	fmt.Fprintln(f.out, f.usage)
	f.SetOutput(f.out)
	f.PrintDefaults()
}

// describe says what is wrong with a flag, and which flag is probably meant. It does not repeat a
// value that was given to a flag without values, because that may be a password.
func (f flagSet) describe(err error) string {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		var known []string
		f.VisitAll(func(f *flag.Flag) { known = append(known, f.Name) })
		return fmt.Sprintf("no flag -%s%s", logging.Printable(name), didYouMean(name, known, "-"))
	}
	if _, name, ok := strings.Cut(text, " for -"); ok && strings.HasPrefix(text, "invalid boolean value ") {
		name, _, _ = strings.Cut(name, ":")
		return fmt.Sprintf("-%s takes no value", name)
	}
	return text
}

// parseNone is parse for a command that takes no arguments besides flags.
func (f flagSet) parseNone(args []string) error {
	others, err := f.parse(args)
	if err == nil && len(others) > 0 {
		name, _, _ := strings.Cut(f.usage, "\n")
		err = fmt.Errorf("%s takes no arguments, not %q: %w", strings.TrimPrefix(name, "notesd "), others, errUsage)
	}
	return err
}

// noArguments is parseNone for a command without flags.
func (p Process) noArguments(usage string, args []string) error {
	return p.newFlags(usage).parseNone(args)
}

// asksVersion reports whether --version is among the arguments.
func asksVersion(args []string) bool {
	if end := slices.Index(args, "--"); end >= 0 {
		args = args[:end]
	}
	return slices.Contains(args, "--version") || slices.Contains(args, "-version")
}

// noSuch returns an error for an unknown word. It names the known word that is probably meant.
func noSuch(what, word string, known []string) error {
	return fmt.Errorf("no %s %q%s: %w", what, word, didYouMean(word, slices.Sorted(slices.Values(known)), ""), errUsage)
}

// didYouMean suggests the nearest of the known words, if one is near.
func didYouMean(word string, known []string, mark string) string {
	best, least := "", 3
	for _, k := range known {
		d := config.Distance(word, k)
		if strings.HasPrefix(k, word) && len(word) > 1 {
			d = min(d, 1)
		}
		if d < least && d < len(k) {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s%s?)", mark, best)
}

// count formats a number with its noun.
func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
