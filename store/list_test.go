package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"notesd/notes"
	"notesd/store"
	"notesd/store/storetest"
)

// titles lists owner's notes and returns their titles.
func titles(t *testing.T, s *store.Store, owner string, q notes.Query) []string {
	t.Helper()
	refs, err := s.NoteRefs(t.Context(), owner, q)
	if err != nil {
		t.Fatal(err)
	}
	notes, err := s.NotesByRef(t.Context(), owner, refs)
	if err != nil {
		t.Fatal(err)
	}
	if len(notes) != len(refs) {
		t.Fatalf("NotesByRef() has %d notes of %d refs", len(notes), len(refs))
	}
	titles := []string{}
	for _, note := range notes {
		titles = append(titles, note.Title)
	}
	return titles
}

func TestListOrder(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		newNote(t, s, newOwner(t, s), notes.NewNote{Title: "another's"})
		for created, in := range []struct {
			notes.NewNote
			updated int64
		}{
			{notes.NewNote{Title: "a"}, 30},
			{notes.NewNote{Title: "B"}, 31},
			{notes.NewNote{Title: "ä"}, 21},
			{notes.NewNote{Title: "pinned", Pinned: true}, 20},
			{notes.NewNote{Title: "Favourite", Favorite: true}, 20},
			{notes.NewNote{Title: "both", Favorite: true, Pinned: true}, 20},
			{notes.NewNote{Title: "archived", Archived: true, Pinned: true}, 20},
			{notes.NewNote{Title: "Zoë"}, 22},
			{notes.NewNote{Title: "trash: favourite", Favorite: true}, 51},
			{notes.NewNote{Title: "trash: first"}, 50},
			{notes.NewNote{Title: "trash: archived", Archived: true}, 52},
		} {
			note := newNote(t, s, owner, in.NewNote)
			if strings.HasPrefix(note.Title, "trash") {
				if _, err := s.TrashNote(t.Context(), owner, note.ID); err != nil {
					t.Fatal(err)
				}
			}
			exec(t, s, `UPDATE notes SET created_at = ?, updated_at = ? WHERE id = ?`, created, in.updated, note.ID)
		}
		first := []string{"both", "Favourite", "pinned"}
		for _, test := range []struct {
			name string
			q    notes.Query
			want []string
		}{
			{"default", notes.Query{}, append(first[:3:3], "B", "a", "Zoë", "ä")},
			{"oldest change first", notes.Query{Ascending: true}, append(first[:3:3], "ä", "Zoë", "a", "B")},
			{"newest first", notes.Query{Sort: notes.ByCreated}, append(first[:3:3], "Zoë", "ä", "B", "a")},
			{"oldest first", notes.Query{Sort: notes.ByCreated, Ascending: true},
				append(first[:3:3], "a", "B", "ä", "Zoë")},
			{"last title first", notes.Query{Sort: notes.ByTitle}, append(first[:3:3], "ä", "Zoë", "B", "a")},
			{"first title first", notes.Query{Sort: notes.ByTitle, Ascending: true},
				append(first[:3:3], "a", "B", "Zoë", "ä")},
			{"archive", notes.Query{Archived: true}, []string{"archived"}},
			{"trash", notes.Query{Trashed: true}, []string{"trash: archived", "trash: favourite", "trash: first"}},
			{"trash by creation", notes.Query{Trashed: true, Archived: true, Sort: notes.ByCreated, Ascending: true},
				[]string{"trash: favourite", "trash: first", "trash: archived"}},
			{"limit", notes.Query{Limit: 2}, first[:2]},
			{"limit of all", notes.Query{Trashed: true, Limit: 3},
				[]string{"trash: archived", "trash: favourite", "trash: first"}},
		} {
			if diff := cmp.Diff(test.want, titles(t, s, owner, test.q)); diff != "" {
				t.Errorf("%s (%+v) differs (-want +got):\n%s", test.name, test.q, diff)
			}
		}
	})
}

func TestSearch(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		newNote(t, s, newOwner(t, s), notes.NewNote{Title: "groß"})
		for _, in := range []notes.NewNote{
			{Title: "german", Content: "Die GROẞE Straße in Köln"},
			{Title: "greek", Content: "ΟΔΥΣΣΕΥΣ ὁ πολύτροπος"},
			{Title: "Привет", Content: "мир"},
			{Title: "percent", Content: `100% of a_b and c:\d`},
			{Title: "quotes", Content: `it's "so" -- '; DROP`},
			{Title: "decomposed", Content: "Cafe\u0301"},
			{Title: "日本語", Content: "🎉 すばしっこい"},
			{Title: "empty", Content: ""},
		} {
			newNote(t, s, owner, in)
		}
		for _, test := range []struct {
			needle string
			want   []string
		}{
			{"große", []string{"german"}},
			{"GROSSE STRASSE", []string{"german"}},
			{"KÖLN", []string{"german"}},
			{"kÖ", []string{"german"}},
			{"koln", nil},
			{"οδυσσεύς", nil},
			{"οδυσσευσ", []string{"greek"}},
			{"ὉΠΟΛ", nil},
			{"Ὁ ΠΟΛΎΤ", []string{"greek"}},
			{"прив", []string{"Привет"}},
			{"МИР", []string{"Привет"}},
			{"%", []string{"percent"}},
			{"100%", []string{"percent"}},
			{"0%o", nil},
			{"A_B", []string{"percent"}},
			{"_", []string{"percent"}},
			{`\`, []string{"percent"}},
			{`C:\D`, []string{"percent"}},
			{"'", []string{"quotes"}},
			{`"SO"`, []string{"quotes"}},
			{"CAFÉ", []string{"decomposed"}},
			{"cafe\u0301", []string{"decomposed"}},
			{"日", []string{"日本語"}},
			{"🎉", []string{"日本語"}},
			{"Empty", []string{"empty"}},
			{"nothing like it", nil},
			{" ", []string{"german", "greek", "percent", "quotes", "日本語"}},
		} {
			got := titles(t, s, owner, notes.Query{Search: test.needle, Sort: notes.ByCreated, Ascending: true})
			if !slices.Equal(got, test.want) {
				t.Errorf("a search for %q found %q, want %q", test.needle, got, test.want)
			}
		}
	})
}

func TestTagFilter(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		newNote(t, s, newOwner(t, s), notes.NewNote{Title: "another's", Tags: []string{"work"}})
		for _, in := range []notes.NewNote{
			{Title: "none"},
			{Title: "work", Tags: []string{"work"}},
			{Title: "Work", Tags: []string{"Work", "two words"}},
			{Title: "twice", Tags: []string{"x", "work", "x"}},
			{Title: "quoted", Tags: []string{`'"\`, "<&>\u2028"}},
		} {
			newNote(t, s, owner, in)
		}
		many := strings.Fields(strings.Repeat("other ", 100_000)) // more than a statement has arguments
		for _, test := range []struct {
			name string
			tags []string
			want []string
		}{
			{"exact", []string{"work"}, []string{"work", "twice"}},
			{"any of", []string{"Work", "x", "none at all"}, []string{"Work", "twice"}},
			{"with a space", []string{"two words"}, []string{"Work"}},
			{"part of a tag", []string{"wor"}, nil},
			{"special characters", []string{`'"\`}, []string{"quoted"}},
			{"what JSON escapes", []string{"<&>\u2028"}, []string{"quoted"}},
			{"unknown", []string{"unknown"}, nil},
			{"a hundred thousand", append(many, "x"), []string{"twice"}},
		} {
			got := titles(t, s, owner, notes.Query{Tags: test.tags, Sort: notes.ByCreated, Ascending: true})
			if !slices.Equal(got, test.want) {
				t.Errorf("%s: found %q, want %q", test.name, got, test.want)
			}
		}
	})
}

// TestPagesOfEquals: notes that are equal in all that orders them but the id
// are each on one page.
func TestPagesOfEquals(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner, thrower := newOwner(t, s), newOwner(t, s)
		const made = 10
		for i := range made {
			newNote(t, s, owner, notes.NewNote{Title: "same", Pinned: i%2 == 0})
			newNote(t, s, thrower, notes.NewNote{Title: "same", Pinned: i%2 == 0})
		}
		exec(t, s, `UPDATE notes SET created_at = 7, updated_at = 7`)
		exec(t, s, `UPDATE notes SET is_trashed = NOT is_trashed, trashed_at = 7 WHERE user_id = ?`, thrower)
		for _, q := range []notes.Query{
			{}, {Ascending: true}, {Sort: notes.ByCreated}, {Sort: notes.ByTitle}, {Sort: notes.ByTitle, Ascending: true},
			{Trashed: true}, {Trashed: true, Ascending: true}, {Trashed: true, Sort: notes.ByTitle},
		} {
			owner := owner
			if q.Trashed {
				owner = thrower
			}
			var whole, paged []int64
			for _, ref := range refs(t, s, owner, q) {
				whole = append(whole, ref.Key)
			}
			q.Limit = 3
			for page := refs(t, s, owner, q); len(page) > 0 && len(paged) < 2*made; page = refs(t, s, owner, q) {
				for _, ref := range page {
					paged = append(paged, ref.Key)
				}
				q.After = &page[len(page)-1].Position
			}
			if len(whole) != made || !slices.Equal(whole, paged) {
				t.Errorf("%+v: the list is %v, its pages are %v", q, whole, paged)
			}
		}
	})
}

func refs(t *testing.T, s *store.Store, owner string, q notes.Query) []store.Ref {
	t.Helper()
	refs, err := s.NoteRefs(t.Context(), owner, q)
	if err != nil {
		t.Fatal(err)
	}
	return refs
}

// TestNotesByRef: the notes come in the order of the refs, in one statement
// however many they are, and without those that are gone.
func TestNotesByRef(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		var asked []store.Ref
		var want []string
		for i := range 5 {
			note := newNote(t, s, owner, notes.NewNote{Title: fmt.Sprint(i)})
			asked = append(asked, store.Ref{Key: note.Key})
			if i != 2 {
				want = append(want, note.Title)
				continue
			}
			if err := s.DeleteNote(t.Context(), owner, note.ID); err != nil { // and its key is nobody's
				t.Fatal(err)
			}
		}
		slices.Reverse(asked)
		slices.Reverse(want)
		for range 100_000 {
			asked = append(asked, store.Ref{Key: -1})
		}
		tape := store.Record(s)
		notes, err := s.NotesByRef(t.Context(), owner, asked)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, note := range notes {
			got = append(got, note.Title)
		}
		if !slices.Equal(got, want) {
			t.Errorf("NotesByRef() = %q, want %q", got, want)
		}
		if queries := tape.Rewind(); len(queries) != 1 {
			t.Errorf("NotesByRef() took %d statements, want 1", len(queries))
		}
	})
}
