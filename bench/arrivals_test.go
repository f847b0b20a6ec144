package bench

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestEvenArrivals(t *testing.T) {
	a := arrivals{rate: 300}
	for i := range 3001 {
		want := seconds(float64(i) / 300) // no error adds up
		if got := a.next(); got != want {
			t.Fatalf("arrival %d is due at %v, want %v", i, got, want)
		}
	}
}

// A Poisson process has exponential gaps: their mean and their deviation are 1/rate, and arrivals
// in a second spread as their number's root.
func TestPoissonArrivals(t *testing.T) {
	const rate, n = 1000.0, 200_000
	a := arrivals{rate: rate, poisson: rand.New(rand.NewPCG(1, 2))}
	var sum, squares float64
	perSecond := map[int]int{}
	last := time.Duration(0)
	for range n {
		at := a.next()
		if at < last {
			t.Fatalf("an arrival at %v after one at %v", at, last)
		}
		gap := (at - last).Seconds()
		sum, squares, last = sum+gap, squares+gap*gap, at
		perSecond[int(at.Seconds())]++
	}
	mean := sum / n
	deviation := math.Sqrt(squares/n - mean*mean)
	if math.Abs(mean*rate-1) > 0.01 || math.Abs(deviation*rate-1) > 0.02 {
		t.Errorf("gaps: mean %v, deviation %v, want both 1 ms", seconds(mean), seconds(deviation))
	}
	delete(perSecond, int(last.Seconds())) // not a whole one
	var variance float64
	for _, count := range perSecond {
		variance += (float64(count) - rate) * (float64(count) - rate) / float64(len(perSecond))
	}
	if variance < rate*0.7 || variance > rate*1.4 {
		t.Errorf("arrivals in a second vary by %.0f, want about %.0f", variance, rate)
	}
}

func TestNapFor(t *testing.T) {
	const d = 3 * time.Millisecond
	began := time.Now()
	for time.Since(began) < d { // a signal may wake it early
		napFor(d - time.Since(began))
	}
	if took := time.Since(began); took > 200*d {
		t.Errorf("napFor(%v) took %v", d, took)
	}
}
