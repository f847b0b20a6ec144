package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"notesd/notes"
	"notesd/store"
	"notesd/store/storetest"
)

// tagged creates a note with tags, and returns its id.
func tagged(t testing.TB, s *store.Store, owner string, tags ...string) string {
	t.Helper()
	n, err := s.CreateNote(t.Context(), owner, notes.NewNote{Title: "t", Content: "c", Tags: tags})
	if err != nil {
		t.Fatal(err)
	}
	return n.ID
}

// wantTags compares the tags of a note.
func wantTags(t testing.TB, s *store.Store, owner, id string, want ...string) notes.Note {
	t.Helper()
	n, err := s.Note(t.Context(), owner, id)
	if err != nil || !slices.Equal(n.Tags, want) {
		t.Errorf("the note has the tags %q, %v, want %q", n.Tags, err, want)
	}
	return n
}

func mustRename(t testing.TB, s *store.Store, owner string, from []string, to string, changed int64) string {
	t.Helper()
	r, err := s.RenameTags(t.Context(), owner, from, to)
	if err != nil || r.Changed != changed {
		t.Fatalf("RenameTags(%q, %q) = %+v, %v, want %d changed", from, to, r, err, changed)
	}
	return r.ID
}

func mustUndo(t testing.TB, s *store.Store, owner, id string, changed int64) {
	t.Helper()
	if n, err := s.UndoRename(t.Context(), owner, id); err != nil || n != changed {
		t.Errorf("UndoRename = %d, %v, want %d", n, err, changed)
	}
}

// Each tag is counted once a note, without the trash, and with and without the archive.
func TestTags(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner, other := newOwner(t, s), mustUser(t, s, "other@example.org").ID
		tagged(t, s, owner, "b", "a", "b")
		archived := tagged(t, s, owner, "b", "Ä", "archived only")
		trashed := tagged(t, s, owner, "b", "trashed only")
		tagged(t, s, owner, "B", "")
		tagged(t, s, owner)
		tagged(t, s, other, "another's")
		if _, err := s.ToggleNote(t.Context(), owner, archived, notes.FlagArchived); err != nil {
			t.Fatal(err)
		}
		if _, err := s.TrashNote(t.Context(), owner, trashed); err != nil {
			t.Fatal(err)
		}
		got, err := s.Tags(t.Context(), owner)
		want := []store.TagCount{{"", 1, 1}, {"a", 1, 1}, {"archived only", 0, 1}, {"B", 1, 1}, {"b", 1, 2}, {"Ä", 0, 1}}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("Tags = %v (-want +got):\n%s", err, diff)
		}
		if got, err := s.Tags(t.Context(), "nobody"); err != nil || len(got) > 0 {
			t.Errorf("Tags of nobody = %v, %v", got, err)
		}
	})
}

// A rename is a change of each note like any other, reaches notes wherever they are, and touches no
// other notes. It is undone except where tags have changed since.
func TestRenameTags(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := store.WithAuthor(t.Context(), notes.Author{Kind: notes.KindSession, ID: "somebody"})
		owner, other := newOwner(t, s), mustUser(t, s, "other@example.org").ID
		plain := tagged(t, s, owner, "x", "a", "y")
		twice := tagged(t, s, owner, "b", "x", "to", "a", "a")
		trashed, archived := tagged(t, s, owner, "a"), tagged(t, s, owner, "b")
		already, none := tagged(t, s, owner, "to", "to"), tagged(t, s, owner, "A", "ab", "")
		gone, retagged, untagged := tagged(t, s, owner, "a"), tagged(t, s, owner, "a", "b", "x"), tagged(t, s, owner, "a")
		foreign := tagged(t, s, other, "a")
		if _, err := s.TrashNote(ctx, owner, trashed); err != nil {
			t.Fatal(err)
		}
		if _, err := s.ToggleNote(ctx, owner, archived, notes.FlagArchived); err != nil {
			t.Fatal(err)
		}
		before, err := s.Counters(ctx, owner)
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.RenameTags(ctx, owner, []string{"a", "b", "to", "unknown"}, "to")
		if err != nil || r.Changed != 7 {
			t.Fatalf("RenameTags = %+v, %v, want 7 changed", r, err)
		}
		after, err := s.Counters(ctx, owner)
		if err != nil || after.ChangeSeq != before.ChangeSeq+7 {
			t.Errorf("the changes went from %d to %d, %v, want 7", before.ChangeSeq, after.ChangeSeq, err)
		}
		if n := wantTags(t, s, owner, plain, "x", "to", "y"); n.Revision != 2 {
			t.Errorf("the note is at revision %d, want 2", n.Revision)
		}
		if now, err := s.Version(ctx, owner, plain, 2); err != nil || now.By.ID != "somebody" {
			t.Errorf("the note is by %+v, %v, want the author of the request", now.By, err)
		}
		if was, err := s.Version(ctx, owner, plain, 1); err != nil || !slices.Equal(was.Note.Tags, []string{"x", "a", "y"}) {
			t.Errorf("the version before = %v, %v", was.Note.Tags, err)
		}
		wantTags(t, s, owner, twice, "to", "x")
		wantTags(t, s, owner, trashed, "to")
		wantTags(t, s, owner, archived, "to")
		if n := wantTags(t, s, owner, already, "to", "to"); n.Revision != 1 {
			t.Errorf("a note that had the tag is at revision %d", n.Revision)
		}
		wantTags(t, s, owner, none, "A", "ab", "")
		wantTags(t, s, other, foreign, "a")

		// What happens meanwhile.
		patch := func(id string, tags ...string) {
			t.Helper()
			if _, err := s.PatchNote(ctx, owner, id, notes.Patch{Tags: &tags}); err != nil {
				t.Fatal(err)
			}
		}
		patch(retagged, "new", "to")
		patch(untagged, "new")
		if err := s.DeleteNote(ctx, owner, gone); err != nil {
			t.Fatal(err)
		}
		late := tagged(t, s, owner, "to")
		if _, err := s.UndoRename(ctx, other, r.ID); !errors.Is(err, store.ErrRenameGone) {
			t.Errorf("UndoRename by another user = %v, want ErrRenameGone", err)
		}
		mustUndo(t, s, owner, r.ID, 5)
		wantTags(t, s, owner, plain, "x", "a", "y")
		wantTags(t, s, owner, twice, "b", "x", "to", "a", "a")
		wantTags(t, s, owner, trashed, "a")
		wantTags(t, s, owner, archived, "b")
		wantTags(t, s, owner, retagged, "new", "a", "b")
		wantTags(t, s, owner, untagged, "new")
		wantTags(t, s, owner, late, "to")
		mustUndo(t, s, owner, r.ID, 5) // again: nothing changes
		wantTags(t, s, owner, plain, "x", "a", "y")
	})
}

// TestRenameTagsTwice: a rename that is sent twice at once is one, and can be undone whole.
func TestRenameTagsTwice(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		var ids []string
		for range 150 {
			ids = append(ids, tagged(t, s, owner, "a"))
		}
		var twins sync.WaitGroup
		undo := make([]string, 2)
		for i := range undo {
			twins.Go(func() {
				r, err := s.RenameTags(t.Context(), owner, []string{"a"}, "b")
				if err != nil {
					t.Errorf("RenameTags = %v", err)
				}
				undo[i] = r.ID
			})
		}
		twins.Wait()
		for _, id := range undo {
			if _, err := s.UndoRename(t.Context(), owner, id); err != nil {
				t.Errorf("UndoRename = %v", err)
			}
		}
		for _, id := range ids {
			wantTags(t, s, owner, id, "a")
		}
	})
}

func TestRenameTagsRefused(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		long := string(slices.Repeat([]rune{'ä'}, notes.MaxTag+1))
		for _, tt := range []struct {
			from []string
			to   string
		}{{nil, "to"}, {[]string{"a"}, ""}, {[]string{long}, "to"}, {[]string{"a"}, long}, {[]string{"a\x00"}, "to"},
			{make([]string, store.MaxRenamed+1), "to"}} {
			if _, err := s.RenameTags(t.Context(), owner, tt.from, tt.to); errorsAs[*notes.InvalidError](err) == nil {
				t.Errorf("RenameTags(%q, %q) = %v, want an InvalidError", tt.from, tt.to, err)
			}
		}
		if _, err := s.RenameTags(t.Context(), "nobody", []string{"a"}, "b"); !errors.Is(err, store.ErrOwnerGone) {
			t.Errorf("RenameTags of nobody = %v, want ErrOwnerGone", err)
		}
		if _, err := s.UndoRename(t.Context(), owner, "unknown"); !errors.Is(err, store.ErrRenameGone) {
			t.Errorf("UndoRename of nothing = %v, want ErrRenameGone", err)
		}
		// A longer tag may exceed the quota: what was renamed stays, and the rest can follow.
		tagged(t, s, owner, "a")
		c, err := s.Counters(t.Context(), owner)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SetQuota(t.Context(), owner, nil, new(c.Used())); err != nil {
			t.Fatal(err)
		}
		if _, err := s.RenameTags(t.Context(), owner, []string{"a"}, "longer"); !errors.Is(err, store.ErrQuota) {
			t.Errorf("RenameTags above the quota = %v, want ErrQuota", err)
		}
	})
}

func errorsAs[E error](err error) (e E) { _ = errors.As(err, &e); return e }

// A rename that was cut off goes on under its key, as the same rename, and is undone as a whole.
// The key is good for no other request.
func TestRenameTagsAgain(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		var ids []string
		for i := range 300 {
			ids = append(ids, tagged(t, s, owner, "a", fmt.Sprint(i)))
		}
		large := strings.Repeat("x", 100<<10)
		if _, err := s.PatchNote(t.Context(), owner, ids[150], notes.Patch{Content: &large}); err != nil {
			t.Fatal(err)
		}
		keyed := func(ctx context.Context, hash string) context.Context {
			return store.WithIdempotencyKey(ctx, "key", []byte(hash))
		}
		full := errors.New("no memory for a large note")
		cut := store.WithReserve(t.Context(), func(int64) error { return full })
		if _, err := s.RenameTags(keyed(cut, "rename"), owner, []string{"a"}, "b"); !errors.Is(err, full) {
			t.Fatalf("RenameTags that is cut off = %v", err)
		}
		wantTags(t, s, owner, ids[0], "b", "0")
		wantTags(t, s, owner, ids[150], "a", "150")
		wantTags(t, s, owner, ids[299], "a", "299")
		if _, err := s.RenameTags(keyed(t.Context(), "another"), owner, []string{"a"}, "c"); !errors.Is(err, store.ErrIdempotency) {
			t.Errorf("another rename under the key = %v, want ErrIdempotency", err)
		}
		var first store.TagRename
		for range 2 {
			r, err := s.RenameTags(keyed(t.Context(), "rename"), owner, []string{"a"}, "b")
			if err != nil || r.Changed != 300 || first.ID != "" && first != r {
				t.Fatalf("RenameTags again = %+v, %v, want 300 changed, as %+v", r, err, first)
			}
			first = r
		}
		if _, err := s.UndoRename(keyed(t.Context(), "undo"), owner, first.ID); !errors.Is(err, store.ErrIdempotency) {
			t.Errorf("UndoRename under the key = %v, want ErrIdempotency", err)
		}
		undo := store.WithIdempotencyKey(t.Context(), "another key", []byte("undo"))
		for range 2 {
			if n, err := s.UndoRename(undo, owner, first.ID); err != nil || n != 300 {
				t.Errorf("UndoRename = %d, %v, want 300", n, err)
			}
		}
		for i, id := range ids {
			wantTags(t, s, owner, id, "a", fmt.Sprint(i))
		}
	})
}

// A rename that was cut off goes on when it is asked for again, also without a key, and an undo
// takes all of it back, for a day after its end.
func TestRenameTagsResumes(t *testing.T) {
	eachInTime(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		first := tagged(t, s, owner, "a")
		large, err := s.CreateNote(t.Context(), owner, notes.NewNote{Title: "t", Content: strings.Repeat("x", 100<<10), Tags: []string{"a"}})
		if err != nil {
			t.Fatal(err)
		}
		full := errors.New("no memory for a large note")
		cut := store.WithReserve(t.Context(), func(int64) error { return full })
		if _, err := s.RenameTags(cut, owner, []string{"a"}, "b"); !errors.Is(err, full) {
			t.Fatalf("RenameTags that is cut off = %v", err)
		}
		wantTags(t, s, owner, first, "b")
		wantTags(t, s, owner, large.ID, "a")
		time.Sleep(59 * time.Minute)
		other := mustRename(t, s, owner, []string{"none"}, "b", 0)
		id := mustRename(t, s, owner, []string{"a"}, "b", 2)
		if again := mustRename(t, s, owner, []string{"a"}, "b", 0); again == id || other == id {
			t.Error("a rename after the end of another is not a rename of its own")
		}
		time.Sleep(24*time.Hour - time.Millisecond)
		mustSweep(t, s)
		mustUndo(t, s, owner, id, 2)
		wantTags(t, s, owner, first, "a")
		wantTags(t, s, owner, large.ID, "a")
	})
}

// Two renames, edits and a deletion at once: no edit is lost, and every tag is renamed in the end.
func TestRenameTagsTogether(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		var ids []string
		for range 120 {
			ids = append(ids, tagged(t, s, owner, "a", "x"))
		}
		var running sync.WaitGroup
		for _, to := range []string{"b", "c"} {
			running.Go(func() {
				if _, err := s.RenameTags(t.Context(), owner, []string{"a", "x"}, to); err != nil {
					t.Errorf("RenameTags to %s = %v", to, err)
				}
			})
		}
		running.Go(func() {
			for _, id := range ids[20:] {
				content := "edited " + id
				if _, err := s.PatchNote(t.Context(), owner, id, notes.Patch{Content: &content}); err != nil {
					t.Error(err)
				}
			}
		})
		running.Go(func() {
			for _, id := range ids[:20] {
				if err := s.DeleteNote(t.Context(), owner, id); err != nil {
					t.Error(err)
				}
			}
		})
		running.Wait()
		for _, id := range ids[20:] {
			n, err := s.Note(t.Context(), owner, id)
			if err != nil || n.Content != "edited "+id || len(n.Tags) != 1 || n.Tags[0] != "b" && n.Tags[0] != "c" {
				t.Fatalf("a note is %+v, %v", n, err)
			}
		}
	})
}

// A rename can be undone for a day. Only the last ones of a user are kept.
func TestRenamesAreSwept(t *testing.T) {
	eachInTime(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		tagged(t, s, owner, "a")
		first := mustRename(t, s, owner, []string{"a"}, "b", 1)
		time.Sleep(24 * time.Hour)
		if _, err := s.UndoRename(t.Context(), owner, first); !errors.Is(err, store.ErrRenameGone) {
			t.Errorf("UndoRename after a day = %v, want ErrRenameGone", err)
		}
		time.Sleep(time.Hour - time.Millisecond)
		if got := mustSweep(t, s); got.TagRenames != 0 {
			t.Errorf("swept %+v within a day and an hour", got)
		}
		time.Sleep(time.Millisecond)
		if got := mustSweep(t, s); got.TagRenames != 2 {
			t.Errorf("swept %+v after a day and an hour, want the rename and its note", got)
		}
		first = mustRename(t, s, owner, []string{"b"}, "c", 1)
		var last string
		for range 20 {
			time.Sleep(time.Millisecond)
			last = mustRename(t, s, owner, []string{"none"}, "c", 0)
		}
		if _, err := s.UndoRename(t.Context(), owner, first); !errors.Is(err, store.ErrRenameGone) {
			t.Errorf("UndoRename of the 21st = %v, want ErrRenameGone", err)
		}
		mustUndo(t, s, owner, last, 0)
	})
}

// Of any tags: a rename leaves none of the old ones and loses no other, an undo at once restores
// them exactly, and an undo after changes keeps what was added and what was removed.
func TestRenamedTags(t *testing.T) {
	tag := rapid.SampledFrom([]string{"a", "b", "c", "to", "x", "y"})
	rapid.Check(t, func(t *rapid.T) {
		before := rapid.SliceOfN(tag, 0, 6).Draw(t, "before")
		from := rapid.SliceOfN(tag, 1, 3).Draw(t, "from")
		after, restored := store.RenamedTags(before, from, "to")
		touched := false
		for _, tag := range before {
			old := slices.Contains(from, tag) && tag != "to"
			touched = touched || old
			if slices.Contains(after, tag) == old || old && !slices.Contains(after, "to") {
				t.Fatalf("%q becomes %q", before, after)
			}
		}
		if !touched && !slices.Equal(before, after) {
			t.Fatalf("%q becomes %q without a tag to rename", before, after)
		}
		if got := restored(after); !slices.Equal(got, before) {
			t.Fatalf("%q is restored as %q", before, got)
		}
		added := append(slices.Clone(after), "new")
		if got := restored(added); !slices.Contains(got, "new") && touched {
			t.Fatalf("%q is restored as %q", added, got)
		}
		without := slices.DeleteFunc(slices.Clone(after), func(tag string) bool { return tag == "to" })
		if got := restored(without); touched && !slices.Equal(got, without) {
			t.Fatalf("%q, which has lost the tag, is restored as %q", without, got)
		}
	})
}
