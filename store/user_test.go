package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"notesd/notes"
	"notesd/store"
	"notesd/store/storetest"
)

func TestCreateUser(t *testing.T) {
	eachInTime(t, func(t *testing.T, s *store.Store) {
		began := time.Now().UTC()
		u, err := s.CreateUser(t.Context(), "Jörg@Example.org", "Jörg", "hash")
		if err != nil {
			t.Fatal(err)
		}
		want := store.User{
			ID: u.ID, Email: "Jörg@Example.org", Name: "Jörg", PasswordHash: "hash", CreatedAt: began, UpdatedAt: began,
		}
		if diff := cmp.Diff(want, u); diff != "" || len(u.ID) != 36 {
			t.Errorf("CreateUser (-want +got):\n%s", diff)
		}
		for _, email := range []string{"Jörg@Example.org", "JÖRG@example.ORG", "jo\u0308rg@example.org"} {
			got, err := s.UserByEmail(t.Context(), email)
			if diff := cmp.Diff(u, got); err != nil || diff != "" {
				t.Errorf("UserByEmail(%q) = %v (-want +got):\n%s", email, err, diff)
			}
			if _, err := s.CreateUser(t.Context(), email, "again", "hash"); !errors.Is(err, store.ErrDuplicate) {
				t.Errorf("CreateUser(%q) a second time = %v, want ErrDuplicate", email, err)
			}
		}
		got, err := s.User(t.Context(), u.ID)
		if diff := cmp.Diff(u, got); err != nil || diff != "" {
			t.Errorf("User = %v (-want +got):\n%s", err, diff)
		}
		counters, err := s.Counters(t.Context(), u.ID)
		if diff := cmp.Diff(store.Counters{}, counters); err != nil || diff != "" {
			t.Errorf("Counters of a new user = %v (-want +got):\n%s", err, diff)
		}
	})
}

func TestNoSuchUser(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		for name, call := range map[string]func() error{
			"User":              func() error { _, err := s.User(ctx, "none"); return err },
			"UserByEmail":       func() error { _, err := s.UserByEmail(ctx, "none@example.org"); return err },
			"DeleteUser":        func() error { return s.DeleteUser(ctx, "none") },
			"SetPassword":       func() error { return s.SetPassword(ctx, "none", "hash") },
			"CountFailedSignIn": func() error { _, err := s.CountFailedSignIn(ctx, "none"); return err },
		} {
			if err := call(); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s of nobody = %v, want ErrNotFound", name, err)
			}
		}
	})
}

// TestAccounts: the list is in the order of the addresses, whole or in pages, and says of each what
// it has.
func TestAccounts(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		if list, err := s.Accounts(ctx, store.AccountQuery{}); err != nil || len(list) > 0 {
			t.Errorf("Accounts of an empty store = %v, %v", list, err)
		}
		const people = 11
		for i := range people {
			mustUser(t, s, fmt.Sprintf("Ä%02d@example.org", (i*8)%people)) // not in order
		}
		var want []store.Account
		for i := range people {
			u, err := s.UserByEmail(ctx, fmt.Sprintf("ä%02d@example.org", i))
			if err != nil {
				t.Fatal(err)
			}
			if i%3 == 0 {
				if _, err := s.CreateNote(ctx, u.ID, notes.NewNote{Title: "t", Content: "c"}); err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(s.SetQuota(ctx, u.ID, new(int64(i)), nil), s.SetHistoryQuota(ctx, u.ID, new(int64(7)))); err != nil {
					t.Fatal(err)
				}
			}
			c, err := s.Counters(ctx, u.ID)
			if err != nil || i == 3 && (c.Notes != 1 || *c.QuotaNotes != 3 || *c.QuotaHistory != 7) {
				t.Fatalf("Counters = %+v, %v", c, err)
			}
			want = append(want, store.Account{User: u, Counters: c})
		}
		for name, tt := range map[string]struct {
			query store.AccountQuery
			want  []store.Account
		}{
			"all":          {store.AccountQuery{}, want},
			"a page":       {store.AccountQuery{Limit: 5}, want[:5]},
			"the next":     {store.AccountQuery{Limit: 5, After: want[4].Email}, want[5:10]},
			"the last":     {store.AccountQuery{Limit: 5, After: "ä09@EXAMPLE.org"}, want[10:]},
			"none":         {store.AccountQuery{After: want[10].Email}, nil},
			"by address":   {store.AccountQuery{Email: "ä07@example.ORG"}, want[7:8]},
			"by id":        {store.AccountQuery{ID: want[3].ID}, want[3:4]},
			"of other ids": {store.AccountQuery{ID: want[3].ID, Email: want[4].Email}, nil},
		} {
			got, err := s.Accounts(ctx, tt.query)
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
				t.Errorf("%s: Accounts = %v (-want +got):\n%s", name, err, diff)
			}
		}
		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := s.Accounts(cancelled, store.AccountQuery{}); !errors.Is(err, context.Canceled) {
			t.Errorf("Accounts with a cancelled context = %v, want context.Canceled", err)
		}
		if err := s.SetHistoryQuota(ctx, "none", nil); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("SetHistoryQuota of nobody = %v, want ErrNotFound", err)
		}
	})
}

func TestDeleteUser(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		gone, stays := mustUser(t, s, "gone@example.org"), mustUser(t, s, "stays@example.org")
		made := map[string]notes.Note{}
		for _, u := range []store.User{gone, stays} {
			n, err := s.CreateNote(ctx, u.ID, notes.NewNote{Title: "t", Content: "c", Tags: []string{"a"}, IdempotencyKey: "k",
				BodyHash: []byte("h")})
			if err != nil {
				t.Fatal(err)
			}
			made[u.ID] = n
			mustSession(t, s, store.Session{Key: "of " + u.ID, UserID: u.ID, ExpiresAt: time.Now().Add(time.Hour)})
		}
		if err := s.DeleteUser(ctx, gone.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := s.User(ctx, gone.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("User after DeleteUser = %v, want ErrNotFound", err)
		}
		if _, err := s.FindSession(ctx, "of "+gone.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("FindSession after DeleteUser = %v, want ErrNotFound", err)
		}
		for _, table := range []string{"user_counters", "notes", "note_search", "note_tags", "idempotency_keys", "sessions"} {
			var rows int64
			if err := s.DB().Table(table).Count(&rows).Error; err != nil || rows != 1 {
				t.Errorf("%s has %d rows, %v, want the other user's one", table, rows, err)
			}
		}
		if _, err := s.Note(ctx, stays.ID, made[stays.ID].ID); err != nil {
			t.Errorf("another user's note after DeleteUser: %v", err)
		}
		err := s.SaveSession(ctx, store.Session{Key: "late", UserID: gone.ID, ExpiresAt: time.Now().Add(time.Hour)})
		if !errors.Is(err, store.ErrEpoch) {
			t.Errorf("SaveSession of a deleted user = %v, want ErrEpoch", err)
		}
		if err := s.CountSignIn(ctx, gone); !errors.Is(err, store.ErrEpoch) {
			t.Errorf("CountSignIn of a deleted user = %v, want ErrEpoch", err)
		}
		mustUser(t, s, "gone@example.org") // the address is free again
	})
}

// An account and its first session are both there, or neither.
func TestSignUp(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		u := store.User{ID: store.NewID(), Email: "ada@example.org", Name: "ada", PasswordHash: "hash"}
		first := store.Session{Key: "first", UserID: u.ID, Epoch: 1, ExpiresAt: time.Now().Add(time.Hour)}
		if _, err := s.SignUp(t.Context(), u, &first); !errors.Is(err, store.ErrEpoch) { // a session that can't be saved
			t.Errorf("SignUp with a session of another epoch = %v, want ErrEpoch", err)
		}
		if _, err := s.UserByEmail(t.Context(), u.Email); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the account after it = %v, want ErrNotFound", err)
		}
		first.Epoch = 0
		if made, err := s.SignUp(t.Context(), u, &first); err != nil || made.ID != u.ID || made.LastLoginAt.IsZero() {
			t.Errorf("SignUp() = %+v, %v, want %s, which has signed in", made, err, u.ID)
		}
		if made, err := s.CreateUser(t.Context(), "eve@example.org", "eve", "hash"); err != nil || !made.LastLoginAt.IsZero() {
			t.Errorf("CreateUser() = %+v, %v, want an account that has not signed in", made, err)
		}
		if found, err := s.FindSession(t.Context(), "first"); err != nil || found.UserID != u.ID {
			t.Errorf("FindSession() = %+v, %v, want the first one", found, err)
		}
		again := store.Session{Key: "again", UserID: store.NewID(), ExpiresAt: time.Now().Add(time.Hour)}
		if _, err := s.SignUp(t.Context(), store.User{ID: again.UserID, Email: "ADA@example.org"}, &again); !errors.Is(err, store.ErrDuplicate) {
			t.Errorf("SignUp with an address that is taken = %v, want ErrDuplicate", err)
		}
		if _, err := s.FindSession(t.Context(), "again"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("FindSession() of the refused one = %v, want ErrNotFound", err)
		}
	})
}

// Whoever deletes an account, even by hand, and whoever writes into it do not wait for each other
// for ever, and leave nothing of the account.
func TestDeleteUserWhileWriting(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		for i := range 10 {
			u := mustUser(t, s, fmt.Sprintf("%d@example.org", i))
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					for {
						n, err := s.CreateNote(t.Context(), u.ID, notes.NewNote{Title: "t", Tags: []string{"a"}})
						if err == nil {
							_, err = s.PatchNote(t.Context(), u.ID, n.ID, notes.Patch{Title: new("u")})
						}
						if errors.Is(err, store.ErrOwnerGone) {
							return
						}
						if err != nil {
							t.Errorf("a write while its owner is deleted = %v, want nil or ErrOwnerGone", err)
							return
						}
					}
				})
			}
			remove := s.DeleteUser
			if i%2 == 1 {
				remove = func(_ context.Context, id string) error {
					return s.WriterDB().Exec("DELETE FROM users WHERE id = ?", id).Error
				}
			}
			if err := remove(t.Context(), u.ID); err != nil {
				t.Errorf("deleting a user while notes are written = %v", err)
			}
			wg.Wait()
		}
		for _, table := range []string{"user_counters", "notes", "note_search", "note_tags", "note_versions"} {
			var rows int64
			if err := s.DB().Table(table).Count(&rows).Error; err != nil || rows != 0 {
				t.Errorf("%s has %d rows, %v, want none", table, rows, err)
			}
		}
	})
}

func TestLockout(t *testing.T) {
	eachInTime(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		u := mustUser(t, s, "somebody@example.org")
		fail := func(wantLocked bool) time.Time {
			t.Helper()
			until, err := s.CountFailedSignIn(ctx, u.ID)
			if err != nil || until.IsZero() == wantLocked {
				t.Fatalf("CountFailedSignIn = %v, %v, want locked: %t", until, err, wantLocked)
			}
			return until
		}
		signIn := func(want error) {
			t.Helper()
			if err := s.CountSignIn(ctx, u); !errors.Is(err, want) {
				t.Fatalf("CountSignIn = %v, want %v", err, want)
			}
		}
		for range 4 {
			fail(false)
		}
		signIn(nil) // the count starts over
		for range 4 {
			fail(false)
		}
		until := fail(true)
		if want := time.Now().Add(15 * time.Minute); !until.Equal(want) {
			t.Errorf("the fifth failure locks until %v, want %v", until, want)
		}
		time.Sleep(15*time.Minute - time.Millisecond)
		if again := fail(true); !again.Equal(until) {
			t.Errorf("a failure while locked moves the lock from %v to %v", until, again)
		}
		signIn(store.ErrLocked)
		if got, _ := s.User(ctx, u.ID); !got.LockedUntil.Equal(until) || got.FailedLogins != 5 {
			t.Errorf("user while locked: %d failures, locked until %v, want 5, %v", got.FailedLogins, got.LockedUntil, until)
		}
		time.Sleep(time.Millisecond) // the lock has run out
		for range 4 {
			fail(false)
		}
		fail(true)
		time.Sleep(15 * time.Minute)
		signIn(nil)
		got, err := s.User(ctx, u.ID)
		if err != nil || got.FailedLogins != 0 || !got.LockedUntil.IsZero() || !got.LastLoginAt.Equal(time.Now()) {
			t.Errorf("user after signing in: %+v, %v, want no failures, no lock, signed in now", got, err)
		}
	})
}

// Of fifty guesses at once the first five count, and all the others are told
// of the lock.
func TestLockoutParallel(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		u := mustUser(t, s, "somebody@example.org")
		var mu sync.Mutex
		told := map[bool]int{}
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				until, err := s.CountFailedSignIn(t.Context(), u.ID)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				told[!until.IsZero()]++
			})
		}
		wg.Wait()
		got, err := s.User(t.Context(), u.ID)
		if told[false] != 4 || told[true] != 46 || got.FailedLogins != 5 || err != nil {
			t.Errorf("50 failures at once: %d not locked, %d locked, %d counted, %v; want 4, 46, 5",
				told[false], told[true], got.FailedLogins, err)
		}
	})
}

func TestPasswords(t *testing.T) {
	eachInTime(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		u := mustUser(t, s, "somebody@example.org")
		hash := func(want string) store.User {
			t.Helper()
			got, err := s.User(ctx, u.ID)
			if err != nil || got.PasswordHash != want {
				t.Errorf("password hash = %q, %v, want %q", got.PasswordHash, err, want)
			}
			return got
		}
		if err := s.ReplaceHash(ctx, u.ID, u.PasswordHash, "rehashed"); err != nil {
			t.Error(err)
		}
		hash("rehashed")
		for range 5 {
			if _, err := s.CountFailedSignIn(ctx, u.ID); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Second)
		if err := s.SetPassword(ctx, u.ID, "changed"); err != nil {
			t.Error(err)
		}
		got := hash("changed")
		if !got.LockedUntil.IsZero() || got.FailedLogins != 0 || !got.UpdatedAt.Equal(time.Now()) {
			t.Errorf("user after SetPassword: %+v, want no lock, no failures, updated now", got)
		}
		if err := s.CountSignIn(ctx, u); !errors.Is(err, store.ErrEpoch) {
			t.Errorf("CountSignIn of a password reset meanwhile = %v, want ErrEpoch", err)
		}
		if err := s.CountSignIn(ctx, got); err != nil {
			t.Errorf("CountSignIn after the reset = %v", err)
		}
		if err := s.ReplaceHash(ctx, u.ID, "rehashed", "rehashed too late"); err != nil {
			t.Errorf("ReplaceHash of a password changed meanwhile = %v, want nil", err)
		}
		hash("changed")
	})
}

// TestDisable: a disabled account has no session of before, keeps the time of its last sign-in, and
// an answer to a password from before it was disabled proves nothing.
func TestDisable(t *testing.T) {
	eachInTime(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		u := mustUser(t, s, "somebody@example.org")
		if err := s.CountSignIn(ctx, u); err != nil {
			t.Fatal(err)
		}
		mustSession(t, s, store.Session{Key: "key", UserID: u.ID, ExpiresAt: time.Now().Add(time.Hour)})
		signedIn := time.Now().UTC()
		time.Sleep(time.Second)
		disabled := time.Now().UTC()
		var after store.User
		for range 2 {
			if err := s.Disable(ctx, u.ID); err != nil {
				t.Fatal(err)
			}
			var err error
			if after, err = s.User(ctx, u.ID); err != nil || !after.DisabledAt.Equal(disabled) {
				t.Fatalf("User = %+v, %v, want it to be disabled at %v", after, err, disabled)
			}
			if _, err := s.FindSession(ctx, "key"); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("FindSession = %v, want ErrNotFound", err)
			}
			time.Sleep(time.Second)
		}
		for name, count := range map[string]func(context.Context, store.User) error{
			"CountSignIn": s.CountSignIn, "CountDeviceSignIn": s.CountDeviceSignIn} {
			if err := count(ctx, u); !errors.Is(err, store.ErrEpoch) {
				t.Errorf("%s of before = %v, want ErrEpoch", name, err)
			}
			if err := count(ctx, after); err != nil {
				t.Errorf("%s = %v", name, err)
			}
			if u, err := s.User(ctx, u.ID); err != nil || !u.LastLoginAt.Equal(signedIn) {
				t.Errorf("after %s the last sign-in is %v, %v, want %v", name, u.LastLoginAt, err, signedIn)
			}
		}
		if err := s.Enable(ctx, u.ID); err != nil {
			t.Fatal(err)
		}
		if err := s.CountSignIn(ctx, after); err != nil {
			t.Fatal(err)
		}
		if u, err := s.User(ctx, u.ID); err != nil || !u.DisabledAt.IsZero() || !u.LastLoginAt.Equal(time.Now()) {
			t.Errorf("User = %+v, %v, want it enabled and signed in now", u, err)
		}
		if err := errors.Join(s.Disable(ctx, "none"), s.Enable(ctx, "none")); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Disable and Enable of nobody = %v, want ErrNotFound", err)
		}
	})
}
