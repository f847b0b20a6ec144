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
