package bench

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// circles reads an SVG, which has to be well-formed, and returns its dots.
func circles(t interface {
	Fatalf(string, ...any)
}, svg []byte) (dots []Point) {
	for in := xml.NewDecoder(bytes.NewReader(svg)); ; {
		token, err := in.Token()
		if errors.Is(err, io.EOF) {
			return dots
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
		e, ok := token.(xml.StartElement)
		if !ok || e.Name.Local != "circle" {
			continue
		}
		x, _ := strconv.ParseFloat(e.Attr[0].Value, 64)
		y, _ := strconv.ParseFloat(e.Attr[1].Value, 64)
		dots = append(dots, Point{x, y})
	}
}

// Whatever is plotted, the SVG is well-formed and every dot is in the frame.
func TestPlot(t *testing.T) {
	numbers := rapid.OneOf(rapid.Float64Range(0, 1e7), rapid.SampledFrom([]float64{0, -1, 1e-9, math.NaN(), math.Inf(1),
		1e300}))
	points := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Point {
		return Point{numbers.Draw(t, "x"), numbers.Draw(t,
			"y")}
	}), 0, 5)
	rapid.Check(t, func(t *rapid.T) {
		p := Plot{Title: rapid.String().Draw(t, "title"), X: `<&">`, LogX: rapid.Bool().Draw(t, "logX"),
			LogY: rapid.Bool().Draw(t, "logY")}
		for range rapid.IntRange(0, 4).Draw(t, "series") {
			p.Series = append(p.Series, Series{Name: rapid.String().Draw(t, "name"), Points: points.Draw(t, "points"),
				Line: rapid.Bool().Draw(t, "line"), Dots: rapid.Bool().Draw(t, "dots")})
		}
		for _, dot := range circles(t, p.svg()) {
			if !(dot.X >= frameLeft && dot.X <= frameRight && dot.Y >= frameTop && dot.Y <= frameBottom) {
				t.Fatalf("a dot at %v", dot)
			}
		}
	})
}

// Points stand where the axes say.
func TestPlotPlaces(t *testing.T) {
	p := Plot{LogX: true, Series: []Series{{Points: []Point{{1, 0}, {10, 50}, {100, 100}}}}}
	dots := circles(t, p.svg())
	want := []Point{{frameLeft, frameBottom}, {(frameLeft + frameRight) / 2, (frameTop + frameBottom) / 2}, {frameRight,
		frameTop}}
	if len(dots) != 3 || dots[0] != want[0] || dots[1] != want[1] || dots[2] != want[2] {
		t.Errorf("dots at %v, want %v", dots, want)
	}
	if svg := string(p.svg()); strings.Count(svg, "<polyline") != 1 || strings.Contains(svg, "NaN") {
		t.Errorf("not one line, or NaN:\n%s", svg)
	}
}

func TestTicks(t *testing.T) {
	for name, test := range map[string]struct {
		a    axis
		want []float64
	}{
		"from 0":     {axis{0, 10, false}, []float64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
		"thousands":  {axis{0, 3000, false}, []float64{0, 500, 1000, 1500, 2000, 2500, 3000}},
		"logarithms": {axis{1, 100, true}, []float64{1, 2, 5, 10, 20, 50, 100}},
		"many":       {axis{1, 1e5, true}, []float64{1, 1e1, 1e2, 1e3, 1e4, 1e5}},
		"too many":   {axis{1, 1e12, true}, []float64{1, 1e2, 1e4, 1e6, 1e8, 1e10, 1e12}},
	} {
		got := test.a.ticks()
		same := len(got) == len(test.want)
		for i := range min(len(got), len(test.want)) {
			same = same && math.Abs(got[i]-test.want[i]) < 1e-9
		}
		if !same {
			t.Errorf("%s: ticks() = %v, want %v", name, got, test.want)
		}
	}
}
