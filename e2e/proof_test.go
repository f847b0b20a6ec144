package e2e

import (
	"cmp"
	"os"
	"strings"
	"testing"

	"notesd/bench"
)

// newProof begins the report of what t proves, when it is run with settings
// like KILLS=100.
func newProof(t *testing.T, title string, settings ...string) *bench.Report {
	command := "go test ./e2e -run '^" + t.Name() + "$' -count=1 -v"
	r := bench.NewReport(title, strings.Join(append(settings, command), " "), cmp.Or(os.Getenv("VERSION"), "of this tree"))
	if raced() {
		r.Notes = append(r.Notes, "Without PROOFS most servers of these tests run with the race detector, which slows them.")
	}
	return r
}

// publish prints the report, and puts it into the file of reports that PROOFS
// names, if it does. A goal that was missed is printed so; what fails the test
// the test says itself.
func publish(t *testing.T, r *bench.Report) {
	t.Helper()
	if err := r.Publish(t.Output(), os.Getenv("PROOFS"), ""); err != nil {
		t.Error(err)
	}
}
