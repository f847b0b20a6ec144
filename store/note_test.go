package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"notesd/notes"
	"notesd/store"
	"notesd/store/storetest"
)

// newOwner makes a person who may have notes.
func newOwner(t testing.TB, s *store.Store) string {
	t.Helper()
	user, err := s.CreateUser(t.Context(), uuid.NewString()+"@example.com", "Ada", "")
	if err != nil {
		t.Fatal(err)
	}
	return user.ID
}

// newNote makes a note of owner's.
func newNote(t testing.TB, s *store.Store, owner string, in notes.NewNote) notes.Note {
	t.Helper()
	note, err := s.CreateNote(t.Context(), owner, in)
	if err != nil {
		t.Fatal(err)
	}
	return note
}

// expect fails the test unless a call returned what it should have.
func expect(t testing.TB, call string, got notes.Note, err error, want notes.Note, wantErr error) {
	t.Helper()
	if !errors.Is(err, wantErr) {
		t.Errorf("%s = %v, want %v", call, err, wantErr)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", call, diff)
	}
}

// TestStrangersNote: another's note looks like none, whatever is done with it.
func TestStrangersNote(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner, stranger := newOwner(t, s), newOwner(t, s)
		note := newNote(t, s, owner, notes.NewNote{Title: "mine"})
		note, err := s.TrashNote(t.Context(), owner, note.ID)
		if err != nil {
			t.Fatal(err)
		}
		ctx := t.Context()
		for _, id := range []string{note.ID, "none", "", "'; DROP TABLE notes; --"} {
			for name, call := range map[string]func(owner string) error{
				"Note":              func(o string) error { _, err := s.Note(t.Context(), o, id); return err },
				"PatchNote":         func(o string) error { _, err := s.PatchNote(ctx, o, id, notes.Patch{}); return err },
				"ToggleNote":        func(o string) error { _, err := s.ToggleNote(ctx, o, id, notes.FlagPinned); return err },
				"TrashNote":         func(o string) error { _, err := s.TrashNote(t.Context(), o, id); return err },
				"RestoreNote":       func(o string) error { _, err := s.RestoreNote(t.Context(), o, id); return err },
				"DeleteNote":        func(o string) error { return s.DeleteNote(t.Context(), o, id) },
				"DeleteTrashedNote": func(o string) error { return s.DeleteTrashedNote(t.Context(), o, id) },
			} {
				if err := call(stranger); !errors.Is(err, store.ErrNotFound) {
					t.Errorf("%s(%q) of a stranger = %v, want %v", name, id, err, store.ErrNotFound)
				}
			}
		}
		notes, err := s.NotesByRef(t.Context(), stranger, []store.Ref{{Key: note.Key}})
		if err != nil || len(notes) != 0 {
			t.Errorf("NotesByRef() of a stranger = %v, %v, want none", notes, err)
		}
		got, err := s.Note(t.Context(), owner, note.ID)
		expect(t, "Note", got, err, note, nil)
	})
}

// TestOwnerGone: whoever is deleted meanwhile has no notes to write.
func TestOwnerGone(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		note := newNote(t, s, owner, notes.NewNote{Title: "t", Tags: []string{"x"}, IdempotencyKey: "k"})
		if err := s.DeleteUser(t.Context(), owner); err != nil {
			t.Fatal(err)
		}
		for name, call := range map[string]func() error{
			"CreateNote": func() error {
				_, err := s.CreateNote(t.Context(), owner, notes.NewNote{Title: "t", IdempotencyKey: "k"})
				return err
			},
			"PatchNote":  func() error { _, err := s.PatchNote(t.Context(), owner, note.ID, notes.Patch{}); return err },
			"ToggleNote": func() error { _, err := s.ToggleNote(t.Context(), owner, note.ID, notes.FlagPinned); return err },
			"DeleteNote": func() error { return s.DeleteNote(t.Context(), owner, note.ID) },
		} {
			if err := call(); !errors.Is(err, store.ErrOwnerGone) {
				t.Errorf("%s = %v, want %v", name, err, store.ErrOwnerGone)
			}
		}
		for name, call := range map[string]func() error{
			"Note":     func() error { _, err := s.Note(t.Context(), owner, note.ID); return err },
			"Counters": func() error { _, err := s.Counters(t.Context(), owner); return err },
			"SetQuota": func() error { return s.SetQuota(t.Context(), owner, nil, nil) },
		} {
			if err := call(); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s = %v, want %v", name, err, store.ErrNotFound)
			}
		}
	})
}

// TestBytes: every text comes back as it was sent.
func TestBytes(t *testing.T) {
	awkward := []rune("\ufeff\ufffe\uffff\ufffd\u2028\r\n\t\x01\x7f'\"\\<>&%_$?@:{}äß🎉\U0010ffff")
	char := rapid.OneOf(rapid.SampledFrom(awkward),
		rapid.Rune().Filter(func(r rune) bool { return r != 0 && utf8.ValidRune(r) }))
	text, short, line := rapid.StringOf(char), rapid.StringOfN(char, 0, 20, -1), rapid.StringOfN(char, 1, 20, -1)
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		rapid.Check(t, func(t *rapid.T) {
			in := notes.NewNote{
				Title:   line.Draw(t, "title"),
				Content: text.Draw(t, "content"),
				Tags:    rapid.SliceOfN(short, 0, 3).Draw(t, "tags"),
				Color:   rapid.Ptr(short, true).Draw(t, "color"),
			}
			made, err := s.CreateNote(t.Context(), owner, in)
			if err != nil {
				t.Fatal(err)
			}
			want := made
			want.Title, want.Content, want.Color = in.Title, in.Content, in.Color
			want.Tags = append([]string{}, in.Tags...)
			compare(t, "CreateNote", made, nil, want, nil)
			got, err := s.Note(t.Context(), owner, made.ID)
			compare(t, "Note", got, err, want, nil)

			want.Title, want.Content = line.Draw(t, "new title"), text.Draw(t, "new content")
			want.Tags = append([]string{}, rapid.SliceOfN(short, 0, 3).Draw(t, "new tags")...)
			patch := notes.Patch{Title: &want.Title, Content: &want.Content, Tags: &want.Tags}
			patched, err := s.PatchNote(t.Context(), owner, made.ID, patch)
			want.Revision, want.ChangeSeq, want.UpdatedAt = patched.Revision, patched.ChangeSeq, patched.UpdatedAt
			compare(t, "PatchNote", patched, err, want, nil)
			got, err = s.Note(t.Context(), owner, made.ID)
			compare(t, "Note", got, err, want, nil)
		})
	})
}

// TestLargeNote: two megabytes are a note like others.
func TestLargeNote(t *testing.T) {
	const size = 2 << 20 // more takes a busy machine with the race detector longer than a transaction may idle
	line := "Schöne Grüße aus 日本 🎉, and a stretch of ASCII that is longer than the rest of the line\n"
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		content := strings.Repeat(line, size/len(line)) + "NEEDLE"
		note := newNote(t, s, owner, notes.NewNote{Title: "large", Content: content})
		got, err := s.Note(t.Context(), owner, note.ID)
		if err != nil || got.Content != content {
			t.Errorf("Note() = %v, and the content is the same: %t", err, got.Content == content)
		}
		flipped, err := s.ToggleNote(t.Context(), owner, note.ID, notes.FlagPinned)
		if err != nil || flipped.Content != content {
			t.Errorf("ToggleNote() = %v, and the content is the same: %t", err, flipped.Content == content)
		}
		content = "begins anew\n" + content
		patched, err := s.PatchNote(t.Context(), owner, note.ID, notes.Patch{Content: &content})
		if err != nil || patched.Content != content {
			t.Errorf("PatchNote() = %v, and the content is the new one: %t", err, patched.Content == content)
		}
		refs, err := s.NoteRefs(t.Context(), owner, notes.Query{Search: "needle"})
		if err != nil || len(refs) != 1 || refs[0].Bytes != int64(len("large")+len(content)) {
			t.Errorf("NoteRefs() = %v, %v, want the note of %d bytes", refs, err, len("large")+len(content))
		}
		if err := s.DeleteNote(t.Context(), owner, note.ID); err != nil {
			t.Error(err)
		}
		counters, err := s.Counters(t.Context(), owner)
		if want := (store.Counters{ChangeSeq: 4}); counters != want || err != nil {
			t.Errorf("Counters() = %+v, %v, want %+v", counters, err, want)
		}
	})
}

// TestManyTags: the list of tags keeps its order and its repetitions.
func TestManyTags(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		var tags []string
		for i := range 50 {
			tags = append(tags, strings.Repeat("日", 62)+fmt.Sprint(i%7))
		}
		owner := newOwner(t, s)
		note := newNote(t, s, owner, notes.NewNote{Title: "t", Tags: tags})
		got, err := s.Note(t.Context(), owner, note.ID)
		expect(t, "Note", got, err, note, nil)
		if !slices.Equal(got.Tags, tags) {
			t.Errorf("Tags = %q, want %q", got.Tags, tags)
		}
		tags[0], tags[1] = "not", "the caller's"
		if slices.Equal(note.Tags, tags) {
			t.Error("the note shares its tags with the caller")
		}
	})
}

// TestUpdatedAt grows with every change, also inside one millisecond and while
// the clock stands behind the last change.
func TestUpdatedAt(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		note := newNote(t, s, owner, notes.NewNote{Title: "t"})
		ahead := time.Now().Add(time.Hour).UnixMilli()
		exec(t, s, `UPDATE notes SET updated_at = ? WHERE id = ?`, ahead, note.ID)
		flipped, err := s.ToggleNote(t.Context(), owner, note.ID, notes.FlagPinned)
		if err != nil || flipped.UpdatedAt.UnixMilli() != ahead+1 {
			t.Errorf("ToggleNote() at %v, %v, want %v", flipped.UpdatedAt, err, time.UnixMilli(ahead+1))
		}
		trashed, err := s.TrashNote(t.Context(), owner, note.ID)
		if err != nil || trashed.UpdatedAt.UnixMilli() != ahead+2 {
			t.Errorf("TrashNote() at %v, %v, want %v", trashed.UpdatedAt, err, time.UnixMilli(ahead+2))
		}
		if trashed.TrashedAt == nil || !trashed.TrashedAt.Equal(trashed.UpdatedAt) {
			t.Errorf("TrashedAt = %v, want UpdatedAt, %v", trashed.TrashedAt, trashed.UpdatedAt)
		}
	})
}

// exec runs a statement past the store's methods.
func exec(t testing.TB, s *store.Store, statement string, args ...any) {
	t.Helper()
	if err := s.WriterDB().Exec(statement, args...).Error; err != nil {
		t.Fatal(err)
	}
}

// TestTrash: a repetition changes nothing, not even the date.
func TestTrash(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		note := newNote(t, s, owner, notes.NewNote{Title: "t"})
		restored, err := s.RestoreNote(t.Context(), owner, note.ID)
		expect(t, "RestoreNote of a note that is not in the trash", restored, err, note, nil)
		trashed, err := s.TrashNote(t.Context(), owner, note.ID)
		if err != nil || !trashed.Trashed || trashed.TrashedAt == nil {
			t.Fatalf("TrashNote() = %+v, %v", trashed, err)
		}
		again, err := s.TrashNote(t.Context(), owner, note.ID)
		expect(t, "TrashNote again", again, err, trashed, nil)
		restored, err = s.RestoreNote(t.Context(), owner, note.ID)
		if err != nil || restored.Trashed || restored.TrashedAt != nil || restored.Revision != 3 {
			t.Errorf("RestoreNote() = %+v, %v", restored, err)
		}
		if err := s.DeleteTrashedNote(t.Context(), owner, note.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("DeleteTrashedNote() of a note that is not in the trash = %v, want %v", err, store.ErrNotFound)
		}
	})
}

func TestIdempotencyKey(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner, other := newOwner(t, s), newOwner(t, s)
		in := notes.NewNote{Title: "t", Tags: []string{"x"}, IdempotencyKey: "key", BodyHash: []byte("hash")}
		note := newNote(t, s, owner, in)

		again, err := s.CreateNote(t.Context(), owner, in)
		expect(t, "CreateNote again", again, err, note, nil)
		if theirs := newNote(t, s, other, in); theirs.ID == note.ID {
			t.Error("another's key gave the same note")
		}
		if err := s.SetQuota(t.Context(), owner, new(int64(1)), nil); err != nil {
			t.Fatal(err)
		}
		again, err = s.CreateNote(t.Context(), owner, in)
		expect(t, "CreateNote again with no room left", again, err, note, nil)
		in.BodyHash = []byte("another")
		again, err = s.CreateNote(t.Context(), owner, in)
		expect(t, "CreateNote with another body", again, err, notes.Note{}, store.ErrIdempotency)

		in.IdempotencyKey = "refused"
		again, err = s.CreateNote(t.Context(), owner, in)
		expect(t, "CreateNote above the quota", again, err, notes.Note{}, store.ErrQuota)
		if err := s.SetQuota(t.Context(), owner, nil, nil); err != nil {
			t.Fatal(err)
		}
		in.BodyHash = []byte("a third")
		newNote(t, s, owner, in) // what was refused left no key

		in.IdempotencyKey, in.BodyHash = "key", []byte("hash")
		changed, err := s.ToggleNote(t.Context(), owner, note.ID, notes.FlagPinned)
		if err != nil {
			t.Fatal(err)
		}
		again, err = s.CreateNote(t.Context(), owner, in)
		expect(t, "CreateNote again of a note that changed", again, err, changed, nil)
		if err := s.DeleteNote(t.Context(), owner, note.ID); err != nil {
			t.Fatal(err)
		}
		again, err = s.CreateNote(t.Context(), owner, in)
		expect(t, "CreateNote again of a note that was deleted", again, err, notes.Note{}, store.ErrNotFound)
	})
}

// TestIdempotencyLife: a key is honoured for a day.
func TestIdempotencyLife(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		in := notes.NewNote{Title: "t", IdempotencyKey: "key", BodyHash: []byte("hash")}
		note := newNote(t, s, owner, in)
		age := func(by time.Duration) {
			exec(t, s, `UPDATE idempotency_keys SET created_at = ?`, time.Now().Add(-by).UnixMilli())
		}
		age(24*time.Hour - time.Minute)
		if again := newNote(t, s, owner, in); again.ID != note.ID {
			t.Error("a key of less than a day made another note")
		}
		age(24 * time.Hour)
		in.BodyHash = []byte("another")
		second := newNote(t, s, owner, in)
		if second.ID == note.ID {
			t.Error("a key of a day gave the same note")
		}
		if again := newNote(t, s, owner, in); again.ID != second.ID {
			t.Error("a key that was used anew made a third note")
		}
	})
}

func TestQuota(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		if err := s.SetQuota(t.Context(), owner, new(int64(2)), new(int64(10+2*store.NoteCost+store.TagCost))); err != nil {
			t.Fatal(err)
		}
		note := newNote(t, s, owner, notes.NewNote{Title: "12345", Content: "678", Tags: []string{"9"}})
		newNote(t, s, owner, notes.NewNote{Title: "0"}) // the last that fits
		got, err := s.CreateNote(t.Context(), owner, notes.NewNote{Title: "1"})
		expect(t, "CreateNote above the quota", got, err, notes.Note{}, store.ErrQuota)
		for _, patch := range []notes.Patch{{Title: new("123456")}, {Content: new("6789")}, {Tags: &[]string{"9", "0"}}} {
			got, err := s.PatchNote(t.Context(), owner, note.ID, patch)
			expect(t, "PatchNote above the quota", got, err, notes.Note{}, store.ErrQuota)
		}
		got, err = s.Note(t.Context(), owner, note.ID)
		expect(t, "Note", got, err, note, nil)

		if err := s.SetQuota(t.Context(), owner, new(int64(0)), new(int64(0))); err != nil {
			t.Fatal(err)
		}
		for _, patch := range []notes.Patch{{Pinned: new(true)}, {Content: new("876")}, {Content: new("8")}} {
			if _, err := s.PatchNote(t.Context(), owner, note.ID, patch); err != nil {
				t.Errorf("PatchNote(%+v) of too much = %v, want it to shrink", patch, err)
			}
		}
		if err := s.DeleteNote(t.Context(), owner, note.ID); err != nil {
			t.Error(err)
		}
		counters, err := s.Counters(t.Context(), owner)
		want := store.Counters{ChangeSeq: 6, Notes: 1, Bytes: 1, QuotaNotes: new(int64(0)), QuotaBytes: new(int64(0))}
		if diff := cmp.Diff(want, counters); diff != "" || err != nil {
			t.Errorf("Counters() have error %v and differ (-want +got):\n%s", err, diff)
		}
	})
}

// TestFlipsAtOnce: as many flips as there were calls, numbered without a gap.
func TestFlipsAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		for _, flips := range []int{50, 51} {
			owner := newOwner(t, s)
			note := newNote(t, s, owner, notes.NewNote{Title: "t", Tags: []string{"x"}})
			seqs := make([]int64, flips)
			atOnce(flips, func(i int) {
				flipped, err := s.ToggleNote(t.Context(), owner, note.ID, notes.FlagFavorite)
				if err != nil {
					t.Error(err)
				}
				seqs[i] = flipped.ChangeSeq
				if even := flipped.Revision%2 == 0; flipped.Favorite != even {
					t.Errorf("ToggleNote() = %t at revision %d", flipped.Favorite, flipped.Revision)
				}
			})
			got, err := s.Note(t.Context(), owner, note.ID)
			if err != nil || got.Favorite != (flips%2 == 1) || got.Revision != int64(1+flips) {
				t.Errorf("after %d flips Note() = %t, revision %d, %v", flips, got.Favorite, got.Revision, err)
			}
			slices.Sort(seqs)
			for i, seq := range seqs {
				if seq != int64(2+i) {
					t.Fatalf("change numbers %v, want 2 to %d", seqs, 1+flips)
				}
			}
		}
	})
}

// atOnce calls fn with 0 to n-1, all at the same time.
func atOnce(n int, fn func(i int)) {
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-start
			fn(i)
		})
	}
	close(start)
	all.Wait()
}

// TestCreatesAtOnce: one key, one note, however many ask at once.
func TestCreatesAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		const calls = 8
		for round := range 5 {
			in := notes.NewNote{Title: "t", Tags: []string{"x"}, IdempotencyKey: fmt.Sprint(round), BodyHash: []byte{1}}
			notes := make([]notes.Note, calls)
			atOnce(calls, func(i int) {
				note, err := s.CreateNote(t.Context(), owner, in)
				if err != nil {
					t.Error(err)
				}
				notes[i] = note
			})
			for _, note := range notes[1:] {
				expect(t, "CreateNote", note, nil, notes[0], nil)
			}
			counters, err := s.Counters(t.Context(), owner)
			if err != nil || counters.Notes != int64(round+1) || counters.ChangeSeq != int64(round+1) {
				t.Errorf("Counters() = %+v, %v, want %d notes and changes", counters, err, round+1)
			}
		}
	})
}

// ifRevision is the precondition that the note's revision is one of these.
func ifRevision(revisions ...int64) store.Precondition {
	return store.Precondition{
		Holds:         func(revision int64, _ time.Time) bool { return slices.Contains(revisions, revision) },
		NamesRevision: true,
	}
}

// TestPatchesAtOnce: of those that know one revision, one wins.
func TestPatchesAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		note := newNote(t, s, owner, notes.NewNote{Title: "first"})
		const calls = 10
		for round := range int64(5) {
			var mu sync.Mutex
			var won []notes.Note
			atOnce(calls, func(i int) {
				title := fmt.Sprint("round ", round, " call ", i)
				patch := notes.Patch{Title: &title, Tags: &[]string{title}}
				got, err := s.PatchNote(t.Context(), owner, note.ID, patch, ifRevision(1+round))
				if err == nil {
					mu.Lock()
					defer mu.Unlock()
					won = append(won, got)
					return
				}
				changed, ok := errors.AsType[*store.ChangedError](err)
				if !ok || !errors.Is(err, store.ErrChanged) {
					t.Error(err)
				} else if got := changed.Current; got.Revision != 2+round || !slices.Equal(got.Tags, []string{got.Title}) {
					t.Errorf("with ErrChanged came %+v, want the winner's", got)
				}
			})
			if len(won) != 1 {
				t.Fatalf("%d of %d patches of one revision won", len(won), calls)
			}
			got, err := s.Note(t.Context(), owner, note.ID)
			expect(t, "Note", got, err, won[0], nil)
		}
	})
}

// TestWritesOfOneRevision: of different writes that know one revision, one wins.
func TestWritesOfOneRevision(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx, owner, first := t.Context(), newOwner(t, s), ifRevision(1)
		note := func(_ notes.Note, err error) error { return err }
		writes := []func(id string) error{
			func(id string) error {
				return note(s.PatchNote(ctx, owner, id, notes.Patch{Title: new("patched")}, first))
			},
			func(id string) error { return note(s.ToggleNote(ctx, owner, id, notes.FlagPinned, first)) },
			func(id string) error { return note(s.TrashNote(ctx, owner, id, first)) },
			func(id string) error { return s.DeleteNote(ctx, owner, id, first) },
		}
		for range 5 {
			id := newNote(t, s, owner, notes.NewNote{Title: "first"}).ID
			var won atomic.Int64
			atOnce(len(writes), func(i int) {
				switch err := writes[i](id); {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, store.ErrChanged) && !errors.Is(err, store.ErrNotFound):
					t.Error(err)
				}
			})
			if won.Load() != 1 {
				t.Errorf("%d of %d writes of one revision won", won.Load(), len(writes))
			}
		}
	})
}

// TestChangesAtOnce: every reader sees notes whole while they are written, and
// whoever comes too late is told so.
func TestChangesAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		for range 10 {
			note := newNote(t, s, owner, notes.NewNote{Title: "0", Tags: []string{"0"}})
			late := func(err error) {
				if err != nil && !errors.Is(err, store.ErrNotFound) {
					t.Error(err)
				}
			}
			atOnce(12, func(i int) {
				text := fmt.Sprint(i)
				switch i % 4 {
				case 0:
					got, err := s.PatchNote(t.Context(), owner, note.ID, notes.Patch{Title: &text, Tags: &[]string{text}})
					late(err)
					late(whole(got))
				case 1:
					got, err := s.ToggleNote(t.Context(), owner, note.ID, notes.FlagPinned)
					late(err)
					late(whole(got))
				case 2:
					got, err := s.Note(t.Context(), owner, note.ID)
					late(err)
					late(whole(got))
				case 3:
					if i == 11 {
						late(s.DeleteNote(t.Context(), owner, note.ID))
						return
					}
					_, err := s.TrashNote(t.Context(), owner, note.ID)
					late(err)
				}
			})
			if err := s.DeleteNote(t.Context(), owner, note.ID); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("DeleteNote() again = %v, want %v", err, store.ErrNotFound)
			}
		}
		counters, err := s.Counters(t.Context(), owner)
		if err != nil || counters.Notes != 0 || counters.Bytes != 0 {
			t.Errorf("Counters() = %+v, %v, want no notes", counters, err)
		}
	})
}

// whole reports a note whose title and tag are not of the same patch.
func whole(note notes.Note) error {
	if note.ID != "" && !slices.Equal(note.Tags, []string{note.Title}) {
		return fmt.Errorf("a note with title %q has tags %q", note.Title, note.Tags)
	}
	return nil
}

// TestOwnerGoesAtOnce: a person is deleted while their notes are written. No
// call fails in another way than that the owner or the note is gone.
func TestOwnerGoesAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		for range 10 {
			owner := newOwner(t, s)
			note := newNote(t, s, owner, notes.NewNote{Title: "t"})
			atOnce(12, func(i int) {
				var err error
				switch i % 4 {
				case 0:
					_, err = s.CreateNote(t.Context(), owner, notes.NewNote{Title: "t", IdempotencyKey: fmt.Sprint(i)})
				case 1:
					_, err = s.PatchNote(t.Context(), owner, note.ID, notes.Patch{Title: new(fmt.Sprint(i))})
				case 2:
					_, err = s.ToggleNote(t.Context(), owner, note.ID, notes.FlagPinned)
				case 3:
					if i == 7 {
						err = s.DeleteUser(t.Context(), owner)
						break
					}
					err = s.DeleteNote(t.Context(), owner, note.ID)
				}
				if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrOwnerGone) {
					t.Errorf("call %d: %v", i, err)
				}
			})
		}
	})
}

// TestWritersAtOnce: many people write at the same time, and none hears of the others.
func TestWritersAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		const people, made = 16, 10
		atOnce(people, func(int) {
			owner := newOwner(t, s)
			for i := range made {
				content := strings.Repeat("x", rand.IntN(20_000))
				note, err := s.CreateNote(t.Context(), owner, notes.NewNote{Title: fmt.Sprint(i), Content: content})
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := s.Note(t.Context(), owner, note.ID); err != nil || got.Content != content {
					t.Errorf("Note() after its creation = %v, and its content is the same: %t", err, got.Content == content)
				}
			}
			counters, err := s.Counters(t.Context(), owner)
			if err != nil || counters.Notes != made || counters.ChangeSeq != made {
				t.Errorf("Counters() = %+v, %v, want %d notes and changes", counters, err, made)
			}
		})
	})
}

// TestCancelled: a call that is no longer wanted changes nothing, and its error
// says that it was not wanted.
func TestCancelled(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		note := newNote(t, s, owner, notes.NewNote{Title: "t"})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for name, call := range map[string]func() error{
			"CreateNote": func() error { _, err := s.CreateNote(ctx, owner, notes.NewNote{Title: "t"}); return err },
			"Note":       func() error { _, err := s.Note(ctx, owner, note.ID); return err },
			"PatchNote":  func() error { _, err := s.PatchNote(ctx, owner, note.ID, notes.Patch{Title: new("x")}); return err },
			"NoteRefs":   func() error { _, err := s.NoteRefs(ctx, owner, notes.Query{}); return err },
			"NotesByRef": func() error { _, err := s.NotesByRef(ctx, owner, []store.Ref{{Key: note.Key}}); return err },
			"DeleteNote": func() error { return s.DeleteNote(ctx, owner, note.ID) },
		} {
			if err := call(); !errors.Is(err, context.Canceled) {
				t.Errorf("%s = %v, want %v", name, err, context.Canceled)
			}
		}
		got, err := s.Note(t.Context(), owner, note.ID)
		expect(t, "Note", got, err, note, nil)
	})
}

// TestStatements holds how many statements a call costs. Those of a write are
// between BEGIN and COMMIT if they are more than one; on PostgreSQL they are two
// round trips then.
func TestStatements(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		note := newNote(t, s, owner, notes.NewNote{Title: "t", Content: "c", Tags: []string{"x"}})
		refs, err := s.NoteRefs(t.Context(), owner, notes.Query{})
		if err != nil {
			t.Fatal(err)
		}
		byEngine := func(sqlite, postgres int) int {
			if s.Engine() == "SQLite" {
				return sqlite
			}
			return postgres
		}
		tape := store.Record(s)
		for _, test := range []struct {
			name string
			want int
			call func() (notes.Note, error)
		}{
			{"create", byEngine(5, 1), func() (notes.Note, error) {
				return s.CreateNote(t.Context(), owner, notes.NewNote{Title: "t"})
			}},
			{"create with tags and key", byEngine(9, 1), func() (notes.Note, error) {
				in := notes.NewNote{Title: "t", Tags: []string{"x", "y"}, IdempotencyKey: "k", BodyHash: []byte{1}}
				return s.CreateNote(t.Context(), owner, in)
			}},
			{"get", 1, func() (notes.Note, error) { return s.Note(t.Context(), owner, note.ID) }},
			{"flip", 5, func() (notes.Note, error) { return s.ToggleNote(t.Context(), owner, note.ID, notes.FlagPinned) }},
			{"patch of nothing", 2, func() (notes.Note, error) {
				return s.PatchNote(t.Context(), owner, note.ID, notes.Patch{})
			}},
			{"patch of the content", 6, func() (notes.Note, error) {
				return s.PatchNote(t.Context(), owner, note.ID, notes.Patch{Content: new("new")})
			}},
			{"trash", 5, func() (notes.Note, error) { return s.TrashNote(t.Context(), owner, note.ID) }},
			{"list", 1, func() (notes.Note, error) {
				_, err := s.NoteRefs(t.Context(), owner, notes.Query{Limit: 50})
				return notes.Note{}, err
			}},
			{"read", 1, func() (notes.Note, error) {
				_, err := s.NotesByRef(t.Context(), owner, refs)
				return notes.Note{}, err
			}},
			{"delete", 6, func() (notes.Note, error) { return notes.Note{}, s.DeleteNote(t.Context(), owner, note.ID) }},
		} {
			tape.Rewind()
			if _, err := test.call(); err != nil {
				t.Fatal(err)
			}
			if got := tape.Rewind(); len(got) != test.want {
				t.Errorf("%s: %d statements, want %d: %v", test.name, len(got), test.want, got)
			}
		}
	})
}
