package admin

import (
	"encoding/json"
	"math"
	"net/http"
	"testing"
	"time"

	"notesd/server/router"
)

// Counts, extremes and average are exact over all shards, percentiles within 1 %.
func TestTally(t *testing.T) {
	routes := []*router.Route{{Method: "GET", Path: "/a"}, {Method: "POST", Path: "/a"}, {Method: "GET", Path: "/b/:id"}, {Method: "GET", Path: "/c"}}
	tally := newTally(3, false)
	tally.count(routes)
	var sum time.Duration
	for i := 1; i <= 10_000; i++ {
		took := time.Duration(i) * 37 * time.Microsecond
		sum += took
		tally.Sent(i%3, i%len(routes), []int{200, 404, 503}[i%3], took)
	}
	tally.Sent(0, len(routes), http.StatusTeapot, 0)
	var m metricsJSON
	tallied(t, tally, &m)
	if m.TotalRequests != 10_001 || m.MinDuration != 0 || m.MaxDuration != 370 || m.StatusCodes["200"] != 3333 || m.Paths["unknown"] != 1 {
		t.Errorf("counted %+v", m)
	}
	if want := milliseconds(sum / 10_001); math.Abs(m.AvgDuration-want) > 0.001 {
		t.Errorf("average %v ms, want %v", m.AvgDuration, want)
	}
	for _, p := range []struct{ got, want float64 }{{m.Percentiles.P50, 185}, {m.Percentiles.P95, 351.5}, {m.Percentiles.P99, 366.3}} {
		if math.Abs(p.got-p.want) > p.want/100 {
			t.Errorf("percentile %v ms, want %v within 1 %%", p.got, p.want)
		}
	}
	tally.reset()
	m = metricsJSON{}
	tallied(t, tally, &m)
	if m.TotalRequests != 0 || m.MinDuration != 0 || m.MaxDuration != 0 || m.AvgDuration != 0 || len(m.StatusCodes)+len(m.Paths) != 0 {
		t.Errorf("after a reset %+v, want nothing", m)
	}
}

// tallied is what GET /api/metrics says of tally.
func tallied(t *testing.T, tally *tally, m *metricsJSON) {
	t.Helper()
	text, err := json.Marshal(metricsOutput(tally))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, m); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}
