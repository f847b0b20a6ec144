package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"notesd/store"
)

// A PATCH that names the revision it was made on is merged with what has changed since, or answered with what clashes.
func TestMerge(t *testing.T) {
	t.Parallel()
	type m = map[string]any
	tests := []struct {
		name   string
		since  m // the change that the patch does not know; nil: there is none
		patch  m
		header string // If-Match, with N for the note's id
		status int
		error  string
		data   m   // members of the note in the answer
		merge  any // nil: absent
		fields m
	}{
		{name: "the present revision", patch: m{"content": "x", "baseRevision": 1}, status: 200, data: m{"content": "x", "revision": 2.0}},
		{name: "other lines", since: m{"content": "A\nb\nc\n"}, patch: m{"content": "a\nb\nC\n", "baseRevision": 1}, status: 200,
			data: m{"content": "A\nb\nC\n", "revision": 3.0}, merge: m{"base": 1.0, "onto": 2.0, "clean": true}},
		{name: "one line", since: m{"content": "A\nb\nc\n"}, patch: m{"content": "X\nb\nc\n", "baseRevision": 1}, status: 409, error: "Note has changed",
			data: m{"content": "A\nb\nc\n", "revision": 2.0}, merge: []any{m{"base": "a\n", "theirs": "A\n", "yours": "X\n"}, m{"text": "b\nc\n"}}},
		{name: "a revision to come", since: m{"title": "new"}, patch: m{"content": "x", "baseRevision": 7}, status: 409, error: "Note has changed",
			data: m{"title": "new"}, merge: "null"},
		{name: "a revision to come, and its text", since: m{"content": "A\nb\nc\n"},
			patch:  m{"content": "a\nb\nC\n", "baseRevision": 7, "base": m{"revision": 7, "title": "t", "content": "a\nb\nc\n", "tags": []string{}}},
			status: 200, data: m{"content": "A\nb\nC\n"}, merge: m{"base": 7.0, "onto": 2.0, "clean": true}},
		{name: "base alone", since: m{"content": "A\nb\nc\n"}, patch: m{"content": "a\nb\nC\n", "base": m{"revision": 1}}, status: 200,
			data: m{"content": "A\nb\nC\n"}, merge: m{"base": 1.0, "onto": 2.0, "clean": true}},
		{name: "If-Match of the present revision", since: m{"title": "new"}, patch: m{"content": "x", "baseRevision": 1}, header: `"N.2.1"`,
			status: 200, data: m{"title": "new", "content": "x"}, merge: m{"base": 1.0, "onto": 2.0, "clean": true}},
		{name: "If-Match of the base", since: m{"title": "new"}, patch: m{"content": "x", "baseRevision": 1}, header: `"N.1.1"`,
			status: 412, error: "Note has changed", data: m{"title": "new", "content": "a\nb\nc\n"}},
		{name: "no number", patch: m{"content": "x", "baseRevision": "1"}, status: 400, fields: m{"baseRevision": "must be a whole number of at least 1"}},
		{name: "zero", patch: m{"content": "x", "baseRevision": 0}, status: 400, fields: m{"baseRevision": "must be a whole number of at least 1"}},
		{name: "a fraction", patch: m{"content": "x", "baseRevision": 1.5}, status: 400, fields: m{"baseRevision": "must be a whole number of at least 1"}},
		{name: "null", patch: m{"content": "x", "baseRevision": nil}, status: 400, fields: m{"baseRevision": "must be a whole number of at least 1"}},
		{name: "too large", patch: m{"content": "x", "baseRevision": json.Number("9223372036854775808")}, status: 400,
			fields: m{"baseRevision": "must be a whole number of at least 1"}},
		{name: "two bases", patch: m{"content": "x", "baseRevision": 1, "base": m{"revision": 2}}, status: 400, fields: m{"base.revision": "must be baseRevision"}},
		{name: "a base that is none", patch: m{"content": "x", "base": "text"}, status: 400, fields: m{"base": "must be an object"}},
		{name: "a base that can't be read", patch: m{"title": 1, "base": m{"revision": 1, "content": 1, "tags": "x"}}, status: 400,
			fields: m{"title": "must be a string", "base.content": "must be a string", "base.tags": "must be an array of strings"}},
	}
	eachSite(t, func(t *testing.T, s *site) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				c := s.someone().in(t)
				n := c.create(m{"title": "t", "content": "a\nb\nc\n"})
				path := "/api/notes/" + n.ID
				if tt.since != nil {
					c.patch(path, tt.since).want(http.StatusOK)
				}
				var headers []string
				if tt.header != "" {
					headers = []string{"If-Match", strings.Replace(tt.header, "N", n.ID, 1)}
				}
				r := c.patch(path, tt.patch, headers...).want(tt.status)
				var got struct {
					Error  string          `json:"error"`
					Data   m               `json:"data"`
					Merge  json.RawMessage `json:"merge"`
					Fields m               `json:"fields"`
				}
				r.decode(&got)
				if tt.error != "" && got.Error != tt.error {
					t.Errorf("error %q, want %q", got.Error, tt.error)
				}
				for name, want := range tt.data {
					if diff := cmp.Diff(want, got.Data[name]); diff != "" {
						t.Errorf("%s (-want +got):\n%s", name, diff)
					}
				}
				var merge any
				if string(got.Merge) == "null" {
					merge = "null"
				} else if got.Merge != nil {
					if err := json.Unmarshal(got.Merge, &merge); err != nil {
						t.Fatal(err)
					}
				}
				if diff := cmp.Diff(tt.merge, merge); diff != "" {
					t.Errorf("merge (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(tt.fields, got.Fields); diff != "" {
					t.Errorf("fields (-want +got):\n%s", diff)
				}
				if r.status != http.StatusBadRequest {
					wantHeader(t, r, "Etag", fmt.Sprintf(`"%s.%v.1"`, n.ID, got.Data["revision"]))
				}
			})
		}
		s.someone().patch("/api/notes/"+s.someone().create(m{"title": "t", "content": ""}).ID, m{"title": "x", "baseRevision": 1}).
			fails(http.StatusNotFound, "Note not found")
	})
}

// A change that is sent again with its key is made once, also by the routes that turn something over.
func TestIdempotentPatch(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		c := s.someone()
		n := c.create(map[string]any{"title": "t", "content": "a\n"})
		path := "/api/notes/" + n.ID
		for key, send := range map[string]func(key string) reply{
			"patch":  func(key string) reply { return c.patch(path, `{"content":"b\n"}`, "Idempotency-Key", key) },
			"merge":  func(key string) reply { return c.patch(path, `{"title":"u","baseRevision":1}`, "Idempotency-Key", key) },
			"toggle": func(key string) reply { return c.patch(path+"/pin", nil, "Idempotency-Key", key) },
			"restore": func(key string) reply {
				return c.post(path+"/versions/1/restore", nil, "Idempotency-Key", key)
			},
		} {
			first := send(key).want(http.StatusOK).note()
			if again := send(key).want(http.StatusOK).note(); again.Revision != first.Revision {
				t.Errorf("%s: sent again it made revision %d of %d", key, again.Revision, first.Revision)
			}
			c.patch(path, `{"content":"another body"}`, "Idempotency-Key", key).
				fails(http.StatusUnprocessableEntity, "Idempotency-Key was used with another body")
			send("a b").fails(http.StatusBadRequest, "Invalid Idempotency-Key: 1 to 255 visible ASCII characters")
		}
	})
}

// A note with an id that its client made arrives once.
func TestCreateWithID(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		c := s.someone()
		id := store.NewID()
		in := map[string]any{"id": id, "title": "t", "content": "c"}
		first := c.post("/api/notes", in).want(http.StatusCreated)
		if first.note().ID != id {
			t.Errorf("id %s, want %s", first.note().ID, id)
		}
		again := c.post("/api/notes", in).want(http.StatusOK)
		if diff := cmp.Diff(first.data(), again.data()); diff != "" {
			t.Errorf("sent again (-first +second):\n%s", diff)
		}
		wantHeader(t, again, "Etag", first.header.Get("Etag"))
		s.someone().post("/api/notes", in).fails(http.StatusConflict, "Id is taken")
		c.delete("/api/notes/" + id).want(http.StatusOK)
		c.post("/api/notes", in).fails(http.StatusGone, "Note was deleted")
		for _, other := range []any{"note-1", strings.ToUpper(store.NewID()), 7, nil, "01939f3c-7b5a-4c7e-8f3e-2b0d7d6c8a11"} {
			in["id"] = other
			if n := c.post("/api/notes", in).want(http.StatusCreated).note(); n.ID == other {
				t.Errorf("id %v was taken", other)
			}
		}
	})
}

// What a note was is there to be read, and to be brought back.
func TestVersions(t *testing.T) {
	t.Parallel()
	type m = map[string]any
	const firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0"
	eachSite(t, func(t *testing.T, s *site) {
		c, stranger := s.someone(), s.someone()
		n := c.create(m{"title": "one", "content": "a\nb\n"})
		path := "/api/notes/" + n.ID
		c.patch(path, m{"title": "two", "content": "a\nc\nd\n"}, "User-Agent", firefox).want(http.StatusOK)
		c.patch(path, m{"tags": []string{"x"}}).want(http.StatusOK)

		var list struct {
			Data []struct {
				Revision, Bytes int64
				At, Title       string
				By              *struct{ Kind, Name string }
				Lines           *struct{ Added, Removed int }
			}
			Before int64
		}
		c.get(path + "/versions").want(http.StatusOK).decode(&list)
		if len(list.Data) != 3 || list.Data[0].Revision != 3 || list.Data[2].Title != "one" || list.Before != 0 {
			t.Fatalf("versions %+v", list)
		}
		if v := list.Data[1]; v.By == nil || v.By.Kind != "session" || v.By.Name != "Firefox on Linux" || v.Lines == nil || v.Lines.Added != 2 || v.Lines.Removed != 1 {
			t.Errorf("version 2 is %+v", v)
		}
		list.Data = nil
		c.get(path + "/versions?limit=2").want(http.StatusOK).decode(&list)
		if len(list.Data) != 2 || list.Before != 2 {
			t.Errorf("first page %+v", list)
		}
		list.Data, list.Before = nil, 0
		c.get(path + "/versions?limit=2&before=2").want(http.StatusOK).decode(&list)
		if len(list.Data) != 1 || list.Data[0].Revision != 1 || list.Before != 0 {
			t.Errorf("last page %+v", list)
		}
		c.get(path+"/versions?limit=0").fails(http.StatusBadRequest, "Invalid limit: a whole number from 1 to 500")
		c.get(path+"/versions?before=x").fails(http.StatusBadRequest, "Invalid before: a revision, which is a whole number of at least 1")

		first := c.get(path + "/versions/1").want(http.StatusOK)
		if got := first.note(); got.Content != "a\nb\n" || got.Title != "one" || got.Revision != 1 {
			t.Errorf("version 1 is %+v", got)
		}
		wantHeader(t, first, "Cache-Control", "private, no-cache")
		c.get(path+"/versions/1", "If-None-Match", first.header.Get("Etag")).want(http.StatusNotModified)
		for _, none := range []string{"0", "4", "-1", "x", "01", "9223372036854775808"} {
			c.get(path+"/versions/"+none).fails(http.StatusNotFound, "Version not found")
		}
		if got := c.get(path + "?at=" + strings.ReplaceAll(list.Data[0].At, "+", "%2B")).want(http.StatusOK).note(); got.Revision != 1 {
			t.Errorf("at the time of the first revision it was revision %d", got.Revision)
		}
		c.get(path+"?at=2001-01-01T00:00:00Z").fails(http.StatusNotFound, "Note not found")
		c.get(path+"?at=yesterday").fails(http.StatusBadRequest, "Invalid time: as in 2026-01-02T03:04:05Z")

		c.post(path+"/versions/1/restore", nil, "If-Match", fmt.Sprintf(`"%s.2.1"`, n.ID)).fails(http.StatusPreconditionFailed, "Note has changed")
		back := c.post(path+"/versions/1/restore", nil).want(http.StatusOK).note()
		if back.Content != "a\nb\n" || back.Title != "one" || back.Revision != 4 || len(back.Tags) != 0 {
			t.Errorf("restored: %+v", back)
		}
		c.get(path + "/versions/3").want(http.StatusOK) // what was replaced is a version in turn

		for _, r := range []reply{stranger.get(path + "/versions"), stranger.get(path + "/versions/1"), stranger.get(path + "?at=2030-01-01T00:00:00Z"),
			stranger.post(path+"/versions/1/restore", nil), stranger.delete(path + "/versions")} {
			r.fails(http.StatusNotFound, "Note not found")
		}
		c.delete(path + "/versions").want(http.StatusOK)
		c.get(path+"/versions/1").fails(http.StatusNotFound, "Version not found")
		c.get(path + "/versions/4").want(http.StatusOK)
		c.delete(path).want(http.StatusOK)
		c.get(path+"/versions").fails(http.StatusNotFound, "Note not found")
	})
}
