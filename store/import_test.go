package store_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"notesd/notes"
	"notesd/store"
	"notesd/store/storetest"
)

// listed yields notes, and then err unless it is nil.
func listed(made []notes.Note, err error) iter.Seq2[notes.Note, error] {
	return func(yield func(notes.Note, error) bool) {
		for _, note := range made {
			if !yield(note, nil) {
				return
			}
		}
		if err != nil {
			yield(notes.Note{}, err)
		}
	}
}

// foreignUser is an account as another database may have it.
func foreignUser() store.User {
	id := uuid.NewString()
	return store.User{ID: id, Email: id + "@Example.com", Name: "Jörg", PasswordHash: "hash", FailedLogins: 3,
		LockedUntil: january(4), LastLoginAt: january(3), CreatedAt: january(1), UpdatedAt: january(2)}
}

func january(n int) time.Time { return time.Date(2020, 1, n, 0, 0, 0, 123e6, time.UTC) }

// foreignNotes are n small notes with ids that nobody has.
func foreignNotes(n int) []notes.Note {
	made := make([]notes.Note, n)
	for i := range made {
		made[i] = notes.Note{ID: uuid.NewString(), Title: fmt.Sprint("Note ", i), Content: "Ä", Tags: []string{"x", "y"},
			CreatedAt: january(1), UpdatedAt: january(2)}
	}
	return made
}

var foreignNote = rapid.Custom(func(t *rapid.T) notes.Note {
	n := notes.Note{
		ID: uuid.NewString(), Title: title.Draw(t, "title"), Content: text.Draw(t, "content"), Tags: tags.Draw(t, "tags"),
		Color: color.Draw(t, "color"), Pinned: flags.Draw(t, "pinned"), Favorite: flags.Draw(t, "favorite"),
		Archived: flags.Draw(t, "archived"), Markdown: flags.Draw(t, "markdown"), Trashed: flags.Draw(t, "trashed"),
		CreatedAt: january(1), UpdatedAt: january(rapid.IntRange(1, 28).Draw(t, "day")),
	}
	if n.Trashed {
		n.TrashedAt = new(january(5))
	}
	return n
})

// What comes over is what was there, and leaves nothing else undone: counters,
// change numbers, folded text. A second time changes nothing, whatever has been
// done with the notes meanwhile.
func TestImport(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		rapid.Check(t, func(rt *rapid.T) {
			user, made := foreignUser(), rapid.SliceOfN(foreignNote, 0, 8).Draw(rt, "notes")
			m := newModel(s, user.ID)
			for i, note := range made {
				note.UserID, note.Revision, note.ChangeSeq = user.ID, 1, int64(i+1)
				m.notes[note.ID], m.ids = note, append(m.ids, note.ID)
				m.count(user.ID, 1, size(note))
			}
			want := store.ImportResult{Created: true, Notes: int64(len(made)), Bytes: m.counters[user.ID].Bytes}
			for _, dry := range []bool{true, false} {
				got, err := s.Import(rt.Context(), store.Import{User: user, Notes: listed(made, nil), DryRun: dry})
				if diff := gocmp.Diff(want, got); diff != "" || err != nil {
					rt.Fatalf("Import() dry %v = %v (-want +got):\n%s", dry, err, diff)
				}
			}
			got, err := s.User(rt.Context(), user.ID)
			if diff := gocmp.Diff(user, got); diff != "" || err != nil {
				rt.Fatalf("User() = %v (-want +got):\n%s", err, diff)
			}
			compareNotes(rt, m)
			rt.Repeat(map[string]func(*rapid.T){
				"patch":  m.patch,
				"flip":   m.flip,
				"delete": m.delete,
				"import again": func(rt *rapid.T) {
					want := store.ImportResult{Present: int64(len(m.notes)), Deleted: int64(len(made) - len(m.notes))}
					changed := user
					changed.Name, changed.PasswordHash = "Another", "other"
					got, err := s.Import(rt.Context(), store.Import{User: changed, Notes: listed(made, nil)})
					if diff := gocmp.Diff(want, got); diff != "" || err != nil {
						rt.Fatalf("Import() again = %v (-want +got):\n%s", err, diff)
					}
				},
				"": m.compareCounters,
			})
			m.compareTables(rt)
			got, err = s.User(rt.Context(), user.ID)
			if diff := gocmp.Diff(user, got); diff != "" || err != nil {
				rt.Fatalf("User() at last = %v (-want +got):\n%s", err, diff)
			}
		})
	})
}

// compareNotes fails the test unless the store has the model's notes, and gives
// the model their keys.
func compareNotes(t *rapid.T, m *model) {
	for id, want := range m.notes {
		got, err := m.s.Note(t.Context(), want.UserID, id)
		want.Key = got.Key
		m.notes[id] = want
		compare(t, "Note", got, err, want, nil)
	}
	m.compareCounters(t)
	m.compareTables(t)
}

// checkImported fails the test unless owner has exactly the notes, with the
// change numbers 1 to n.
func checkImported(t *testing.T, s *store.Store, owner string, made []notes.Note) {
	t.Helper()
	var got []notes.Note
	var bytes int64
	for _, note := range made {
		n, err := s.Note(t.Context(), owner, note.ID)
		if err != nil {
			t.Fatal(err)
		}
		if n.Title != note.Title || n.Content != note.Content || !slices.Equal(n.Tags, note.Tags) {
			t.Fatalf("note %s is another one: %.200v, want %.200v", note.ID, n, note)
		}
		got, bytes = append(got, n), bytes+size(n)
	}
	slices.SortFunc(got, func(a, b notes.Note) int { return cmp.Compare(a.ChangeSeq, b.ChangeSeq) })
	for i, n := range got {
		if n.ChangeSeq != int64(i+1) {
			t.Fatalf("change number %d of the note in place %d", n.ChangeSeq, i+1)
		}
	}
	want := store.Counters{ChangeSeq: int64(len(made)), Notes: int64(len(made)), Bytes: bytes}
	counters, err := s.Counters(t.Context(), owner)
	if diff := gocmp.Diff(want, counters); diff != "" || err != nil {
		t.Fatalf("Counters() = %v (-want +got):\n%s", err, diff)
	}
	for table, condition := range map[string]string{"note_search": "note_key = key", "note_tags": "note_key = key AND position = 0"} {
		var n int
		err := s.DB().Raw("SELECT count(*) FROM notes JOIN "+table+" ON "+condition+" WHERE user_id = ?", owner).Scan(&n).Error
		if err != nil || n != len(made) {
			t.Errorf("%d of %d notes are in %s, %v", n, len(made), table, err)
		}
	}
}

// An import that broke off goes on where it was, step by step.
func TestImportGoesOn(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		user, made, broken := foreignUser(), foreignNotes(450), errors.New("broken off")
		ctx, cancel := context.WithCancel(t.Context())
		for i, row := range []struct {
			ctx  context.Context
			list iter.Seq2[notes.Note, error]
			want store.ImportResult
			err  error
		}{
			{t.Context(), listed(made[:127], broken), store.ImportResult{Created: true}, broken},
			{t.Context(), listed(made[:129], broken), store.ImportResult{Notes: 128}, broken},
			{ctx, func(yield func(notes.Note, error) bool) {
				listed(made, nil)(func(n notes.Note, err error) bool {
					if n.ID == made[420].ID {
						cancel()
					}
					return yield(n, err)
				})
			}, store.ImportResult{Present: 128, Notes: 256}, context.Canceled},
			{t.Context(), listed(made, nil), store.ImportResult{Present: 384, Notes: 66}, nil},
		} {
			got, err := s.Import(row.ctx, store.Import{User: user, Notes: row.list})
			got.Bytes = 0
			if diff := gocmp.Diff(row.want, got); diff != "" || !errors.Is(err, row.err) {
				t.Fatalf("Import() no. %d = %v, want %v (-want +got):\n%s", i, err, row.err, diff)
			}
		}
		checkImported(t, s, user.ID, made)
	})
}

// Several imports of the same at once, beside its owner's own changes, make it once.
func TestImportsAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		user, notes := foreignUser(), foreignNotes(500)
		var running sync.WaitGroup
		var mu sync.Mutex
		var sum store.ImportResult
		created := 0
		for range 4 {
			running.Go(func() {
				done, err := s.Import(t.Context(), store.Import{User: user, Notes: listed(notes, nil)})
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				sum.Notes, sum.Present = sum.Notes+done.Notes, sum.Present+done.Present
				if done.Created {
					created++
				}
			})
		}
		running.Wait()
		if created != 1 || sum.Notes != 500 || sum.Present != 1500 {
			t.Errorf("four imports made %d accounts and %d notes, and found %d; want 1, 500, 1500", created, sum.Notes, sum.Present)
		}
		checkImported(t, s, user.ID, notes)
	})
}

// An address that another account has, in whatever case, and an id of somebody
// else's note, are left alone.
func TestImportInTheWay(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		user := foreignUser()
		other := mustUser(t, s, strings.ToUpper(user.Email))
		theirs := newNote(t, s, other.ID, notes.NewNote{Title: "theirs"})
		unasked := func(func(notes.Note, error) bool) { t.Error("notes of an account that can't come were asked for") }
		for _, dry := range []bool{true, false} {
			_, err := s.Import(t.Context(), store.Import{User: user, Notes: unasked, DryRun: dry})
			if !errors.Is(err, store.ErrDuplicate) {
				t.Errorf("Import() dry %v of a taken address = %v, want ErrDuplicate", dry, err)
			}
		}
		user.Email = "another@example.com"
		notes := foreignNotes(3)
		notes[1].ID = theirs.ID
		want := store.ImportResult{Created: true, Notes: 2, Foreign: []string{theirs.ID}}
		for _, dry := range []bool{true, false} {
			got, err := s.Import(t.Context(), store.Import{User: user, Notes: listed(notes, nil), DryRun: dry})
			got.Bytes = 0
			if diff := gocmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("Import() dry %v with another's id = %v (-want +got):\n%s", dry, err, diff)
			}
		}
		got, err := s.Note(t.Context(), other.ID, theirs.ID)
		expect(t, "Note", got, err, theirs, nil)
	})
}

// A database that is away for a moment is waited for.
func TestImportOutage(t *testing.T) {
	s, proxy := behindProxy(t)
	user, made := foreignUser(), foreignNotes(600)
	asked := func(yield func(notes.Note, error) bool) {
		for i, note := range made {
			if i == 300 {
				proxy.Cut()
			}
			if !yield(note, nil) {
				return
			}
		}
	}
	if _, err := s.Import(t.Context(), store.Import{User: user, Notes: asked}); err != nil {
		t.Fatal(err)
	}
	checkImported(t, s, user.ID, made)
}

// Notes are looked for by their ids, also in a table that was empty a moment ago.
func TestImportPlan(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		tape := store.Record(s)
		if _, err := s.Import(t.Context(), store.Import{User: foreignUser(), Notes: listed(foreignNotes(1), nil), DryRun: true}); err != nil {
			t.Fatal(err)
		}
		for _, query := range tape.Rewind() {
			for _, plan := range explain(t, s, query) {
				if ofNotes.MatchString(query.SQL) {
					planTest{index: "id"}.check(t, s.Engine(), plan)
				}
			}
		}
	})
}

// Notes from before 1970 are imported like others: nothing was deleted here that they could be.
func TestImportBefore1970(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		user, made := foreignUser(), foreignNotes(2)
		made[0].CreatedAt, made[1].CreatedAt = time.UnixMilli(0).UTC(), time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
		done, err := s.Import(t.Context(), store.Import{User: user, Notes: listed(made, nil)})
		if err != nil || done.Notes != 2 || len(done.Unsure) > 0 {
			t.Errorf("Import() = %+v, %v, want two notes", done, err)
		}
		checkImported(t, s, user.ID, made)
	})
}

// Notes of any size, and the most tags, in steps of all sizes.
func TestImportLarge(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		user, notes := foreignUser(), foreignNotes(210)
		for i := range notes {
			notes[i].Tags = slices.Repeat([]string{strings.Repeat("🎉", 64)}, 50)
		}
		notes[0].Content = strings.Repeat("long Ä ", 300_000)
		notes[209].Content = strings.Repeat("x", 1<<20)
		if _, err := s.Import(t.Context(), store.Import{User: user, Notes: listed(notes, nil)}); err != nil {
			t.Fatal(err)
		}
		checkImported(t, s, user.ID, notes)
	})
}
