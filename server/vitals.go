package server

import (
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"sync/atomic"
)

var errVitals = errors.New("invalid web vital")

var (
	vitalNames   = []string{"CLS", "FCP", "FID", "INP", "LCP", "TTFB"} // https://web.dev/articles/vitals
	vitalRatings = []string{"good", "needs-improvement", "poor"}
)

// vitalCounts counts what browsers report, by name and rating.
type vitalCounts [6][3]atomic.Uint64

// webVitals answers POST /api/metrics/vitals. Anybody may call it, so what it
// takes is a closed list, and nothing else of the body goes anywhere.
func webVitals(s *Server, x *exchange) error {
	o, err := s.readObject(x)
	if err != nil {
		return err
	}
	name, okName := o.text("name")
	rating, okRating := o.text("rating")
	at, as := slices.Index(vitalNames, name), slices.Index(vitalRatings, rating)
	var value float64
	if !okName || !okRating || at < 0 || as < 0 || json.Unmarshal(o["value"], &value) != nil ||
		value < 0 || math.IsInf(value, 0) || string(o["value"]) == "null" {
		return errVitals
	}
	s.vitals[at][as].Add(1)
	if s.cfg.WebVitalsLogging {
		s.log.Info("web vital", slog.String("name", name), slog.Float64("value", value), slog.String("rating", rating))
	}
	return x.reply(http.StatusCreated, map[string]bool{"received": true})
}
