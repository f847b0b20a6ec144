package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"notesd/notes"
)

// Every place where what a client sent is folded, hashed, compared, sorted or
// kept has a bound of its own, below the bounds of bodies and headers. Each row
// is a place, with what is just allowed there and what is just too long.
func TestBounds(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	c := s.someone()
	note := c.create(map[string]any{"title": "t", "content": "", "tags": []string{}})
	longest, tooLong := strings.Repeat("x", notes.MaxID), strings.Repeat("x", notes.MaxID+1)
	for _, id := range []string{longest, tooLong} { // as no door lets in
		other := c.create(map[string]any{"title": "t", "content": ""})
		s.execute(t, `UPDATE notes SET id = ? WHERE id = ?`, id, other.ID)
	}
	const path = "/api/notes"
	long := func(n int) string { return strings.Repeat("x", n) }
	list := func(query string) func(string) reply {
		return func(text string) reply { return c.in(t).get(path + "?" + query + text) }
	}
	member := func(name string) func(string) reply {
		return func(text string) reply { return c.in(t).patch(path+"/"+note.ID, map[string]any{name: text}) }
	}
	sender := s.visitor()
	body := func(path string) func(string) reply {
		return func(text string) reply {
			return sender.in(t).post(path, map[string]any{"email": "nobody@example.com", "password": "x", "filler": text})
		}
	}
	refused := map[int]string{
		http.StatusBadRequest: "", http.StatusNotFound: "Note not found", http.StatusRequestEntityTooLarge: "Request body too large",
	}
	for _, place := range []struct {
		name          string
		send          func(text string) reply
		allowed, most string // what is allowed, and what is too much
		want, wantNot int
	}{
		{"search", list("search="), long(maxSearch), long(maxSearch + 1), 200, 400},
		{"tags asked for", list("tags="), strings.Repeat("x,", maxSearchTags), strings.Repeat("x,", maxSearchTags+1), 200, 400},
		{"id in a path", func(id string) reply { return c.in(t).get(path + "/" + id) }, longest, tooLong, 200, 404},
		{"id in a path of writes", func(id string) reply { return c.in(t).patch(path+"/"+id+"/restore", nil) }, longest, tooLong, 200, 404},
		{"title", member("title"), long(notes.MaxTitle), long(notes.MaxTitle + 1), 200, 400},
		{"color", member("color"), long(notes.MaxColor), long(notes.MaxColor + 1), 200, 400},
		{"tags", func(tags string) reply {
			return c.in(t).patch(path+"/"+note.ID, map[string]any{"tags": strings.Split(tags, ",")})
		}, strings.Repeat("x,", notes.MaxTags-1) + "x", strings.Repeat("x,", notes.MaxTags) + "x", 200, 400},
		{"tag", func(tag string) reply { return c.in(t).patch(path+"/"+note.ID, map[string]any{"tags": []string{tag}}) },
			long(notes.MaxTag), long(notes.MaxTag + 1), 200, 400},
		{"Idempotency-Key", func(key string) reply {
			return c.in(t).post(path, map[string]any{"title": "t", "content": ""}, "Idempotency-Key", key)
		}, long(255), long(256), 201, 400},
		{"password of a new account", func(password string) reply {
			return sender.in(t).post("/api/auth/register", map[string]any{"email": fmt.Sprint("bounds", len(password), "@example.com"), "password": password})
		}, long(notes.MaxPassword), long(notes.MaxPassword + 1), 201, 400},
		{"password", func(password string) reply {
			return sender.in(t).post("/api/auth/login", map[string]any{"email": "nobody@example.com", "password": password})
		}, long(notes.MaxPassword), long(notes.MaxPassword + 1), 401, 400},
		{"body of a sign-in", body("/api/auth/login"), "", long(smallBody), 401, 413},
		{"body of a sign-up", body("/api/auth/register"), "", long(smallBody), 400, 413},
		{"body of a web vital", func(text string) reply {
			return sender.in(t).post("/api/metrics/vitals", map[string]any{"name": "LCP", "value": 1, "rating": "good", "id": text})
		}, long(smallBody - 100), long(smallBody), 201, 413},
	} {
		t.Run(place.name, func(t *testing.T) {
			if r := place.send(place.allowed); r.status != place.want {
				t.Errorf("what is allowed is answered with %d %.100s, want %d", r.status, r.text, place.want)
			}
			r := place.send(place.most)
			if r.status != place.wantNot || !strings.Contains(r.text, refused[place.wantNot]) {
				t.Errorf("what is too much is answered with %d %.100s, want %d", r.status, r.text, place.wantNot)
			}
		})
	}
}

// A cursor is opened only if it can be one of ours: the longest title makes the longest.
func TestLongestCursor(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	c := s.someone()
	for _, title := range []string{"\U0001D160", "\u2028", "\x01", "\U00010400", "\u1fb7"} {
		c.create(map[string]any{"title": strings.Repeat(title, notes.MaxTitle), "content": "", "isArchived": true})
		c.create(map[string]any{"title": strings.Repeat(title, notes.MaxTitle), "content": "", "isArchived": true})
	}
	if got := len(c.pages("/api/notes?archived=true&sortBy=title&limit=1", nil)); got != 10 {
		t.Errorf("the pages have %d notes, want 10", got)
	}
}
