package merge

import (
	"strings"
	"testing"
)

// What stands in a clash stands nowhere else, also where a line before the one that clashes was
// merged already.
func TestClashIsAllThereIs(t *testing.T) {
	base := "one\ntwo is longer\nthree\nfour\n"
	ours := "one\ntwo is longer now\nsomething quite different\nfour\n"
	theirs := "one\ntwo is longer\nanother text altogether, by them\nfour\n"
	for _, swapped := range []bool{false, true} {
		r := Text(base, ours, theirs)
		if swapped {
			r = Text(base, theirs, ours)
		}
		if r.Clean() {
			t.Fatalf("no clash: %+v", r)
		}
		var all strings.Builder
		for _, p := range r.Parts {
			all.WriteString(p.Text + p.Ours + p.Theirs)
		}
		for _, line := range []string{"one\n", "two is longer now\n", "something quite different\n", "another text altogether, by them\n", "four\n"} {
			if n := strings.Count(all.String(), line); n != 1 {
				t.Errorf("%q is there %d times: %+v", line, n, r.Parts)
			}
		}
	}
}
