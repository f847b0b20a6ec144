package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"notesd/internal/testkit"
	"notesd/internal/testserver"
	"notesd/store"
	"notesd/store/storetest"
)

// sessionJSON is a session in a list.
type sessionJSON struct {
	ID, Device, Address string
	FirstSeen, LastSeen stamp
	Current             bool
}

// sessions are those of the client's user.
func (c *client) sessions() []sessionJSON {
	c.t.Helper()
	var list struct{ Data []sessionJSON }
	c.get("/api/auth/sessions").want(http.StatusOK).decode(&list)
	return list.Data
}

// A user changes name and preferences, and the address with the password alone.
func TestPatchMe(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		c := s.member("ada@example.com")
		s.member("bob@example.com")
		id := c.me()
		shows := func(r reply, name, email, preferences string) {
			t.Helper()
			want := fmt.Sprintf(`{"user":{"id":"%s","email":"%s","name":"%s"},"merges":true%s}`, id, email, name, preferences)
			for _, r := range []reply{r, c.get("/api/auth/me")} {
				if got := strings.TrimSpace(r.want(http.StatusOK).text); got != `{"success":true,"data":`+want+`}` {
					t.Errorf("%s = %s, want %s", r.call, got, want)
				}
			}
		}
		testkit.Eventually(t, "merges", s.store.AllMerge)
		shows(c.patch("/api/auth/me", map[string]any{"name": "Ада 👩‍🔬", "id": "other"}), "Ада 👩‍🔬", "ada@example.com", "")
		shows(c.patch("/api/auth/me", `{"preferences": {"theme": "a<b", "x": [1.50, null]}}`), "Ада 👩‍🔬", "ada@example.com",
			`,"preferences":{"theme":"a<b","x":[1.50,null]}`)
		shows(c.patch("/api/auth/me", `{"preferences":{}}`), "Ада 👩‍🔬", "ada@example.com", `,"preferences":{}`)
		shows(c.patch("/api/auth/me", map[string]any{}), "Ада 👩‍🔬", "ada@example.com", `,"preferences":{}`)
		shows(c.patch("/api/auth/me", `{"preferences":null}`), "Ада 👩‍🔬", "ada@example.com", "")

		long := func(n int) string { return `{"preferences":{"a":"` + strings.Repeat("x", n-len(`{"a":""}`)) + `"}}` }
		c.patch("/api/auth/me", long(store.MaxPreferences)).want(http.StatusOK)
		refused := []struct {
			body  any
			field string
		}{
			{long(store.MaxPreferences + 1), "preferences"},
			{`{"preferences":[]}`, "preferences"},
			{`{"preferences":"{}"}`, "preferences"},
			{`{"name":null}`, "name"},
			{map[string]any{"name": ""}, "name"},
			{map[string]any{"name": strings.Repeat("ж", 101)}, "name"},
			{map[string]any{"name": "a\x00"}, "name"},
			{`{"email":5,"current":"correct horse"}`, "email"},
			{map[string]any{"email": "a@b.example"}, "current"},
		}
		for _, row := range refused {
			r := c.patch("/api/auth/me", row.body).fails(http.StatusBadRequest, "Invalid input format")
			var f failure
			if r.decode(&f); len(f.Fields) != 1 || f.Fields[row.field] == "" {
				t.Errorf("%.80v: fields %v, want %s", row.body, f.Fields, row.field)
			}
		}
		c.patch("/api/auth/me", `{"preferences":null,"name":"ada"}`).want(http.StatusOK)
		to := func(email, current string) reply {
			return c.patch("/api/auth/me", map[string]any{"email": email, "current": current})
		}
		to("ada", password).fails(http.StatusBadRequest, "Invalid email format")
		to("BOB@example.com", password).fails(http.StatusBadRequest, "Email address is taken")
		to("lovelace@example.com", "wrong").fails(http.StatusUnauthorized, wrongText)
		shows(to("Lovelace@example.com", password), "ada", "Lovelace@example.com", "")
		s.visitor().post("/api/auth/login", credentialsOf("lovelace@example.com", password)).want(http.StatusOK)
		s.visitor().post("/api/auth/login", credentialsOf("ada@example.com", password)).fails(http.StatusUnauthorized, wrongText)
		s.visitor().patch("/api/auth/me", map[string]any{"name": "a"}).fails(http.StatusUnauthorized, "Authentication required")
	}, patient)
}

// A new password ends all other sessions with their streams, and this one goes on with a new token.
func TestChangePassword(t *testing.T) {
	t.Parallel()
	eachVaultSite(t, func(t *testing.T, s *site) {
		c := s.visitor()
		c.post("/api/auth/register", map[string]any{"email": "ada@example.com", "password": password, "rememberMe": true}).
			want(http.StatusCreated)
		other, bob := s.as(c.me()), s.someone()
		stream, theirs := other.stream(""), bob.stream("")
		stream.want(`event: hello id: 0 data: {"changeSeq":0}`)
		theirs.want(`event: hello id: 0 data: {"changeSeq":0}`)
		change := func(current, next string) reply {
			return c.post("/api/auth/password", map[string]any{"current": current, "new": next})
		}
		c.post("/api/auth/password", map[string]any{"current": password}).fails(http.StatusBadRequest, "Invalid input format")
		change(password, "short").fails(http.StatusBadRequest, "Password must be at least 8 characters long")
		change("wrong", "staple correct").fails(http.StatusUnauthorized, wrongText)
		other.get("/api/notes").want(http.StatusOK)

		old := c.token()
		r := change(password, "staple correct").want(http.StatusOK)
		wantSessionCookie(t, r, 30*24*time.Hour)
		if c.token() == old {
			t.Error("the session kept its token")
		}
		c.get("/api/notes").want(http.StatusOK)
		s.visitor().bearing(old).get("/api/notes").fails(http.StatusUnauthorized, "Authentication required")
		other.get("/api/notes").fails(http.StatusUnauthorized, "Authentication required")
		stream.ends("a new password")
		if list := c.sessions(); len(list) != 1 || !list[0].Current {
			t.Errorf("sessions %v, want this one", list)
		}
		s.visitor().post("/api/auth/login", credentialsOf("ada@example.com", password)).fails(http.StatusUnauthorized, wrongText)
		s.visitor().post("/api/auth/login", credentialsOf("ada@example.com", "staple correct")).want(http.StatusOK)

		bob.create(map[string]any{"title": "a", "content": ""})
		if got := theirs.next(); got == "" {
			t.Error("another user's stream has ended")
		}
		// Wrong ones count.
		for range 4 {
			change("wrong", "correct staple").fails(http.StatusUnauthorized, wrongText)
		}
		change("wrong", "correct staple").fails(http.StatusLocked, locksText)
		change("staple correct", "correct staple").fails(http.StatusLocked, minutes15)
		c.get("/api/notes").want(http.StatusOK)
	}, patient)
}

// Two changes at once: one succeeds.
func TestChangePasswordAtOnce(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		c := s.member("ada@example.com")
		other := s.as(c.me())
		replies := make(chan reply, 2)
		for i, browser := range []*client{c, other} {
			go func() {
				replies <- browser.post("/api/auth/password", map[string]any{"current": password, "new": fmt.Sprint("staple correct ", i)})
			}()
		}
		one, two := <-replies, <-replies
		if one.status > two.status {
			one, two = two, one
		}
		if one.want(http.StatusOK); two.status != http.StatusUnauthorized {
			t.Errorf("%s = %d %s, want 401", two.call, two.status, two.text)
		}
	}, patient)
}

// A user sees the sessions, and ends one or all others.
func TestSessionList(t *testing.T) {
	t.Parallel()
	eachVaultSite(t, func(t *testing.T, s *site) {
		const firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"
		c := s.member("ada@example.com")
		at := func(address, agent string) *client {
			browser := s.visitor()
			browser.post("/api/auth/login", credentialsOf("ada@example.com", password), "X-Forwarded-For", address, "User-Agent", agent).
				want(http.StatusOK)
			return browser
		}
		linux, script := at("203.0.113.1", firefox), at("2001:db8::1", "curl/8.5.0")
		hour := time.Now().UTC().Truncate(time.Hour)
		list := c.sessions()
		var brief []string
		for _, session := range list {
			brief = append(brief, fmt.Sprint(session.Device, " ", session.Address, " ", session.Current))
			for _, seen := range []stamp{session.FirstSeen, session.LastSeen} {
				if since := time.Time(seen).Sub(hour); since != 0 && since != time.Hour { // the hour may have struck
					t.Errorf("seen at %v, want the hour %v", time.Time(seen), hour)
				}
			}
			for _, browser := range []*client{c, linux, script} {
				if token := browser.token(); strings.Contains(token, session.ID) || strings.Contains(session.ID, token) {
					t.Errorf("the id %q is of the token", session.ID)
				}
			}
		}
		if got, want := strings.Join(brief, ", "), "curl 2001:db8::1 false, Firefox on Linux 203.0.113.1 false, Go-http-client 127.0.0.1 true"; got != want {
			t.Errorf("sessions %s, want %s", got, want)
		}
		if again := linux.sessions(); again[1].ID != list[1].ID || !again[1].Current || again[2].Current {
			t.Errorf("the other session sees %v, want the same list with itself as current", again)
		}

		bob := s.someone()
		bob.delete("/api/auth/sessions/"+list[0].ID).fails(http.StatusNotFound, "Session not found")
		stream, mine := script.stream(""), c.stream("")
		stream.want(`event: hello id: 0 data: {"changeSeq":0}`)
		mine.want(`event: hello id: 0 data: {"changeSeq":0}`)
		c.delete("/api/auth/sessions/" + list[0].ID).want(http.StatusOK)
		stream.ends("its session was ended")
		script.get("/api/notes").fails(http.StatusUnauthorized, "Authentication required")
		linux.get("/api/notes").want(http.StatusOK)
		c.delete("/api/auth/sessions/"+list[0].ID).fails(http.StatusNotFound, "Session not found")
		c.create(map[string]any{"title": "a", "content": ""})
		if mine.next() == "" {
			t.Error("the stream of another session has ended")
		}

		c.delete("/api/auth/sessions").want(http.StatusOK)
		linux.get("/api/notes").fails(http.StatusUnauthorized, "Authentication required")
		bob.get("/api/notes").want(http.StatusOK)
		list = c.sessions()
		if len(list) != 1 || !list[0].Current {
			t.Fatalf("sessions %v, want this one", list)
		}
		wantCleared(t, c.delete("/api/auth/sessions/"+list[0].ID).want(http.StatusOK))
		c.get("/api/notes").fails(http.StatusUnauthorized, "Authentication required")
	}, patient, behind())
}

// Two replicas: what ends at one has ended at the other, which has the session in memory.
func TestSessionsEndAtReplica(t *testing.T) {
	t.Parallel()
	url, redis := storetest.Postgres(t), testserver.Redis(t)
	for name, edits := range map[string][]options{"PostgreSQL": {patient}, "Redis": {patient, onRedis(t, redis)}} {
		t.Run(name, func(t *testing.T) {
			a, b := onDatabase(t, url, edits...), onDatabase(t, url, edits...)
			testkit.Eventually(t, "trust", func() bool { return a.store.HearsOthers() && b.store.HearsOthers() })
			c := a.member(strings.ToLower(name) + "@example.com")
			at := func() *client { // another browser, at the other replica
				there := *a.as(c.me())
				there.url = b.url
				there.get("/api/notes").want(http.StatusOK)
				return &there
			}
			ended := func(there *client, stream *sse, why string) {
				t.Helper()
				there.get("/api/notes").fails(http.StatusUnauthorized, "Authentication required")
				stream.ends(why)
			}
			there := at()
			stream := there.stream("")
			stream.want(`event: hello id: 0 data: {"changeSeq":0}`)
			c.delete("/api/auth/sessions/" + c.sessions()[0].ID).want(http.StatusOK)
			ended(there, stream, "one ended")
			there = at()
			stream = there.stream("")
			stream.want(`event: hello id: 0 data: {"changeSeq":0}`)
			c.delete("/api/auth/sessions").want(http.StatusOK)
			ended(there, stream, "all others ended")
			there = at()
			stream = there.stream("")
			stream.want(`event: hello id: 0 data: {"changeSeq":0}`)
			c.post("/api/auth/password", map[string]any{"current": password, "new": "staple correct"}).want(http.StatusOK)
			ended(there, stream, "a new password")
			mine := *c
			mine.url = b.url
			mine.get("/api/notes").want(http.StatusOK)
		})
	}
}
