package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"notesd/merge"
	"notesd/notes"
	"notesd/store"
	"notesd/store/storetest"
)

// A patch that was made on an earlier revision is merged with what has changed since.
func TestMergeNote(t *testing.T) {
	const base = "milk\nbread\ntea\n"
	red, blue := new("red"), new("blue")
	tests := []struct {
		name          string
		since         notes.Patch // what has changed since the base
		patch         notes.Patch
		from          notes.Base
		want          func(n *notes.Note) // of the note after since
		onto          int64               // 0: nothing was to be merged
		conflict      []merge.Part
		unmergeable   bool
		preconditions []store.Precondition
		err           error
	}{
		{name: "the present revision", patch: notes.Patch{Content: new("x")}, from: notes.Base{Revision: 1},
			want: func(n *notes.Note) { n.Content = "x" }},
		{name: "other lines", since: notes.Patch{Content: new("oat milk\nbread\ntea\n")},
			patch: notes.Patch{Content: new("milk\nbread\ngreen tea\n")}, from: notes.Base{Revision: 1},
			want: func(n *notes.Note) { n.Content = "oat milk\nbread\ngreen tea\n" }, onto: 2},
		{name: "one line", since: notes.Patch{Content: new("oat\nbread\ntea\n")},
			patch: notes.Patch{Content: new("soy\nbread\ntea\n")}, from: notes.Base{Revision: 1},
			conflict: []merge.Part{{Clash: true, Base: "milk\n", Ours: "oat\n", Theirs: "soy\n"}, {Text: "bread\ntea\n"}}},
		{name: "other fields", since: notes.Patch{Title: new("new"), Pinned: new(true), SetColor: true, Color: red},
			patch: notes.Patch{Tags: &[]string{"x", "z"}, Archived: new(true)}, from: notes.Base{Revision: 1},
			want: func(n *notes.Note) { n.Tags, n.Archived = []string{"x", "z"}, true }, onto: 2},
		{name: "the same fields, the later holds", since: notes.Patch{Title: new("new"), SetColor: true, Color: red, Tags: &[]string{"y", "a"}},
			patch: notes.Patch{Title: new("newer"), SetColor: true, Color: blue, Tags: &[]string{"x", "y", "b"}}, from: notes.Base{Revision: 1},
			want: func(n *notes.Note) { n.Title, n.Color, n.Tags = "newer", blue, []string{"y", "a", "b"} }, onto: 2},
		{name: "what the patch has not changed", since: notes.Patch{Title: new("new"), Markdown: new(true), SetColor: true, Color: red, Trashed: new(true)},
			patch: notes.Patch{Title: new("t"), Markdown: new(false), SetColor: true, Trashed: new(false), Content: new(base)},
			from:  notes.Base{Revision: 1}, want: func(*notes.Note) {}, onto: 2},
		{name: "a revision to come", since: notes.Patch{Title: new("new")}, patch: notes.Patch{Content: new("x")}, from: notes.Base{Revision: 9},
			unmergeable: true},
		{name: "a revision to come, and the client's base", since: notes.Patch{Content: new(base + "\nthere\n")},
			patch: notes.Patch{Content: new("here\n\n" + base)}, from: notes.Base{Revision: 9, Content: new(base)},
			want: func(n *notes.Note) { n.Content = "here\n\n" + base + "\nthere\n" }, onto: 2},
		{name: "the client's base without the content", since: notes.Patch{Content: new("other")},
			patch: notes.Patch{Content: new("x")}, from: notes.Base{Revision: 9, Title: new("t")}, unmergeable: true},
		{name: "the client's base without tags removes none", since: notes.Patch{Tags: &[]string{"a"}},
			patch: notes.Patch{Tags: &[]string{"b"}}, from: notes.Base{Revision: 9, Title: new("t")},
			want: func(n *notes.Note) { n.Tags = []string{"a", "b"} }, onto: 2},
		{name: "more tags than a note may have", since: notes.Patch{Tags: new(manyTags("a", 40))},
			patch: notes.Patch{Tags: new(manyTags("b", 40))}, from: notes.Base{Revision: 1}, unmergeable: true},
		{name: "a text that grows too long", since: notes.Patch{Content: new("above\n" + base)},
			patch: notes.Patch{Content: new(base + "below\n")}, from: notes.Base{Revision: 1, MaxContent: int64(len(base)) + 11},
			unmergeable: true},
		{name: "a text that grows as long as it may", since: notes.Patch{Content: new("above\n" + base)},
			patch: notes.Patch{Content: new(base + "below\n")}, from: notes.Base{Revision: 1, MaxContent: int64(len(base)) + 12},
			want: func(n *notes.Note) { n.Content = "above\n" + base + "below\n" }, onto: 2},
		{name: "a precondition that fails", since: notes.Patch{Title: new("new")}, patch: notes.Patch{Content: new("x")}, from: notes.Base{Revision: 1},
			preconditions: []store.Precondition{ifRevision(1)}, err: store.ErrChanged},
		{name: "a precondition that holds", since: notes.Patch{Title: new("new")}, patch: notes.Patch{Archived: new(true)}, from: notes.Base{Revision: 1},
			preconditions: []store.Precondition{ifRevision(2)},
			want:          func(n *notes.Note) { n.Archived = true }, onto: 2},
		{name: "a rule that is broken", since: notes.Patch{Title: new("new")}, patch: notes.Patch{Title: new("")}, from: notes.Base{Revision: 1},
			err: errAny},
	}
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				owner := newOwner(t, s)
				n := newNote(t, s, owner, notes.NewNote{Title: "t", Content: base, Tags: []string{"x", "y"}})
				was, err := s.PatchNote(t.Context(), owner, n.ID, tt.since)
				if err != nil {
					t.Fatal(err)
				}
				got, onto, err := s.MergeNote(t.Context(), owner, n.ID, tt.patch, tt.from, tt.preconditions...)
				if clash, ok := errors.AsType[*store.ConflictError](err); ok && (tt.unmergeable || tt.conflict != nil) {
					if diff := cmp.Diff(&store.ConflictError{Current: was, Parts: tt.conflict}, clash); diff != "" {
						t.Error(diff)
					}
					return
				}
				if tt.err != nil {
					if tt.err == errAny && err == nil || tt.err != errAny && !errors.Is(err, tt.err) {
						t.Errorf("error %v, want %v", err, tt.err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				want := was
				tt.want(&want)
				if diff := cmp.Diff(want, got, cmpWithoutDates); diff != "" {
					t.Error(diff)
				}
				if onto != tt.onto {
					t.Errorf("merged into revision %d, want %d", onto, tt.onto)
				}
			})
		}
		owner := newOwner(t, s)
		n := newNote(t, s, owner, notes.NewNote{Title: "t"})
		if _, _, err := s.MergeNote(t.Context(), newOwner(t, s), n.ID, notes.Patch{Title: new("x")}, notes.Base{Revision: 1}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("somebody else's note: %v", err)
		}
	})
}

// Writers that add lines at the same time, each on the revision that it saw last, lose none.
func TestMergeNoteAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		const writers, lines = 4, 8
		owner := newOwner(t, s)
		n := newNote(t, s, owner, notes.NewNote{Title: "t", Content: "begin\n"})
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				mine := n
				for i := range lines {
					text := mine.Content + fmt.Sprintf("line %d of writer %d\n", i, w)
					now, _, err := s.MergeNote(t.Context(), owner, n.ID, notes.Patch{Content: &text}, notes.Base{Revision: mine.Revision})
					if err != nil {
						t.Error(err)
						return
					}
					mine = now
				}
			})
		}
		all.Wait()
		got, err := s.Note(t.Context(), owner, n.ID)
		if err != nil {
			t.Fatal(err)
		}
		for w := range writers {
			for i := range lines {
				if line := fmt.Sprintf("line %d of writer %d\n", i, w); strings.Count(got.Content, line) != 1 {
					t.Errorf("%q is there %d times", line, strings.Count(got.Content, line))
				}
			}
		}
	})
}

// A change with an idempotency key is made once, however often it is sent.
func TestIdempotentChanges(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		for _, tt := range []struct {
			name   string
			change func(s *store.Store, key, hash, owner, id string) (notes.Note, error)
		}{
			{"patch", func(s *store.Store, key, hash, owner, id string) (notes.Note, error) {
				return s.PatchNote(keyed(t, key, hash), owner, id, notes.Patch{Content: new("patched")})
			}},
			{"patch that changes nothing", func(s *store.Store, key, hash, owner, id string) (notes.Note, error) {
				return s.PatchNote(keyed(t, key, hash), owner, id, notes.Patch{Title: new("t")})
			}},
			{"patch of a large note", func(s *store.Store, key, hash, owner, id string) (notes.Note, error) {
				return s.PatchNote(keyed(t, key, hash), owner, id, notes.Patch{Content: new(strings.Repeat("large ", 20_000))})
			}},
			{"merge", func(s *store.Store, key, hash, owner, id string) (notes.Note, error) {
				n, _, err := s.MergeNote(keyed(t, key, hash), owner, id, notes.Patch{Content: new("first\nlast\n\nmine\n")}, notes.Base{Revision: 1})
				return n, err
			}},
			{"toggle", func(s *store.Store, key, hash, owner, id string) (notes.Note, error) {
				return s.ToggleNote(keyed(t, key, hash), owner, id, notes.FlagPinned)
			}},
			{"restore", func(s *store.Store, key, hash, owner, id string) (notes.Note, error) {
				return s.RestoreVersion(keyed(t, key, hash), owner, id, 1)
			}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				owner := newOwner(t, s)
				n := newNote(t, s, owner, notes.NewNote{Title: "t", Content: "first\nlast\n"})
				if _, err := s.PatchNote(t.Context(), owner, n.ID, notes.Patch{Content: new("first\nlast\n\nmore\n")}); err != nil {
					t.Fatal(err)
				}
				first, err := tt.change(s, "key", "hash", owner, n.ID)
				if err != nil {
					t.Fatal(err)
				}
				again, err := tt.change(s, "key", "hash", owner, n.ID)
				if diff := cmp.Diff(first, again); diff != "" || err != nil {
					t.Errorf("repeated: %v\n%s", err, diff)
				}
				if _, err := tt.change(s, "key", "other", owner, n.ID); !errors.Is(err, store.ErrIdempotency) {
					t.Errorf("with another body: %v", err)
				}
				now, err := s.PatchNote(t.Context(), owner, n.ID, notes.Patch{Title: new("changed meanwhile"), Content: new("changed, too")})
				if err != nil {
					t.Fatal(err)
				}
				late, err := tt.change(s, "key", "hash", owner, n.ID)
				if diff := cmp.Diff(now, late); diff != "" || err != nil {
					t.Errorf("repeated late: %v\n%s", err, diff)
				}
			})
		}
		t.Run("toggle of a large note", func(t *testing.T) {
			owner := newOwner(t, s)
			n := newNote(t, s, owner, notes.NewNote{Title: "t", Content: strings.Repeat("large ", 20_000)})
			first, err := s.ToggleNote(keyed(t, "key", "hash"), owner, n.ID, notes.FlagPinned)
			if err != nil {
				t.Fatal(err)
			}
			again, err := s.ToggleNote(keyed(t, "key", "hash"), owner, n.ID, notes.FlagPinned)
			if diff := cmp.Diff(first, again); diff != "" || err != nil {
				t.Errorf("repeated: %v\n%s", err, diff)
			}
		})
		t.Run("restore of a version that is gone since", func(t *testing.T) {
			owner := newOwner(t, s)
			n := newNote(t, s, owner, notes.NewNote{Title: "t"})
			if _, err := s.PatchNote(t.Context(), owner, n.ID, notes.Patch{Title: new("u")}); err != nil {
				t.Fatal(err)
			}
			first, err := s.RestoreVersion(keyed(t, "key", "hash"), owner, n.ID, 1)
			if err == nil {
				err = s.DeleteVersions(t.Context(), owner, n.ID)
			}
			if err != nil {
				t.Fatal(err)
			}
			again, err := s.RestoreVersion(keyed(t, "key", "hash"), owner, n.ID, 1)
			if diff := cmp.Diff(first, again); diff != "" || err != nil {
				t.Errorf("repeated: %v\n%s", err, diff)
			}
			_, err = s.RestoreVersion(keyed(t, "another", "hash"), owner, n.ID, 1)
			if !errors.Is(err, store.ErrVersionGone) {
				t.Errorf("with another key: %v", err)
			}
		})
		t.Run("refused", func(t *testing.T) {
			owner := newOwner(t, s)
			n := newNote(t, s, owner, notes.NewNote{Title: "t"})
			never := store.Precondition{Holds: func(int64, time.Time) bool { return false }}
			if _, err := s.PatchNote(keyed(t, "key", "hash"), owner, n.ID, notes.Patch{Title: new("x")}, never); !errors.Is(err, store.ErrChanged) {
				t.Errorf("%v, want %v", err, store.ErrChanged)
			}
			got, err := s.PatchNote(keyed(t, "key", "hash"), owner, n.ID, notes.Patch{Title: new("x")})
			if got.Title != "x" || err != nil {
				t.Errorf("the refusal was kept: %+v, %v", got, err)
			}
		})
	})
}

// A note with an id that its client made is created once.
func TestCreateWithID(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner, other := newOwner(t, s), newOwner(t, s)
		in := notes.NewNote{ID: store.NewID(), Title: "t", Content: strings.Repeat("large ", 20_000)}
		made := newNote(t, s, owner, in)
		if made.ID != in.ID {
			t.Errorf("id %s, want %s", made.ID, in.ID)
		}
		in.Title = "sent again"
		again, err := s.CreateNote(t.Context(), owner, in)
		if diff := cmp.Diff(made, again); diff != "" || !errors.Is(err, store.ErrExists) {
			t.Errorf("sent again: %v\n%s", err, diff)
		}
		if _, err := s.CreateNote(t.Context(), other, in); !errors.Is(err, store.ErrDuplicate) {
			t.Errorf("somebody else's id: %v", err)
		}
		if err := s.DeleteNote(t.Context(), owner, in.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := s.CreateNote(t.Context(), owner, in); !errors.Is(err, store.ErrDeleted) {
			t.Errorf("deleted: %v", err)
		}
	})
}

func manyTags(name string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint(name, i)
	}
	return list
}

// keyed is the context of a request with an idempotency key.
func keyed(t *testing.T, key, hash string) context.Context {
	return store.WithIdempotencyKey(t.Context(), key, []byte(hash))
}

var cmpWithoutDates = cmpopts.IgnoreFields(notes.Note{}, "UpdatedAt", "TrashedAt", "Revision", "ChangeSeq")
