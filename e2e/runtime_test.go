package e2e

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

// What docs/RUNTIME.md tells people to look at on /api/runtime is there.
func TestRuntimePage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/RUNTIME.md")
	if err != nil {
		t.Fatal(err)
	}
	p := start(t)
	ada := p.member("ada@example.com")
	go ada.try(http.MethodGet, "/api/fault/slow?for=10s", nil) // for a busy worker; it is cut with the process
	p.await("a busy worker", func() bool { return p.runtime().Pool.Busy == 1 })
	var state any
	p.administrator().get("/api/runtime").want(http.StatusOK).decode(&state)

	seen := 0
	for _, row := range regexp.MustCompile(`(?m)^\| \d+ \|.*\|(.*)\|$`).FindAllStringSubmatch(string(page), -1) {
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			seen++
			if !holds(state, strings.Split(m[1], ".")) {
				t.Errorf("/api/runtime has no %s", m[1])
			}
		}
	}
	if seen < 20 {
		t.Errorf("the page names only %d members: nothing was compared", seen)
	}
}

// holds tells whether v has a member at path, in any element where there are many.
func holds(v any, path []string) bool {
	switch v := v.(type) {
	case []any:
		for _, element := range v {
			if holds(element, path) {
				return true
			}
		}
		return len(path) == 0
	case map[string]any:
		if len(path) == 0 {
			return true
		}
		member, ok := v[path[0]]
		return ok && holds(member, path[1:])
	}
	return len(path) == 0
}
