package merge_test

import (
	"encoding/json"
	"os"
	"testing"

	"notesd/merge"
)

// Hard cases: whoever reads the three texts knows what is right, and tools differ. docs/MERGE.md says what each
// tool does.
func TestCases(t *testing.T) {
	type hardCase struct {
		ID, Base, Ours, Theirs, Want, Why string
		Conflict                          bool
	}
	var cases []hardCase
	for _, name := range []string{"cases.json", "kinds.json"} {
		text, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		var more []hardCase
		if err := json.Unmarshal(text, &more); err != nil {
			t.Fatal(err)
		}
		cases = append(cases, more...)
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
