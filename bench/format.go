package bench

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// number writes n with a narrow space between thousands.
func number(n int) string {
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

// whole writes a rate: to a tenth below ten, else as a whole number.
func whole(f float64) string {
	if math.Abs(f) < 9.95 && f != math.Trunc(f) {
		return fmt.Sprintf("%.1f", f)
	}
	return number(int(math.Round(f)))
}

// millis writes milliseconds with three digits that count.
func millis(ms float64) string {
	switch {
	case ms == 0:
		return "–"
	case ms < 10:
		return fmt.Sprintf("%.2f ms", ms)
	case ms < 100:
		return fmt.Sprintf("%.1f ms", ms)
	}
	return whole(ms) + " ms"
}

// micros writes microseconds of CPU time; 0 is not known.
func micros(us float64) string {
	if us == 0 {
		return "–"
	}
	return whole(us) + " µs"
}

// cores writes CPU seconds a second; 0 is not known.
func cores(n float64) string {
	if n == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f cores", n)
}

// megabytes writes bytes of memory; 0 is not known.
func megabytes(n int64) string {
	if n == 0 {
		return "–"
	}
	return fmt.Sprintf("%d MB", n>>20)
}

// percent writes a part of one, to a tenth of a percent where that is not 0.
func percent(f float64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", 100*f), ".0") + " %"
}

// change writes by how much a figure has changed.
func change(from, to float64) string {
	if from == 0 || to == 0 {
		return "–"
	}
	return fmt.Sprintf("%+.1f %%", 100*(to/from-1))
}

// times writes by how much a figure is another.
func times(figure, other float64) string {
	if figure == 0 || other == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f ×", figure/other)
}

// count writes "1 connection", "2 connections".
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return number(n) + " " + noun
}

// wrong says in few words what went wrong, the most frequent first.
func (f Figures) wrong() string {
	kinds := map[string]int{}
	for status, n := range f.Statuses {
		kinds[fmt.Sprintf("status %d", status)] = n
	}
	for reason, n := range f.Reasons {
		if reason == "" {
			reason = "without a reason"
		}
		kinds["refused: "+reason] = n
	}
	addCounts(kinds, f.ErrorKinds)
	names := slices.SortedFunc(maps.Keys(kinds), func(a, b string) int {
		if kinds[a] != kinds[b] {
			return kinds[b] - kinds[a]
		}
		return strings.Compare(a, b)
	})
	for i, name := range names {
		names[i] = fmt.Sprintf("%s × %s", number(kinds[name]), name)
	}
	return strings.Join(names, "; ")
}
