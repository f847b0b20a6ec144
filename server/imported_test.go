package server

import (
	"strings"
	"testing"

	"notesd/store"
)

// What another server made may be here if the API could show it and take it back.
func TestFaults(t *testing.T) {
	tags := func(n int, tag string) []string {
		list := make([]string, n)
		for i := range list {
			list[i] = tag
		}
		return list
	}
	for _, row := range []struct {
		name string
		note store.Note
		want string
	}{
		{"plain", store.Note{ID: "n"}, ""},
		{"most tags", store.Note{ID: "n", Tags: tags(50, strings.Repeat("é", 64))}, ""},
		{"one tag more", store.Note{ID: "n", Tags: tags(51, "")}, "tags: must be at most 50, are 51"},
		{"one character more", store.Note{ID: "n", Tags: tags(1, strings.Repeat("é", 65))},
			"tags: tag 1 must be at most 64 characters, is 65"},
		{"no id", store.Note{}, "its id is empty or no text"},
		{"odd id", store.Note{ID: "\xff"}, "its id is empty or no text"},
		{"odd title", store.Note{ID: "n", Title: "\xff"}, "it is not valid UTF-8"},
		{"odd content", store.Note{ID: "n", Content: "caf\xe9"}, "it is not valid UTF-8"},
		{"odd tag", store.Note{ID: "n", Tags: []string{"\xff"}}, "it is not valid UTF-8"},
		{"odd colour", store.Note{ID: "n", Color: new("\xff")}, "it is not valid UTF-8"},
	} {
		if got := NoteFault(row.note); got != row.want {
			t.Errorf("NoteFault(%s) = %q, want %q", row.name, got, row.want)
		}
	}
	for _, row := range []struct {
		name string
		user store.User
		want string
	}{
		{"plain", store.User{ID: "u", Email: "ada@example.com"}, ""},
		{"no id", store.User{Email: "ada@example.com"}, "its id is empty or no text"},
		{"no address", store.User{ID: "u"}, "its e-mail address is empty"},
		{"odd name", store.User{ID: "u", Email: "ada@example.com", Name: "\xff"}, "it is not valid UTF-8"},
	} {
		if got := AccountFault(row.user); got != row.want {
			t.Errorf("AccountFault(%s) = %q, want %q", row.name, got, row.want)
		}
	}
}
