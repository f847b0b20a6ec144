package store_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"notesd/store"
	"notesd/store/storetest"
)

// A search in many notes finds what is there, whether or not there are sketches
// and whatever has become of the notes since they were made.
func TestSearchInMany(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner, other := newOwner(t, s), newOwner(t, s)
		random := rand.New(rand.NewPCG(1, 2))
		ids := map[string]bool{}
		for i := range 1300 {
			ids[newNote(t, s, owner, randomNote(random, i)).ID] = true
		}
		newNote(t, s, other, store.NewNote{Title: "Quetzal of another person"})
		check := func(when string) {
			t.Helper()
			for _, needle := range []string{"quetzal", "ETZ", "ΣΊΣΥΦΟΣ", "東京都", "word7 w", "ord", "%_%", "word", "nowhere", "ab", "zz9"} {
				checkSearch(t, s, owner, needle, when)
			}
		}
		check("before there are sketches")
		draw(t, s, owner)
		check("with sketches")

		var all []string
		for id := range ids {
			all = append(all, id)
		}
		slices.Sort(all)
		for i, id := range all[:60] {
			var err error
			switch i % 5 {
			case 0:
				_, err = s.PatchNote(t.Context(), owner, id, store.Patch{Content: new("now of a quetzal " + fmt.Sprint(i))})
			case 1:
				_, err = s.PatchNote(t.Context(), owner, id, store.Patch{Title: new("Σίσυφος"), Content: new("")})
			case 2:
				err = s.DeleteNote(t.Context(), owner, id)
			case 3:
				_, err = s.TrashNote(t.Context(), owner, id)
			case 4:
				_, err = s.FlipNote(t.Context(), owner, id, store.FlagArchived)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		newNote(t, s, owner, store.NewNote{Title: "last", Content: strings.Repeat("much ", 20_000) + "quetzal"})
		check("after changes")
		draw(t, s, owner)
		check("with sketches of the changes")
	})
}

// randomNote is the i-th note: of few words most of them, and some with rare ones.
func randomNote(random *rand.Rand, i int) store.NewNote {
	n := store.NewNote{Title: fmt.Sprint("Title ", i), Archived: i%13 == 0, Favorite: i%17 == 0}
	for range 20 {
		n.Content += fmt.Sprintf("word%d ", random.IntN(50))
	}
	switch {
	case i%400 == 7:
		n.Content += "a Quetzal"
	case i%500 == 8:
		n.Title += " ΣΊΣΥΦΟΣ"
	case i%600 == 9:
		n.Content += "東京都庁"
	}
	return n
}

// checkSearch compares every page of a search with what is in the notes.
func checkSearch(t *testing.T, s *store.Store, owner, needle, when string) {
	t.Helper()
	for _, q := range []store.ListQuery{{}, {Archived: true}, {Trashed: true}, {Sort: store.ByTitle, Ascending: true}} {
		refs, err := s.NoteRefs(t.Context(), owner, q)
		if err != nil {
			t.Fatal(err)
		}
		notes, err := s.NotesByRef(t.Context(), owner, refs)
		if err != nil {
			t.Fatal(err)
		}
		var want, got []int64
		for _, n := range notes {
			if folded := store.Fold(needle); strings.Contains(store.Fold(n.Title), folded) || strings.Contains(store.Fold(n.Content), folded) {
				want = append(want, n.Key)
			}
		}
		q.Search, q.Limit = needle, 40
		for {
			page, err := s.NoteRefs(t.Context(), owner, q)
			if err != nil {
				t.Fatal(err)
			}
			for _, ref := range page {
				got = append(got, ref.Key)
			}
			if len(page) < q.Limit {
				break
			}
			q.After = &page[len(page)-1].Position
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: a search for %q, %+v, finds %d notes, want %d", when, needle, q, len(got), len(want))
		}
	}
}

// draw has owner's sketches made now, and holds them to few candidates.
func draw(t *testing.T, s *store.Store, owner string) {
	t.Helper()
	if err := s.DrawSketches(t.Context(), owner); err != nil {
		t.Fatal(err)
	}
	for needle, few := range map[string]bool{"quetzal": true, "nowhere": true, "word": false, "ab": false} {
		if keys, err := s.Candidates(t.Context(), owner, needle); err != nil || (keys != nil) != few {
			t.Errorf("Candidates(%q) = %v, %v, want some keys: %v", needle, keys, err, few)
		}
	}
}

// Whoever searches in many notes has sketches made of them.
func TestSketchesAreMade(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		random := rand.New(rand.NewPCG(3, 4))
		for i := range 1100 {
			newNote(t, s, owner, randomNote(random, i))
		}
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
			keys, err := s.Candidates(t.Context(), owner, "quetzal")
			if err != nil || time.Now().After(deadline) {
				t.Fatalf("no candidates: %v", err)
			}
			if keys != nil {
				break
			}
		}
	})
}

// A search in many notes is a walk of one person's sketches, and of the changes
// since: two indexes.
func TestSketchPlans(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		fill(t, s, 20_000)
		exec(t, s, "UPDATE user_counters SET note_count = 1000, change_seq = 20000")
		for i := range 20 {
			if err := s.DrawSketches(t.Context(), fmt.Sprint("person ", i+1)); err != nil {
				t.Fatal(err)
			}
		}
		vacuum, wanted := "VACUUM", []string{"notes_changes (user_id=? AND change_seq>?)",
			"SEARCH note_sketches USING PRIMARY KEY (user_id=?)"}
		if s.Engine() == "PostgreSQL" {
			vacuum, wanted = "VACUUM ANALYZE", []string{"notes_changes", "Index Only Scan using note_sketches_pkey"}
		}
		exec(t, s, vacuum)
		tape := store.Record(s)
		if refs, err := s.NoteRefs(t.Context(), "person 7", store.ListQuery{Search: "19986", Limit: 51}); len(refs) != 1 || err != nil {
			t.Errorf("NoteRefs() = %d notes, %v, want 1", len(refs), err)
		}
		for _, query := range tape.Rewind() {
			for _, plan := range explain(t, s, query) {
				t.Logf("%s\n\n%s", query.SQL, plan)
				if !strings.Contains(query.SQL, "FROM note_sketches") {
					continue
				}
				for _, want := range wanted {
					if !strings.Contains(plan, want) {
						t.Errorf("the plan has no %s", want)
					}
				}
			}
		}
	})
}

// Sketches are of triples of letters, whatever the script.
func TestNeedleBits(t *testing.T) {
	for needle, some := range map[string]bool{"": false, "ab": false, "a b c d": false, "%_%": false, "abc": true, "12.345": true, "東京都": true,
		"ab c def": true} {
		if got := len(store.NeedleBits(needle)) > 0; got != some {
			t.Errorf("NeedleBits(%q) has some: %v, want %v", needle, got, some)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SliceOf(rapid.RuneFrom([]rune("ab1 東ß"))).Draw(t, "text")
		from := rapid.IntRange(0, len(text)).Draw(t, "from")
		upTo := rapid.IntRange(from, len(text)).Draw(t, "upTo")
		if part := string(text[from:upTo]); !store.SketchHas(string(text), part) {
			t.Errorf("the sketch of %q rules out %q", string(text), part)
		}
	})
}
