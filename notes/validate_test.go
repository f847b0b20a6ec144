package notes

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCheck(t *testing.T) {
	for _, row := range []struct {
		name string
		note NewNote
		want map[string]string
	}{
		{"plain", NewNote{Title: "t"}, nil},
		{"longest", NewNote{Title: strings.Repeat("é", 255), Color: new(strings.Repeat("é", 20)),
			Tags: []string{strings.Repeat("é", 64)}}, nil},
		{"all at once", NewNote{Content: "a\x00b", Color: new(strings.Repeat("x", 21)), Tags: []string{"", "\xff"}}, map[string]string{
			"title": "must not be empty", "content": "must not contain NUL",
			"color": "must be at most 20 characters, is 21", "tags": "tag 2 must be valid UTF-8"}},
		{"longer title", NewNote{Title: strings.Repeat("é", 256)}, map[string]string{"title": "must be at most 255 characters, is 256"}},
		{"more tags", NewNote{Title: "t", Tags: make([]string, 51)}, map[string]string{"tags": "must be at most 50, are 51"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var got map[string]string
			if e, ok := errors.AsType[*InvalidError](row.note.Check()); ok {
				got = e.Fields
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("Check() names (-want +got):\n%s", diff)
			}
		})
	}
	if err := (Patch{}).Check(); err != nil {
		t.Errorf("a patch of nothing = %v", err)
	}
	invalid := InvalidError{Fields: map[string]string{"tags": "must be an array of strings"}}
	if (Patch{Title: new("")}).AddFaults(&invalid); len(invalid.Fields) != 2 {
		t.Errorf("AddFaults() leaves %v, want both faults", invalid.Fields)
	}
}

// What another server made may be here if the API could show it and take it back.
func TestImportFault(t *testing.T) {
	tags := func(n int, tag string) []string {
		list := make([]string, n)
		for i := range list {
			list[i] = tag
		}
		return list
	}
	for _, row := range []struct {
		name string
		note Note
		want string
	}{
		{"plain", Note{ID: "n"}, ""},
		{"most tags", Note{ID: "n", Tags: tags(50, strings.Repeat("é", 64))}, ""},
		{"one tag more", Note{ID: "n", Tags: tags(51, "")}, "tags: must be at most 50, are 51"},
		{"one character more", Note{ID: "n", Tags: tags(1, strings.Repeat("é", 65))},
			"tags: tag 1 must be at most 64 characters, is 65"},
		{"no id", Note{}, "its id is empty or no text"},
		{"longest id", Note{ID: strings.Repeat("x", 255)}, ""},
		{"longer id", Note{ID: strings.Repeat("x", 256)}, "its id is longer than 255 bytes"},
		{"odd id", Note{ID: "\xff"}, "its id is empty or no text"},
		{"odd title", Note{ID: "n", Title: "\xff"}, "it is not valid UTF-8"},
		{"odd content", Note{ID: "n", Content: "caf\xe9"}, "it is not valid UTF-8"},
		{"odd tag", Note{ID: "n", Tags: []string{"\xff"}}, "it is not valid UTF-8"},
		{"odd colour", Note{ID: "n", Color: new("\xff")}, "it is not valid UTF-8"},
	} {
		if got := row.note.ImportFault(); got != row.want {
			t.Errorf("ImportFault(%s) = %q, want %q", row.name, got, row.want)
		}
	}
}

func TestValidText(t *testing.T) {
	for text, want := range map[string]bool{"": true, "é": true, "a\x00b": false, "\xff": false, "\ufffd": true} {
		if got := ValidText(text); got != want {
			t.Errorf("ValidText(%q) = %v, want %v", text, got, want)
		}
	}
}
