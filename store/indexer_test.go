package store_test

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"notesd/internal/testkit"
	"notesd/notes"
	"notesd/store"
	"notesd/store/storetest"
)

// A search in many notes finds what is there, whether or not there are lists
// and whatever has become of the notes since they were made.
func TestSearchInMany(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner, other := newOwner(t, s), newOwner(t, s)
		random := rand.New(rand.NewPCG(1, 2))
		ids := map[string]bool{}
		for i := range 1300 {
			ids[newNote(t, s, owner, randomNote(random, i)).ID] = true
		}
		newNote(t, s, other, notes.NewNote{Title: "Quetzal of another person"})
		check := func(when string) {
			t.Helper()
			checkSearch(t, s, owner, when, "quetzal", "ETZ", "ΣΊΣΥΦΟΣ", "東京都", "word7 w", "ord", "%_%", "nowhere", "ab", "zz9")
		}
		check("before there are lists")
		makeLists(t, s, owner)
		check("with lists")
		exec(t, s, "UPDATE user_counters SET note_count = note_count + 7000 WHERE user_id = ?", owner)
		checkSearch(t, s, owner, "walking past what lists leave out", "ord") // all the more of them
		exec(t, s, "UPDATE user_counters SET note_count = note_count - 7000 WHERE user_id = ?", owner)

		var all []string
		for id := range ids {
			all = append(all, id)
		}
		slices.Sort(all)
		for i, id := range all[:60] {
			var err error
			switch i % 5 {
			case 0:
				_, err = s.PatchNote(t.Context(), owner, id, notes.Patch{Content: new("now of a quetzal " + fmt.Sprint(i))})
			case 1:
				_, err = s.PatchNote(t.Context(), owner, id, notes.Patch{Title: new("Σίσυφος"), Content: new("")})
			case 2:
				err = s.DeleteNote(t.Context(), owner, id)
			case 3:
				_, err = s.TrashNote(t.Context(), owner, id)
			case 4:
				_, err = s.ToggleNote(t.Context(), owner, id, notes.FlagArchived)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		newNote(t, s, owner, notes.NewNote{Title: "last", Content: strings.Repeat("much ", 20_000) + "quetzal"})
		check("after changes")
		makeLists(t, s, owner)
		check("with lists of the changes")
	})
}

// randomNote is the i-th note: of few words most of them, and some with rare ones.
func randomNote(random *rand.Rand, i int) notes.NewNote {
	n := notes.NewNote{Title: fmt.Sprint("Title ", i), Archived: i%13 == 0, Favorite: i%17 == 0}
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

// checkSearch compares every page of searches with what is in the notes.
func checkSearch(t *testing.T, s *store.Store, owner, when string, needles ...string) {
	t.Helper()
	for _, q := range []notes.Query{{}, {Archived: true}, {Trashed: true}, {Sort: notes.ByTitle, Ascending: true}} {
		refs, err := s.NoteRefs(t.Context(), owner, q)
		if err != nil {
			t.Fatal(err)
		}
		made, err := s.NotesByRef(t.Context(), owner, refs)
		if err != nil {
			t.Fatal(err)
		}
		for _, needle := range needles {
			var want []int64
			for _, n := range made {
				if folded := notes.Fold(needle); strings.Contains(notes.Fold(n.Title), folded) || strings.Contains(notes.Fold(n.Content), folded) {
					want = append(want, n.Key)
				}
			}
			if got := searchPages(t, s, owner, needle, q); !slices.Equal(got, want) {
				t.Errorf("%s: a search for %q, %+v, finds %d notes, want %d", when, needle, q, len(got), len(want))
			}
		}
	}
}

// searchPages are the keys that all pages of a search hold.
func searchPages(t *testing.T, s *store.Store, owner, needle string, q notes.Query) (keys []int64) {
	t.Helper()
	q.Search, q.Limit = needle, 200
	for {
		page, err := s.NoteRefs(t.Context(), owner, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, ref := range page {
			keys = append(keys, ref.Key)
		}
		if len(page) < q.Limit {
			return keys
		}
		q.After = &page[len(page)-1].Position
	}
}

// makeLists has owner's lists made now, and holds them to few candidates.
func makeLists(t *testing.T, s *store.Store, owner string) {
	t.Helper()
	if err := s.MakeLists(t.Context(), owner, store.SegmentNotes); err != nil {
		t.Fatal(err)
	}
	for needle, few := range map[string]bool{"quetzal": true, "nowhere": true, "word": false, "ab": false} {
		if keys, err := s.Candidates(t.Context(), owner, needle); err != nil || (keys != nil) != few {
			t.Errorf("Candidates(%q) = %v, %v, want some keys: %v", needle, keys, err, few)
		}
	}
}

// Whatever becomes of notes, and however many segments they are listed in, a
// search finds those that hold what is searched for, and lists leave no others
// but those that changed or have all of its trigrams.
func TestListsModel(t *testing.T) {
	t.Parallel()
	text := rapid.StringOfN(rapid.SampledFrom([]rune("abß 1")), 0, 12, -1)
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		rapid.Check(t, func(rt *rapid.T) {
			owner := newOwner(t, s)
			exec(t, s, "UPDATE user_counters SET note_count = 1000 WHERE user_id = ?", owner)
			made := map[string]string{} // their texts, by id
			do := func(err error) {
				if err != nil {
					rt.Fatal(err)
				}
			}
			some := func(rt *rapid.T) string {
				if len(made) == 0 {
					rt.Skip("no notes")
				}
				return rapid.SampledFrom(slices.Sorted(maps.Keys(made))).Draw(rt, "id")
			}
			rt.Repeat(map[string]func(*rapid.T){
				"create": func(rt *rapid.T) {
					in := text.Draw(rt, "text")
					made[newNote(t, s, owner, notes.NewNote{Title: "t", Content: in}).ID] = in
				},
				"change": func(rt *rapid.T) {
					id, in := some(rt), text.Draw(rt, "text")
					_, err := s.PatchNote(t.Context(), owner, id, notes.Patch{Content: &in})
					do(err)
					made[id] = in
				},
				"trash and restore": func(rt *rapid.T) {
					id := some(rt)
					_, err := s.TrashNote(t.Context(), owner, id)
					do(err)
					_, err = s.RestoreNote(t.Context(), owner, id)
					do(err)
				},
				"delete": func(rt *rapid.T) {
					id := some(rt)
					do(s.DeleteNote(t.Context(), owner, id))
					delete(made, id)
				},
				"make lists": func(rt *rapid.T) {
					if !rapid.Bool().Draw(rt, "now") { // it is what takes most of the time
						rt.Skip("not now")
					}
					do(s.MakeLists(t.Context(), owner, int64(rapid.IntRange(4, 20).Draw(rt, "most"))))
				},
				"search": func(rt *rapid.T) {
					needle := text.Draw(rt, "needle")
					refs, err := s.NoteRefs(t.Context(), owner, notes.Query{Search: needle, Limit: 1000})
					do(err)
					var want, got []string
					for id, text := range made {
						if strings.Contains(notes.Fold("t"), notes.Fold(needle)) || strings.Contains(notes.Fold(text), notes.Fold(needle)) {
							want = append(want, id)
						}
					}
					for _, ref := range refs {
						got = append(got, ref.ID)
					}
					slices.Sort(want)
					slices.Sort(got)
					if !slices.Equal(got, want) {
						rt.Fatalf("a search for %q finds %q, want %q of %q", needle, got, want, made)
					}
				},
			})
		})
	})
}

// Two make lists at once while a third writes, and no note is lost.
func TestListsTogether(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		var all sync.WaitGroup
		written := make(chan struct{})
		for range 2 {
			all.Go(func() {
				for {
					if err := s.MakeLists(t.Context(), owner, 20); err != nil {
						t.Error(err)
					}
					select {
					case <-written:
						return
					default:
					}
				}
			})
		}
		const count = 60
		for i := range count {
			note := newNote(t, s, owner, notes.NewNote{Title: "quetzal"})
			if _, err := s.PatchNote(t.Context(), owner, note.ID, notes.Patch{Content: new(fmt.Sprint("zebra", i%2))}); err != nil {
				t.Fatal(err)
			}
		}
		close(written)
		all.Wait()
		exec(t, s, "UPDATE user_counters SET note_count = 1000 WHERE user_id = ?", owner)
		for needle, want := range map[string]int{"quetzal": count, "zebra1": count / 2} {
			keys, err := s.Candidates(t.Context(), owner, needle)
			if err != nil || len(keys) < want {
				t.Errorf("Candidates(%q) = %d keys, %v, want %d", needle, len(keys), err, want)
			}
			checkSearch(t, s, owner, "after all", needle)
		}
	})
}

// Damaged lists cost a search time and no notes, and are made anew.
func TestDamagedLists(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		newNote(t, s, owner, notes.NewNote{Title: "a quetzal"})
		exec(t, s, "UPDATE user_counters SET note_count = 1000 WHERE user_id = ?", owner)
		for _, damage := range []string{
			"UPDATE search_index SET lists = ? WHERE part = 0", "UPDATE search_index SET lists = ? WHERE part > 0",
			"DELETE FROM search_index WHERE part > 0", "DELETE FROM search_index WHERE part = 0",
		} {
			if err := s.MakeLists(t.Context(), owner, store.SegmentNotes); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(damage, "?") {
				exec(t, s, damage, []byte("damage"))
			} else {
				exec(t, s, damage)
			}
			if keys, err := s.Candidates(t.Context(), owner, "nowhere"); keys != nil || err != nil {
				t.Errorf("after %s: Candidates = %v, %v, want none", damage, keys, err)
			}
			checkSearch(t, s, owner, damage, "quetzal")
			testkit.Eventually(t, "lists that are gone", func() bool {
				var left int
				if err := s.DB().Raw("SELECT count(*) FROM search_index").Scan(&left).Error; err != nil {
					t.Fatal(err)
				}
				return left == 0 // there are too few notes for others
			})
		}
	})
}

// A search that is given up midway, by its client or by a timeout, leaves the index as it is.
func TestSearchGivenUp(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		all := make([]notes.Note, 1100)
		for i := range all {
			all[i] = notes.Note{ID: store.NewID(), Title: fmt.Sprint("quetzal ", i)}
		}
		importNotes(t, s, owner, all)
		if err := s.IndexAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		lists := func() (sum string) {
			const query = "SELECT CAST(count(*) AS text) || ' ' || CAST(sum(length(lists)) AS text) FROM search_index"
			if err := s.DB().Raw(query).Scan(&sum).Error; err != nil {
				t.Fatal(err)
			}
			return sum
		}
		before, cut := lists(), 0
		for i := range 1000 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*1500*time.Nanosecond)
			if _, err := s.Candidates(ctx, owner, "nowhere"); err != nil {
				cut++
			}
			cancel()
		}
		if cut == 0 {
			t.Error("no search was cut")
		}
		time.Sleep(100 * time.Millisecond) // a rebuild would begin
		if after := lists(); after != before {
			t.Errorf("after %d cut searches the index has %s, want %s", cut, after, before)
		}
	})
}

// Segments are made of what is in none, and of two that fit into one.
func TestNextRange(t *testing.T) {
	const noEnd = math.MaxInt64
	for _, row := range []struct {
		name  string
		notes []int64 // of ranges that end at 10, 20, …, and of the last, which has no end
		want  store.ChangeRange
		found bool
	}{
		{"nothing yet", []int64{0}, store.ChangeRange{0, noEnd, 0}, false},
		{"too few", []int64{4}, store.ChangeRange{0, noEnd, 4}, false},
		{"enough", []int64{5}, store.ChangeRange{0, noEnd, 5}, true},
		{"more than a segment", []int64{101}, store.ChangeRange{0, noEnd, 101}, true},
		{"fits into the last", []int64{95, 5}, store.ChangeRange{0, noEnd, 100}, true},
		{"does not fit into the last", []int64{96, 5}, store.ChangeRange{10, noEnd, 5}, true},
		{"fits, but is too little", []int64{50, 4}, store.ChangeRange{10, noEnd, 4}, false},
		{"two have become small", []int64{99, 60, 40, 5}, store.ChangeRange{10, 30, 100}, true},
		{"two have become small, and nothing is new", []int64{0, 0, 0}, store.ChangeRange{0, 20, 0}, true},
		{"all full", []int64{100, 100, 100, 0}, store.ChangeRange{30, noEnd, 0}, false},
	} {
		var ranges []store.ChangeRange
		for i, n := range row.notes {
			ranges = append(ranges, store.ChangeRange{Since: int64(i * 10), Upto: int64(i+1) * 10, Notes: n})
		}
		ranges[len(ranges)-1].Upto = noEnd
		if got, found := store.NextRange(ranges, 5, 100); got != row.want || found != row.found {
			t.Errorf("%s: NextRange(%v) = %v, %v, want %v, %v", row.name, row.notes, got, found, row.want, row.found)
		}
	}
}

// Whoever searches in many notes has lists made of them.
func TestListsAreMade(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		random := rand.New(rand.NewPCG(3, 4))
		for i := range 1100 {
			newNote(t, s, owner, randomNote(random, i))
		}
		testkit.Eventually(t, "candidates", func() bool {
			keys, err := s.Candidates(t.Context(), owner, "quetzal")
			if err != nil {
				t.Fatal(err)
			}
			return keys != nil
		})
		if err := s.DeleteUser(t.Context(), owner); err != nil {
			t.Fatal(err)
		}
		var left int
		if err := s.DB().Raw("SELECT count(*) FROM search_index").Scan(&left).Error; err != nil || left > 0 {
			t.Errorf("their owner left %d lists, %v", left, err)
		}
	})
}

// A search in many notes is a walk of one person's lists, and of the changes
// since: two indexes. What they leave is looked up, or if it is much, passed by
// in the walk through the list of notes.
func TestListsPlans(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		count := 20_000
		if s.Engine() == "SQLite" {
			count = 12_000 // enough for a walk: it plans without statistics
		}
		fill(t, s, count)
		exec(t, s, fmt.Sprint("UPDATE user_counters SET note_count = 4000, change_seq = ", count))
		for i := range 8 {
			if err := s.MakeLists(t.Context(), fmt.Sprint("person ", i+1), store.SegmentNotes); err != nil {
				t.Fatal(err)
			}
		}
		vacuum, lists, changes := "VACUUM", "INDEX sqlite_autoindex_search_index_1 (user_id=? AND part=?)",
			"notes_changes (user_id=? AND change_seq>?)"
		keys, walk := "INTEGER PRIMARY KEY", "notes_list"
		if s.Engine() == "PostgreSQL" {
			vacuum, lists, changes = "VACUUM ANALYZE", "search_index_pkey", "notes_changes"
			keys = "notes_pkey"
		}
		exec(t, s, vacuum)
		for needle, wanted := range map[string][]string{strconv.Itoa(count - 34): {lists, changes, keys}, "title": {lists, changes, walk}} {
			tape := store.Record(s)
			if refs, err := s.NoteRefs(t.Context(), "person 7", notes.Query{Search: needle, Limit: 51}); len(refs) == 0 || err != nil {
				t.Errorf("NoteRefs(%q) = %d notes, %v, want some", needle, len(refs), err)
			}
			var plans strings.Builder
			for _, query := range tape.Rewind() {
				for _, plan := range explain(t, s, query) {
					plans.WriteString(query.SQL + "\n\n" + plan)
				}
			}
			t.Log(plans.String())
			for _, want := range wanted {
				if !strings.Contains(plans.String(), want) {
					t.Errorf("the plans have no %s", want)
				}
			}
			if refused := regexp.MustCompile("(Seq Scan on|SCAN) (notes|search_index)|Hash|Join").FindString(plans.String()); refused != "" {
				t.Errorf("the plans have a %s", refused)
			}
		}
	})
}

// TestIndexUnasked: an index is there before anybody searches: after many creates, after an import,
// and after a start with notes that have none.
func TestIndexUnasked(t *testing.T) {
	t.Parallel()
	storetest.Engines(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		indexed := func(owner string) bool {
			var upto int64
			if err := s.DB().Raw("SELECT COALESCE(max(segment), 0) FROM search_index WHERE user_id = ? AND part = 0", owner).Scan(&upto).Error; err != nil {
				t.Fatal(err)
			}
			return upto >= 1000
		}
		writer := newOwner(t, s)
		for i := range 1030 {
			newNote(t, s, writer, notes.NewNote{Title: fmt.Sprint(i)})
		}
		testkit.Eventually(t, "an index after creates", func() bool { return indexed(writer) })
		importer := newOwner(t, s)
		all := make([]notes.Note, 1100)
		for i := range all {
			all[i] = notes.Note{ID: store.NewID(), Title: fmt.Sprint("quetzal ", i)}
		}
		importNotes(t, s, importer, all)
		if !indexed(importer) {
			t.Error("no index after an import")
		}
		exec(t, s, "DELETE FROM search_index")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = storetest.Open(t, url)
		testkit.Eventually(t, "indexes after a start", func() bool { return indexed(writer) && indexed(importer) })
		exec(t, s, "DELETE FROM search_index")
		if err := s.IndexAll(t.Context()); err != nil || !indexed(writer) || !indexed(importer) {
			t.Errorf("IndexAll = %v, and indexes are there: %v, %v", err, indexed(writer), indexed(importer))
		}
	})
}
