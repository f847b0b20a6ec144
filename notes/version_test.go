package notes_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"notesd/notes"
)

func TestAuthor(t *testing.T) {
	long := strings.Repeat("ä", 100)
	for _, row := range []struct {
		name      string
		in, want  notes.Author
		wantStore string
	}{
		{"nobody", notes.Author{}, notes.Author{}, ""},
		{"a session", notes.Author{"session", "Firefox on Linux", "ab12"}, notes.Author{"session", "Firefox on Linux", "ab12"}, "sab12 Firefox on Linux"},
		{"without an id", notes.Author{"token", "backup", ""}, notes.Author{"token", "backup", ""}, "t backup"},
		{"without a name", notes.Author{"door", "", ""}, notes.Author{"door", "", ""}, "d "},
		{"a long name", notes.Author{"token", long, ""}, notes.Author{"token", long[:64], ""}, "t " + long[:64]},
		{"no text", notes.Author{"token", "a\xff\x00b", "i d"}, notes.Author{"token", "ab", "i_d"}, "ti_d ab"},
	} {
		stored := row.in.Stored()
		if stored != row.wantStore {
			t.Errorf("%s: Stored = %q, want %q", row.name, stored, row.wantStore)
		}
		if got := notes.AuthorOf(stored); got != row.want {
			t.Errorf("%s: AuthorOf(%q) = %+v, want %+v", row.name, stored, got, row.want)
		}
	}
	for _, stored := range []string{"x", " name", "xid name", "s\xff name"} {
		if got := notes.AuthorOf(stored); got != (notes.Author{}) {
			t.Errorf("AuthorOf(%q) = %+v, want none", stored, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a := notes.Author{Kind: rapid.SampledFrom([]string{"session", "token", "door"}).Draw(t, "kind"),
			Name: rapid.String().Draw(t, "name"), ID: rapid.String().Draw(t, "id")}
		stored := a.Stored()
		if again := notes.AuthorOf(stored).Stored(); again != stored {
			t.Errorf("%q is stored as %q when read", stored, again)
		}
	})
}

func TestCompareLines(t *testing.T) {
	for _, row := range []struct {
		name, before, text string
		want               notes.LineChange
	}{
		{"equal", "a\nb\n", "a\nb\n", notes.LineChange{}},
		{"from nothing", "", "a\nb", notes.LineChange{Added: 2}},
		{"to nothing", "a\nb", "", notes.LineChange{Removed: 2}},
		{"one changed", "a\nb\nc\n", "a\nB\nc\n", notes.LineChange{Added: 1, Removed: 1}},
		{"one doubled", "a\n", "a\na\n", notes.LineChange{Added: 1}},
		{"moved", "a\nb\n", "b\na\n", notes.LineChange{}},
		{"another line end", "a\nb", "a\r\nb\r\n", notes.LineChange{}},
	} {
		if got := notes.CompareLines(row.before, row.text); got != row.want {
			t.Errorf("%s: %+v, want %+v", row.name, got, row.want)
		}
	}
}
