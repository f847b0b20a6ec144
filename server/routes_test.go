package server

import (
	"net/http"
	"strings"
	"testing"

	"notesd/server/auth"
)

// noteRoutes are the routes of one note. ID stands for its id.
var noteRoutes = []struct{ method, path, missing string }{
	{http.MethodGet, "/api/notes/ID", "Note not found"},
	{http.MethodHead, "/api/notes/ID", ""},
	{http.MethodPatch, "/api/notes/ID", "Note not found"},
	{http.MethodDelete, "/api/notes/ID", "Note not found"},
	{http.MethodPatch, "/api/notes/ID/pin", "Note not found"},
	{http.MethodPatch, "/api/notes/ID/archive", "Note not found"},
	{http.MethodPatch, "/api/notes/ID/favorite", "Note not found"},
	{http.MethodPatch, "/api/notes/ID/trash", "Note not found"},
	{http.MethodPatch, "/api/notes/ID/restore", "Note not found"},
	{http.MethodDelete, "/api/notes/ID/permanent", "Note not found in trash"},
}

// Paths match without regard to case and tolerate one trailing slash; any
// other path, and another method on a known one, is no route.
func TestPaths(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	c := s.someone()
	id := c.create(map[string]any{"title": "a", "content": ""}).ID
	tests := []struct {
		name, method, path string
		status             int
		text               string // the error's
	}{
		{"as written", "GET", "/api/health", 200, ""},
		{"upper case", "GET", "/API/HEALTH", 200, ""},
		{"mixed case", "GET", "/Api/Health/READY", 200, ""},
		{"trailing slash", "GET", "/api/health/", 200, ""},
		{"probe's name", "GET", "/healthz", 200, ""},
		{"probe's name, trailing slash", "GET", "/Readyz/", 200, ""},
		{"a route that fails on purpose", "GET", "/api/fault/panic", 404, "Route not found"},
		{"two trailing slashes", "GET", "/api/health//", 404, "Route not found"},
		{"two leading slashes", "GET", "//api/health", 404, "Route not found"},
		{"list in upper case", "GET", "/API/NOTES", 200, ""},
		{"list with slash", "GET", "/api/notes/", 200, ""},
		{"list with slash and query", "GET", "/api/notes/?archived=true", 200, ""},
		{"TRACE", "TRACE", "/api/health", 404, "Route not found"},
		{"a method that is none", "BREW", "/api/notes", 404, "Route not found"},
		{"no id between slashes", "GET", "/api/notes//", 404, "Route not found"},
		{"no id before an action", "PATCH", "/api/notes//pin", 404, "Route not found"},
		{"note", "GET", "/api/notes/" + id, 200, ""},
		{"note with slash", "GET", "/Api/Notes/" + id + "/", 200, ""},
		{"note escaped", "GET", "/api/notes/%" + hexOf(id[0]) + id[1:], 200, ""},
		{"note in another case", "GET", "/api/notes/" + strings.ToUpper(id), 404, "Note not found"},
		{"action in upper case", "PATCH", "/api/notes/" + id + "/PIN", 200, ""},
		{"action with slash", "PATCH", "/api/notes/" + id + "/pin/", 200, ""},
		{"unknown action", "PATCH", "/api/notes/" + id + "/burn", 404, "Route not found"},
		{"beyond an action", "PATCH", "/api/notes/" + id + "/pin/pin", 404, "Route not found"},
		{"root", "GET", "/", 404, "Route not found"},
		{"api", "GET", "/api", 404, "Route not found"},
		{"unknown", "GET", "/api/unknown", 404, "Route not found"},
		{"unknown, written to", "POST", "/api/unknown", 404, "Route not found"},
		{"PUT of a note", "PUT", "/api/notes/" + id, 404, "Route not found"},
		{"POST of a note", "POST", "/api/notes/" + id, 404, "Route not found"},
		{"GET of an action", "GET", "/api/notes/" + id + "/pin", 404, "Route not found"},
		{"POST of an action", "POST", "/api/notes/" + id + "/pin", 404, "Route not found"},
		{"GET of permanent", "GET", "/api/notes/" + id + "/permanent", 404, "Route not found"},
		{"DELETE of the list", "DELETE", "/api/notes", 404, "Route not found"},
		{"GET of login", "GET", "/api/auth/login", 404, "Route not found"},
		{"GET of register", "GET", "/api/auth/register", 404, "Route not found"},
		{"GET of logout", "GET", "/api/auth/logout", 404, "Route not found"},
		{"POST of me", "POST", "/api/auth/me", 404, "Route not found"},
		{"POST of health", "POST", "/api/health", 404, "Route not found"},
		{"DELETE of health", "DELETE", "/api/health", 404, "Route not found"},
		{"GET of vitals", "GET", "/api/metrics/vitals", 404, "Route not found"},
		{"GET of reset", "GET", "/api/metrics/reset", 404, "Route not found"},
		{"POST of metrics", "POST", "/metrics", 404, "Route not found"},
		{"made-up method", "BREW", "/api/notes", 404, "Route not found"},
		{"HEAD of what is no GET", "HEAD", "/api/auth/login", 404, ""},
		{"HEAD of nothing", "HEAD", "/api/unknown", 404, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := c.in(t).request(tt.method, tt.path, nil).want(tt.status)
			if tt.text != "" {
				r.fails(tt.status, tt.text)
			}
		})
	}
}

func hexOf(b byte) string {
	const digits = "0123456789ABCDEF"
	return string([]byte{digits[b>>4], digits[b&15]})
}

// HEAD is answered wherever GET is, with GET's header and no body.
func TestHead(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	c := s.someone()
	note := c.create(map[string]any{"title": "a", "content": strings.Repeat("long enough to compress ", 100)})
	tests := []struct {
		name, path string
		steady     bool // the same length every time
	}{
		{"health", "/api/health", true},
		{"healthz", "/healthz", true},
		{"ready", "/api/health/ready", false},
		{"readyz", "/readyz", false},
		{"metrics", "/api/metrics", false},
		{"system", "/api/metrics/system", false},
		{"Prometheus", "/metrics", false},
		{"runtime", "/api/runtime", false},
		{"me", "/api/auth/me", true},
		{"list", "/api/notes", true},
		{"page", "/api/notes?limit=1", true},
		{"note", "/api/notes/" + note.ID, true},
		{"no note", "/api/notes/none", true},
	}
	for _, tt := range tests {
		for _, coding := range []string{"identity", "gzip", "zstd"} {
			t.Run(tt.name+" "+coding, func(t *testing.T) {
				c := c.in(t)
				if strings.Contains(tt.path, "metrics") || tt.path == "/api/runtime" {
					c = c.asAdmin()
				}
				get := c.get(tt.path, "Accept-Encoding", coding)
				head := c.request(http.MethodHead, tt.path, nil, "Accept-Encoding", coding).want(get.status)
				if head.text != "" {
					t.Errorf("HEAD %s has a body: %s", tt.path, head.text)
				}
				names := []string{"Content-Type", "Cache-Control", "Vary"}
				if tt.steady && get.header.Get("Content-Encoding") == "" {
					names = append(names, "Content-Length", "Etag") // of HEAD they are always the plain answer's
				}
				for _, name := range names {
					if got, want := head.header.Get(name), get.header.Get(name); got != want {
						t.Errorf("HEAD %s: %s %q, want GET's %q", tt.path, name, got, want)
					}
				}
			})
		}
	}
}

// Who is not signed in learns nothing about notes, not even whether the input would do.
func TestSignedOut(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	note := s.someone().create(map[string]any{"title": "a", "content": ""})
	type row struct{ method, path, body string }
	tests := []row{
		{"GET", "/api/notes", ""},
		{"GET", "/api/notes?limit=0", ""},
		{"POST", "/api/notes", `{"title":"a","content":"b"}`},
		{"POST", "/api/notes", `{`},
		{"POST", "/api/notes", ``},
	}
	for _, r := range noteRoutes {
		for _, id := range []string{note.ID, "none", "%00"} {
			tests = append(tests, row{r.method, strings.Replace(r.path, "ID", id, 1), `{"title":1}`})
		}
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.path+" "+tt.body, func(t *testing.T) {
			r := s.visitor().in(t).request(tt.method, tt.path, tt.body).want(http.StatusUnauthorized)
			if tt.method != http.MethodHead {
				r.fails(http.StatusUnauthorized, "Authentication required")
			}
			if len(r.cookies) > 0 {
				t.Errorf("%s sets %v, want no cookie before sign-in", r.call, r.cookies)
			}
		})
	}
}

// Another person's note looks exactly like none, and so does an id that no note could have.
func TestNoSuchNote(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		owner, stranger := s.someone(), s.someone()
		plain := owner.create(map[string]any{"title": "mine", "content": "secret"})
		trashed := owner.create(map[string]any{"title": "mine", "content": "secret"})
		trashed = owner.patch("/api/notes/"+trashed.ID+"/trash", nil).want(http.StatusOK).note()
		ids := []struct{ name, id string }{
			{"another's", plain.ID},
			{"another's in trash", trashed.ID},
			{"no such id", "01890000-0000-7000-8000-000000000000"},
			{"no UUID", "none"},
			{"old kind of id", "cjld2cjxh0000qzrmn831i7rn"},
			{"NUL", "%00"},
			{"id with NUL", plain.ID + "%00"},
			{"invalid UTF-8", "%ff%fe"},
			{"surrogate in UTF-8", "%ed%a0%80"},
			{"emoji", "%F0%9F%98%80"},
			{"quote", "'%20OR%20'1'='1"},
			{"dots", "%2e%2e"},
			{"slash inside", "a%2Fb"},
			{"long", strings.Repeat("x", 5000)},
		}
		for _, route := range noteRoutes {
			for _, tt := range ids {
				t.Run(route.method+" "+route.path+" "+tt.name, func(t *testing.T) {
					c := stranger.in(t)
					var body any
					if route.method == http.MethodPatch {
						body = map[string]any{"title": "stolen"}
					}
					r := c.request(route.method, strings.Replace(route.path, "ID", tt.id, 1), body)
					if route.missing == "" {
						r.want(http.StatusNotFound)
						return
					}
					r.fails(http.StatusNotFound, route.missing)
					if keys := r.keys(); keys != "error,requestId,success" {
						t.Errorf("%s has members %s, want error,requestId,success", r.call, keys)
					}
				})
			}
		}
		for _, before := range []noteJSON{plain, trashed} {
			if after := owner.get("/api/notes/" + before.ID).want(http.StatusOK).note(); after.Revision != before.Revision {
				t.Errorf("strangers moved note %q to revision %d, want %d", before.ID, after.Revision, before.Revision)
			}
		}
	})
}

// The person who is signed in but was deleted meanwhile is signed out, or has nothing.
func TestDeletedAccount(t *testing.T) {
	t.Parallel()
	eachVaultSite(t, func(t *testing.T, s *site) {
		c := s.someone()
		note := c.create(map[string]any{"title": "a", "content": ""})
		if err := auth.DeleteAccount(t.Context(), s.store, s.server.deps.Redis, note.UserID); err != nil {
			t.Fatal(err)
		}
		s.server.deps.Cache.SessionRevoked("", note.UserID) // heard of: as a rule it is another process that deletes
		c.get("/api/auth/me").fails(http.StatusUnauthorized, "Not authenticated")
		c.get("/api/notes").fails(http.StatusUnauthorized, "Authentication required")
		c.post("/api/notes", map[string]any{"title": "a", "content": ""}).fails(http.StatusUnauthorized, "Authentication required")
	})
}
