package e2e

import (
	"fmt"
	"os"
	"regexp"
	"testing"

	"notesd/bench/lab"
)

// notesd beside itself with one setting changed: `make prove NAME=variants`, with
// ROUNDS of MEASURED each.
func TestVariants(t *testing.T) {
	long(t, "it measures")
	rounds, measured := roundsAndMeasured(t)
	var settings []string // on SQLite, which is ready at once
	few := os.Getenv("ROUNDS") == ""
	if !few {
		_, _, settings = newDependencies(t)
	}
	report := newProof(t, "variants", fmt.Sprintf("ROUNDS=%d", rounds), fmt.Sprintf("MEASURED=%v", measured))
	err := lab.Variants{Notesd: unraced(t), Settings: settings, Few: few, Rounds: rounds, Duration: measured, Progress: t.Output()}.
		Run(t.Context(), report)
	if err != nil {
		t.Fatal(err)
	}
	publish(t, report)
	page := report.Markdown("")
	for _, arm := range []string{"as it comes", "CACHE_SIZE_MB=0"} {
		if !regexp.MustCompile(`(?m)^\| ` + arm + ` \|( [1-9]\S*( \d{3})*, \d\S* × \| [1-9].* µs \| \d+ MB \|){4}$`).MatchString(page) {
			t.Errorf("no figures of %s in\n%s", arm, page)
		}
	}
}
