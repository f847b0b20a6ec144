package api

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Whatever a client sends as If-Match, a revision is found there only if it is written there, and always if
// its tag is a member of the list.
func FuzzTagRevisions(f *testing.F) {
	const id = "0193e1f2-0000-7000-8000-000000000000"
	for _, header := range []string{"", "*", `"x", *`, `W/"x"`, `"` + id + `.1.1"`, `W/"` + id + `.1.1-gzip"`, `"a,b`, `",,"`,
		`"` + id + `.01.1"`, `"` + id + `.-1.1"`, `"` + id + `.99999999999999999999.1"`} {
		f.Add(header, int64(7))
	}
	f.Fuzz(func(t *testing.T, header string, revision int64) {
		found, _ := tagRevisions([]string{header}, id)
		for _, r := range found {
			if written := id + "." + strconv.FormatInt(r, 10) + "." + representation; !strings.Contains(header, written) {
				t.Errorf("tagRevisions(%q) = %d", header, found)
			}
		}
		tag := `W/"` + id + "." + strconv.FormatInt(revision, 10) + "." + representation + `"`
		found, any := tagRevisions([]string{tag + " , " + header}, id)
		if !any && !slices.Contains(found, revision) {
			t.Errorf("tagRevisions(%q before %q) = %d", tag, header, found)
		}
	})
}
