package bench

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// What /api/runtime says after panics is wrong in each way that it can be.
func TestWrongSlots(t *testing.T) {
	const good = `{"workers":3,"panics":7,"restarts":7,"shards":[{"workers":[{"id":1,"state":"idle"},{"id":9,"state":"idle"}]},` +
		`{"workers":[{"id":8,"state":"idle"}]}]}`
	for name, test := range map[string]struct{ from, to, want string }{
		"as it should be": {"", "", ""},
		"busy":            {`"workers":3,`, `"workers":3,"busy":1,`, "1 busy"},
		"queued":          {`"workers":3,`, `"workers":3,"queued":2,`, "2 queued"},
		"outside":         {`"workers":3,`, `"workers":3,"outside":4,`, "4 outside"},
		"a slot is lost":  {`"workers":3,`, `"workers":4,`, "3 of 4 workers idle"},
		"one is not idle": {`"id":8,"state":"idle"`, `"id":8,"state":"busy"`, "2 of 3 workers idle"},
		"two are one":     {`"id":8`, `"id":9`, "2 of 3 workers idle"},
		"none restarted":  {`"restarts":7`, `"restarts":6`, "7 panics, 6 restarts"},
	} {
		var state runtimeState
		if err := json.Unmarshal([]byte(`{"pool":`+strings.Replace(good, test.from, test.to, 1)+`}`),
			&state); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(state.wrongSlots(), "; ")
		if test.want == "" && got != "" || !strings.Contains(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	if got := (runtimeState{}).wrongSlots(); len(got) == 0 {
		t.Error("a pool without workers is found to be right")
	}
}

func TestRoundsFor(t *testing.T) {
	// 75 of the 100 that come in 8 s and 2 s of warming up are counted on.
	if got := roundsFor(750, 100, 8*time.Second); got != 10 {
		t.Errorf("roundsFor() = %d, want 10", got)
	}
	if got := roundsFor(maxPanics, 1, time.Second); got != maxRounds {
		t.Errorf("roundsFor() = %d, want no more than %d", got, maxRounds)
	}
}

// A p99 on the edge and beyond it, and one that is not there.
func TestSlower(t *testing.T) {
	figures := func(good int, p99 float64) Stats { return Stats{Good: good, P99Ms: p99} }
	for name, test := range map[string]struct {
		loaded, calm Stats
		want         string
	}{
		"on the edge":               {figures(1, 26), figures(1, 20), "met"},
		"beyond it":                 {figures(1, 26.1), figures(1, 20), missed},
		"nobody was served":         {figures(0, 0), figures(1, 20), missed},
		"nobody was, without it":    {figures(1, 26), figures(0, 0), ""},
		"nobody was, either way":    {figures(0, 0), figures(0, 0), ""},
		"faster under load than in": {figures(1, 10), figures(1, 20), "met"},
	} {
		var g Goal
		if g.slower(test.loaded, test.calm, 1.3); g.Verdict != test.want {
			t.Errorf("%s: %+v, want %q", name, g, test.want)
		}
	}
}
