package main

import "testing"

// The code of each fault is where it can be taken out.
func TestFaultsAreThere(t *testing.T) {
	faults := parse(list)
	if len(faults) < 30 {
		t.Errorf("there are %d faults", len(faults))
	}
	for _, f := range faults {
		if _, _, err := f.find("../.."); err != nil {
			t.Errorf("%s: %v", f.name, err)
		}
	}
}
