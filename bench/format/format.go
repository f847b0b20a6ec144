// Package format formats figures for people, as the tables of reports show them.
package format

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Number formats n with a narrow space between thousands.
func Number(n int) string {
	digits := strconv.Itoa(n)
	start := len(digits) % 3
	if start == 0 {
		start = 3
	}
	parts := []string{digits[:min(start, len(digits))]}
	for i := start; i < len(digits); i += 3 {
		parts = append(parts, digits[i:i+3])
	}
	return strings.Join(parts, "\u202f")
}

// Rate formats a number a second. It has one decimal below ten, and none otherwise.
func Rate(f float64) string {
	if math.Abs(f) < 9.95 && f != math.Trunc(f) {
		return fmt.Sprintf("%.1f", f)
	}
	return Number(int(math.Round(f)))
}

// Millis formats milliseconds with three significant digits.
func Millis(ms float64) string {
	switch {
	case ms == 0:
		return "–"
	case ms < 10:
		return fmt.Sprintf("%.2f ms", ms)
	case ms < 100:
		return fmt.Sprintf("%.1f ms", ms)
	}
	return Rate(ms) + " ms"
}

// Micros formats microseconds of CPU time. 0 means not known.
func Micros(us float64) string {
	if us == 0 {
		return "–"
	}
	return Rate(us) + " µs"
}

// Cores formats CPU seconds a second. 0 means not known.
func Cores(n float64) string {
	if n == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f cores", n)
}

// Megabytes formats bytes of memory. 0 means not known.
func Megabytes(n int64) string {
	if n == 0 {
		return "–"
	}
	return fmt.Sprintf("%d MB", n>>20)
}

// Percent formats a fraction of 1 as a percentage, with one decimal where that is not 0.
func Percent(f float64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", 100*f), ".0") + " %"
}

// Change formats by how much a figure has changed, in percent.
func Change(from, to float64) string {
	if from == 0 || to == 0 {
		return "–"
	}
	return fmt.Sprintf("%+.1f %%", 100*(to/from-1))
}

// Times formats a figure as a multiple of another.
func Times(figure, other float64) string {
	if figure == 0 || other == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f ×", figure/other)
}

// Count formats a number with its noun: "1 connection", "2 connections".
func Count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return Number(n) + " " + noun
}
