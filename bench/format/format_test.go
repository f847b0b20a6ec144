package format

import "testing"

// Figures have the digits that count, and a narrow space between thousands.
func TestNumbers(t *testing.T) {
	for want, got := range map[string]string{
		"0": Number(0), "999": Number(999), "1\u202f000": Number(1000), "12\u202f345\u202f678": Number(12_345_678),
		"9.5": Rate(9.5), "10": Rate(9.96), "1\u202f235": Rate(1234.6), "7": Rate(7), "0.12 ms": Millis(0.123),
		"12.3 ms": Millis(12.34), "123 ms": Millis(123.4), "–": Millis(0), "5 %": Percent(0.05), "95.1 %": Percent(0.951),
		"+20.0 %": Change(10, 12), "1 run": Count(1, "run"), "2 runs": Count(2, "run"), "34 MB": Megabytes(34 << 20),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
