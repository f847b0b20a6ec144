package merge_test

import (
	"encoding/json"
	"os"
	"testing"

	"notesd/merge"
)

// Hard cases: whoever reads the three texts knows what is right, and tools differ.
func TestCases(t *testing.T) {
	text, err := os.ReadFile("testdata/cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		ID, Base, Ours, Theirs, Want, Why string
		Conflict, OrConflict              bool
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.ID, func(t *testing.T) {
			r := merge.Text(c.Base, c.Ours, c.Theirs)
			switch {
			case c.Conflict && r.Clean():
				t.Errorf("clean: %q, want a clash\n%s", r.Text(), c.Why)
			case !c.Conflict && !r.Clean():
				t.Errorf("%+v, want %q\n%s", r, c.Want, c.Why)
			case !c.Conflict && r.Text() != c.Want:
				t.Errorf("%q, want %q\n%s", r.Text(), c.Want, c.Why)
			}
		})
	}
}
