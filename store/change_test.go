package store_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"notesd/notes"
	"notesd/store"
	"notesd/store/storetest"
)

// A follower keeps a copy of a person's notes by their changes.
type follower struct {
	s       *store.Store
	owner   string
	limit   int
	content bool
	since   int64
	seen    int64 // the highest number since it last started over
	notes   map[string]notes.Note
	starts  int
}

// step reads a page. It starts over when it has to.
func (f *follower) step(ctx context.Context) (more bool, err error) {
	page, err := f.s.Changes(ctx, f.owner, f.since, f.limit, f.content)
	if errors.Is(err, store.ErrGone) {
		f.since, f.seen, f.notes = 0, 0, nil
		f.starts++
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if len(page.Changes) > f.limit {
		return false, fmt.Errorf("a page of %d has %d changes", f.limit, len(page.Changes))
	}
	if f.notes == nil {
		f.notes = make(map[string]notes.Note)
	}
	for _, c := range page.Changes {
		if c.Seq <= f.seen {
			return false, fmt.Errorf("change %d comes after %d", c.Seq, f.seen)
		}
		f.seen = c.Seq
		if c.Note == nil {
			delete(f.notes, c.ID)
			continue
		}
		if c.Note.ID != c.ID || c.Note.ChangeSeq != c.Seq {
			return false, fmt.Errorf("change %d of %s brings %+v", c.Seq, c.ID, c.Note)
		}
		f.notes[c.ID] = *c.Note
	}
	f.since = page.Next
	return page.More, nil
}

// catchUp reads until there is no more.
func (f *follower) catchUp(ctx context.Context) error {
	for more := true; more; {
		var err error
		if more, err = f.step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// checkCopy compares a follower that has caught up with want.
func (f *follower) checkCopy(t rapid.TB, want []notes.Note) {
	t.Helper()
	got := slices.Collect(maps.Values(f.notes))
	want = slices.Clone(want)
	for i := range want {
		if !f.content {
			want[i].Content = ""
		}
	}
	for _, list := range [][]notes.Note{got, want} {
		slices.SortFunc(list, func(a, b notes.Note) int { return cmp.Compare(a.ID, b.ID) })
	}
	if diff := gocmp.Diff(want, got, equalEmpty); diff != "" {
		t.Fatalf("a follower's notes (-want +got):\n%s", diff)
	}
}

// Whatever people do, and whichever tombstones are removed, who follows the
// changes page by page has the notes in the end, and starts over only if
// deletions are forgotten that it has not heard of.
func TestChangesModel(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		rapid.Check(t, func(rt *rapid.T) {
			m := newModel(s, newOwner(t, s), newOwner(t, s))
			var all []*follower
			for _, owner := range m.owners {
				for _, content := range []bool{true, false} {
					all = append(all, &follower{s: s, owner: owner, content: content, limit: rapid.IntRange(1, 4).Draw(rt, "limit")})
				}
			}
			rt.Repeat(map[string]func(*rapid.T){
				"create": m.create,
				"patch":  m.patch,
				"flip":   m.flip,
				"delete": m.delete,
				"forget": func(rt *rapid.T) {
					owner := m.owner(rt)
					upto := m.counters[owner].ChangeSeq - rapid.Int64Range(0, 5).Draw(rt, "kept")
					sql := "DELETE FROM tombstones WHERE user_id = ? AND change_seq <= ?"
					if err := s.WriterDB().Exec(sql, owner, upto).Error; err != nil {
						rt.Fatal(err)
					}
					m.tombstones = slices.DeleteFunc(m.tombstones, func(one tombstone) bool {
						return one.UserID == owner && one.ChangeSeq <= upto
					})
				},
				"follow": func(rt *rapid.T) {
					f := rapid.SampledFrom(all).Draw(rt, "follower")
					if _, err := f.step(rt.Context()); err != nil {
						rt.Fatal(err)
					}
				},
				"catch up": func(rt *rapid.T) {
					f := rapid.SampledFrom(all).Draw(rt, "follower")
					before := f.starts
					if err := f.catchUp(rt.Context()); err != nil {
						rt.Fatal(err)
					}
					if f.starts > before+1 {
						rt.Fatalf("it started over %d times with nobody writing", f.starts-before)
					}
					if want := m.counters[f.owner].ChangeSeq; f.since != want {
						rt.Fatalf("it is at %d, want %d", f.since, want)
					}
					f.checkCopy(rt, m.of(f.owner))
				},
			})
			m.compareTables(rt)
		})
	})
}

// of returns the notes of an owner.
func (m *model) of(owner string) (all []notes.Note) {
	for _, n := range m.notes {
		if n.UserID == owner {
			all = append(all, n)
		}
	}
	return all
}

// Who reads while others write misses nothing.
func TestChangesWhileWriting(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		writing, stop := context.WithCancel(t.Context())
		var writers sync.WaitGroup
		for i := range 4 {
			writers.Go(func() {
				var ids []string
				for n := 0; writing.Err() == nil; n++ {
					var err error
					switch {
					case n%4 == 3:
						err = s.DeleteNote(t.Context(), owner, ids[0])
						ids = ids[1:]
					case n%4 == 2:
						_, err = s.PatchNote(t.Context(), owner, ids[len(ids)/2], notes.Patch{Content: new(fmt.Sprint(i, n))})
					default:
						var note notes.Note
						note, err = s.CreateNote(t.Context(), owner, notes.NewNote{Title: fmt.Sprint(i, n)})
						ids = append(ids, note.ID)
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		followers := []*follower{{s: s, owner: owner, content: true, limit: 3}, {s: s, owner: owner, limit: 500}}
		for began := time.Now(); time.Since(began) < time.Second; {
			for _, f := range followers {
				if _, err := f.step(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		stop()
		writers.Wait()
		refs, err := s.NoteRefs(t.Context(), owner, notes.Query{})
		if err != nil {
			t.Fatal(err)
		}
		all, err := s.NotesByRef(t.Context(), owner, refs)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range followers {
			if err := f.catchUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			f.checkCopy(t, all)
			if f.starts > 0 {
				t.Errorf("it started over %d times", f.starts)
			}
		}
	})
}

// Which numbers a caller may read on from.
func TestChangesSince(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		var ids []string
		for i := range 6 { // changes 1 to 6
			ids = append(ids, newNote(t, s, owner, notes.NewNote{Title: fmt.Sprint(i)}).ID)
		}
		for _, id := range ids[3:5] { // 7 and 8
			if err := s.DeleteNote(t.Context(), owner, id); err != nil {
				t.Fatal(err)
			}
		}
		check := func(since int64, limit int, want string) (next int64) {
			t.Helper()
			page, err := s.Changes(t.Context(), owner, since, limit, true)
			got := fmt.Sprint(err)
			if errors.Is(err, store.ErrGone) {
				got = "gone"
			}
			if err == nil {
				var seqs []string
				for _, c := range page.Changes {
					if c.Note == nil {
						c.Seq = -c.Seq
					}
					seqs = append(seqs, fmt.Sprint(c.Seq))
				}
				got = fmt.Sprint(strings.Join(seqs, " "), " more ", page.More)
			}
			if got != want {
				t.Errorf("Changes(%d, %d) = %s, want %s", since, limit, got, want)
			}
			return page.Next
		}
		check(0, 9, "1 2 3 6 more false")
		check(0, 4, "1 2 3 6 more false")
		check(0, 3, "1 2 3 more true")
		check(3, 9, "6 -7 -8 more false")
		check(7, 1, "-8 more false")
		check(8, 1, " more false")
		check(9, 1, "gone")
		check(-1, 1, "gone")
		check(1<<52, 1, "gone")
		check(1<<62, 1, "gone")
		check(1<<63-1, 1, "gone")

		// The first deletion is forgotten.
		if err := s.WriterDB().Exec("DELETE FROM tombstones WHERE change_seq = 7").Error; err != nil {
			t.Fatal(err)
		}
		check(7, 9, "-8 more false")
		check(6, 9, "gone")
		check(1, 9, "gone")
		next := check(0, 1, "1 more true")
		if next = check(next, 1, "2 more true"); next == 2 {
			t.Error("who has started over goes on like one who has not")
		}
		if err := s.DeleteNote(t.Context(), owner, ids[0]); err != nil { // 9
			t.Fatal(err)
		}
		if last := check(next, 9, "3 6 -9 more false"); last != 9 {
			t.Errorf("the end is %d, want 9", last)
		}
		// The deletion is forgotten that the reader has not heard of.
		if err := s.WriterDB().Exec("DELETE FROM tombstones").Error; err != nil {
			t.Fatal(err)
		}
		check(next, 9, "gone")
		check(9, 9, " more false")
		check(check(0, 1, "2 more true"), 9, "3 6 more false")

		if _, err := s.Changes(t.Context(), "nobody", 0, 1, true); !errors.Is(err, store.ErrOwnerGone) {
			t.Errorf("Changes of nobody = %v, want ErrOwnerGone", err)
		}
	})
}

func TestNewestChanges(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ada, grace, bob := newOwner(t, s), newOwner(t, s), newOwner(t, s)
		for range 3 {
			newNote(t, s, ada, notes.NewNote{Title: "a"})
		}
		newNote(t, s, bob, notes.NewNote{Title: "a"})
		got, err := s.NewestChanges(t.Context(), []string{ada, "nobody", grace})
		if want := map[string]int64{ada: 3, grace: 0}; err != nil || !maps.Equal(got, want) {
			t.Errorf("NewestChanges = %v, %v, want %v", got, err, want)
		}
	})
}

// A page ends at a megabyte, but holds a note at least. Room is asked for first.
func TestChangesPageSize(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		for _, size := range []int{600 << 10, 300 << 10, 200 << 10, 2 << 20, 10} {
			newNote(t, s, owner, notes.NewNote{Title: "a", Content: strings.Repeat("x", size)})
		}
		pages := func(ctx context.Context, content bool) (lengths []int, err error) {
			since := int64(0)
			for more := true; more; {
				page, err := s.Changes(ctx, owner, since, 100, content)
				if err != nil {
					return nil, err
				}
				lengths = append(lengths, len(page.Changes))
				since, more = page.Next, page.More
			}
			return lengths, nil
		}
		asked := []int64{}
		ctx := store.WithReserve(t.Context(), func(bytes int64) error { asked = append(asked, bytes>>10); return nil })
		if got, err := pages(ctx, true); err != nil || !slices.Equal(got, []int{2, 1, 1, 1}) {
			t.Errorf("pages have %v, %v, want 2, 1, 1, 1", got, err)
		}
		if want := []int64{900, 200, 2048}; !slices.Equal(asked, want) {
			t.Errorf("room was asked for %v KB, want %v", asked, want)
		}
		asked = nil
		if got, err := pages(ctx, false); err != nil || !slices.Equal(got, []int{5}) || len(asked) > 0 {
			t.Errorf("pages without content have %v, %v, want 5; asked for %v", got, err, asked)
		}
		full := errors.New("full")
		ctx = store.WithReserve(t.Context(), func(int64) error { return full })
		if _, err := pages(ctx, true); !errors.Is(err, full) {
			t.Errorf("without room: %v", err)
		}
	})
}

// What removes tombstones is known to who reads changes, whichever binary does it.
func TestChangesForgotten(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner, other := newOwner(t, s), newOwner(t, s)
		for _, who := range []string{owner, other} {
			for range 3 {
				note := newNote(t, s, who, notes.NewNote{Title: "a"})
				if err := s.DeleteNote(t.Context(), who, note.ID); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := s.WriterDB().Exec(`UPDATE tombstones SET deleted_at = 1 WHERE user_id = ? AND change_seq <= 4`, owner).Error; err != nil {
			t.Fatal(err)
		}
		swept, err := s.Sweep(t.Context(), store.SweepConfig{TrashRetention: time.Hour})
		if err != nil || swept.Tombstones != 2 {
			t.Fatalf("Sweep = %+v, %v, want 2 tombstones", swept, err)
		}
		for _, test := range []struct {
			owner string
			since int64
			want  error
		}{{owner, 3, store.ErrGone}, {owner, 4, nil}, {other, 1, nil}} {
			if _, err := s.Changes(t.Context(), test.owner, test.since, 1, true); !errors.Is(err, test.want) {
				t.Errorf("Changes since %d = %v, want %v", test.since, err, test.want)
			}
		}
		if err := s.DeleteUser(t.Context(), other); err != nil {
			t.Error(err)
		}
	})
}
