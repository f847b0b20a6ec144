package store_test

import (
	"crypto/sha256"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"notesd/store"
	"notesd/store/storetest"
)

// hashed stands for the hash of a token.
func hashed(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

func mustToken(t *testing.T, s *store.Store, token store.AppToken, text string) store.AppToken {
	t.Helper()
	made, err := s.CreateAppToken(t.Context(), token, hashed(text))
	if err != nil {
		t.Fatalf("CreateAppToken(%q) = %v", text, err)
	}
	return made
}

// A token is found by its hash until it expires, is deleted, or its account is disabled.
func TestAppToken(t *testing.T) {
	eachInTime(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		u, other := mustUser(t, s, "Ada@example.org"), mustUser(t, s, "bob@example.org")
		now := time.Now().UTC()
		for _, row := range []store.AppToken{
			{UserID: u.ID, Name: "reader", ExpiresAt: now.Add(time.Hour)},
			{UserID: u.ID, Name: "writer", Write: true},
		} {
			made := mustToken(t, s, row, row.Name)
			row.ID, row.CreatedAt = made.ID, now
			if diff := cmp.Diff(row, made); diff != "" || made.ID == "" {
				t.Errorf("CreateAppToken (-want +got):\n%s", diff)
			}
			row.Email = "Ada@example.org"
			if got, err := s.FindAppToken(ctx, hashed(row.Name)); err != nil || got != row {
				t.Errorf("FindAppToken = %+v, %v, want %+v", got, err, row)
			}
		}
		list := func(want ...string) []store.AppToken {
			t.Helper()
			tokens, err := s.AppTokens(ctx, u.ID)
			var names []string
			for _, token := range tokens {
				names = append(names, token.Name)
			}
			if diff := cmp.Diff(want, names); err != nil || diff != "" {
				t.Errorf("AppTokens = %v (-want +got):\n%s", err, diff)
			}
			return tokens
		}
		missing := func(text, id string) {
			t.Helper()
			if got, err := s.FindAppToken(ctx, hashed(text)); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("FindAppToken(%s) = %+v, %v, want ErrNotFound", text, got, err)
			}
			if alive, err := s.AppTokenInForce(ctx, id); alive || err != nil {
				t.Errorf("AppTokenInForce(%s) = %v, %v, want false", text, alive, err)
			}
		}
		tokens := list("writer", "reader")
		writer, reader := tokens[0], tokens[1]
		hour := now.Truncate(time.Hour)
		used := []store.Use{{Key: writer.ID}, {Key: "none"}}
		for _, at := range []time.Time{hour.Add(time.Hour), hour} {
			if err := s.UseAppTokens(ctx, used, at); err != nil {
				t.Fatal(err)
			}
		}
		if got := list("writer", "reader"); !got[0].LastUsedAt.Equal(hour.Add(time.Hour)) || !got[1].LastUsedAt.IsZero() {
			t.Errorf("used %v and %v, want the later hour, and never", got[0].LastUsedAt, got[1].LastUsedAt)
		}
		missing("nothing", "none")
		time.Sleep(time.Hour)
		missing("reader", reader.ID)
		list("writer", "reader") // it can be seen that it has expired

		if err := s.Disable(ctx, u.ID); err != nil {
			t.Fatal(err)
		}
		missing("writer", writer.ID)
		if err := s.Enable(ctx, u.ID); err != nil {
			t.Fatal(err)
		}
		if alive, err := s.AppTokenInForce(ctx, writer.ID); !alive || err != nil {
			t.Errorf("AppTokenInForce = %v, %v, want true", alive, err)
		}
		if err := s.DeleteAppToken(ctx, other.ID, writer.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("DeleteAppToken of another user = %v, want ErrNotFound", err)
		}
		if err := s.DeleteAppToken(ctx, u.ID, writer.ID); err != nil {
			t.Fatal(err)
		}
		missing("writer", writer.ID)
		list("reader")
		if err := s.SetPassword(ctx, u.ID, "new hash"); err != nil {
			t.Fatal(err)
		}
		list()
		if _, err := s.CreateAppToken(ctx, store.AppToken{UserID: "none", Name: "a"}, hashed("a")); !errors.Is(err, store.ErrOwnerGone) {
			t.Errorf("CreateAppToken of nobody = %v, want ErrOwnerGone", err)
		}
	})
}

// However many are made at once, an account has at most MaxAppTokens.
func TestAppTokensAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		u := mustUser(t, s, "ada@example.org")
		for i := range store.MaxAppTokens - 2 {
			mustToken(t, s, store.AppToken{UserID: u.ID, Name: "a"}, string(rune('a'+i)))
		}
		var makers sync.WaitGroup
		results := make(chan error, 8)
		for i := range cap(results) {
			makers.Go(func() {
				_, err := s.CreateAppToken(t.Context(), store.AppToken{UserID: u.ID, Name: "b"}, hashed(string(rune('A'-1-i))))
				results <- err
			})
		}
		makers.Wait()
		made := 0
		for range cap(results) {
			if err := <-results; err == nil {
				made++
			} else if !errors.Is(err, store.ErrTokens) {
				t.Errorf("CreateAppToken = %v, want ErrTokens", err)
			}
		}
		if made != 2 {
			t.Errorf("%d tokens were made, want 2", made)
		}
	})
}

// A change of the password is done whole or not at all.
func TestChangePassword(t *testing.T) {
	eachInTime(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		u := mustUser(t, s, "ada@example.org")
		expires := time.Now().Add(time.Hour)
		mustSession(t, s, store.Session{Key: "old", UserID: u.ID, ExpiresAt: expires})
		mustToken(t, s, store.AppToken{UserID: u.ID, Name: "a"}, "a")
		shows := func(hash string, epoch int64, session string, tokens int) {
			t.Helper()
			got, err := s.User(ctx, u.ID)
			if err != nil || got.PasswordHash != hash || got.SessionEpoch != epoch {
				t.Errorf("User = %+v, %v, want the hash %q and the epoch %d", got, err, hash, epoch)
			}
			list, err := s.Sessions(ctx, u.ID)
			if err != nil || len(list) != 1 || list[0].Key != session {
				t.Errorf("Sessions = %v, %v, want %s", list, err, session)
			}
			if list, err := s.AppTokens(ctx, u.ID); err != nil || len(list) != tokens {
				t.Errorf("AppTokens = %v, %v, want %d", list, err, tokens)
			}
		}
		first := &store.Session{Key: "new", UserID: u.ID, Epoch: 7, ExpiresAt: expires}
		wrong := u
		wrong.SessionEpoch++
		if err := s.ChangePassword(ctx, wrong, store.PasswordChange{Hash: "new", Epoch: 7, First: first, EndTokens: true}); !errors.Is(err, store.ErrEpoch) {
			t.Errorf("ChangePassword of another epoch = %v, want ErrEpoch", err)
		}
		mistaken := *first
		mistaken.Epoch = 8
		if err := s.ChangePassword(ctx, u, store.PasswordChange{Hash: "new", Epoch: 7, First: &mistaken, EndTokens: true}); !errors.Is(err, store.ErrEpoch) {
			t.Errorf("ChangePassword with a session of another epoch = %v, want ErrEpoch", err)
		}
		shows("hash of ada@example.org", 0, "old", 1)
		if err := s.ChangePassword(ctx, u, store.PasswordChange{Hash: "new", Epoch: 7, First: first}); err != nil {
			t.Fatal(err)
		}
		shows("new", 7, "new", 1)
		u.SessionEpoch = 7
		if err := s.ChangePassword(ctx, u, store.PasswordChange{Hash: "newer", Epoch: 9, EndTokens: true,
			First: &store.Session{Key: "newer", UserID: u.ID, Epoch: 9, ExpiresAt: expires}}); err != nil {
			t.Fatal(err)
		}
		shows("newer", 9, "newer", 0)
	})
}
