package store_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"notesd/internal/testkit"
	"notesd/notes"
	"notesd/store"
	"notesd/store/storetest"
)

// fillAccount gives the account something of everything.
func fillAccount(t *testing.T, s *store.Store, u store.User) {
	t.Helper()
	ctx := t.Context()
	for i := range 120 { // more than two steps
		n, err := s.CreateNote(ctx, u.ID, notes.NewNote{Title: fmt.Sprint(i), Content: "some text", Tags: []string{"tag"}})
		if err != nil {
			t.Fatal(err)
		}
		if i < 30 {
			for _, content := range []string{"some more text", "and more"} { // two versions each
				if _, err := s.PatchNote(ctx, u.ID, n.ID, notes.Patch{Content: &content}); err != nil {
					t.Fatal(err)
				}
			}
		} else if i < 35 {
			if err := s.DeleteNote(ctx, u.ID, n.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	mustSession(t, s, store.Session{Key: "session of " + u.Email, UserID: u.ID, Epoch: u.SessionEpoch, ExpiresAt: time.Now().Add(time.Hour)})
	for _, statement := range []string{
		"INSERT INTO tag_renames (id, user_id, old_tags, new_tag, created_at) VALUES (@id, @id, '[]', 'tag', 1)",
		"INSERT INTO renamed_notes (rename_id, note_id, tags, created_at) VALUES (@id, 'note', '[]', 1)",
		"INSERT INTO search_index (user_id, part, segment, lists) VALUES (@id, 1, 1, @lists)",
	} {
		if err := s.WriterDB().Exec(statement, map[string]any{"id": u.ID, "lists": []byte{1}}).Error; err != nil {
			t.Fatal(err)
		}
	}
	secret := store.TOTP{UserID: u.ID, Secret: []byte{1}, KeyID: "a"}
	_, err := s.CreateAppToken(ctx, store.AppToken{UserID: u.ID, Name: "script"}, []byte("hash of "+u.Email))
	_, err2 := s.CountFailure(ctx, "key of "+u.Email, u.ID)
	if err := errors.Join(err, err2, s.BeginTOTP(ctx, secret), s.ConfirmTOTP(ctx, secret, 1, [][]byte{{1}}),
		s.LogAccount(ctx, u.ID, store.LogEntry{Event: store.EventSignedUp})); err != nil {
		t.Fatal(err)
	}
}

// ownedTables are the tables with rows of accounts, and the condition for those of one.
var ownedTables = map[string]string{
	"users": "id = ?", "user_counters": "user_id = ?", "notes": "user_id = ?", "tombstones": "user_id = ?", "sessions": "user_id = ?",
	"sign_in_locks": "user_id = ?", "app_tokens": "user_id = ?", "totp": "user_id = ?", "recovery_codes": "user_id = ?",
	"account_log":   "user_id = ?",
	"note_tags":     "note_key IN (SELECT key FROM notes WHERE user_id = ?)",
	"note_versions": "note_key IN (SELECT key FROM notes WHERE user_id = ?)",
}

// rowsOf counts the account's rows.
func rowsOf(t *testing.T, s *store.Store, u store.User) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for table, condition := range ownedTables {
		var n int
		if err := s.DB().Raw("SELECT count(*) FROM "+table+" WHERE "+condition, u.ID).Scan(&n).Error; err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			counts[table] = n
		}
	}
	return counts
}

// Nothing of a deleted account stays, at once nobody can sign in, and the address is free. Other accounts keep all.
func TestDeletion(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		u, other := mustUser(t, s, "somebody@example.org"), mustUser(t, s, "other@example.org")
		fillAccount(t, s, u)
		fillAccount(t, s, other)
		before := rowsOf(t, s, other)
		if len(before) != len(ownedTables) {
			t.Fatalf("rows of an account: %v, want some in each of %d tables", before, len(ownedTables))
		}
		var write sync.WaitGroup
		var stop atomic.Bool
		for range 2 { // requests under way
			write.Go(func() {
				for !stop.Load() {
					if _, err := s.CreateNote(ctx, u.ID, notes.NewNote{Title: "late"}); err != nil && !errors.Is(err, store.ErrOwnerGone) {
						t.Errorf("CreateNote while the account is deleted = %v", err)
					}
				}
			})
		}
		if err := s.BeginDeletion(ctx, u); err != nil {
			t.Fatal(err)
		}
		if err := s.BeginDeletion(ctx, u); !errors.Is(err, store.ErrEpoch) {
			t.Errorf("BeginDeletion again = %v, want ErrEpoch", err)
		}
		for what, call := range map[string]func() error{
			"UserByEmail":  func() error { _, err := s.UserByEmail(ctx, u.Email); return err },
			"User":         func() error { _, err := s.User(ctx, u.ID); return err },
			"FindSession":  func() error { _, err := s.FindSession(ctx, "session of "+u.Email); return err },
			"FindAppToken": func() error { _, err := s.FindAppToken(ctx, []byte("hash of "+u.Email)); return err },
		} {
			if err := call(); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s = %v, want ErrNotFound", what, err)
			}
		}
		late := store.Session{Key: "late", UserID: u.ID, Epoch: u.SessionEpoch, ExpiresAt: time.Now().Add(time.Hour)}
		if err := s.SaveSession(ctx, late); !errors.Is(err, store.ErrEpoch) {
			t.Errorf("SaveSession = %v, want ErrEpoch", err)
		}
		again := mustUser(t, s, u.Email)
		var emails strings.Builder
		accounts, err := s.Accounts(ctx, store.AccountQuery{})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range accounts {
			emails.WriteString(a.Email + " ")
		}
		if emails.String() != "other@example.org somebody@example.org " {
			t.Errorf("Accounts = %s", emails.String())
		}
		defer write.Wait()
		defer stop.Store(true)
		testkit.Eventually(t, "the end of the account", func() bool { return rowsOf(t, s, u)["users"] == 0 })
		if rows := rowsOf(t, s, u); len(rows) > 0 {
			t.Errorf("rows of the deleted account: %v", rows)
		}
		if after := rowsOf(t, s, other); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("rows of another account: %v, want %v", after, before)
		}
		if _, err := s.User(ctx, again.ID); err != nil {
			t.Errorf("the new account of the address: %v", err)
		}
	})
}

// A sweep after a restart finishes what was interrupted, at the beginning or in the middle.
func TestDeletionInterrupted(t *testing.T) {
	storetest.Engines(t, func(t *testing.T, url string) {
		first := storetest.Open(t, url)
		u := mustUser(t, first, "somebody@example.org")
		fillAccount(t, first, u)
		if err := first.WriterDB().Exec("UPDATE users SET deleted_at = 1").Error; err != nil {
			t.Fatal(err)
		}
		if err := first.DeleteOldestNotes(t.Context(), u.ID); err != nil {
			t.Fatal(err)
		}
		rows := rowsOf(t, first, u)
		if rows["notes"] == 0 || rows["note_versions"] == 0 || rows["note_versions"] == 60 {
			t.Fatalf("rows after one step: %v, want fewer versions and all else", rows)
		}
		// A backup that is taken meanwhile does not contradict itself.
		for range 2 {
			if err := first.DeleteOldestNotes(t.Context(), u.ID); err != nil {
				t.Fatal(err)
			}
		}
		var left, counted int
		for query, n := range map[string]*int{"SELECT count(*) * 1000000 + sum(bytes) FROM notes WHERE user_id = ?": &left,
			"SELECT note_count * 1000000 + note_bytes FROM user_counters WHERE user_id = ?": &counted} {
			if err := first.DB().Raw(query, u.ID).Scan(n).Error; err != nil {
				t.Fatal(err)
			}
		}
		if left == 0 || left >= 115_000_000 || counted != left {
			t.Errorf("after three steps %d notes and their bytes are counted, want %d, fewer than at first and some", counted, left)
		}
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		second := storetest.Open(t, url)
		if swept := mustSweep(t, second); swept.Accounts != 1 {
			t.Errorf("Sweep = %+v, want one account", swept)
		}
		if rows := rowsOf(t, second, u); len(rows) > 0 {
			t.Errorf("rows of the deleted account: %v", rows)
		}
	})
}
