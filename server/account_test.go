package server

import (
	"context"
	"net/http"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"notesd/internal/redis"
	"notesd/internal/testkit"
	"notesd/internal/testserver"
	"notesd/store"
	"notesd/store/storetest"
)

// endings are the ways in which a command ends all sessions of an account.
var endings = map[string]func(ctx context.Context, db *store.Store, id string) error{
	"reset": func(ctx context.Context, db *store.Store, id string) error {
		return ResetPassword(ctx, db, nil, id, "another password")
	},
	"delete": func(ctx context.Context, db *store.Store, id string) error { return DeleteAccount(ctx, db, nil, id) },
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
			if list, err := s.server.sessions.list(t.Context(), me.Data.User.ID); len(list) > 0 || err != nil {
				t.Errorf("list() = %v, %v, want none", list, err)
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

// A binary that knows no epochs may serve beside this one: its sessions are valid unless they began before the reset.
func TestSessionWithoutEpoch(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, onRedis(t, testserver.Redis(t)))
	id := newPerson(t, s.store)
	save := func(created time.Time) *client {
		token := newToken()
		record, err := sessionCodec{}.Encode(time.Now().Add(time.Hour), map[string]any{
			recordKey: sessionRecord{UserID: id, Created: created.UnixMilli()}})
		if err != nil {
			t.Fatal(err)
		}
		key := redis.SessionPrefix + sessionKey([]byte(s.server.cfg.SessionSecrets[0]), token)
		if _, err := s.server.redis.Do(t.Context(), "SET", key, record); err != nil {
			t.Fatal(err)
		}
		return s.visitor().bearing(token)
	}
	save(time.Now().Add(-time.Hour)).get("/api/notes").want(http.StatusOK)
	if err := s.store.SetPassword(t.Context(), id, "changed"); err != nil {
		t.Fatal(err)
	}
	save(time.Now().Add(-time.Hour)).get("/api/notes").want(http.StatusUnauthorized)
	save(time.Now().Add(time.Hour)).get("/api/notes").want(http.StatusOK)
}

// pausedCounts lets a test do something between the look at an account and the verification of its password.
type pausedCounts struct {
	failureCounts
	pause func()
}

func (p pausedCounts) AddSignInFailure(ctx context.Context, key string, window time.Duration) (int, time.Time, error) {
	p.pause()
	return p.failureCounts.AddSignInFailure(ctx, key, window)
}

// Who has given the old password, and is let in only after the account was reset or deleted, is not let in. Nor does
// the hash that a sign-in makes anew take the place of a newer password's.
func TestAccountEndsWhileSigningIn(t *testing.T) {
	t.Parallel()
	old, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost) // to be hashed anew
	if err != nil {
		t.Fatal(err)
	}
	test := func(t *testing.T, url string, edits ...options) {
		copies := trustedCopies()
		edits = append(edits, func(_ *Config, parts *Parts) { parts.Copies = copies })
		s := makeSite(t, storetest.OpenWatched(t, url, copies), edits...)
		var pause func()
		s.server.signInLimit.counts = pausedCounts{s.server.signInLimit.counts, func() { pause() }}
		s.serve()
		s.awaitReady()
		for name, end := range endings {
			email := name + "@example.com"
			u, err := s.store.CreateUser(t.Context(), email, name, string(old))
			if err != nil {
				t.Fatal(err)
			}
			pause = func() {
				pause = func() {}
				if err := end(t.Context(), s.store, u.ID); err != nil {
					t.Error(err)
				}
			}
			c := s.visitor().in(t)
			r := c.post("/api/auth/login", credentialsOf(email, password)).fails(http.StatusUnauthorized, "Invalid credentials")
			if len(r.cookies) > 0 {
				t.Errorf("%s while %s = Set-Cookie %v, want none", r.call, name, r.cookies)
			}
			if name == "delete" {
				u, err := s.store.CreateUser(t.Context(), email, name, string(old))
				if err != nil {
					t.Fatal(err)
				}
				pause = func() { pause = func() {}; _ = end(t.Context(), s.store, u.ID) }
				c.post("/api/auth/login", credentialsOf(email, "a wrong guess")).fails(http.StatusUnauthorized, "Invalid credentials")
			}
			if name == "reset" {
				c.post("/api/auth/login", credentialsOf(email, "another password")).want(http.StatusOK)
			}
		}
	}
	storetest.Engines(t, func(t *testing.T, url string) { test(t, url) })
	t.Run("Redis", func(t *testing.T) { test(t, storetest.SQLite(t), onRedis(t, testserver.Redis(t))) })
}
