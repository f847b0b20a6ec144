package router

import (
	"os"
	"strings"
	"testing"
)

// docs/API.md explains every reason of a rejection by the pool.
func TestReasonsAreExplained(t *testing.T) {
	page, err := os.ReadFile("../../docs/API.md")
	if err != nil {
		t.Fatal(err)
	}
	for reason := range rejectionTexts {
		if !strings.Contains(string(page), "\n| `"+string(reason)+"` |") {
			t.Errorf("docs/API.md does not explain the reason %s", reason)
		}
	}
}
