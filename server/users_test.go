package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"notesd/server/admin"
	"notesd/store"
)

// operator is a client that sends the administrator token.
type operator struct{ *client }

func (o operator) do(method, path string, body any) reply {
	o.t.Helper()
	return o.request(method, path, body, "Authorization", "Bearer "+adminToken)
}

// user returns the account in a response, and the password that was made.
func (r reply) user() (admin.User, string) {
	r.t.Helper()
	var out struct{ Data admin.UserResult }
	r.decode(&out)
	return out.Data.User, out.Data.Password
}

// An account is made, listed, changed and deleted by operators. Each change is in the server's log
// and in the account's, and no password is.
func TestUsersByOperators(t *testing.T) {
	t.Parallel()
	eachVaultSite(t, func(t *testing.T, s *site) {
		op := operator{s.visitor().in(t)}
		const path = "/api/admin/users"
		made := op.do("POST", path, map[string]any{"email": "ada@example.com"}).want(http.StatusCreated)
		ada, random := made.user()
		one := path + "/" + ada.ID
		wantHeader(t, made, "Location", one)
		if len(random) < 20 || ada.Email != "ada@example.com" || ada.Name != "ada" || ada.LastLoginAt != nil {
			t.Errorf("made %+v with the password %q", ada, random)
		}
		const chosen = "chosen by an operator"
		grace, none := op.do("POST", path, map[string]any{"email": "grace@example.com", "password": chosen}).
			want(http.StatusCreated).user()
		if none != "" {
			t.Errorf("a password was made though one was given: %q", none)
		}
		op.do("POST", path, map[string]any{"email": "ADA@example.com"}).fails(http.StatusConflict, "The address has an account already")
		op.do("POST", path, map[string]any{"email": "nobody"}).fails(http.StatusBadRequest, "Invalid email format")
		op.do("POST", path, map[string]any{"email": "x@example.com", "password": "short"}).
			fails(http.StatusBadRequest, "Password must be at least 8 characters long")
		op.do("POST", path, map[string]any{"email": 7, "password": ""}).fails(http.StatusBadRequest, "Invalid account data")

		c := s.visitor().in(t)
		c.post("/api/auth/login", credentialsOf("ada@example.com", random)).want(http.StatusOK)
		c.post("/api/notes", map[string]any{"title": "t", "content": "c"}).want(http.StatusCreated)

		page := func(query string) (p admin.UserPage) {
			t.Helper()
			var out struct{ Data admin.UserPage }
			op.do("GET", path+query, nil).want(http.StatusOK).decode(&out)
			return out.Data
		}
		first := page("?limit=1")
		if len(first.Users) != 1 || first.Users[0].ID != ada.ID || first.Users[0].Notes != 1 || first.Users[0].Bytes == 0 ||
			first.Users[0].LastLoginAt == nil || first.Next != "ada@example.com" {
			t.Errorf("the first page is %+v", first)
		}
		if next := page("?limit=1&after=" + first.Next); len(next.Users) != 1 || next.Users[0].ID != grace.ID || next.Next != "" {
			t.Errorf("the second page is %+v", next)
		}
		if by := page("?email=GRACE@example.com"); len(by.Users) != 1 || by.Users[0].ID != grace.ID {
			t.Errorf("by address: %+v", by)
		}
		op.do("GET", path+"?limit=501", nil).fails(http.StatusBadRequest, "Invalid account data")

		// Quotas.
		changed, _ := op.do("PATCH", one, map[string]any{"quotaNotes": 1, "quotaBytes": 2000, "quotaHistoryBytes": "none"}).
			want(http.StatusOK).user()
		text, err := json.Marshal(changed.UserQuotas)
		if want := `{"quotaNotes":1,"quotaBytes":2000,"quotaHistoryBytes":"none"}`; err != nil || string(text) != want {
			t.Errorf("the quotas are %s, %v, want %s", text, err, want)
		}
		c.post("/api/notes", map[string]any{"title": "t", "content": "c"}).want(http.StatusInsufficientStorage)
		op.do("PATCH", one, map[string]any{"quotaNotes": "default"}).want(http.StatusOK)
		if u := page("?email=ada@example.com").Users[0]; u.UserQuotas.Notes.Limit != nil || *u.UserQuotas.Bytes.Limit != 2000 {
			t.Errorf("quotas are %+v, want that of notes removed", u.UserQuotas)
		}
		for _, wrong := range []string{`{"quotaNotes":-1}`, `{"quotaBytes":"many"}`, `{"quotaNotes":1.5}`, `{"quotaNotes":null}`,
			`{"disabled":"yes"}`, `{"password":""}`, `{"password":7}`, `{"unlock":1}`} {
			op.do("PATCH", one, wrong).fails(http.StatusBadRequest, "Invalid account data")
		}

		// Disabled, enabled, locked, unlocked.
		changed, _ = op.do("PATCH", one, map[string]any{"disabled": true}).want(http.StatusOK).user()
		if changed.DisabledAt == nil {
			t.Error("the account is not disabled")
		}
		c.get("/api/notes").fails(http.StatusUnauthorized, "Authentication required")
		c.post("/api/auth/login", credentialsOf("ada@example.com", random)).fails(http.StatusForbidden, "Account is disabled")
		for range 5 {
			if _, err := s.store.CountFailedSignIn(t.Context(), ada.ID); err != nil {
				t.Fatal(err)
			}
		}
		c.post("/api/auth/login", credentialsOf("ada@example.com", random)).want(http.StatusLocked)
		changed, _ = op.do("PATCH", one, map[string]any{"disabled": false, "unlock": true}).want(http.StatusOK).user()
		if changed.DisabledAt != nil || changed.LockedUntil != nil {
			t.Errorf("the account is %+v, want it enabled and unlocked", changed)
		}
		c.post("/api/auth/login", credentialsOf("ada@example.com", random)).want(http.StatusOK)

		// Passwords.
		_, random2 := op.do("PATCH", one, map[string]any{"resetPassword": true}).want(http.StatusOK).user()
		c.get("/api/notes").fails(http.StatusUnauthorized, "Authentication required")
		c.post("/api/auth/login", credentialsOf("ada@example.com", random2)).want(http.StatusOK)
		op.do("PATCH", one, map[string]any{"password": "a password by hand"}).want(http.StatusOK)
		c.post("/api/auth/login", credentialsOf("ada@example.com", "a password by hand")).want(http.StatusOK)
		op.do("PATCH", one, map[string]any{"password": "short", "disabled": true}).
			fails(http.StatusBadRequest, "Password must be at least 8 characters long")
		c.get("/api/notes").want(http.StatusOK) // nothing was changed

		log, err := s.store.AccountLog(t.Context(), ada.ID)
		if err != nil {
			t.Fatal(err)
		}
		var events []string
		for _, e := range log {
			if e.Device == "operator" && e.Address == "127.0.0.1" {
				events = append(events, string(e.Event))
			}
		}
		if got, want := strings.Join(events, " "), "password_reset password_reset unlocked enabled disabled quota_changed quota_changed signed_up"; got != want {
			t.Errorf("the account's log has of operators: %s, want %s", got, want)
		}

		op.do("DELETE", one, nil).want(http.StatusOK)
		c.get("/api/notes").fails(http.StatusUnauthorized, "Authentication required")
		for _, r := range []reply{op.do("DELETE", one, nil), op.do("DELETE", path+"/%FF", nil), op.do("PATCH", path+"/%00", map[string]any{"unlock": true}),
			op.do("PATCH", one, map[string]any{"disabled": true}),
			op.do("PATCH", one, map[string]any{"quotaNotes": 1}), op.do("PATCH", one, map[string]any{"unlock": true}),
			op.do("PATCH", one, map[string]any{})} {
			r.fails(http.StatusNotFound, "Account not found")
		}
		if u := page(""); len(u.Users) != 1 || u.Users[0].ID != grace.ID {
			t.Errorf("the list after the deletion is %+v", u)
		}

		text2 := s.log.String()
		for _, secret := range []string{random, random2, chosen, "a password by hand", adminToken} {
			if strings.Contains(text2, secret) {
				t.Errorf("the log has the secret %q", secret)
			}
		}
		if want := fmt.Sprintf(`"event":"deletion","user":"%s","addr":"127.0.0.1","device":"operator"`, ada.ID); !strings.Contains(text2, want) {
			t.Errorf("the log lacks %s", want)
		}
	})
}

// Who has no token reaches no account, also not by a body that never comes.
func TestUsersNeedTheToken(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	ada := s.someone().in(t)
	for _, route := range []struct{ method, path string }{
		{"GET", "/api/admin/users"}, {"POST", "/api/admin/users"}, {"PATCH", "/api/admin/users/x"}, {"DELETE", "/api/admin/users/x"},
	} {
		ada.request(route.method, route.path, nil).fails(http.StatusUnauthorized, "Administrator access required")
	}
	if accounts, err := s.store.Accounts(t.Context(), store.AccountQuery{}); err != nil || len(accounts) != 1 {
		t.Errorf("%d accounts, %v, want 1", len(accounts), err)
	}
}
