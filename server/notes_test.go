package server

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
)

// data is the note of an answer, as its members stand there.
func (r reply) data() map[string]any {
	r.t.Helper()
	var in struct{ Data map[string]any }
	r.decode(&in)
	return in.Data
}

var apiTime = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$`)

// TestCreate checks every member of a new note, with nothing but what must be and with everything.
func TestCreate(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, body string
		want       map[string]any
	}{
		{"least", `{"title":"a","content":""}`, map[string]any{"title": "a", "content": "", "tags": []any{}, "color": nil,
			"isPinned": false, "isFavorite": false, "isArchived": false, "isMarkdown": false}},
		{"everything", `{"title":"a","content":"b","tags":["x","y","x"],"color":"#ff0000","isPinned":true,"isFavorite":true,
			"isArchived":true,"isMarkdown":true}`, map[string]any{"title": "a", "content": "b", "tags": []any{"x", "y", "x"},
			"color": "#ff0000", "isPinned": true, "isFavorite": true, "isArchived": true, "isMarkdown": true}},
		{"defaults said", `{"title":"a","content":"","tags":[],"color":null,"isPinned":false}`, map[string]any{"title": "a",
			"content": "", "tags": []any{}, "color": nil, "isPinned": false, "isFavorite": false, "isArchived": false,
			"isMarkdown": false}},
		{"unknown members", `{"title":"a","content":"b","id":"mine","userId":"x","revision":9,"createdAt":1,"Tags":["no"],
			"__proto__":{},"nested":{"deep":[1]}}`, map[string]any{"title": "a", "content": "b", "tags": []any{}, "color": nil,
			"isPinned": false, "isFavorite": false, "isArchived": false, "isMarkdown": false}},
		{"last of equal names", `{"title":"first","title":"last","content":"b"}`, map[string]any{"title": "last", "content": "b",
			"tags": []any{}, "color": nil, "isPinned": false, "isFavorite": false, "isArchived": false, "isMarkdown": false}},
	}
	eachSite(t, func(t *testing.T, s *site) {
		c := s.someone()
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				c := c.in(t)
				before := time.Now().Add(-time.Millisecond)
				r := c.post("/api/notes", tt.body).want(http.StatusCreated)
				got := r.data()
				if keys := r.keys(); keys != "data,success" {
					t.Errorf("%s has members %s, want data,success", r.call, keys)
				}
				id, _ := got["id"].(string)
				if parsed, err := uuid.Parse(id); err != nil || parsed.Version() != 7 || parsed.String() != id {
					t.Errorf("id %q, want a UUIDv7", id)
				}
				for _, name := range []string{"createdAt", "updatedAt"} {
					text, _ := got[name].(string)
					at, err := time.Parse(time.RFC3339, text)
					if err != nil || !apiTime.MatchString(text) || at.Before(before) || at.After(time.Now()) {
						t.Errorf("%s %q, want now in UTC with milliseconds", name, text)
					}
				}
				want := map[string]any{"isTrashed": false, "trashedAt": nil, "revision": 1.0,
					"id": id, "userId": c.me(), "createdAt": got["createdAt"], "updatedAt": got["createdAt"]}
				maps.Copy(want, tt.want)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", r.call, diff)
				}
				wantHeader(t, r, "Location", "/api/notes/"+id)
				again := c.get(r.header.Get("Location")).want(http.StatusOK)
				if diff := cmp.Diff(got, again.data()); diff != "" {
					t.Errorf("read again (-created +read):\n%s", diff)
				}
				if tag := r.header.Get("Etag"); tag == "" || tag != again.header.Get("Etag") {
					t.Errorf("ETag %q at create, %q at read", tag, again.header.Get("Etag"))
				}
			})
		}
	})
}

// me is the id of who is signed in.
func (c *client) me() string {
	c.t.Helper()
	return c.get("/api/auth/me").want(http.StatusOK).account().Data.User.ID
}

// invalidMembers are members that no note can have, with the fields that the answer names.
var invalidMembers = []struct{ name, members, fields string }{
	{"title a number", `"title":5`, "title"},
	{"title null", `"title":null`, "title"},
	{"title an array", `"title":["a"]`, "title"},
	{"title an object", `"title":{}`, "title"},
	{"title true", `"title":true`, "title"},
	{"title empty", `"title":""`, "title"},
	{"title of 256", `"title":"` + strings.Repeat("a", 256) + `"`, "title"},
	{"title of 256 emoji", `"title":"` + strings.Repeat("😀", 256) + `"`, "title"},
	{"title with NUL", `"title":"a\u0000b"`, "title"},
	{"content a number", `"content":1.5`, "content"},
	{"content null", `"content":null`, "content"},
	{"content an object", `"content":{"a":1}`, "content"},
	{"content with NUL", `"content":"\u0000"`, "content"},
	{"tags a string", `"tags":"a,b"`, "tags"},
	{"tags null", `"tags":null`, "tags"},
	{"tags an object", `"tags":{"0":"a"}`, "tags"},
	{"tags of numbers", `"tags":[1]`, "tags"},
	{"tags with null", `"tags":["a",null]`, "tags"},
	{"tags with an array", `"tags":[["a"]]`, "tags"},
	{"51 tags", `"tags":["` + strings.Repeat(`a","`, 50) + `a"]`, "tags"},
	{"tag of 65", `"tags":["` + strings.Repeat("a", 65) + `"]`, "tags"},
	{"tag of 65 emoji", `"tags":["ok","` + strings.Repeat("😀", 65) + `"]`, "tags"},
	{"tag with NUL", `"tags":["a\u0000"]`, "tags"},
	{"color a number", `"color":16711680`, "color"},
	{"color false", `"color":false`, "color"},
	{"color an array", `"color":["red"]`, "color"},
	{"color of 21", `"color":"` + strings.Repeat("a", 21) + `"`, "color"},
	{"color with NUL", `"color":"\u0000"`, "color"},
	{"isPinned a string", `"isPinned":"true"`, "isPinned"},
	{"isPinned a number", `"isPinned":1`, "isPinned"},
	{"isPinned null", `"isPinned":null`, "isPinned"},
	{"isPinned an array", `"isPinned":[]`, "isPinned"},
	{"isFavorite a string", `"isFavorite":""`, "isFavorite"},
	{"isArchived zero", `"isArchived":0`, "isArchived"},
	{"isMarkdown an object", `"isMarkdown":{}`, "isMarkdown"},
	{"several", `"title":"","tags":1,"isPinned":2,"color":3`, "color,isPinned,tags,title"},
}

func TestInvalidNote(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	c := s.someone()
	note := c.create(map[string]any{"title": "a", "content": "b"})
	type row struct{ name, method, path, body, fields string }
	tests := []row{
		{"empty body", "POST", "/api/notes", ``, "content,title"},
		{"no members", "POST", "/api/notes", `{}`, "content,title"},
		{"array", "POST", "/api/notes", `[{"title":"a","content":"b"}]`, "content,title"},
		{"no title", "POST", "/api/notes", `{"content":"b"}`, "title"},
		{"no content", "POST", "/api/notes", `{"title":"a"}`, "content"},
		{"names in another case", "POST", "/api/notes", `{"Title":"a","CONTENT":"b"}`, "content,title"},
		{"isTrashed a string, patched", "PATCH", "/api/notes/" + note.ID, `{"isTrashed":"yes"}`, "isTrashed"},
		{"isTrashed null, patched", "PATCH", "/api/notes/" + note.ID, `{"isTrashed":null}`, "isTrashed"},
		{"before the lookup", "PATCH", "/api/notes/none", `{"title":""}`, "title"},
	}
	for _, m := range invalidMembers {
		var others strings.Builder
		for _, name := range []string{"title", "content"} {
			if !strings.Contains(m.members, `"`+name+`"`) {
				others.WriteString(`"` + name + `":"fine",`)
			}
		}
		tests = append(tests, row{m.name, "POST", "/api/notes", "{" + others.String() + m.members + "}", m.fields},
			row{m.name + ", patched", "PATCH", "/api/notes/" + note.ID, "{" + m.members + "}", m.fields})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := c.in(t).request(tt.method, tt.path, tt.body).fails(http.StatusBadRequest, "Invalid note data")
			var f struct{ Fields map[string]string }
			r.decode(&f)
			if got := strings.Join(slices.Sorted(maps.Keys(f.Fields)), ","); got != tt.fields {
				t.Errorf("%s = %s, want fields %s", r.call, r.text, tt.fields)
			}
			for name, why := range f.Fields {
				if why == "" {
					t.Errorf("%s = %s, want why %s is wrong", r.call, r.text, name)
				}
			}
		})
	}
	if after := c.get("/api/notes").notes(); len(after) != 1 || after[0].Revision != 1 {
		t.Errorf("after refusals there are %+v, want the one note unchanged", after)
	}
}

func TestMalformedNote(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	c := s.someone()
	note := c.create(map[string]any{"title": "a", "content": "b"})
	tests := []struct{ name, body string }{
		{"cut", `{"title":"a","content":"b"`},
		{"single quotes", `{'title':'a','content':'b'}`},
		{"comma at the end", `{"title":"a","content":"b",}`},
		{"comment", `{"title":"a","content":"b"/**/}`},
		{"two values", `{"title":"a","content":"b"}{}`},
		{"number", `5`},
		{"string", `"title"`},
		{"null", `null`},
		{"true", `true`},
		{"NaN", `{"title":NaN}`},
		{"HTML", `<html>`},
		{"form", `title=a&content=b`},
		{"raw control character", "{\"title\":\"a\nb\",\"content\":\"\"}"},
		{"raw NUL", "{\"title\":\"a\x00\",\"content\":\"\"}"},
		{"bad escape", `{"title":"\x","content":""}`},
		{"cut escape", `{"title":"\u12","content":""}`},
		{"invalid UTF-8 in the title", "{\"title\":\"\xff\",\"content\":\"\"}"},
		{"invalid UTF-8 in the content", "{\"title\":\"a\",\"content\":\"\xc3\x28\"}"},
		{"overlong UTF-8", "{\"title\":\"a\",\"content\":\"\xc0\x80\"}"},
		{"surrogate as UTF-8", "{\"title\":\"a\",\"content\":\"\xed\xa0\x80\"}"},
		{"invalid UTF-8 in an unknown member", "{\"title\":\"a\",\"content\":\"\",\"x\":\"\xff\"}"},
		{"high surrogate alone", `{"title":"\ud83d","content":""}`},
		{"low surrogate alone", `{"title":"a","content":"\ude00"}`},
		{"surrogates the wrong way round", `{"title":"a","content":"\ude00\ud83d"}`},
		{"surrogate in a tag", `{"title":"a","content":"","tags":["\ud83d "]}`},
		{"surrogate in upper case", `{"title":"\uD83D","content":""}`},
		{"too deep", `{"title":"a","content":"","x":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := c.in(t)
			c.post("/api/notes", tt.body).fails(http.StatusBadRequest, "Malformed JSON")
			c.patch("/api/notes/"+note.ID, tt.body).fails(http.StatusBadRequest, "Malformed JSON")
			c.patch("/api/notes/none", tt.body).fails(http.StatusBadRequest, "Malformed JSON")
		})
	}
	if after := c.get("/api/notes").notes(); len(after) != 1 || after[0].Revision != 1 {
		t.Errorf("after refusals there are %+v, want the one note unchanged", after)
	}
}

// The body counts by what it says it is: JSON of any name is read, anything else is no members at all.
func TestContentType(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	c := s.someone()
	tests := []struct {
		kind   string
		status int
	}{
		{"application/json", 201},
		{"Application/JSON; charset=UTF-8", 201},
		{"application/merge-patch+json", 201},
		{"", 201},
		{"text/plain", 400},
		{"application/x-www-form-urlencoded", 400},
		{"multipart/form-data; boundary=x", 400},
		{"nonsense", 400},
	}
	for _, tt := range tests {
		t.Run(tt.kind, func(t *testing.T) {
			r, err := http.NewRequest(http.MethodPost, s.url+"/api/notes", strings.NewReader(`{"title":"a","content":"b"}`))
			if err != nil {
				t.Fatal(err)
			}
			if tt.kind != "" {
				r.Header.Set("Content-Type", tt.kind)
			}
			c := c.in(t)
			got := c.do(r).want(tt.status)
			if tt.status == http.StatusCreated {
				return
			}
			patched := c.patch("/api/notes/none", `{"content":"c"}`, "Content-Type", tt.kind)
			for _, r := range []reply{got, patched} { // 200 to a patch would be a lost save
				var f failure
				r.fails(tt.status, "Invalid note data").decode(&f)
				if want := map[string]string{"Content-Type": "must be application/json, is " + tt.kind}; !maps.Equal(f.Fields, want) {
					t.Errorf("%s: fields %v, want %v", r.call, f.Fields, want)
				}
			}
			c.patch("/api/notes/none", "", "Content-Type", tt.kind).want(http.StatusNotFound) // without a body there is nothing to lose
		})
	}
	t.Run("sign in", func(t *testing.T) {
		var f failure
		s.visitor().in(t).post("/api/auth/login", "email=a@b.example", "Content-Type", "application/x-www-form-urlencoded").
			fails(http.StatusBadRequest, "Invalid input format").decode(&f)
		if f.Fields["Content-Type"] != "must be application/json, is application/x-www-form-urlencoded" {
			t.Errorf("fields %v, want Content-Type", f.Fields)
		}
	})
}

// The last that fits: lengths are counted in code points.
func TestNoteEdges(t *testing.T) {
	t.Parallel()
	fifty := make([]string, 50)
	for i := range fifty {
		fifty[i] = strings.Repeat("😀", 64)
	}
	tests := []struct {
		name string
		note map[string]any
	}{
		{"title of 1", map[string]any{"title": "a", "content": ""}},
		{"title of 1 blank", map[string]any{"title": " ", "content": ""}},
		{"title of 255", map[string]any{"title": strings.Repeat("a", 255), "content": ""}},
		{"title of 255 emoji", map[string]any{"title": strings.Repeat("😀", 255), "content": ""}},
		{"color of 20 emoji", map[string]any{"title": "a", "content": "", "color": strings.Repeat("😀", 20)}},
		{"color empty", map[string]any{"title": "a", "content": "", "color": ""}},
		{"50 tags of 64 emoji", map[string]any{"title": "a", "content": "", "tags": fifty}},
		{"empty tag", map[string]any{"title": "a", "content": "", "tags": []string{""}}},
		{"tags that repeat and keep their order", map[string]any{"title": "a", "content": "", "tags": []string{"b", "a", "B", "b", " b"}}},
		{"content of 240 KB", map[string]any{"title": "a", "content": strings.Repeat("0123456789é", 20_000)}},
	}
	eachSite(t, func(t *testing.T, s *site) {
		c := s.someone()
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				c := c.in(t)
				made := c.post("/api/notes", tt.note).want(http.StatusCreated)
				patched := c.create(map[string]any{"title": "before", "content": "before"})
				c.patch("/api/notes/"+patched.ID, tt.note).want(http.StatusOK)
				want := map[string]any{}
				text, _ := json.Marshal(tt.note)
				_ = json.Unmarshal(text, &want)
				for _, id := range []string{made.note().ID, patched.ID} {
					got := c.get("/api/notes/" + id).want(http.StatusOK).data()
					for name, value := range want {
						if diff := cmp.Diff(value, got[name]); diff != "" {
							t.Errorf("%s (-want +got):\n%.1000s", name, diff)
						}
					}
				}
			})
		}
	})
}

// hardTexts are what servers have damaged: each is to come back byte for byte.
var hardTexts = []struct{ name, text string }{
	{"HTML", `<script>alert("x")</script> a<b && c>d &lt; &amp;amp;`},
	{"generics", `Map<String, List<int>> x = new HashMap<>();`},
	{"quotes", "\"'`´“”«»\\\\"},
	{"escapes", `\n \t \u0041 %00 %20 ${x} {{x}} #{x}`},
	{"control characters", "\x01\x02\b\f\v\x1b[31m\x7f\u0085"},
	{"line ends", "a\r\nb\nc\rd\u2028e\u2029f"},
	{"blanks", " \t\u00a0\u3000\ufeff x \n\n "},
	{"byte order mark", "\ufeffstart"},
	{"not normalised", "e\u0301 é A\u030a Å Å ﬁ 가 각"},
	{"emoji", "👩‍👩‍👧‍👦 🏳️‍🌈 \U0001F600"},
	{"right to left", "\u202eabc\u202c שלום مرحبا"},
	{"replacement character", "\ufffd \uffff \U0010ffff \ufdd0"},
	{"many scripts", "Ελληνικά кириллица 漢字 ไทย हिन्दी ꙮ 𝔘𝔫𝔦"},
	{"SQL", `'; DROP TABLE notes; -- $1 ? :x @x`},
	{"JSON", `{"a":[1,null,"\u0000"]}`},
	{"Markdown", "# h\n* [x](javascript:alert(1))\n```go\na < b\n```\n"},
}

// Text is stored byte for byte as sent, however it was written in JSON.
func TestByteForByte(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		c := s.someone()
		for _, tt := range hardTexts {
			t.Run(tt.name, func(t *testing.T) {
				c := c.in(t)
				quoted, err := json.Marshal(tt.text)
				if err != nil {
					t.Fatal(err)
				}
				var plain bytes.Buffer // what a browser's JSON.stringify writes
				enc := json.NewEncoder(&plain)
				enc.SetEscapeHTML(false)
				_ = enc.Encode(tt.text)
				var id string
				for _, text := range []string{string(quoted), plain.String(), escapeAll(tt.text)} {
					made := c.post("/api/notes", `{"title":`+text+`,"content":`+text+`,"tags":[`+text+`]}`).want(http.StatusCreated)
					id = made.note().ID
					for _, note := range []noteJSON{made.note(), c.get("/api/notes/" + id).note(), c.get("/api/notes").notes()[0]} {
						if note.Title != tt.text || note.Content != tt.text || len(note.Tags) != 1 || note.Tags[0] != tt.text {
							t.Errorf("%q came back as title %q, content %q, tags %q", tt.text, note.Title, note.Content, note.Tags)
						}
					}
				}
				// saved as read, again and again, it doesn't change by a byte, nor does the note
				for range 2 {
					was := c.get("/api/notes/" + id).note()
					saved := c.patch("/api/notes/"+id, map[string]any{"title": was.Title, "content": was.Content, "tags": was.Tags}).
						want(http.StatusOK).note()
					if diff := cmp.Diff(was, saved, cmp.Comparer(sameStamp)); diff != "" {
						t.Errorf("saving what was read changed it (-was +is):\n%s", diff)
					}
				}
			})
		}
	})
}

func sameStamp(a, b stamp) bool { return time.Time(a).Equal(time.Time(b)) }

// escapeAll is text as JSON with every UTF-16 unit escaped.
func escapeAll(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		if r > 0xffff {
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		} else {
			fmt.Fprintf(&b, `\u%04X`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// TestPatch changes one thing at a time: that and nothing else is changed.
func TestPatch(t *testing.T) {
	t.Parallel()
	first := map[string]any{"title": "title", "content": "content", "tags": []any{"one", "two"}, "color": "red", "isPinned": true,
		"isFavorite": false, "isArchived": true, "isMarkdown": false}
	tests := []struct {
		name, body string
		want       map[string]any // what is changed
	}{
		{"title", `{"title":"other"}`, map[string]any{"title": "other"}},
		{"content", `{"content":"other"}`, map[string]any{"content": "other"}},
		{"content emptied", `{"content":""}`, map[string]any{"content": ""}},
		{"case alone", `{"title":"Title"}`, map[string]any{"title": "Title"}},
		{"tags", `{"tags":["three"]}`, map[string]any{"tags": []any{"three"}}},
		{"tags in another order", `{"tags":["two","one"]}`, map[string]any{"tags": []any{"two", "one"}}},
		{"tags emptied", `{"tags":[]}`, map[string]any{"tags": []any{}}},
		{"color", `{"color":"blue"}`, map[string]any{"color": "blue"}},
		{"color cleared", `{"color":null}`, map[string]any{"color": nil}},
		{"color emptied", `{"color":""}`, map[string]any{"color": ""}},
		{"isPinned", `{"isPinned":false}`, map[string]any{"isPinned": false}},
		{"isFavorite", `{"isFavorite":true}`, map[string]any{"isFavorite": true}},
		{"isArchived", `{"isArchived":false}`, map[string]any{"isArchived": false}},
		{"isMarkdown", `{"isMarkdown":true}`, map[string]any{"isMarkdown": true}},
		{"isTrashed", `{"isTrashed":true}`, map[string]any{"isTrashed": true, "trashedAt": "some time"}},
		{"several", `{"title":"x","color":null,"isPinned":false}`, map[string]any{"title": "x", "color": nil, "isPinned": false}},
		{"unknown beside", `{"title":"x","revision":77,"userId":"me","trashedAt":"2020-01-01T00:00:00.000Z","Color":null}`,
			map[string]any{"title": "x"}},
		{"nothing", `{}`, nil},
		{"empty body", ``, nil},
		{"only unknown members", `{"revision":9,"id":"x","createdAt":null}`, nil},
		{"the same title", `{"title":"title"}`, nil},
		{"the same everything", `{"title":"title","content":"content","tags":["one","two"],"color":"red","isPinned":true,
			"isFavorite":false,"isArchived":true,"isMarkdown":false,"isTrashed":false}`, nil},
	}
	eachSite(t, func(t *testing.T, s *site) {
		c := s.someone()
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				c := c.in(t)
				before := c.post("/api/notes", first).want(http.StatusCreated)
				path := before.header.Get("Location")
				r := c.patch(path, tt.body).want(http.StatusOK)
				got, want := r.data(), before.data()
				maps.Copy(want, tt.want)
				if tt.want["isTrashed"] == true && got["trashedAt"] != nil {
					want["trashedAt"] = got["trashedAt"]
				}
				wantMoved(t, before, r, tt.want != nil)
				for _, name := range []string{"revision", "updatedAt"} {
					delete(want, name)
					delete(got, name)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s %s (-want +got):\n%s", r.call, tt.body, diff)
				}
				if diff := cmp.Diff(r.data(), c.get(path).data()); diff != "" {
					t.Errorf("read again (-patched +read):\n%s", diff)
				}
			})
		}
	})
}

// wantMoved checks that a change, and nothing else, moves revision, updatedAt and ETag.
func wantMoved(t *testing.T, before, after reply, changed bool) {
	t.Helper()
	a, b := before.note(), after.note()
	later := time.Time(b.UpdatedAt).After(time.Time(a.UpdatedAt))
	newTag := before.header.Get("Etag") != after.header.Get("Etag")
	switch {
	case changed && (b.Revision != a.Revision+1 || !later || !newTag):
		t.Errorf("%s: revision %d → %d, updatedAt %v → %v, want one more and later, and another ETag",
			after.call, a.Revision, b.Revision, time.Time(a.UpdatedAt), time.Time(b.UpdatedAt))
	case !changed && (b.Revision != a.Revision || !sameStamp(a.UpdatedAt, b.UpdatedAt) || newTag):
		t.Errorf("%s: revision %d → %d, updatedAt %v → %v, want nothing moved",
			after.call, a.Revision, b.Revision, time.Time(a.UpdatedAt), time.Time(b.UpdatedAt))
	}
	if !sameStamp(a.CreatedAt, b.CreatedAt) {
		t.Errorf("%s: createdAt %v → %v", after.call, time.Time(a.CreatedAt), time.Time(b.CreatedAt))
	}
}

func TestFlips(t *testing.T) {
	t.Parallel()
	tests := []struct {
		action string
		flag   func(noteJSON) bool
	}{
		{"pin", func(n noteJSON) bool { return n.IsPinned }},
		{"archive", func(n noteJSON) bool { return n.IsArchived }},
		{"favorite", func(n noteJSON) bool { return n.IsFavorite }},
	}
	eachSite(t, func(t *testing.T, s *site) {
		c := s.someone()
		for _, tt := range tests {
			t.Run(tt.action, func(t *testing.T) {
				c := c.in(t)
				r := c.post("/api/notes", map[string]any{"title": "a", "content": "b", "tags": []string{"x"}}).want(http.StatusCreated)
				path := "/api/notes/" + r.note().ID
				for _, want := range []bool{true, false, true} {
					next := c.patch(path+"/"+tt.action, nil).want(http.StatusOK)
					n := next.note()
					if tt.flag(n) != want || n.Title != "a" || len(n.Tags) != 1 {
						t.Errorf("%s = %s, want the flag %v", next.call, next.text, want)
					}
					count := 0
					for _, flag := range []bool{n.IsPinned, n.IsArchived, n.IsFavorite} {
						if flag {
							count++
						}
					}
					if want != (count == 1) {
						t.Errorf("%s = %s, want no other flag", next.call, next.text)
					}
					wantMoved(t, r, next, true)
					r = next
				}
				c.patch(path+"/trash", nil).want(http.StatusOK)
				c.patch(path+"/"+tt.action, `{"isPinned":"ignored`).want(http.StatusOK) // in any state, whatever the body
			})
		}
		t.Run("at once", func(t *testing.T) {
			c := c.in(t)
			id := c.create(map[string]any{"title": "a", "content": ""}).ID
			var wg sync.WaitGroup
			for range 9 {
				wg.Go(func() { c.patch("/api/notes/"+id+"/pin", nil) })
			}
			wg.Wait()
			if n := c.get("/api/notes/" + id).note(); !n.IsPinned || n.Revision != 10 {
				t.Errorf("9 flips at once left isPinned %v at revision %d, want true at 10", n.IsPinned, n.Revision)
			}
		})
	})
}

func TestTrash(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		c := s.someone()
		made := c.post("/api/notes", map[string]any{"title": "a", "content": "b", "isPinned": true}).want(http.StatusCreated)
		path := "/api/notes/" + made.note().ID
		c.delete(path+"/permanent").fails(http.StatusNotFound, "Note not found in trash")
		wantMoved(t, made, c.patch(path+"/restore", nil).want(http.StatusOK), false)

		trashed := c.patch(path+"/trash", nil).want(http.StatusOK)
		wantMoved(t, made, trashed, true)
		at := trashed.note().TrashedAt
		if !trashed.note().IsTrashed || at == nil || !sameStamp(*at, trashed.note().UpdatedAt) || !trashed.note().IsPinned {
			t.Errorf("%s = %s, want it trashed now", trashed.call, trashed.text)
		}
		for _, again := range []reply{c.patch(path+"/trash", nil), c.patch(path, `{"isTrashed":true}`)} {
			if n := again.want(http.StatusOK).note(); !n.IsTrashed || n.TrashedAt == nil || !sameStamp(*n.TrashedAt, *at) {
				t.Errorf("%s = %s, want the first date %v", again.call, again.text, time.Time(*at))
			}
		}
		c.get(path).want(http.StatusOK) // in any state
		if title := c.patch(path, `{"title":"z"}`).want(http.StatusOK).note(); title.TrashedAt == nil || !sameStamp(*title.TrashedAt, *at) {
			t.Errorf("changing the title in the trash moved trashedAt to %v", title.TrashedAt)
		}

		restored := c.patch(path+"/restore", nil).want(http.StatusOK)
		if n := restored.note(); n.IsTrashed || n.TrashedAt != nil || !strings.Contains(restored.text, `"trashedAt":null`) {
			t.Errorf("%s = %s, want it out of the trash", restored.call, restored.text)
		}
		if n := c.patch(path, `{"isTrashed":true}`).want(http.StatusOK).note(); !n.IsTrashed || n.TrashedAt == nil {
			t.Errorf("isTrashed true left %+v, want trashedAt with it", n)
		}
		if n := c.patch(path, `{"isTrashed":false}`).want(http.StatusOK).note(); n.IsTrashed || n.TrashedAt != nil {
			t.Errorf("isTrashed false left %+v, want trashedAt gone with it", n)
		}

		c.patch(path+"/trash", nil).want(http.StatusOK)
		gone := c.delete(path + "/permanent").want(http.StatusOK)
		if gone.account().Message != "Note permanently deleted" || gone.keys() != "message,success" {
			t.Errorf("%s = %s", gone.call, gone.text)
		}
		c.get(path).fails(http.StatusNotFound, "Note not found")
		c.delete(path+"/permanent").fails(http.StatusNotFound, "Note not found in trash")
		c.patch(path+"/restore", nil).fails(http.StatusNotFound, "Note not found")
	})
}

func TestDelete(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		c := s.someone()
		for _, state := range []string{"", "/archive", "/trash"} {
			path := "/api/notes/" + c.create(map[string]any{"title": "a", "content": "b", "tags": []string{"x"}}).ID
			if state != "" {
				c.patch(path+state, nil).want(http.StatusOK)
			}
			r := c.delete(path).want(http.StatusOK)
			if r.account().Message != "Note deleted successfully" || r.keys() != "message,success" {
				t.Errorf("%s = %s", r.call, r.text)
			}
			c.delete(path).fails(http.StatusNotFound, "Note not found")
			c.get(path).fails(http.StatusNotFound, "Note not found")
		}
	})
}

// The ETag names note, revision, representation and content coding; If-None-Match
// takes any of the codings, If-Match too.
func TestETag(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	c := s.someone()
	long := c.create(map[string]any{"title": "a", "content": strings.Repeat("compressible ", 200)})
	other := c.create(map[string]any{"title": "b", "content": strings.Repeat("compressible ", 200)})
	path := "/api/notes/" + long.ID
	plain, zipped, zstandard := c.get(path), c.get(path, "Accept-Encoding", "gzip"), c.get(path, "Accept-Encoding", "zstd")
	wantHeader(t, plain, "Content-Encoding", "")
	wantHeader(t, zipped, "Content-Encoding", "gzip")
	wantHeader(t, zstandard, "Content-Encoding", "zstd")
	if a, b := decompress(t, zipped), decompress(t, zstandard); a != plain.text || b != plain.text {
		t.Errorf("representations differ: plain %d bytes, gzip %d, zstd %d", len(plain.text), len(a), len(b))
	}
	tags := []string{plain.header.Get("Etag"), zipped.header.Get("Etag"), zstandard.header.Get("Etag")}
	if tags[0] == tags[1] || tags[1] == tags[2] || tags[0] == tags[2] {
		t.Errorf("ETags %q, want another for each content coding", tags)
	}
	for _, tag := range tags {
		if !strings.HasPrefix(tag, `"`) || !strings.HasSuffix(tag, `"`) {
			t.Errorf("ETag %s, want a strong one", tag)
		}
		if tag == etagAt(other, c) {
			t.Errorf("ETag %s of two notes", tag)
		}
	}
	none := []struct {
		name   string
		values []string
		status int
	}{
		{"plain", tags[:1], 304},
		{"gzip", tags[1:2], 304},
		{"zstd", tags[2:], 304},
		{"weak", []string{"W/" + tags[0]}, 304},
		{"weak gzip", []string{"W/" + tags[1]}, 304},
		{"any", []string{"*"}, 304},
		{"last of a list", []string{`"x", "y" ,` + tags[0]}, 304},
		{"second header", []string{`"x"`, tags[2]}, 304},
		{"another note's", []string{etagAt(other, c)}, 200},
		{"another", []string{`"x"`}, 200},
		{"without quotes", []string{strings.Trim(tags[0], `"`)}, 200},
		{"cut", []string{tags[0][:len(tags[0])-2] + `"`}, 200},
		{"empty", []string{""}, 200},
		{"nonsense", []string{`",,"`}, 200},
	}
	for _, tt := range none {
		for _, coding := range []string{"identity", "gzip", "zstd"} {
			t.Run("If-None-Match "+tt.name+" "+coding, func(t *testing.T) {
				headers := []string{"Accept-Encoding", coding}
				for _, value := range tt.values {
					headers = append(headers, "If-None-Match", value)
				}
				r := c.in(t).get(path, headers...).want(tt.status)
				if tt.status == http.StatusNotModified && (r.text != "" || r.header.Get("Etag") == "" || r.header.Get("Content-Length") != "") {
					t.Errorf("%s = %q with %v, want an ETag and no body", r.call, r.text, r.header)
				}
				if r := c.in(t).request(http.MethodHead, path, nil, headers...); r.status != tt.status {
					t.Errorf("%s = %d, want GET's %d", r.call, r.status, tt.status)
				}
			})
		}
	}
}

// etagAt is the ETag of n as c reads it.
func etagAt(n noteJSON, c *client) string {
	c.t.Helper()
	return c.get("/api/notes/" + n.ID).want(http.StatusOK).header.Get("Etag")
}

func decompress(t *testing.T, r reply) string {
	t.Helper()
	var in io.Reader
	var err error
	if r.header.Get("Content-Encoding") == "gzip" {
		in, err = gzip.NewReader(strings.NewReader(r.text))
	} else {
		var d *zstd.Decoder
		if d, err = zstd.NewReader(strings.NewReader(r.text), zstd.WithDecoderConcurrency(1)); err == nil {
			defer d.Close()
			in = d
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The tag that a listener of one coding has works for writers of any; after a
// change all the old ones fail, with the note as it is.
func TestIfMatch(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		c := s.someone()
		other := c.create(map[string]any{"title": "b", "content": ""})
		tests := []struct {
			name   string
			values func(tag string) []string
			status int
		}{
			{"none", func(string) []string { return nil }, 200},
			{"the tag", func(tag string) []string { return []string{tag} }, 200},
			{"gzip's", func(tag string) []string { return []string{coded(tag, "-gzip")} }, 200},
			{"zstd's", func(tag string) []string { return []string{coded(tag, "-zstd")} }, 200},
			{"any", func(string) []string { return []string{"*"} }, 200},
			{"any in a list", func(string) []string { return []string{`"x", *`} }, 200},
			{"in a list", func(tag string) []string { return []string{`"x",` + tag + `, "y"`} }, 200},
			{"in the second header", func(tag string) []string { return []string{`"x"`, tag} }, 200},
			{"an earlier one beside it", func(tag string) []string { return []string{revised(tag, 1) + "," + tag} }, 200},
			{"weak, as nginx makes it", func(tag string) []string { return []string{"W/" + tag} }, 200},
			{"brotli's, as Apache makes it", func(tag string) []string { return []string{coded(tag, "-br")} }, 200},
			{"weak and an earlier one", func(tag string) []string { return []string{"W/" + revised(tag, 1)} }, 412},
			{"weak in lower case", func(tag string) []string { return []string{"w/" + tag} }, 412},
			{"a star inside another tag", func(string) []string { return []string{`"x, *, y"`} }, 412},
			{"the tag inside another", func(tag string) []string { return []string{`"x,` + tag + `,y`} }, 412},
			{"after a tag with a comma", func(tag string) []string { return []string{`"x,y",` + tag} }, 200},
			{"an earlier one", func(tag string) []string { return []string{revised(tag, 1)} }, 412},
			{"a later one", func(tag string) []string { return []string{revised(tag, 3)} }, 412},
			{"a huge one", func(tag string) []string { return []string{strings.Replace(tag, ".2.", ".99999999999999999999.", 1)} }, 412},
			{"of another representation", func(tag string) []string { return []string{strings.Replace(tag, `.1"`, `.0"`, 1)} }, 412},
			{"another note's", func(string) []string { return []string{etagAt(other, c)} }, 412},
			{"another", func(string) []string { return []string{`"x"`} }, 412},
			{"without quotes", func(tag string) []string { return []string{strings.Trim(tag, `"`)} }, 412},
			{"empty", func(string) []string { return []string{""} }, 412},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				c := c.in(t)
				id := c.create(map[string]any{"title": "a", "content": ""}).ID
				before := c.patch("/api/notes/"+id, `{"content":"second"}`).want(http.StatusOK)
				var headers []string
				for _, value := range tt.values(before.header.Get("Etag")) {
					headers = append(headers, "If-Match", value)
				}
				r := c.patch("/api/notes/"+id, `{"content":"third"}`, headers...).want(tt.status)
				if tt.status == http.StatusOK {
					wantMoved(t, before, r, true)
					return
				}
				r.fails(http.StatusPreconditionFailed, "Note has changed")
				wantMoved(t, before, r, false)
				if diff := cmp.Diff(before.data(), r.data()); diff != "" {
					t.Errorf("%s (-current +data):\n%s", r.call, diff)
				}
			})
		}
		t.Run("no such note", func(t *testing.T) {
			for _, tag := range []string{"*", `"x"`, etagAt(other, c)} {
				c.in(t).patch("/api/notes/none", `{}`, "If-Match", tag).fails(http.StatusNotFound, "Note not found")
			}
		})
		t.Run("bad input first", func(t *testing.T) {
			c.in(t).patch("/api/notes/"+other.ID, `{"title":""}`, "If-Match", `"x"`).fails(http.StatusBadRequest, "Invalid note data")
		})
		t.Run("one of many at once", func(t *testing.T) {
			c := c.in(t)
			tag := etagAt(other, c)
			statuses := make([]int, 6)
			var wg sync.WaitGroup
			for i := range statuses {
				wg.Go(func() {
					statuses[i] = c.patch("/api/notes/"+other.ID, map[string]any{"content": fmt.Sprint(i)}, "If-Match", tag).status
				})
			}
			wg.Wait()
			counts := map[int]int{}
			for _, status := range statuses {
				counts[status]++
			}
			if counts[200] != 1 || counts[412] != 5 {
				t.Errorf("6 writers with one tag: %v, want 1 of 200 and 5 of 412", counts)
			}
		})
	})
}

// A write whose condition is false is not performed, whichever write it is (RFC 9110, 13.1): the
// answer is 412 with the current note. A condition that holds changes nothing about the write.
func TestConditionalWrites(t *testing.T) {
	t.Parallel()
	writes := []struct {
		name, method, suffix string
		body                 any
		trashed              bool // what the note is before
	}{
		{name: "patch", method: http.MethodPatch, body: map[string]any{"content": "third"}},
		{name: "patch that changes nothing", method: http.MethodPatch, body: map[string]any{}},
		{name: "pin", method: http.MethodPatch, suffix: "/pin"},
		{name: "archive", method: http.MethodPatch, suffix: "/archive"},
		{name: "favorite", method: http.MethodPatch, suffix: "/favorite"},
		{name: "trash", method: http.MethodPatch, suffix: "/trash"},
		{name: "trash again", method: http.MethodPatch, suffix: "/trash", trashed: true},
		{name: "restore", method: http.MethodPatch, suffix: "/restore", trashed: true},
		{name: "restore again", method: http.MethodPatch, suffix: "/restore"},
		{name: "delete", method: http.MethodDelete},
		{name: "delete from trash", method: http.MethodDelete, suffix: "/permanent", trashed: true},
	}
	header := func(name string, value func(tag string) string) func(noteJSON, string) []string {
		return func(_ noteJSON, tag string) []string { return []string{name, value(tag)} }
	}
	date := func(name string, add time.Duration) func(noteJSON, string) []string {
		return func(n noteJSON, _ string) []string {
			return []string{name, time.Time(n.UpdatedAt).Add(add).UTC().Format(http.TimeFormat)}
		}
	}
	same := func(tag string) string { return tag }
	earlier := func(tag string) string { return strings.Replace(tag, ".2.", ".1.", 1) }
	conditions := []struct {
		name    string
		headers func(n noteJSON, tag string) []string
		holds   bool
	}{
		{"If-Match current", header("If-Match", same), true},
		{"If-Match weak", header("If-Match", func(tag string) string { return "W/" + tag }), true},
		{"If-Match any", header("If-Match", func(string) string { return "*" }), true},
		{"If-Match stale", header("If-Match", earlier), false},
		{"If-Match stale weak", header("If-Match", func(tag string) string { return "W/" + earlier(tag) }), false},
		{"If-Match unknown", header("If-Match", func(string) string { return `"x"` }), false},
		{"If-Match empty", header("If-Match", func(string) string { return "" }), false},
		{"If-None-Match stale", header("If-None-Match", earlier), true},
		{"If-None-Match current", header("If-None-Match", same), false},
		{"If-None-Match weak in a list", header("If-None-Match", func(tag string) string { return `"x", W/` + tag }), false},
		{"If-None-Match any", header("If-None-Match", func(string) string { return "*" }), false},
		{"both", func(_ noteJSON, tag string) []string { return []string{"If-Match", tag, "If-None-Match", tag} }, false},
		{"If-Unmodified-Since now", date("If-Unmodified-Since", 0), true},
		{"If-Unmodified-Since before", date("If-Unmodified-Since", -time.Second), false},
		{"If-Unmodified-Since no date", header("If-Unmodified-Since", func(string) string { return "yesterday" }), true},
		{"If-Match beside If-Unmodified-Since", func(n noteJSON, tag string) []string {
			return append(date("If-Unmodified-Since", -time.Hour)(n, tag), "If-Match", tag)
		}, true},
	}
	eachSite(t, func(t *testing.T, s *site) {
		c := s.someone()
		for _, write := range writes {
			for _, condition := range conditions {
				t.Run(write.name+" "+condition.name, func(t *testing.T) {
					c := c.in(t)
					path := "/api/notes/" + c.create(map[string]any{"title": "a", "content": "first"}).ID
					c.patch(path, map[string]any{"content": "second", "isTrashed": write.trashed}).want(http.StatusOK)
					before := c.get(path).want(http.StatusOK)
					headers := condition.headers(before.note(), before.header.Get("Etag"))
					r := c.request(write.method, path+write.suffix, write.body, headers...)
					if condition.holds {
						r.want(http.StatusOK)
						return
					}
					r.fails(http.StatusPreconditionFailed, "Note has changed")
					for _, after := range []reply{r, c.get(path).want(http.StatusOK)} {
						wantMoved(t, before, after, false)
						if diff := cmp.Diff(before.data(), after.data()); diff != "" {
							t.Errorf("%s (-before +after):\n%s", after.call, diff)
						}
					}
				})
			}
			t.Run(write.name+" no such note", func(t *testing.T) {
				r := c.in(t).request(write.method, "/api/notes/none"+write.suffix, write.body, "If-Match", `"x"`)
				r.want(http.StatusNotFound) // what it is without a condition, too: 13.2.1
			})
		}
		t.Run("delete from trash of what is not there", func(t *testing.T) {
			id := c.in(t).create(map[string]any{"title": "a", "content": ""}).ID
			c.in(t).delete("/api/notes/"+id+"/permanent", "If-Match", `"x"`).fails(http.StatusNotFound, "Note not found in trash")
		})
		t.Run("large note", func(t *testing.T) { // its content is read for the answer alone
			c := c.in(t)
			n := c.create(map[string]any{"title": "a", "content": strings.Repeat("x", 200_000)})
			for _, r := range []reply{
				c.delete("/api/notes/"+n.ID, "If-Match", `"x"`),
				c.patch("/api/notes/"+n.ID+"/pin", nil, "If-Match", `"x"`),
			} {
				r.fails(http.StatusPreconditionFailed, "Note has changed")
				if got := r.note(); got.Content != n.Content {
					t.Errorf("%s: %d bytes of content, want %d", r.call, len(got.Content), len(n.Content))
				}
			}
		})
	})
}

// A condition on a create is about the list, of which there is no version that a create could be
// compared with: it is refused rather than ignored.
func TestConditionalCreate(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	c := s.someone()
	note := map[string]any{"title": "a", "content": ""}
	for _, tt := range []struct {
		name, value string
		status      int
	}{
		{"If-Match", "*", 201}, // there always is a list
		{"If-Match", `"x"`, 412},
		{"If-Match", c.get("/api/notes").header.Get("Etag"), 412},
		{"If-None-Match", "*", 412},
		{"If-None-Match", `"x"`, 412},
	} {
		t.Run(tt.name+" "+tt.value, func(t *testing.T) {
			c := c.in(t)
			before := len(c.get("/api/notes").notes())
			c.post("/api/notes", note, tt.name, tt.value).want(tt.status)
			if made := len(c.get("/api/notes").notes()) - before; (made == 1) != (tt.status == 201) {
				t.Errorf("%d notes made, want one only with 201", made)
			}
		})
	}
}

// coded is tag with a content coding's suffix.
func coded(tag, suffix string) string { return strings.TrimSuffix(tag, `"`) + suffix + `"` }

// revised is tag, of revision 2, with another revision.
func revised(tag string, revision int) string {
	return strings.Replace(tag, ".2.", fmt.Sprintf(".%d.", revision), 1)
}

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	const body, other = `{"title":"a","content":"b"}`, `{"title":"a","content":"c"}`
	eachSite(t, func(t *testing.T, s *site) {
		c, stranger := s.someone(), s.someone()
		create := func(c *client, body, key string) reply { return c.post("/api/notes", body, "Idempotency-Key", key) }
		first := create(c, body, "k").want(http.StatusCreated)
		again := create(c, body, "k").want(http.StatusCreated)
		if diff := cmp.Diff(first.data(), again.data()); diff != "" {
			t.Errorf("the same again (-first +second):\n%s", diff)
		}
		wantHeader(t, again, "Location", first.header.Get("Location"))
		wantHeader(t, again, "Etag", first.header.Get("Etag"))
		create(c, other, "k").fails(http.StatusUnprocessableEntity, "Idempotency-Key was used with another body")
		if n := create(c, body, "K").want(http.StatusCreated).note(); n.ID == first.note().ID {
			t.Error("another key gave the same note")
		}
		if n := create(stranger, other, "k").want(http.StatusCreated).note(); n.UserID == first.note().UserID {
			t.Error("another's key gave this person's note")
		}
		create(c, `{"title":""}`, "bad").fails(http.StatusBadRequest, "Invalid note data")
		create(c, body, "bad").want(http.StatusCreated) // a refused body uses no key up
		c.delete(first.header.Get("Location")).want(http.StatusOK)
		create(c, body, "k").fails(http.StatusNotFound, "Note not found") // not made a second time

		t.Run("at once", func(t *testing.T) {
			ids := make([]string, 8)
			var wg sync.WaitGroup
			for i := range ids {
				wg.Go(func() {
					if r := create(c, body, "at-once"); r.status == http.StatusCreated {
						ids[i] = r.note().ID
					}
				})
			}
			wg.Wait()
			for _, id := range ids {
				if id == "" || id != ids[0] {
					t.Fatalf("8 at once with one key made %q, want one note", ids)
				}
			}
		})
		keys := []struct {
			name, key string
			status    int
		}{
			{"UUID", "3f1c9a52-5f58-4b8e-8f3e-2b0d7d6c8a11", 201},
			{"quoted", `"a string of the draft"`, 400},
			{"255 characters", strings.Repeat("k", 255), 201},
			{"256 characters", strings.Repeat("k", 256), 400},
			{"blank inside", "a b", 400},
			{"empty", "", 400},
			{"no ASCII", "schlüssel", 400},
		}
		for _, tt := range keys {
			t.Run(tt.name, func(t *testing.T) {
				r := create(c.in(t), body, tt.key).want(tt.status)
				if tt.status == http.StatusBadRequest {
					r.fails(http.StatusBadRequest, "Invalid Idempotency-Key: 1 to 255 visible ASCII characters")
				}
			})
		}
	})
}

// A quota that is used up is no fault of the server.
func TestQuota(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		c := s.someone()
		owner := c.create(map[string]any{"title": "a", "content": "b"}).UserID
		if err := s.store.SetQuota(t.Context(), owner, new(int64(2)), nil); err != nil {
			t.Fatal(err)
		}
		c.create(map[string]any{"title": "a", "content": "b"})
		c.post("/api/notes", `{"title":"a","content":"b"}`).fails(http.StatusInsufficientStorage, "Quota exceeded")
	})
}
