package store_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"notesd/store"
)

func mustSession(t *testing.T, s *store.Store, session store.Session) {
	t.Helper()
	if err := s.SaveSession(t.Context(), session); err != nil {
		t.Fatalf("SaveSession(%q) = %v", session.Key, err)
	}
}

func TestSession(t *testing.T) {
	eachInTime(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		u := mustUser(t, s, "somebody@example.org")
		now := time.Now().UTC()
		session := store.Session{
			Key: "key", UserID: u.ID, Data: []byte{0, 255, 'x'}, UserAgent: "Firefox", Address: "2001:db8::1",
			ExpiresAt: now.Add(time.Hour),
		}
		find := func(want store.Session) {
			t.Helper()
			got, err := s.FindSession(ctx, want.Key)
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
				t.Fatalf("FindSession = %v (-want +got):\n%s", err, diff)
			}
		}
		missing := func(key string) {
			t.Helper()
			if got, err := s.FindSession(ctx, key); !errors.Is(err, store.ErrNotFound) {
				t.Fatalf("FindSession(%q) = %v, %v, want ErrNotFound", key, got, err)
			}
		}
		missing("key")
		mustSession(t, s, session)
		session.CreatedAt = now
		find(session)
		missing("KEY")

		time.Sleep(time.Minute)
		changed := session
		changed.Data, changed.ExpiresAt, changed.CreatedAt = nil, now.Add(2*time.Hour), time.Time{}
		mustSession(t, s, changed)
		changed.CreatedAt = now // is not forgotten
		find(changed)

		time.Sleep(2*time.Hour - time.Minute - time.Millisecond)
		find(changed)
		time.Sleep(time.Millisecond)
		missing("key")

		changed.ExpiresAt = time.Now().UTC().Add(time.Hour)
		mustSession(t, s, changed)
		for range 2 { // the second finds nothing to delete
			if err := s.DeleteSession(ctx, "key"); err != nil {
				t.Errorf("DeleteSession = %v", err)
			}
			missing("key")
		}
	})
}

func TestSessions(t *testing.T) {
	eachInTime(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		u, other := mustUser(t, s, "somebody@example.org"), mustUser(t, s, "other@example.org")
		for _, key := range []string{"one", "two", "three", "short"} {
			lasts := time.Hour
			if key == "short" {
				lasts = time.Minute
			}
			mustSession(t, s, store.Session{Key: key, UserID: u.ID, ExpiresAt: time.Now().Add(lasts)})
			mustSession(t, s, store.Session{Key: "other's " + key, UserID: other.ID, ExpiresAt: time.Now().Add(time.Hour)})
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		list := func(user store.User, want string) {
			t.Helper()
			sessions, err := s.Sessions(ctx, user.ID)
			var keys []string
			for _, session := range sessions {
				keys = append(keys, session.Key)
			}
			if got := strings.Join(keys, ","); err != nil || got != want {
				t.Errorf("Sessions = %q, %v, want %q", got, err, want)
			}
		}
		list(u, "three,two,one")
		if err := s.DeleteSessions(ctx, u.ID, "two"); err != nil {
			t.Error(err)
		}
		list(u, "two")
		if err := s.DeleteSessions(ctx, u.ID, ""); err != nil {
			t.Error(err)
		}
		list(u, "")
		list(other, "other's short,other's three,other's two,other's one")
	})
}

// A new password ends the sessions that began before it, and those of whoever was let in by the old one.
func TestSessionEpoch(t *testing.T) {
	eachInTime(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		u, other := mustUser(t, s, "somebody@example.org"), mustUser(t, s, "other@example.org")
		ends := time.Now().Add(time.Hour)
		mustSession(t, s, store.Session{Key: "before", UserID: u.ID, ExpiresAt: ends})
		mustSession(t, s, store.Session{Key: "another's", UserID: other.ID, ExpiresAt: ends})
		mustSession(t, s, store.Session{Key: "of the binary before, before", UserID: u.ID, ExpiresAt: ends})
		time.Sleep(time.Millisecond)
		var epochs []int64
		for range 2 { // in one millisecond
			if err := s.SetPassword(ctx, u.ID, "changed"); err != nil {
				t.Fatal(err)
			}
			epoch, err := s.SessionEpoch(ctx, u.ID)
			if err != nil {
				t.Fatal(err)
			}
			epochs = append(epochs, epoch)
		}
		if u.SessionEpoch >= epochs[0] || epochs[0] >= epochs[1] {
			t.Errorf("epochs %d, %v, want each above the one before", u.SessionEpoch, epochs)
		}
		for _, old := range []int64{u.SessionEpoch, epochs[0]} {
			err := s.SaveSession(ctx, store.Session{Key: "late", UserID: u.ID, Epoch: old, ExpiresAt: ends})
			if !errors.Is(err, store.ErrEpoch) {
				t.Errorf("SaveSession with the epoch %d, now %d = %v, want ErrEpoch", old, epochs[1], err)
			}
		}
		time.Sleep(time.Millisecond) // past an epoch that had to be more than the time
		mustSession(t, s, store.Session{Key: "after", UserID: u.ID, Epoch: epochs[1], ExpiresAt: ends})
		mustSession(t, s, store.Session{Key: "of the binary before, after", UserID: u.ID, Epoch: epochs[1], ExpiresAt: ends})
		if err := s.WriterDB().Exec("UPDATE sessions SET epoch = NULL WHERE token_hash LIKE 'of the binary before%'").Error; err != nil {
			t.Fatal(err)
		}
		for key, there := range map[string]bool{"before": false, "late": false, "after": true, "another's": true,
			"of the binary before, before": false, "of the binary before, after": true} {
			if _, err := s.FindSession(ctx, key); (err == nil) != there || err != nil && !errors.Is(err, store.ErrNotFound) {
				t.Errorf("FindSession(%q) = %v, want found: %t", key, err, there)
			}
		}
		if list, err := s.Sessions(ctx, u.ID); len(list) != 2 || err != nil {
			t.Errorf("Sessions() = %v, %v, want the two after", list, err)
		}
		if err := s.DeleteUser(ctx, u.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := s.SessionEpoch(ctx, u.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("SessionEpoch of a deleted user = %v, want ErrNotFound", err)
		}
	})
}
