package bench

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"

	"notesd/bench/format"
)

// A Plot shows series of points in a frame.
type Plot struct {
	Name   string   `json:"name"` // name of its file
	Title  string   `json:"title"`
	X      string   `json:"x"` // labels of the axes
	Y      string   `json:"y"`
	LogX   bool     `json:"logX,omitempty"`
	LogY   bool     `json:"logY,omitempty"`
	Series []Series `json:"series"`
}

// A Series is a series of points of one colour. A line connects them, unless only the line or only
// the dots are wanted.
type Series struct {
	Name   string  `json:"name"`
	Points []Point `json:"points"`
	Line   bool    `json:"line,omitempty"` // no dots
	Dots   bool    `json:"dots,omitempty"` // no line
}

// A Point is one measurement. On a logarithmic axis, only points above 0 are drawn.
type Point struct {
	X float64 `json:"x"`
	Y float64 `json:"y"`
}

// These constants are the geometry of the frame, in SVG's units.
const (
	plotWidth, plotHeight    = 740, 420
	frameLeft, frameRight    = 80, 700
	frameTop, frameBottom    = 40, 330
	legendTop, legendSpacing = 388, 18
)

// colours can be told apart by people with impaired colour vision, too (Okabe and Ito).
var colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"}

// onDark changes the colours for users of a dark theme. A viewer that does not support it shows
// dark on light.
const onDark = `<style>
@media (prefers-color-scheme: dark) {
rect[fill="#fff"] { fill: #0d1117 } text { fill: #e6edf3 } line { stroke: #30363d } rect[stroke] { stroke: #8b949e }
[fill="#0072b2"] { fill: #4aa8e0 } [stroke="#0072b2"] { stroke: #4aa8e0 }
[fill="#000000"] { fill: #e6edf3 } [stroke="#000000"] { stroke: #e6edf3 }
}
</style>
`

// svg returns the plot as SVG.
func (p Plot) svg() []byte {
	x := p.axis(p.LogX, func(q Point) float64 { return q.X })
	y := p.axis(p.LogY, func(q Point) float64 { return q.Y })
	height := plotHeight + legendSpacing*max(0, len(p.Series)-2)
	d := drawing{}
	fmt.Fprintf(&d.b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%[1]d" height="%[2]d" `+
		`font-family="sans-serif" font-size="12">`+"\n", plotWidth, height)
	d.b.WriteString(onDark)
	fmt.Fprintf(&d.b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", plotWidth, height)
	d.text(plotWidth/2, 22, "middle", 15, p.Title)
	for _, tick := range x.ticks() {
		at := x.place(tick, frameLeft, frameRight)
		d.line(at, frameTop, at, frameBottom, "#ddd")
		d.text(at, frameBottom+16, "middle", 12, tickText(tick))
	}
	for _, tick := range y.ticks() {
		at := y.place(tick, frameBottom, frameTop)
		d.line(frameLeft, at, frameRight, at, "#ddd")
		d.text(frameLeft-6, at+4, "end", 12, tickText(tick))
	}
	fmt.Fprintf(&d.b, `<rect x="%d" y="%d" width="%d" height="%d" fill="none" stroke="#444"/>`+"\n", frameLeft,
		frameTop,
		frameRight-frameLeft, frameBottom-frameTop)
	d.text((frameLeft+frameRight)/2, frameBottom+36, "middle", 12, p.X)
	fmt.Fprintf(&d.b, `<g transform="rotate(-90 16 %d)">`, (frameTop+frameBottom)/2)
	d.text(16, (frameTop+frameBottom)/2, "middle", 12, p.Y)
	d.b.WriteString("</g>\n")
	for i, s := range p.Series {
		d.series(s, colours[i%len(colours)], x, y)
		d.legend(i, s.Name, colours[i%len(colours)])
	}
	d.b.WriteString("</svg>\n")
	return d.b.Bytes()
}

// drawing is an SVG that is being written.
type drawing struct{ b bytes.Buffer }

func (d *drawing) text(x, y float64, anchor string, size int, text string) {
	fmt.Fprintf(&d.b, `<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d">`, x, y, anchor, size)
	_ = xml.EscapeText(&d.b, []byte(text)) // a buffer accepts every write
	d.b.WriteString("</text>\n")
}

func (d *drawing) line(x1, y1, x2, y2 float64, colour string) {
	fmt.Fprintf(&d.b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"/>`+"\n", x1, y1, x2, y2, colour)
}

// series draws the points of s that the axes can show.
func (d *drawing) series(s Series, colour string, x, y axis) {
	var dots, path bytes.Buffer
	for _, p := range s.Points {
		if !x.shows(p.X) || !y.shows(p.Y) {
			continue
		}
		px, py := x.place(p.X, frameLeft, frameRight), y.place(p.Y, frameBottom, frameTop)
		fmt.Fprintf(&path, "%.1f,%.1f ", px, py)
		fmt.Fprintf(&dots, `<circle cx="%.1f" cy="%.1f" r="4" fill="%s"/>`+"\n", px, py, colour)
	}
	if !s.Dots {
		fmt.Fprintf(&d.b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n",
			bytes.TrimSpace(path.Bytes()), colour)
	}
	if !s.Line {
		d.b.Write(dots.Bytes())
	}
}

// legend draws the name of the i-th series.
func (d *drawing) legend(i int, name, colour string) {
	y := float64(legendTop + legendSpacing*i)
	fmt.Fprintf(&d.b, `<rect x="%d" y="%.1f" width="14" height="10" fill="%s"/>`+"\n", frameLeft, y-9, colour)
	d.text(frameLeft+20, y, "start", 12, name)
}

// An axis shows values from low to high.
type axis struct {
	low, high float64
	log       bool
}

// axis returns an axis that is wide enough for all points. It begins at 0, or is between powers of
// ten if log is true.
func (p Plot) axis(log bool, of func(Point) float64) axis {
	a := axis{math.Inf(1), 0, log}
	for _, s := range p.Series {
		for _, q := range s.Points {
			if v := of(q); a.shows(v) {
				a.low, a.high = min(a.low, v), max(a.high, v)
			}
		}
	}
	switch {
	case math.IsInf(a.low, 1): // there are no points
		return axis{1, 10, log}
	case log:
		a.low, a.high = math.Pow(10, math.Floor(math.Log10(a.low))), math.Pow(10, math.Ceil(math.Log10(a.high)))
		if a.low == a.high {
			a.high *= 10
		}
		return a
	}
	step := niceStep(a.high)
	return axis{0, max(step, step*math.Ceil(a.high/step)), log}
}

// shows reports whether the axis can show a value.
func (a axis) shows(v float64) bool {
	return !math.IsNaN(v) && !math.IsInf(v, 0) && (v > 0 || v == 0 && !a.log)
}

// place returns the position of v between the ends of the axis.
func (a axis) place(v, from, to float64) float64 {
	part := (v - a.low) / (a.high - a.low)
	if a.log {
		part = (math.Log(v) - math.Log(a.low)) / (math.Log(a.high) - math.Log(a.low))
	}
	return from + part*(to-from)
}

// ticks returns the values that are marked.
func (a axis) ticks() (all []float64) {
	if !a.log {
		for v, step := a.low, niceStep(a.high); v <= a.high*1.0001; v += step {
			all = append(all, v)
		}
		return all
	}
	decades := math.Log10(a.high) - math.Log10(a.low)
	parts, stride := []float64{1, 2, 5}, math.Ceil(decades/10)
	if decades > 3.5 { // there is no room for more
		parts = parts[:1]
	}
	for power := a.low; power <= a.high*1.0001; power *= math.Pow(10, stride) {
		for _, part := range parts {
			if power*part <= a.high*1.0001 {
				all = append(all, power*part)
			}
		}
	}
	return all
}

// niceStep divides 0 to high into five to ten steps of 1, 2 or 5 times a power of ten.
func niceStep(high float64) float64 {
	if high <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(high/5)))
	for _, part := range []float64{1, 2, 5} {
		if high/(power*part) <= 10 {
			return power * part
		}
	}
	return 10 * power
}

func tickText(v float64) string {
	if math.Abs(v) >= 10_000 {
		return format.Rate(v)
	}
	return fmt.Sprintf("%.4g", v)
}
