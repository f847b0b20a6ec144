package server

import (
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"notesd/internal/testkit"
	"notesd/internal/testserver"
	"notesd/server/auth"
	"notesd/server/listener"
	"notesd/store/storetest"
)

// tokenJSON is an app token as the API shows one.
type tokenJSON struct {
	ID, Name, Scope, Token string
	ExpiresAt, LastUsedAt  *stamp
}

// makeToken makes an app token of the client's user.
func (c *client) makeToken(scope string) tokenJSON {
	c.t.Helper()
	return c.makeTokenUntil(scope, nil)
}

func (c *client) makeTokenUntil(scope string, expires any) (made tokenJSON) {
	c.t.Helper()
	r := c.post("/api/auth/tokens", map[string]any{"name": "the " + scope + "er", "scope": scope, "expiresAt": expires})
	var in struct{ Data tokenJSON }
	r.want(http.StatusCreated).decode(&in)
	return in.Data
}

// tokens are the app tokens of the client's user.
func (c *client) tokens() []tokenJSON {
	c.t.Helper()
	var in struct{ Data []tokenJSON }
	c.get("/api/auth/tokens").want(http.StatusOK).decode(&in)
	return in.Data
}

func (c *client) bearer(token string) *client { return c.authorized("Bearer " + token) }

func (c *client) basic(user, word string) *client {
	return c.authorized("Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+word)))
}

const signedOut = "Authentication required"

// An app token reads or also writes the notes of its user, by Bearer and by Basic, and nothing of the account.
func TestAppToken(t *testing.T) {
	t.Parallel()
	eachVaultSite(t, func(t *testing.T, s *site) {
		c := s.member("ada@example.com")
		mine := c.create(map[string]any{"title": "mine", "content": "text"})
		reads, writes := c.makeToken("read"), c.makeToken("write")
		if reads.LastUsedAt != nil || reads.ExpiresAt != nil || reads.Scope != "read" || !strings.HasPrefix(reads.Token, "notesd_") {
			t.Errorf("made %+v", reads)
		}
		v := s.visitor()
		for way, reader := range map[string]*client{"Bearer": v.bearer(reads.Token), "Basic": v.basic("ADA@example.com", reads.Token)} {
			t.Run(way, func(t *testing.T) {
				reader = reader.in(t)
				for range 2 { // the second time from memory
					if got := reader.get("/api/notes/" + mine.ID).want(http.StatusOK).note(); got.Title != "mine" {
						t.Errorf("read %v", got)
					}
					reader.get("/api/notes").want(http.StatusOK)
				}
				wantMe(t, reader, userJSON{ID: c.me(), Email: "ada@example.com", Name: "ada"})
				reader.get("/api/notes?search=text").want(http.StatusOK)
				reader.get("/api/changes?since=0").want(http.StatusOK)
				reader.stream("").want(`event: hello id: 1 data: {"changeSeq":1}`)
				for _, r := range []reply{
					reader.post("/api/notes", map[string]any{"title": "a", "content": ""}),
					reader.patch("/api/notes/"+mine.ID, map[string]any{"title": "a"}),
					reader.delete("/api/notes/" + mine.ID),
					reader.delete("/api/notes/" + mine.ID + "/versions"),
				} {
					r.fails(http.StatusForbidden, "This app token may only read")
				}
			})
		}
		var writer *client
		for way, client := range map[string]*client{"Bearer": v.bearer(writes.Token), "Basic": v.basic("ada@example.com", writes.Token)} {
			writer = client.in(t)
			n := writer.create(map[string]any{"title": way, "content": ""})
			writer.patch("/api/notes/"+n.ID, map[string]any{"content": "b"}).want(http.StatusOK)
			if got := c.get("/api/notes/" + n.ID + "/versions").want(http.StatusOK).text; !strings.Contains(got, `"by":{"kind":"token","name":"the writeer"}`) {
				t.Errorf("versions %s, want the token as the author", got)
			}
			for _, r := range []reply{
				writer.patch("/api/auth/me", map[string]any{"name": "a"}),
				writer.post("/api/auth/password", map[string]any{"current": password, "new": "staple correct"}),
				writer.get("/api/auth/sessions"),
				writer.delete("/api/auth/sessions"),
				writer.get("/api/auth/tokens"),
				writer.post("/api/auth/tokens", map[string]any{"name": "a", "scope": "write"}),
				writer.delete("/api/auth/tokens/" + reads.ID),
				writer.get("/api/auth/log"),
				writer.post("/api/auth/login", credentialsOf("ada@example.com", password)),
				writer.post("/api/auth/logout", nil),
			} {
				r.fails(http.StatusForbidden, "App tokens may not do this")
			}
		}
		testkit.Eventually(t, "the last use", func() bool {
			list := c.tokens()
			return len(list) == 2 && list[0].ID == writes.ID && list[0].LastUsedAt != nil && list[1].LastUsedAt != nil
		})
		if used := time.Time(*c.tokens()[0].LastUsedAt); used != used.Truncate(time.Hour) || time.Since(used) > time.Hour+time.Minute {
			t.Errorf("last used %v, want the hour", used)
		}
		stream := writer.stream("")
		stream.next()
		s.someone().delete("/api/auth/tokens/"+writes.ID).fails(http.StatusNotFound, "App token not found")
		writer.get("/api/notes").want(http.StatusOK)
		c.delete("/api/auth/tokens/" + writes.ID).want(http.StatusOK)
		stream.ends("the token was deleted")
		writer.get("/api/notes").fails(http.StatusUnauthorized, signedOut)
		v.bearer(reads.Token).get("/api/notes").want(http.StatusOK)
		for _, id := range []string{writes.ID, "%FF", "%00"} {
			c.delete("/api/auth/tokens/"+id).fails(http.StatusNotFound, "App token not found")
		}
		if list := c.tokens(); len(list) != 1 || list[0].Token != "" {
			t.Errorf("tokens %+v, want one without its text", list)
		}
	}, patient)
}

// What a new token must be.
func TestMakeTokenRefused(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		c := s.someone()
		for _, row := range []struct {
			body  any
			field string
		}{
			{`{"scope":"read"}`, "name"},
			{map[string]any{"name": "", "scope": "read"}, "name"},
			{map[string]any{"name": strings.Repeat("ж", 101), "scope": "read"}, "name"},
			{map[string]any{"name": "a"}, "scope"},
			{map[string]any{"name": "a", "scope": "admin"}, "scope"},
			{map[string]any{"name": "a", "scope": "read", "expiresAt": "tomorrow"}, "expiresAt"},
			{map[string]any{"name": "a", "scope": "read", "expiresAt": 5}, "expiresAt"},
			{map[string]any{"name": "a", "scope": "read", "expiresAt": time.Now()}, "expiresAt"},
		} {
			r := c.post("/api/auth/tokens", row.body).fails(http.StatusBadRequest, "Invalid input format")
			var f failure
			if r.decode(&f); len(f.Fields) != 1 || f.Fields[row.field] == "" {
				t.Errorf("%v: fields %v, want %s", row.body, f.Fields, row.field)
			}
		}
		for range 100 {
			c.makeToken("read")
		}
		c.post("/api/auth/tokens", map[string]any{"name": "a", "scope": "read"}).
			fails(http.StatusBadRequest, "Too many app tokens: delete one first")
		c.delete("/api/auth/tokens/" + c.tokens()[0].ID).want(http.StatusOK)
		c.makeToken("read")
		s.someone().makeToken("read")
		s.visitor().get("/api/auth/tokens").fails(http.StatusUnauthorized, signedOut)
	})
}

// Where there is an Authorization header, it alone says who sends the request.
func TestAuthorization(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, patient)
	c := s.member("ada@example.com")
	token := c.makeToken("write").Token
	basic := func(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) }
	tests := []struct {
		name   string
		header []string
		ok     bool
	}{
		{"Bearer", []string{"Bearer " + token}, true},
		{"another case", []string{"bEARER " + token}, true},
		{"two blanks", []string{"Bearer  " + token + " "}, true},
		{"Basic", []string{basic("ada@example.com:" + token)}, true},
		{"Basic, another case", []string{"basic " + base64.StdEncoding.EncodeToString([]byte("Ada@Example.com:"+token))}, true},

		{"empty", []string{""}, false},
		{"scheme alone", []string{"Bearer"}, false},
		{"token alone", []string{token}, false},
		{"another scheme", []string{"Digest " + token}, false},
		{"token cut", []string{"Bearer " + token[:len(token)-1]}, false},
		{"token and more", []string{"Bearer " + token + "a"}, false},
		{"in upper case", []string{"Bearer " + strings.ToUpper(token)}, false},
		{"without its beginning", []string{"Bearer " + strings.TrimPrefix(token, "notesd_")}, false},
		{"never made", []string{"Bearer notesd_" + strings.Repeat("a", 32)}, false},
		{"two", []string{"Bearer " + token, "Bearer " + token}, false},
		{"Basic, the account's password", []string{basic("ada@example.com:" + password)}, false},
		{"Basic, another address", []string{basic("bob@example.com:" + token)}, false},
		{"Basic, no address", []string{basic(":" + token)}, false},
		{"Basic, no colon", []string{basic(token)}, false},
		{"Basic, the wrong way round", []string{basic(token + ":ada@example.com")}, false},
		{"Basic, no base64", []string{"Basic ada@example.com:" + token}, false},
		{"Basic, of 10 KB", []string{basic(strings.Repeat("a", 7000) + ":" + token)}, false},
		{"the session's token", []string{"Bearer " + c.token()}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var headers []string
			for _, header := range tt.header {
				headers = append(headers, "Authorization", header)
			}
			for name, browser := range map[string]*client{"signed in": c.in(t), "without cookies": s.visitor().in(t)} {
				r := browser.get("/api/notes", headers...)
				if _, asks := r.header["Www-Authenticate"]; asks {
					t.Errorf("%s: the answer has WWW-Authenticate", name)
				}
				if tt.ok {
					r.want(http.StatusOK)
					continue
				}
				r.fails(http.StatusUnauthorized, signedOut)
				browser.get("/api/auth/me", headers...).fails(http.StatusUnauthorized, "Not authenticated")
				browser.post("/api/notes", map[string]any{"title": "a", "content": ""}, headers...).fails(http.StatusUnauthorized, signedOut)
			}
		})
	}
	// The administrators' token stays one, and is no app token.
	s.administrator().get("/api/runtime").want(http.StatusOK)
	s.administrator().get("/api/notes").fails(http.StatusUnauthorized, signedOut)
	s.visitor().bearer(token).get("/api/runtime").want(http.StatusUnauthorized)

	foreign := []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}
	note := map[string]any{"title": "a", "content": ""}
	v := s.visitor()
	v.bearer(token).post("/api/notes", note, foreign...).want(http.StatusCreated)
	v.bearer(token).get("/api/notes", foreign...).want(http.StatusOK)
	v.basic("ada@example.com", token).post("/api/notes", note, foreign...).fails(http.StatusForbidden, "Cross-origin request refused")
	v.basic("ada@example.com", token).get("/api/notes", foreign...).fails(http.StatusForbidden, "Cross-origin request refused")
	c.post("/api/notes", note, append(foreign, "Authorization", "Bearer x")...).fails(http.StatusUnauthorized, signedOut)

	// A new address is what Basic asks for.
	c.patch("/api/auth/me", map[string]any{"email": "lovelace@example.com", "current": password}).want(http.StatusOK)
	v.basic("lovelace@example.com", token).get("/api/notes").want(http.StatusOK)
}

// A token expires, while a stream of its own is open.
func TestTokenExpires(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		c := s.someone()
		token := c.makeTokenUntil("read", time.Now().Add(1500*time.Millisecond)).Token
		reader := s.visitor().bearer(token)
		reader.get("/api/notes").want(http.StatusOK)
		stream := reader.stream("")
		stream.want(`event: hello id: 0 data: {"changeSeq":0}`)
		if got := stream.next(); got != "" {
			t.Errorf("event %q, want the end", got)
		}
		reader.get("/api/notes").fails(http.StatusUnauthorized, signedOut)
	})
}

// A token's requests are its user's, for the general limit as well.
func TestTokenLimit(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, func(cfg *Config, _ *Deps) { cfg.RateLimitMax = 6 })
	c := s.someone()
	token := c.makeToken("read").Token // the first request
	for range 3 {
		s.visitor().bearer(token).get("/api/notes").want(http.StatusOK)
	}
	for range 2 {
		c.get("/api/notes").want(http.StatusOK)
	}
	wantRefusal(t, s.visitor().bearer(token).get("/api/notes").want(http.StatusTooManyRequests), "rate_limit")
	wantRefusal(t, c.get("/api/notes").want(http.StatusTooManyRequests), "rate_limit")
}

// Two replicas: a token that ends at one has ended at the other, which has it in memory.
func TestTokenEndsAtReplica(t *testing.T) {
	t.Parallel()
	url, redis := storetest.Postgres(t), testserver.Redis(t)
	for name, edits := range map[string][]options{"PostgreSQL": {patient}, "Redis": {patient, onRedis(t, redis)}} {
		t.Run(name, func(t *testing.T) {
			a, b := onDatabase(t, url, edits...), onDatabase(t, url, edits...)
			testkit.Eventually(t, "trust", func() bool { return a.store.HearsOthers() && b.store.HearsOthers() })
			email := strings.ToLower(name) + "@example.com"
			c := a.member(email)
			id := c.me()
			command := storetest.Open(t, url) // notesd user, a process of its own
			for _, end := range []struct {
				name string
				do   func(token tokenJSON)
			}{
				{"deleted", func(token tokenJSON) { c.delete("/api/auth/tokens/" + token.ID).want(http.StatusOK) }},
				{"new password", func(tokenJSON) {
					c.post("/api/auth/password", map[string]any{"current": password, "new": "staple correct", "revokeTokens": true}).
						want(http.StatusOK)
				}},
				{"reset", func(tokenJSON) {
					if err := auth.ResetPassword(t.Context(), command, nil, id, "correct staple"); err != nil {
						t.Fatal(err)
					}
				}},
				{"disabled", func(tokenJSON) {
					if err := auth.DisableAccount(t.Context(), command, nil, id); err != nil {
						t.Fatal(err)
					}
				}},
				{"account deleted", func(tokenJSON) {
					if err := auth.DeleteAccount(t.Context(), command, nil, id); err != nil {
						t.Fatal(err)
					}
				}},
			} {
				token := c.makeToken("write")
				there := b.visitor().bearer(token.Token)
				there.get("/api/notes").want(http.StatusOK)
				stream := there.stream("")
				stream.next()
				end.do(token)
				for _, replica := range []*site{b, a} {
					replica.visitor().bearer(token.Token).get("/api/notes").fails(http.StatusUnauthorized, signedOut)
					replica.visitor().basic(email, token.Token).get("/api/notes").fails(http.StatusUnauthorized, signedOut)
				}
				stream.ends(end.name)
				switch end.name {
				case "disabled":
					if err := command.Enable(t.Context(), id); err != nil {
						t.Fatal(err)
					}
					b.visitor().bearer(token.Token).get("/api/notes").want(http.StatusOK)
					fallthrough
				case "reset":
					c.post("/api/auth/login", credentialsOf(email, "correct staple")).want(http.StatusOK)
				}
			}
			gone := a.member("gone-" + email)
			token := gone.makeToken("write")
			there := b.visitor().bearer(token.Token)
			there.get("/api/notes").want(http.StatusOK)
			stream := there.stream("")
			stream.next()
			gone.request(http.MethodDelete, "/api/auth/me", map[string]any{"password": password}).want(http.StatusAccepted)
			there.get("/api/notes").fails(http.StatusUnauthorized, signedOut)
			stream.ends("the user deleted the account")
		})
	}
}

// A new password leaves the tokens, unless it is to end them.
func TestPasswordLeavesTokens(t *testing.T) {
	t.Parallel()
	eachVaultSite(t, func(t *testing.T, s *site) {
		c := s.member("ada@example.com")
		reader := s.visitor().bearer(c.makeToken("read").Token)
		reader.get("/api/notes").want(http.StatusOK)
		c.post("/api/auth/password", map[string]any{"current": password, "new": "staple correct"}).want(http.StatusOK)
		reader.get("/api/notes").want(http.StatusOK)
		c.post("/api/auth/password", map[string]any{"current": "staple correct", "new": password, "revokeTokens": true}).want(http.StatusOK)
		reader.get("/api/notes").fails(http.StatusUnauthorized, signedOut)
		if list := c.tokens(); len(list) > 0 {
			t.Errorf("tokens %v, want none", list)
		}
	}, patient)
}

// Of 2000 wrong tokens from ten addresses most cost no look-up and nothing is kept. A right one that was used before
// goes on, from the same address too.
func TestWrongTokens(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, behind())
	token := s.someone().makeToken("read").Token
	v := s.visitor()
	from := func(i int) string { return fmt.Sprintf("203.0.113.%d", i) }
	v.bearer(token).get("/api/notes", "X-Forwarded-For", from(1)).want(http.StatusOK)
	before := s.server.deps.Cache.Shared().Stats().Entries
	var wrong, limited, other atomic.Int64
	var guessers sync.WaitGroup
	const addresses, guesses, allowed, window = 10, 200, 50, 15 * time.Minute
	began := time.Now()
	for i := range addresses {
		guessers.Go(func() {
			for n := range guesses {
				r, err := http.NewRequest(http.MethodGet, s.url+"/api/notes", nil)
				if err != nil {
					t.Error(err)
					return
				}
				r.Header.Set("X-Forwarded-For", from(i))
				r.Header.Set("Authorization", fmt.Sprintf("Bearer notesd_%s", strings.NewReplacer("0", "a", "1", "b", "8", "c", "9", "d").
					Replace(fmt.Sprintf("%032d", guesses*i+n))))
				answer, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Error(err)
					return
				}
				answer.Body.Close()
				switch answer.StatusCode {
				case http.StatusUnauthorized:
					wrong.Add(1)
				case http.StatusTooManyRequests:
					limited.Add(1)
				default:
					other.Add(1)
				}
			}
		})
	}
	guessers.Wait()
	t.Logf("%d wrong, %d limited, %d others", wrong.Load(), limited.Load(), other.Load())
	most := addresses * (allowed + 1 + int64(allowed*time.Since(began)/window)) // some are allowed again meanwhile
	if n := wrong.Load(); n < addresses*allowed || n > most || other.Load() > 0 {
		t.Errorf("%d tokens were looked up and %d answers are neither 401 nor 429, want %d to %d and none", n, other.Load(),
			addresses*allowed, most)
	}
	if entries := s.server.deps.Cache.Shared().Stats().Entries; entries > before {
		t.Errorf("the cache has grown from %d to %d entries", before, entries)
	}
	r := v.bearer(token[:len(token)-4]+"aaaa").get("/api/notes", "X-Forwarded-For", from(1)).want(http.StatusTooManyRequests)
	wantRefusal(t, r, "sign_in_limit")
	v.bearer(token).get("/api/notes", "X-Forwarded-For", from(1)).want(http.StatusOK)
	s.server.deps.Cache.InvalidateAll()
	v.bearer(token).get("/api/notes", "X-Forwarded-For", from(1)).want(http.StatusOK)
	s.someone().get("/api/notes", "X-Forwarded-For", from(1)).want(http.StatusOK)
}

// No log has a token, whatever is done with it.
func TestTokensNotLogged(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		c := s.member("ada@example.com")
		token := c.makeToken("write")
		v := s.visitor()
		for _, client := range []*client{v.bearer(token.Token), v.basic("ada@example.com", token.Token), v.basic("bob@example.com", token.Token),
			v.authorized(token.Token), v.basic(token.Token, "x"), v.authorized("Basic " + token.Token)} {
			client.get("/api/notes")
			client.post("/api/notes", map[string]any{"title": "a", "content": ""})
			client.post("/api/auth/tokens", map[string]any{"name": "a", "scope": "read"})
			client.get("/api/runtime")
			client.get("/none")
		}
		c.delete("/api/auth/tokens/" + token.ID).want(http.StatusOK)
		v.bearer(token.Token).get("/api/notes").fails(http.StatusUnauthorized, signedOut)
		basic := base64.StdEncoding.EncodeToString([]byte("ada@example.com:" + token.Token))
		log := s.log.String()
		for _, secret := range []string{"notesd_", strings.TrimPrefix(token.Token, "notesd_"), basic, c.token(), password, "Authorization"} {
			if i := strings.Index(log, secret); i >= 0 {
				t.Errorf("the log holds %q: …%s…", secret, log[max(0, i-200):min(len(log), i+100)])
			}
		}
		if !strings.Contains(log, `"token_id":"`+token.ID) {
			t.Error("the log does not say which token sent a request")
		}
	}, patient)
}

// A request with a token, by Basic too, costs at most 10 µs more than one with a cookie: answered from memory, and from
// the database. The median of requests that take turns is measured, log lines included.
func TestTokenCost(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector costs more")
	}
	quiet := func(_ *Config, deps *Deps) { deps.Log = slog.New(slog.NewJSONHandler(io.Discard, nil)) }
	s := onSQLite(t, uncounted, quiet)
	c := s.someone()
	id := c.create(map[string]any{"title": "title", "content": strings.Repeat("content ", 50)}).ID
	u, err := s.store.User(t.Context(), c.me())
	if err != nil {
		t.Fatal(err)
	}
	token := c.makeToken("write").Token
	ways := []struct{ name, header, value string }{
		{"cookie", "Cookie", sessionCookie + "=" + c.token()},
		{"Bearer", "Authorization", "Bearer " + token},
		{"Basic", "Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(u.Email+":"+token))},
	}
	for from, path := range map[string]string{"memory": "/api/notes/" + id, "database": "/api/changes?since=0"} {
		took := make([][]time.Duration, len(ways))
		for range 1000 {
			for i, way := range ways {
				r := httptest.NewRequest(http.MethodGet, path, nil)
				r.Header.Set(way.header, way.value)
				r.Host = "localhost"
				r = r.WithContext(listener.WithConn(r.Context(), &listener.Conn{Conn: noConn{}}))
				w := nowhere{header: make(http.Header)}
				began := time.Now()
				s.server.http.Handler.ServeHTTP(&w, r)
				took[i] = append(took[i], time.Since(began))
				if w.status != http.StatusOK {
					t.Fatalf("%s with %s = %d, want 200", path, way.name, w.status)
				}
			}
		}
		median := func(i int) time.Duration {
			slices.Sort(took[i])
			return took[i][len(took[i])/2]
		}
		cookie := median(0)
		for i, way := range ways {
			t.Logf("from %s by %s: %v", from, way.name, median(i))
			if more := median(i) - cookie; more > 10*time.Microsecond {
				t.Errorf("from %s a request by %s takes %v more than one with a cookie", from, way.name, more)
			}
		}
	}
}

// While a token is in use it is deleted: what is asked for after that is refused, by Bearer and by Basic.
func TestTokenEndsInUse(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		c := s.someone()
		u, err := s.store.User(t.Context(), c.me())
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			token := c.makeToken("read")
			var deleted, stop atomic.Bool
			var users sync.WaitGroup
			for _, user := range []*client{s.visitor().bearer(token.Token), s.visitor().basic(u.Email, token.Token)} {
				users.Go(func() {
					for !stop.Load() {
						after := deleted.Load()
						r := user.get("/api/notes")
						switch {
						case r.status == http.StatusOK && !after, r.status == http.StatusUnauthorized:
						case r.status == http.StatusTooManyRequests: // it is a guess by then
						default:
							t.Errorf("%s = %d, after the deletion: %v", r.call, r.status, after)
						}
					}
				})
			}
			time.Sleep(20 * time.Millisecond)
			c.delete("/api/auth/tokens/" + token.ID).want(http.StatusOK)
			deleted.Store(true)
			time.Sleep(20 * time.Millisecond)
			stop.Store(true)
			users.Wait()
		}
	})
}
