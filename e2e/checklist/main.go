// Command checklist says, for each row of the checklist that the old backend came with, what proves
// the row here, and with which result. It reads the output of go test -json and of notesd check
// -json. `make e2e` and `make checklist` run it.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"notesd/internal/check"
)

// errNotPassed is returned when a row of the checklist, or any test, did not pass.
var errNotPassed = errors.New("not every row passed")

func main() {
	err := run(os.Args[1:], os.Stdin, os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "checklist:", err)
		os.Exit(1)
	}
}

// run prints the command for all tests, or judges the output of that command.
func run(args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("checklist", flag.ContinueOnError)
	flags.SetOutput(out)
	command := flags.Bool("command", false, "print the shell command that runs all tests, and do nothing else")
	tests := flags.String("tests", "", "`file` with the output of that command, - for standard input")
	report := flags.String("report", "", "`file` with the output of notesd check -json")
	page := flags.Bool("page", false, "write docs/CHECKLIST.md, without judging it")
	strict := flags.Bool("strict", false, "warnings, skipped tests and what is not known do not pass")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *command {
		_, err := fmt.Fprintln(out, testCommand())
		return err
	}
	// The tests are read first, because one of them writes the report.
	e := evidence{}
	var err error
	if e.tests, err = readTests(*tests, in, out); err != nil {
		return err
	}
	if e.report, err = readReport(*report); err != nil {
		return err
	}
	if *page {
		return e.writePage(out)
	}
	found, err := e.writeSummary(out)
	if err == nil && !passes(found, *strict) {
		err = errNotPassed
	}
	return err
}

// readTests reads the output of go test -json. While it reads standard input, it shows progress. It
// returns at the end of the input.
func readTests(file string, in io.Reader, out io.Writer) (results, error) {
	if file == "-" {
		return readResults(in, out)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readResults(f, io.Discard)
}

// readReport reads the output of notesd check -json.
func readReport(file string) (r check.Report, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("%s is not the output of notesd check -json: %w", file, err)
	}
	return r, nil
}
