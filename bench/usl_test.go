package bench

import (
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func pointsOf(law USL, cores ...float64) (points []Point) {
	for _, n := range cores {
		points = append(points, Point{n, law.At(n)})
	}
	return points
}

// From exact points of any law the fit finds that law.
func TestFitUSL(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		law := USL{Lambda: rapid.Float64Range(1, 1e6).Draw(t, "lambda"),
			Sigma: rapid.Float64Range(0, 0.9).Draw(t, "sigma"),
			Kappa: rapid.Float64Range(0, 0.1).Draw(t, "kappa")}
		got, ok := fitUSL(pointsOf(law, 1, 2, 3, 4, 8, 16))
		if !ok || math.Abs(got.Lambda/law.Lambda-1) > 1e-6 || math.Abs(got.Sigma-law.Sigma) > 1e-6 ||
			math.Abs(got.Kappa-law.Kappa) > 1e-6 {
			t.Fatalf("fitUSL() = %+v, %v, want %+v", got, ok, law)
		}
		if peak := math.Sqrt((1 - law.Sigma) / law.Kappa); law.Kappa > 1e-5 && math.Abs(got.PeakCores/peak-1) > 1e-3 {
			t.Fatalf("the peak is at %v cores, want %v", got.PeakCores, peak)
		}
	})
}

func TestFitUSLEdges(t *testing.T) {
	for name, test := range map[string]struct {
		points []Point
		want   USL
		ok     bool
		says   string
	}{
		"nothing":   {nil, USL{}, false, ""},
		"one point": {[]Point{{1, 100}}, USL{}, false, ""},
		"two points, growing": {[]Point{{1, 100}, {2, 160}}, USL{Lambda: 100, Sigma: 0.25, Points: 2}, true,
			"no peak: throughput approaches 400/s, and on 5 cores half"},
		"two points, linear": {[]Point{{1, 100}, {2, 200}}, USL{Lambda: 100, Points: 2}, true,
			"grows with the cores. Two points can't"},
		"two points, none": {[]Point{{1, 100}, {2, 100}}, USL{Lambda: 100, Sigma: 1, Points: 2}, true,
			"more than one core gains nothing"},
		"two points, worse": {[]Point{{1, 100}, {2, 80}}, USL{Lambda: 100, Sigma: 1.5, Points: 2}, true,
			"more than one core gains nothing"},
		"better than linear": {[]Point{{1, 100}, {2, 250}, {4, 600}}, USL{Points: 3}, true, "grows with the cores."},
		"a peak": {pointsOf(USL{Lambda: 1000, Sigma: 0.1, Kappa: 0.01}, 1, 2, 4, 8), USL{Lambda: 1000,
			Sigma: 0.1, Kappa: 0.01, Points: 4}, true, "on 9 cores; more would cost"},
		"contention, no peak": {pointsOf(USL{Lambda: 1000, Sigma: 0.1}, 1, 2, 4), USL{Lambda: 1000, Sigma: 0.1,
			Points: 3}, true, "approaches 10\u202f000/s"},
		"coherency, no queueing": {pointsOf(USL{Lambda: 1000, Kappa: 0.01}, 1, 2, 4), USL{Lambda: 1000, Kappa: 0.01,
			Points: 3}, true, "on 10 cores"},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := fitUSL(test.points)
			if ok != test.ok || got.Points != test.want.Points || got.Sigma < 0 || got.Kappa < 0 {
				t.Fatalf("fitUSL() = %+v, %v, want %+v, %v", got, ok, test.want, test.ok)
			}
			if w := test.want; w.Lambda > 0 && (math.Abs(got.Lambda-w.Lambda) > 1e-6 ||
				math.Abs(got.Sigma-w.Sigma) > 1e-9 ||
				math.Abs(got.Kappa-w.Kappa) > 1e-9) {
				t.Errorf("fitUSL() = %+v, want %+v", got, w)
			}
			if ok && !strings.Contains(got.String(), test.says) {
				t.Errorf("it says %q, want %q in it", got, test.says)
			}
		})
	}
}

// With noise the fit is no worse than the law that made the points.
func TestFitUSLNoise(t *testing.T) {
	law := USL{Lambda: 1000, Sigma: 0.05, Kappa: 0.002}
	points := pointsOf(law, 1, 2, 4, 8, 16, 32)
	for i := range points {
		points[i].Y *= 1 + 0.03*[]float64{1, -1, -1, 1, 1, -1}[i]
	}
	got, ok := fitUSL(points)
	if !ok || got.error(points) > law.error(points)*1.01 || math.Abs(got.PeakCores-21.8) > 6 {
		t.Errorf("fitUSL() = %+v (error %v), the law itself has %v", got, got.error(points), law.error(points))
	}
}

func TestCoreCounts(t *testing.T) {
	for cores, want := range map[int]int{1: 1, 2: 2, 8: 8, 9: 9, 12: 9, 64: 11} {
		got := coreCounts(cores)
		if len(got) != want || got[0] != 1 || got[len(got)-1] != cores {
			t.Errorf("coreCounts(%d) = %v, want %d from 1 to %[1]d", cores, got, want)
		}
	}
}
