package server

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"
)

var errVitals = errors.New("invalid web vital")

var (
	// vitalNames are the names of the metrics: see https://web.dev/articles/vitals.
	vitalNames   = []string{"CLS", "FCP", "FID", "INP", "LCP", "TTFB"}
	vitalRatings = []string{"good", "needs-improvement", "poor"}
)

// vitalCounts counts the web vitals that browsers report, by name and rating.
type vitalCounts [6][3]atomic.Uint64

// vital is one report of a browser.
type vital struct {
	name, rating int // index in vitalNames and in vitalRatings
	value        float64
}

// webVitals handles POST /api/metrics/vitals. Every client may call it without signing in. So it
// accepts values from a closed list only, and it stores or logs no other part of the body.
func webVitals(s *Server, x *exchange) error {
	o, err := s.readObject(x)
	if err != nil {
		return err
	}
	v, ok := readVital(o)
	if !ok {
		return errVitals
	}
	s.vitals[v.name][v.rating].Add(1)
	if s.cfg.WebVitalsLogging {
		s.log.Info("web vital", slog.String("name", vitalNames[v.name]), slog.Float64("value", v.value),
			slog.String("rating", vitalRatings[v.rating]))
	}
	return x.reply(http.StatusCreated, map[string]bool{"received": true})
}

// readVital reads a report. id and navigationType may be missing.
func readVital(o object) (v vital, ok bool) {
	name, _ := o.text("name")
	rating, _ := o.text("rating")
	v.name, v.rating = slices.Index(vitalNames, name), slices.Index(vitalRatings, rating)
	for _, text := range []string{"id", "navigationType"} {
		if _, there := o[text]; there {
			if _, ok := o.text(text); !ok {
				return v, false
			}
		}
	}
	value := o["value"]
	ok = string(value) != "null" && json.Unmarshal(value, &v.value) == nil // JSON has no infinity
	return v, ok && v.name >= 0 && v.rating >= 0 && v.value >= 0
}
