package server

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"notesd/internal/testkit"
	"notesd/server/api"
	"notesd/store"
	"notesd/store/storetest"
)

// A user deletes the account. Who writes meanwhile from another device gets an answer, and soon a 401.
func TestDeleteAccount(t *testing.T) {
	t.Parallel()
	eachVaultSite(t, func(t *testing.T, s *site) {
		c := s.member("ada@example.com")
		for i := range 60 {
			c.post("/api/notes", map[string]any{"title": fmt.Sprint(i), "content": "text"}).want(http.StatusCreated)
		}
		app := s.turnOnTOTP(t, c)
		other := s.visitor()
		other.loginWith("203.0.113.1", app.recovery[0]).want(http.StatusOK)
		stream := other.stream("")
		u, err := s.store.UserByEmail(t.Context(), "ada@example.com")
		if err != nil {
			t.Fatal(err)
		}

		for text, in := range map[string]map[string]any{
			"Invalid input format": {}, "Invalid credentials": {"password": "wrong"}, codeRequired: {"password": password},
			codeWrong: {"password": password, "totp": "000000x"},
		} {
			r := c.request("DELETE", "/api/auth/me", in)
			if want := map[bool]int{true: 400, false: 401}[text == "Invalid input format"]; r.status != want || !strings.Contains(r.text, text) {
				t.Errorf("%s = %d %s, want %d %s", r.call, r.status, r.text, want, text)
			}
		}
		c.get("/api/auth/me").want(http.StatusOK)

		var writing sync.WaitGroup
		var stop atomic.Bool
		for range 2 {
			writing.Go(func() {
				for ended := false; !stop.Load(); {
					r := other.post("/api/notes", map[string]any{"title": "late", "content": ""})
					if r.status != http.StatusUnauthorized && (ended || r.status != http.StatusCreated) {
						t.Errorf("%s = %d %s", r.call, r.status, r.text)
					}
					ended = r.status == http.StatusUnauthorized
				}
			})
		}
		deleted := c.request("DELETE", "/api/auth/me", map[string]any{"password": password, "totp": app.recovery[1]}).
			want(http.StatusAccepted)
		wantCleared(t, deleted)
		other.get("/api/auth/me").fails(http.StatusUnauthorized, "Not authenticated")
		testkit.Eventually(t, "the end of the stream", func() bool { return stream.next() == "" })
		s.visitor().login("203.0.113.2", "ada@example.com", password).fails(http.StatusUnauthorized, "Invalid credentials")
		again := s.member("ada@example.com")
		var usage struct{ Data api.Usage }
		again.get("/api/auth/me/usage").want(http.StatusOK).decode(&usage)
		if usage.Data != (api.Usage{}) {
			t.Errorf("a new account with the address has %+v", usage.Data)
		}
		testkit.Eventually(t, "the end of the account", func() bool {
			_, err := s.store.Counters(t.Context(), u.ID)
			return errors.Is(err, store.ErrNotFound)
		})
		stop.Store(true)
		writing.Wait()
		again.get("/api/auth/me").want(http.StatusOK)
	}, behind())
}

// The sessions on another replica end with the account.
func TestDeleteAccountOnReplicas(t *testing.T) {
	t.Parallel()
	url := storetest.Postgres(t)
	first, second := onDatabase(t, url), onDatabase(t, url)
	c := first.member("ada@example.com")
	there := second.visitor()
	there.post("/api/auth/login", credentialsOf("ada@example.com", password)).want(http.StatusOK)
	there.get("/api/notes").want(http.StatusOK)
	c.request("DELETE", "/api/auth/me", map[string]any{"password": password}).want(http.StatusAccepted)
	there.get("/api/notes").fails(http.StatusUnauthorized, "Authentication required")
	there.post("/api/notes", map[string]any{"title": "late", "content": ""}).fails(http.StatusUnauthorized, "Authentication required")
}

// The quotas that are in force count what the account has.
func TestUsage(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		c := s.member("ada@example.com")
		made := c.post("/api/notes", map[string]any{"title": "one", "content": strings.Repeat("x", 1000)}).want(http.StatusCreated).note()
		c.request("PATCH", "/api/notes/"+made.ID, map[string]any{"content": "shorter"}).want(http.StatusOK)
		u, err := s.store.UserByEmail(t.Context(), "ada@example.com")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.store.SetQuota(t.Context(), u.ID, new(int64(7)), new(int64(1<<20))); err != nil {
			t.Fatal(err)
		}
		var got struct{ Data api.Usage }
		r := c.get("/api/auth/me/usage").want(http.StatusOK)
		r.decode(&got)
		d := got.Data
		if d.Notes != 1 || d.Bytes < 1000 || d.Bytes > 1100 || d.HistoryBytes < 150 || *d.Quota.Notes != 7 || *d.Quota.Bytes != 2<<20 ||
			*d.Quota.HistoryBytes != 1<<20 {
			t.Errorf("%s = %s", r.call, r.text)
		}
		s.visitor().get("/api/auth/me/usage").fails(http.StatusUnauthorized, "Authentication required")
	})
}

// Requests whose account goes after their session was found get a 401, whatever they ask.
func TestAccountGoneMeanwhile(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	c := s.someone()
	var me account
	c.get("/api/auth/me").want(http.StatusOK).decode(&me)
	if err := s.store.DeleteUser(t.Context(), me.Data.User.ID); err != nil { // which ends no session that this process remembers
		t.Fatal(err)
	}
	for _, tt := range []struct {
		method, path string
		body         any
	}{
		{"GET", "/api/auth/me/usage", nil}, {"GET", "/api/changes", nil}, {"POST", "/api/auth/totp", nil},
		{"PATCH", "/api/auth/me", map[string]any{"name": "Ada"}}, {"GET", "/api/events", nil},
		{"POST", "/api/notes", map[string]any{"title": "two", "content": ""}},
	} {
		c.request(tt.method, tt.path, tt.body).fails(http.StatusUnauthorized, "Authentication required")
	}
}
