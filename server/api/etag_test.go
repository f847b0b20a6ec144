package api

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"notesd/notes"
)

// Only a list of tags names the revision that a write replaces.
func TestNamedRevision(t *testing.T) {
	const id = "0193e1f2-0000-7000-8000-000000000000"
	const date = "Mon, 01 Jan 2035 00:00:00 GMT"
	tag := etag(notes.Note{ID: id, Revision: 3})
	for _, tt := range []struct {
		name   string
		header http.Header
		named  bool
	}{
		{"no condition", http.Header{}, false},
		{"a tag", http.Header{"If-Match": {tag}}, true},
		{"any tag", http.Header{"If-Match": {"*"}}, false},
		{"a tag or any", http.Header{"If-Match": {tag + ", *"}}, false},
		{"a date", http.Header{"If-Unmodified-Since": {date}}, false},
		{"another tag", http.Header{"If-None-Match": {etag(notes.Note{ID: id, Revision: 2})}}, false},
		{"a tag and not another one", http.Header{"If-Match": {tag}, "If-None-Match": {`"x"`}}, true},
	} {
		named := false
		for _, p := range preconditions(tt.header, id) {
			named = named || p.NamesRevision
			if !p.Holds(3, time.Unix(0, 0)) {
				t.Errorf("%s: does not hold", tt.name)
			}
		}
		if named != tt.named {
			t.Errorf("%s: names a revision: %t, want %t", tt.name, named, tt.named)
		}
	}
}

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
