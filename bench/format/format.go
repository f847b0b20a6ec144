// Package format writes figures for people, as the tables of reports show them.
package format

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Number writes n with a narrow space between thousands.
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

// Rate writes a number a second: to a tenth below ten, otherwise as a whole number.
func Rate(f float64) string {
	if math.Abs(f) < 9.95 && f != math.Trunc(f) {
		return fmt.Sprintf("%.1f", f)
	}
	return Number(int(math.Round(f)))
}

// Millis writes milliseconds with three digits that count.
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

// Micros writes microseconds of CPU time; 0 means not known.
func Micros(us float64) string {
	if us == 0 {
		return "–"
	}
	return Rate(us) + " µs"
}

// Cores writes CPU seconds a second; 0 means not known.
func Cores(n float64) string {
	if n == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f cores", n)
}

// Megabytes writes bytes of memory; 0 means not known.
func Megabytes(n int64) string {
	if n == 0 {
		return "–"
	}
	return fmt.Sprintf("%d MB", n>>20)
}

// Percent writes a part of one, to a tenth of a percent where that is not 0.
func Percent(f float64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", 100*f), ".0") + " %"
}

// Change writes by how much a figure has changed, in percent.
func Change(from, to float64) string {
	if from == 0 || to == 0 {
		return "–"
	}
	return fmt.Sprintf("%+.1f %%", 100*(to/from-1))
}

// Times writes a figure as a multiple of another.
func Times(figure, other float64) string {
	if figure == 0 || other == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f ×", figure/other)
}

// Count writes "1 connection", "2 connections".
func Count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return Number(n) + " " + noun
}
