package api

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"notesd/notes"
)

func TestCursorRoundTrip(t *testing.T) {
	c := newCursors([]string{"first", "second"})
	rapid.Check(t, func(t *rapid.T) {
		user := rapid.String().Draw(t, "user")
		q := notes.Query{Search: rapid.String().Draw(t, "search"), Tags: rapid.SliceOf(rapid.String()).Draw(t, "tags"),
			Ascending: rapid.Bool().Draw(t, "ascending"), Limit: rapid.IntRange(1, 500).Draw(t, "limit")}
		at := notes.Position{Favorite: rapid.Bool().Draw(t, "favorite"), Time: rapid.Int64().Draw(t, "time"),
			Title: rapid.String().Draw(t, "title"), ID: rapid.String().Draw(t, "id")}
		cursor := c.encode(user, q, at)
		q.Limit = 7 // the page's length may change between pages
		got, err := c.decode(user, q, cursor)
		if err != nil || *got != at {
			t.Fatalf("decode(encode(%+v)) = %+v, %v", at, got, err)
		}
		i := rapid.IntRange(0, len(cursor)-1).Draw(t, "i")
		changed := []byte(cursor)
		changed[i] ^= 1
		if got, err := c.decode(user, q, string(changed)); err == nil && *got != at {
			t.Fatalf("decode() took a changed cursor for %+v", got)
		}
	})
}

func TestCursorBinding(t *testing.T) {
	sealed := newCursors([]string{"old"}).encode("ada", notes.Query{Search: "x"}, notes.Position{ID: "1"})
	tests := []struct {
		name    string
		secrets []string
		user    string
		query   notes.Query
		cursor  string
		ok      bool
	}{
		{"the same", []string{"old"}, "ada", notes.Query{Search: "x"}, sealed, true},
		{"after a new secret", []string{"new", "old"}, "ada", notes.Query{Search: "x"}, sealed, true},
		{"after the old secret went", []string{"new"}, "ada", notes.Query{Search: "x"}, sealed, false},
		{"another person", []string{"old"}, "bob", notes.Query{Search: "x"}, sealed, false},
		{"another search", []string{"old"}, "ada", notes.Query{Search: "y"}, sealed, false},
		{"another order", []string{"old"}, "ada", notes.Query{Search: "x", Ascending: true}, sealed, false},
		{"trash", []string{"old"}, "ada", notes.Query{Search: "x", Trashed: true}, sealed, false},
		{"no base64", []string{"old"}, "ada", notes.Query{Search: "x"}, "%%%", false},
		{"too short", []string{"old"}, "ada", notes.Query{Search: "x"}, "YWJj", false},
		{"empty", []string{"old"}, "ada", notes.Query{Search: "x"}, "", false},
	}
	for _, tt := range tests {
		_, err := newCursors(tt.secrets).decode(tt.user, tt.query, tt.cursor)
		if ok := err == nil; ok != tt.ok || !ok && !errors.Is(err, errBadCursor) {
			t.Errorf("%s: decode() = %v, want ok %v", tt.name, err, tt.ok)
		}
	}
}

// A cursor longer than the longest valid one is rejected before it is decoded.
func TestCursorTooLong(t *testing.T) {
	c := newCursors([]string{"secret"})
	sealed := func(n int) string { // a cursor of n bytes that is ours
		title := strings.Repeat("x", n/4*3)
		for {
			cursor := c.encode("ada", notes.Query{}, notes.Position{Title: title})
			if len(cursor) <= n {
				return cursor
			}
			title = title[1:]
		}
	}
	if _, err := c.decode("ada", notes.Query{}, sealed(maxCursor)); err != nil {
		t.Errorf("decode() = %v for %d bytes, want nil", err, maxCursor)
	}
	if _, err := c.decode("ada", notes.Query{}, sealed(maxCursor+4)); !errors.Is(err, errBadCursor) {
		t.Errorf("decode() = %v for more than %d bytes, want %v", err, maxCursor, errBadCursor)
	}
}
