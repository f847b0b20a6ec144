package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"notesd/notes"
	"notesd/store"
	"notesd/store/storetest"
)

// fillUp gives owner as many rows of a table as are kept, as if they had come one
// every millisecond from a time on. Values are SQL, in which i is the row's number.
func fillUp(t *testing.T, s *store.Store, owner, table, values string, from time.Time) {
	t.Helper()
	for _, sql := range []string{
		fmt.Sprintf(`WITH RECURSIVE row (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM row WHERE i < %d)
			INSERT INTO %s SELECT c.user_id, %s, %d + i FROM row, user_counters AS c WHERE c.user_id = '%s'`,
			store.MostKept, table, values, from.UnixMilli(), owner),
		fmt.Sprintf(`UPDATE user_counters SET change_seq = change_seq + %d WHERE user_id = '%s'`, store.MostKept, owner),
	} {
		if err := s.WriterDB().Exec(sql).Error; err != nil {
			t.Fatal(err)
		}
	}
}

const (
	filledTombstone = "c.change_seq + i, 'deleted ' || i"
	filledKey       = "'key ' || i, (SELECT body_hash FROM idempotency_keys LIMIT 1), 'made ' || i"
)

// wantRows looks how many rows of a table owner has, and whether the given ones are among them.
func wantRows(t *testing.T, s *store.Store, owner, table, column string, want int64, there map[string]bool) {
	t.Helper()
	var got []string
	if err := s.DB().Table(table).Where("user_id = ?", owner).Pluck(column, &got).Error; err != nil {
		t.Fatal(err)
	}
	if int64(len(got)) != want {
		t.Errorf("there are %d %s, want %d", len(got), table, want)
	}
	found := map[string]bool{}
	for name := range there {
		found[name] = false
	}
	for _, name := range got {
		if _, asked := there[name]; asked {
			found[name] = true
		}
	}
	if diff := cmp.Diff(there, found); diff != "" {
		t.Errorf("which %s are there (-want +got):\n%s", table, diff)
	}
}

// Who creates and deletes for ever leaves no more than so many tombstones, and no more keys. The last ones stay, and
// other people's.
func TestTrim(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		s.TrimAlways()
		owner, other := newOwner(t, s), newOwner(t, s)
		create := func(owner, key string) notes.Note {
			return newNote(t, s, owner, notes.NewNote{Title: key, IdempotencyKey: key, BodyHash: []byte("hash")})
		}
		remove := func(note notes.Note) string {
			if err := s.DeleteNote(t.Context(), note.UserID, note.ID); err != nil {
				t.Fatal(err)
			}
			return note.ID
		}
		others := remove(create(other, "another's"))
		first := remove(create(owner, "first"))
		fillUp(t, s, owner, "tombstones", filledTombstone, time.Now())
		fillUp(t, s, owner, "idempotency_keys", filledKey, time.Now().Add(-time.Hour))
		last := create(owner, "last")
		if again := create(owner, "last"); again.ID != last.ID {
			t.Error("a key that was just used made a second note")
		}
		wantRows(t, s, owner, "idempotency_keys", "key", store.MostKept, map[string]bool{
			"key 1": false, "key 2": false, "key 3": true, "first": true, "last": true})
		deleted := remove(last)
		wantRows(t, s, owner, "tombstones", "note_id", store.MostKept, map[string]bool{
			first: false, "deleted 1": false, "deleted 2": true, deleted: true})
		wantRows(t, s, other, "tombstones", "note_id", 1, map[string]bool{others: true})
		wantRows(t, s, other, "idempotency_keys", "key", 1, map[string]bool{"another's": true})
	})
}

// What was deleted here and is forgotten, because so much was, does not come back with an import. What is newer comes.
func TestImportOfForgotten(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		s.TrimAlways()
		owner := foreignUser()
		foreign := foreignNotes(3)
		importNotes := func(want store.ImportResult, foreign ...notes.Note) {
			t.Helper()
			got, err := s.Import(t.Context(), store.Import{User: owner, Notes: listed(foreign, nil)})
			got.Bytes = 0
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("Import = %v (-want +got):\n%s", err, diff)
			}
		}
		importNotes(store.ImportResult{Created: true, Notes: 3}, foreign...)
		deleteNote := func(id string) {
			if err := s.DeleteNote(t.Context(), owner.ID, id); err != nil {
				t.Fatal(err)
			}
		}
		deleteNote(foreign[0].ID)
		importNotes(store.ImportResult{Present: 2, Deleted: 1}, foreign...)
		fillUp(t, s, owner.ID, "tombstones", filledTombstone, january(20))
		deleteNote(foreign[1].ID) // and trims
		newer, older := foreignNotes(5)[3], foreignNotes(5)[4]
		newer.CreatedAt, older.CreatedAt = january(21), january(19)
		importNotes(store.ImportResult{Notes: 1, Present: 1, Deleted: 1, Unsure: []string{foreign[0].ID, older.ID}},
			foreign[0], foreign[1], foreign[2], newer, older)
	})
}
