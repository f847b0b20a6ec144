package store_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"notesd/notes"
	"notesd/store"
	"notesd/store/storetest"
)

// A search takes time for the length of the texts plus that of the needle,
// never for the product of the two, which its asker chooses. Comparing at
// every place takes the engines many times the deadline here.
func TestSearchUnkindNeedle(t *testing.T) {
	const size = 2 << 20
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		note := newNote(t, s, owner, notes.NewNote{Title: "unkind", Content: strings.Repeat("a", size) + strings.Repeat("\U0001D160", 1000)})
		for name, needle := range map[string]string{
			"differs at its end":   strings.Repeat("a", 999) + "b",
			"differs at its begin": "b" + strings.Repeat("a", 999),
			"differs in between":   strings.Repeat("a", 500) + "b" + strings.Repeat("a", 499),
			"differs late":         strings.Repeat("a", 10_000) + "b",
			"differs soon":         "b" + strings.Repeat("a", 10_000),
			"grows when folded":    strings.Repeat("\U0001D160", 999) + "b",
			"short":                strings.Repeat("a", 60) + "b",
		} {
			ctx, stop := context.WithTimeout(t.Context(), 5*time.Second)
			refs, err := s.NoteRefs(ctx, owner, notes.Query{Search: needle})
			stop()
			if err != nil || len(refs) > 0 {
				t.Errorf("a needle that %s: %d notes, %v; want none", name, len(refs), err)
			}
		}
		refs, err := s.NoteRefs(t.Context(), owner, notes.Query{Search: strings.Repeat("a", 500) + strings.Repeat("\U0001D160", 500)})
		if err != nil || len(refs) != 1 || refs[0].ID != note.ID {
			t.Errorf("the needle that is there: %v, %v", refs, err)
		}
	})
}

// Long needles find what a comparison of folded texts finds, in every order,
// page and mode.
func TestSearchLongNeedles(t *testing.T) {
	phrase := "The quick brown fox, Größe 100%_x, jumps over the lazy dog while ΟΔΥΣΣΕΥΣ looks on; "
	long := phrase + strings.ToUpper(phrase) + phrase
	filler := strings.Repeat("fill äöü ", 33_000) // in more than one piece
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		newNote(t, s, newOwner(t, s), notes.NewNote{Title: "another's", Content: long})
		var made []notes.Note
		for i, content := range []string{
			"", phrase, long, long[:len(long)-3], "x" + long + "x", strings.Repeat(phrase, 2) + "end", phrase + phrase[:40],
			filler + long, filler + phrase + filler, long + filler,
		} {
			title := fmt.Sprintf("%02d", i)
			made = append(made, newNote(t, s, owner, notes.NewNote{Title: title, Content: content, Favorite: i%5 == 0, Archived: i == 4}))
		}
		made = append(made, newNote(t, s, owner, notes.NewNote{Title: phrase + phrase, Content: "x"}))
		var texts []string // of each note, folded; no needle has a \n
		for _, note := range made {
			texts = append(texts, notes.Fold(note.Title)+"\n"+notes.Fold(note.Content))
		}
		for _, needle := range []string{
			phrase, strings.ToLower(phrase), long, phrase[3:70], phrase[3:71] + "?", phrase + phrase, "dog while ΟΔΥΣΣΕΥΣ looks on; " + phrase,
			strings.Repeat("fill ÄÖÜ ", 9), phrase + "fill äöü", "nothing like it, however long it may be, and it is long enough to be looked at",
		} {
			var want []string
			folded := notes.Fold(needle)
			for i, note := range made {
				if !note.Archived && strings.Contains(texts[i], folded) {
					want = append(want, note.Title)
				}
			}
			for _, sort := range []notes.Sort{notes.ByUpdated, notes.ByTitle} {
				q := notes.Query{Search: needle, Sort: sort, Ascending: true}
				all := titles(t, s, owner, q)
				if diff := cmp.Diff(want, slices.Sorted(slices.Values(all))); diff != "" {
					t.Fatalf("search for %q differs (-want +got):\n%s", needle, diff)
				}
				q.Limit = 2
				var paged []string
				for {
					refs, err := s.NoteRefs(t.Context(), owner, q)
					if err != nil || len(refs) > q.Limit {
						t.Fatal(len(refs), err)
					}
					if len(refs) == 0 {
						break
					}
					q.After = &refs[len(refs)-1].Position
					found, err := s.NotesByRef(t.Context(), owner, refs)
					if err != nil {
						t.Fatal(err)
					}
					for _, note := range found {
						paged = append(paged, note.Title)
					}
				}
				if diff := cmp.Diff(all, paged, cmp.Transformer("nil", func(s []string) []string { return append([]string{}, s...) })); diff != "" {
					t.Errorf("pages of the search for %q differ from the whole (-want +got):\n%s", needle, diff)
				}
			}
		}
	})
}

// A needle that begins in the middle of a run of more than 30 combining marks is found on both engines, in
// a title, in a short note and across the pieces of a large one.
func TestSearchInRunOfMarks(t *testing.T) {
	marks := strings.Repeat("\u0301\u0302", 60)
	large := strings.Repeat("fill ", 80_000)
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		newNote(t, s, owner, notes.NewNote{Title: "x" + marks, Content: "in the title"})
		newNote(t, s, owner, notes.NewNote{Title: "content", Content: "x" + marks + " and more"})
		newNote(t, s, owner, notes.NewNote{Title: "large", Content: large + "x" + marks + " and more " + large})
		newNote(t, s, owner, notes.NewNote{Title: "few", Content: "x" + marks[:len(marks)/3]})
		for _, tt := range []struct {
			needle string
			found  int
		}{
			{"x" + marks, 3}, {marks[4:], 3}, {marks[len(marks)/2:], 3}, {marks[8:] + " and", 2}, {marks[8:] + " or", 0},
			{marks + marks, 0}, {"\u0301\u0302", 4},
		} {
			if got := titles(t, s, owner, notes.Query{Search: tt.needle}); len(got) != tt.found {
				t.Errorf("a search for %d marks finds %d notes, want %d", len([]rune(tt.needle)), len(got), tt.found)
			}
		}
	})
}
