package api

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"

	"notesd/server/router"
)

var errVitals = router.NewError(http.StatusBadRequest, "Invalid web vital")

var (
	// vitalNames are the names of the metrics: see https://web.dev/articles/vitals.
	vitalNames   = []string{"CLS", "FCP", "FID", "INP", "LCP", "TTFB"}
	vitalRatings = []string{"good", "needs-improvement", "poor"}
)

// vitalCounts counts the web vitals that browsers report, by name and rating.
type vitalCounts [6][3]atomic.Uint64

// EachVital calls f for each count of the web vitals that browsers have reported.
func (a *API) EachVital(f func(name, rating string, n uint64)) {
	for at, name := range vitalNames {
		for as, rating := range vitalRatings {
			if n := a.vitals[at][as].Load(); n > 0 {
				f(name, rating, n)
			}
		}
	}
}

// vital is one report of a browser.
type vital struct {
	name, rating int // index in vitalNames and in vitalRatings
	value        float64
}

// webVitals handles POST /api/metrics/vitals. Every client may call it without signing in. So it
// accepts values from a closed list only, and it stores or logs no other part of the body.
func (a *API) webVitals(c *router.Context) error {
	o, err := c.ReadObject()
	if err != nil {
		return err
	}
	v, ok := readVital(o)
	if !ok {
		return errVitals
	}
	a.vitals[v.name][v.rating].Add(1)
	if a.cfg.LogVitals {
		a.cfg.Log.Info("web vital", slog.String("name", vitalNames[v.name]), slog.Float64("value", v.value),
			slog.String("rating", vitalRatings[v.rating]))
	}
	return c.JSON(http.StatusCreated, map[string]bool{"received": true})
}

// readVital reads a report. id and navigationType may be missing.
func readVital(o router.Object) (v vital, ok bool) {
	name, _ := o.Text("name")
	rating, _ := o.Text("rating")
	v.name, v.rating = slices.Index(vitalNames, name), slices.Index(vitalRatings, rating)
	for _, text := range []string{"id", "navigationType"} {
		if _, there := o[text]; there {
			if _, ok := o.Text(text); !ok {
				return v, false
			}
		}
	}
	value := o["value"]
	ok = string(value) != "null" && json.Unmarshal(value, &v.value) == nil // JSON has no infinity
	return v, ok && v.name >= 0 && v.rating >= 0 && v.value >= 0
}
