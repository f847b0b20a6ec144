package server

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"notesd/server/api"
)

// Tags are counted, renamed by a request that may be sent again, and renamed back. Lists, single notes
// and streams of events show it.
func TestTagsOverHTTP(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		ada, eve := s.someone().in(t), s.someone().in(t)
		create := func(tags ...string) noteJSON {
			t.Helper()
			var out struct{ Data noteJSON }
			ada.post("/api/notes", map[string]any{"title": "t", "content": "c", "tags": tags}).want(http.StatusCreated).decode(&out)
			return out.Data
		}
		tags := func(c *client) (counts []api.TagCount) {
			t.Helper()
			var out struct{ Data []api.TagCount }
			c.get("/api/tags").want(http.StatusOK).decode(&out)
			return out.Data
		}
		wantCounts := func(want ...api.TagCount) {
			t.Helper()
			if diff := cmp.Diff(want, tags(ada)); diff != "" {
				t.Errorf("GET /api/tags (-want +got):\n%s", diff)
			}
		}
		one, two := create("work", "urgent"), create("job", "work")
		ada.patch("/api/notes/"+two.ID+"/archive", nil).want(http.StatusOK)
		wantCounts(api.TagCount{Tag: "job", Count: 0, WithArchived: 1}, api.TagCount{Tag: "urgent", Count: 1, WithArchived: 1},
			api.TagCount{Tag: "work", Count: 1, WithArchived: 2})
		ada.get("/api/notes/" + one.ID).want(http.StatusOK) // it is in memory

		stream := ada.stream("?since=3")
		stream.want(`event: hello id: 3 data: {"changeSeq":3}`)
		rename := map[string]any{"from": []string{"work", "job"}, "to": "Arbeit"}
		var first, again struct{ Data api.TagRename }
		ada.post("/api/tags/rename", rename, "Idempotency-Key", "k").want(http.StatusOK).decode(&first)
		if first.Data.Changed != 2 || first.Data.Undo == "" {
			t.Errorf("the rename answers %+v", first.Data)
		}
		ada.post("/api/tags/rename", rename, "Idempotency-Key", "k").want(http.StatusOK).decode(&again)
		if again != first {
			t.Errorf("the rename sent again answers %+v, want %+v", again.Data, first.Data)
		}
		ada.post("/api/tags/rename", map[string]any{"from": []string{"work"}, "to": "x"}, "Idempotency-Key", "k").
			fails(http.StatusUnprocessableEntity, "Idempotency-Key was used with another body")
		var now struct{ Data noteJSON }
		ada.get("/api/notes/" + one.ID).want(http.StatusOK).decode(&now)
		if diff := cmp.Diff([]string{"Arbeit", "urgent"}, now.Data.Tags); diff != "" || now.Data.Revision != 2 {
			t.Errorf("the note has revision %d (-want +got):\n%s", now.Data.Revision, diff)
		}
		wantCounts(api.TagCount{Tag: "Arbeit", Count: 1, WithArchived: 2}, api.TagCount{Tag: "urgent", Count: 1, WithArchived: 1})
		var found struct{ Data []noteJSON }
		ada.get("/api/notes?tags=Arbeit").want(http.StatusOK).decode(&found)
		if len(found.Data) != 1 {
			t.Errorf("%d notes have the new tag, want 1", len(found.Data))
		}

		undo := map[string]any{"undo": first.Data.Undo}
		eve.post("/api/tags/undo", undo).fails(http.StatusNotFound, "Nothing to undo: a rename is remembered for a day")
		for range 2 {
			var undone struct{ Data api.TagRename }
			ada.post("/api/tags/undo", undo, "Idempotency-Key", "u").want(http.StatusOK).decode(&undone)
			if undone.Data.Changed != 2 {
				t.Errorf("the undo changed %d notes, want 2", undone.Data.Changed)
			}
		}
		ada.get("/api/notes/" + one.ID).want(http.StatusOK).decode(&now)
		if diff := cmp.Diff([]string{"work", "urgent"}, now.Data.Tags); diff != "" {
			t.Errorf("after the undo (-want +got):\n%s", diff)
		}
		if got := tags(eve); len(got) > 0 {
			t.Errorf("another user has the tags %v", got)
		}
		stream.close()

		for _, body := range []any{`{"from":["a"],"to":null}`, `{"from":["a"],"to":""}`, `{"from":["a"]}`, `{"from":[],"to":"b"}`,
			`{"from":"a","to":"b"}`, `{"from":[null],"to":"b"}`, `{"to":"b"}`, `[]`} {
			ada.post("/api/tags/rename", body).fails(http.StatusBadRequest, "Invalid tags")
		}
		ada.post("/api/tags/undo", `{"undo":7}`).fails(http.StatusBadRequest, "Invalid undo")
		ada.post("/api/tags/undo", map[string]any{"undo": "none\x00"}).want(http.StatusNotFound)
		s.visitor().in(t).get("/api/tags").fails(http.StatusUnauthorized, "Authentication required")
	})
}
