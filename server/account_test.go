package server

import (
	"context"
	"net/http"
	"testing"

	"notesd/internal/testkit"
	"notesd/internal/testserver"
	"notesd/server/auth"
	"notesd/store"
	"notesd/store/storetest"
)

// endings are the ways in which a command ends all sessions of an account.
var endings = map[string]func(ctx context.Context, db *store.Store, id string) error{
	"reset": func(ctx context.Context, db *store.Store, id string) error {
		return auth.ResetPassword(ctx, db, nil, id, "another password")
	},
	"disable": func(ctx context.Context, db *store.Store, id string) error {
		return auth.DisableAccount(ctx, db, nil, id)
	},
	"delete": func(ctx context.Context, db *store.Store, id string) error {
		return auth.DeleteAccount(ctx, db, nil, id)
	},
}

// A command in a shell without REDIS_URL ends the sessions in the Redis that the server has, also those that the
// server has in memory.
func TestSessionsEndWhereverTheyAreKept(t *testing.T) {
	t.Parallel()
	url := storetest.Postgres(t)
	s := onDatabase(t, url, onRedis(t, testserver.Redis(t)))
	testkit.Eventually(t, "listening", func() bool { return s.store.Channel().Listening })
	shell := storetest.Open(t, url)
	for name, end := range endings {
		t.Run(name, func(t *testing.T) {
			ada, other := s.member(name+"@example.com").in(t), s.someone().in(t)
			var me struct{ Data struct{ User userJSON } }
			ada.get("/api/auth/me").want(http.StatusOK).decode(&me)
			other.get("/api/notes").want(http.StatusOK)
			if err := end(t.Context(), shell, me.Data.User.ID); err != nil {
				t.Fatal(err)
			}
			ada.get("/api/notes").fails(http.StatusUnauthorized, "Authentication required")
			ada.get("/api/auth/me").fails(http.StatusUnauthorized, "Not authenticated")
			if list, err := s.server.accounts.Sessions.List(t.Context(), me.Data.User.ID); len(list) > 0 || err != nil {
				t.Errorf("List() = %v, %v, want none", list, err)
			}
			other.get("/api/notes").want(http.StatusOK)
			if name == "reset" {
				c := s.visitor().in(t)
				c.post("/api/auth/login", credentialsOf(name+"@example.com", "another password")).want(http.StatusOK)
				c.get("/api/notes").want(http.StatusOK)
			}
		})
	}
}

// TestDisabledAccount: who knows the password of a disabled account is told so, and nobody else. Its
// sessions and streams end at once in the process that disables it, and it can be enabled again.
func TestDisabledAccount(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		ada := s.member("ada@example.com").in(t)
		var me struct{ Data struct{ User userJSON } }
		ada.get("/api/auth/me").want(http.StatusOK).decode(&me)
		stream := ada.stream("")
		stream.want(`event: hello id: 0 data: {"changeSeq":0}`)
		before, err := s.store.User(t.Context(), me.Data.User.ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := auth.DisableAccount(t.Context(), s.store, nil, before.ID); err != nil {
			t.Fatal(err)
		}
		stream.ends("the account being disabled")
		ada.get("/api/notes").fails(http.StatusUnauthorized, "Authentication required")

		stranger := s.visitor().in(t)
		login := func(password string) reply {
			return stranger.post("/api/auth/login", credentialsOf("ada@example.com", password))
		}
		login("wrong").fails(http.StatusUnauthorized, "Invalid credentials")
		login(password).fails(http.StatusForbidden, "Account is disabled")
		ada.post("/api/auth/login", credentialsOf("ada@example.com", password)).
			fails(http.StatusForbidden, "Account is disabled")
		after, err := s.store.User(t.Context(), before.ID)
		if err != nil || after.FailedLogins != 0 || !after.LastLoginAt.Equal(before.LastLoginAt) || after.DisabledAt.IsZero() {
			t.Errorf("the account is %+v, %v, want no wrong password and the sign-in of before: %+v", after, err, before)
		}
		for range 5 {
			if _, err := s.store.CountFailedSignIn(t.Context(), before.ID); err != nil {
				t.Fatal(err)
			}
		}
		login(password).want(http.StatusLocked) // also the right password tells nothing now

		if err := s.store.Unlock(t.Context(), before.ID); err != nil {
			t.Fatal(err)
		}
		if err := s.store.Enable(t.Context(), before.ID); err != nil {
			t.Fatal(err)
		}
		ada.get("/api/notes").fails(http.StatusUnauthorized, "Authentication required")
		login(password).want(http.StatusOK)
		stranger.get("/api/notes").want(http.StatusOK)
	})
}
