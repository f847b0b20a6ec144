package bench

import (
	"fmt"
	"math"

	"notesd/bench/format"
)

// A USL is Gunther's universal scalability law,
//
//	X(N) = λN / (1 + σ(N−1) + κN(N−1)):
//
// throughput X on N cores. σ is contention (work that only one core can do at a time), and κ is
// coherency (the cost of communication between cores).
type USL struct {
	Lambda    float64 `json:"lambda"` // throughput of one core
	Sigma     float64 `json:"sigma"`
	Kappa     float64 `json:"kappa"`
	Points    int     `json:"points"`
	PeakCores float64 `json:"peakCores"` // more cores than these cost throughput; 0: never
}

// fitUSL fits the law to points, X against N, by least squares. Written for N/X, the law is linear
// in 1/λ, σ/λ and κ/λ. The squares are of errors relative to N/X. Neither σ nor κ can be below
// 0: a result below 0 is set to 0. With two points κ is 0, because nothing can tell it from σ.
// With one point there is no law.
func fitUSL(points []Point) (USL, bool) {
	best, least := USL{}, math.Inf(1)
	for _, terms := range [][]term{{single, contention, coherency}, {single, contention}, {single, coherency},
		{single}} {
		if len(terms) > len(points) || len(points) < 2 {
			continue
		}
		law, ok := solveUSL(points, terms)
		if ok && law.error(points) < least*(1-1e-9) {
			best, least = law, law.error(points)
		}
	}
	return best, !math.IsInf(least, 1)
}

// A term is a summand of N/X without its factor.
type term int

const (
	single term = iota
	contention
	coherency
)

func (t term) at(n float64) float64 { return [...]float64{1, n - 1, n * (n - 1)}[t] }

// solveUSL returns the least squares fit of some of the terms. It returns false if the fit is no
// law.
func solveUSL(points []Point, terms []term) (USL, bool) {
	size := len(terms)
	m := make([][]float64, size) // the normal equations; the last column is the right side
	for i := range m {
		m[i] = make([]float64, size+1)
		for _, p := range points {
			y := p.X / p.Y
			for j := range terms {
				m[i][j] += terms[i].at(p.X) * terms[j].at(p.X) / (y * y)
			}
			m[i][size] += terms[i].at(p.X) / y
		}
	}
	factors, ok := solve(m)
	if !ok {
		return USL{}, false
	}
	var all [3]float64
	for i, t := range terms {
		all[t] = factors[i]
	}
	if all[single] <= 0 || all[contention] < 0 || all[coherency] < 0 {
		return USL{}, false
	}
	law := USL{Lambda: 1 / all[single], Sigma: all[contention] / all[single], Kappa: all[coherency] / all[single],
		Points: len(points)}
	if law.Kappa > 0 && law.Sigma < 1 {
		law.PeakCores = math.Sqrt((1 - law.Sigma) / law.Kappa)
	}
	return law, true
}

// solve solves linear equations by elimination with pivoting. The last column is the right side.
func solve(m [][]float64) ([]float64, bool) {
	for i := range m {
		pivot := i
		for j := i + 1; j < len(m); j++ {
			if math.Abs(m[j][i]) > math.Abs(m[pivot][i]) {
				pivot = j
			}
		}
		m[i], m[pivot] = m[pivot], m[i]
		if math.Abs(m[i][i]) < 1e-12 {
			return nil, false
		}
		for j := range m {
			if j == i {
				continue
			}
			f := m[j][i] / m[i][i]
			for k := i; k < len(m[j]); k++ {
				m[j][k] -= f * m[i][k]
			}
		}
	}
	x := make([]float64, len(m))
	for i := range m {
		x[i] = m[i][len(m)] / m[i][i]
	}
	return x, true
}

// At returns the throughput on n cores.
func (u USL) At(n float64) float64 {
	return u.Lambda * n / (1 + u.Sigma*(n-1) + u.Kappa*n*(n-1))
}

// error returns the sum of squares that the fit minimizes.
func (u USL) error(points []Point) (sum float64) {
	for _, p := range points {
		e := p.Y/u.At(p.X) - 1
		sum += e * e
	}
	return sum
}

// String describes the law and its predictions.
func (u USL) String() string {
	text := fmt.Sprintf("one core does %s/s, contention σ = %.3f, coherency κ = %.5f. ", format.Rate(u.Lambda),
		u.Sigma, u.Kappa)
	switch {
	case u.PeakCores >= 1:
		text += fmt.Sprintf("It predicts the most, %s/s, on %.0f cores; more would cost.",
			format.Rate(u.At(math.Floor(u.PeakCores))), math.Floor(u.PeakCores))
	case u.Kappa > 0 || u.Sigma >= 1:
		text += "It predicts that more than one core gains nothing."
	case u.Sigma > 0:
		text += fmt.Sprintf("It predicts no peak: throughput approaches %s/s, and on %.0f cores half of "+
			"each core is lost.",
			format.Rate(u.Lambda/u.Sigma), 1+1/u.Sigma)
	default:
		text += "It predicts that throughput grows with the cores."
	}
	if u.Points < 3 {
		text += " Two points can't tell contention from coherency, so κ is taken as 0: whether there is a peak " +
			"takes three cores or more to see."
	}
	return text
}

// curve returns the law from one core to so many as a series.
func (u USL) curve(name string, upTo float64) Series {
	const pieces = 60
	s := Series{Name: name, Line: true}
	for i := range pieces + 1 {
		n := 1 + (upTo-1)*float64(i)/pieces
		s.Points = append(s.Points, Point{n, u.At(n)})
	}
	return s
}
