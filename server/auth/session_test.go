package auth

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"notesd/internal/cache"
	"notesd/internal/redis"
	"notesd/internal/redis/redistest"
	"notesd/internal/testkit"
	"notesd/internal/testserver"
	"notesd/store"
	"notesd/store/storetest"
)

// vault is where a test keeps its sessions.
type vault struct {
	sessionBackend
	person func() string            // a person who may have sessions
	dump   func() map[string]string // all that a thief of it would have
}

// eachVault runs a test on every backend.
func eachVault(t *testing.T, test func(t *testing.T, v vault)) {
	t.Run("Redis", func(t *testing.T) {
		r := redistest.Open(t, testserver.Redis(t))
		test(t, vault{newRedisSessions(r, unreset{}), rand.Text, func() map[string]string { return redistest.Contents(t, r) }})
	})
	storetest.Engines(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		test(t, vault{s, func() string { return newPerson(t, s) }, func() map[string]string { return sessionRows(t, url) }})
	})
}

// unreset are accounts whose sessions have never been ended all at once.
type unreset struct{}

func (unreset) SessionEpoch(context.Context, string) (int64, error) { return 0, nil }

func newPerson(t *testing.T, s *store.Store) string {
	t.Helper()
	name := rand.Text()
	u, err := s.CreateUser(t.Context(), name+"@example.org", name, "no hash")
	if err != nil {
		t.Fatal(err)
	}
	return u.ID
}

// sessionRows returns the rows of the table of sessions, each as text.
func sessionRows(t *testing.T, dbURL string) map[string]string {
	t.Helper()
	driver, columns := "sqlite", "token_hash || user_id || CAST(data AS text) || hex(data) || user_agent"
	if strings.HasPrefix(dbURL, "postgres") {
		driver, columns = "pgx", "sessions::text || convert_from(data, 'UTF8')"
	}
	db, err := sql.Open(driver, dbURL)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), "SELECT token_hash, "+columns+" FROM sessions")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	all := map[string]string{}
	for rows.Next() {
		var key, row string
		if err := rows.Scan(&key, &row); err != nil {
			t.Fatal(err)
		}
		all[key] = row
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// sessionSite is a small server with sessions. Every handler loads the session first.
type sessionSite struct {
	*httptest.Server
	sessions *Sessions
	begun    chan struct{} // a request to /slow has loaded its session
	finish   chan struct{} // lets it go on
}

// trustedCache returns the cache of a process that is alone.
func trustedCache() *cache.Cache {
	c := cache.New(cache.Config{Bytes: 1 << 20, MaxAge: time.Minute, Shards: 1})
	c.LeaseUntil(time.Now().Add(time.Hour))
	return c
}

func newSessionSite(t *testing.T, backend sessionBackend, secrets ...string) *sessionSite {
	s := &sessionSite{sessions: newSessions(backend, secrets, trustedCache()), begun: make(chan struct{}), finish: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("/me", s.handle(func(w http.ResponseWriter, r *http.Request, user string) error {
		_, err := io.WriteString(w, user)
		return err
	}))
	mux.HandleFunc("/slow", s.handle(func(w http.ResponseWriter, r *http.Request, user string) error {
		s.begun <- struct{}{}
		<-s.finish
		_, err := io.WriteString(w, user)
		return err
	}))
	mux.HandleFunc("/in", s.handle(s.in))
	mux.HandleFunc("/in-then-flush", s.handle(func(w http.ResponseWriter, r *http.Request, user string) error {
		err := s.in(w, r, user)
		w.(http.Flusher).Flush()
		return err
	}))
	mux.HandleFunc("/in-then-fail", s.handle(func(w http.ResponseWriter, r *http.Request, user string) error {
		return errors.Join(s.in(w, r, user), errors.New("handler failed"))
	}))
	mux.HandleFunc("/out", s.handle(func(w http.ResponseWriter, r *http.Request, user string) error {
		return s.sessions.SignOut(r.Context(), w, r, r.FormValue("secure") != "")
	}))
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *sessionSite) in(w http.ResponseWriter, r *http.Request, _ string) error {
	return s.sessions.SignIn(r.Context(), w, r, NewSession{
		UserID: r.FormValue("user"), Address: "203.0.113.7",
		Remember: r.FormValue("remember") != "", Secure: r.FormValue("secure") != "",
	})
}

func (s *sessionSite) handle(fn func(w http.ResponseWriter, r *http.Request, user string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, err := s.sessions.Authenticate(r.Context(), r)
		if err == nil {
			err = fn(w, r, user)
		}
		if errors.Is(err, store.ErrUnavailable) || errors.Is(err, redis.ErrUnavailable) {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		} else if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}
}

// browser is one person's.
type browser struct {
	t    *testing.T
	site *sessionSite
	http *http.Client
}

func (s *sessionSite) browser(t *testing.T) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, s, &http.Client{Transport: s.Client().Transport, Jar: jar}}
}

func (b *browser) get(path string) (body string, response *http.Response) {
	b.t.Helper()
	response, err := b.http.Get(b.site.URL + path)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text), response
}

// signIn returns the token.
func (b *browser) signIn(user string) string {
	b.t.Helper()
	body, response := b.get("/in?user=" + user)
	if response.StatusCode != http.StatusOK {
		b.t.Fatalf("sign-in: %d %s", response.StatusCode, body)
	}
	return b.token()
}

func (b *browser) address() *url.URL {
	u, err := url.Parse(b.site.URL)
	if err != nil {
		b.t.Fatal(err)
	}
	return u
}

func (b *browser) token() string {
	for _, c := range b.http.Jar.Cookies(b.address()) {
		if c.Name == sessionCookie {
			return c.Value
		}
	}
	return ""
}

// bring replaces the browser's token.
func (b *browser) bring(token string) *browser {
	b.http.Jar.SetCookies(b.address(), []*http.Cookie{{Name: sessionCookie, Value: token, Path: "/"}})
	return b
}

func (b *browser) wantSignedIn(user, when string) {
	b.t.Helper()
	if got, response := b.get("/me"); got != user || response.StatusCode != http.StatusOK {
		b.t.Errorf("%s: /me = %d %q, want 200 %q", when, response.StatusCode, got, user)
	}
}

func TestSession(t *testing.T) {
	eachVault(t, func(t *testing.T, v vault) {
		for _, test := range []struct {
			name, query string
			maxAge      time.Duration
			secure      bool
		}{
			{"plain", "", 24 * time.Hour, false},
			{"remembered", "&remember=1", 30 * 24 * time.Hour, false},
			{"by TLS", "&secure=1", 24 * time.Hour, true},
			{"remembered, by TLS", "&remember=1&secure=1", 30 * 24 * time.Hour, true},
		} {
			t.Run(test.name, func(t *testing.T) {
				b, person := newSessionSite(t, v, testSecret).browser(t), v.person()
				if _, response := b.get("/me"); len(response.Cookies()) != 0 {
					t.Errorf("before sign-in: Set-Cookie %v, want none", response.Cookies())
				}
				_, response := b.get("/in?user=" + person + test.query)
				wantCookie(t, response, &http.Cookie{MaxAge: int(test.maxAge.Seconds()), Secure: test.secure})
				if !test.secure { // a jar keeps secure cookies from plain HTTP
					b.wantSignedIn(person, "after sign-in")
					wantExpiry(t, v, person, test.maxAge)
				}
				token := response.Cookies()[0].Value
				if _, response := b.get("/me"); len(response.Cookies()) != 0 {
					t.Errorf("after sign-in: another Set-Cookie %v, want none", response.Cookies())
				}
				_, response = b.bring(token).get("/out?" + test.query)
				wantCookie(t, response, &http.Cookie{MaxAge: -1, Secure: test.secure})
				b.bring(token).wantSignedIn("", "after sign-out, with the old token")
			})
		}
	})
}

// wantCookie checks that the response sets the cookie once, with want's life.
func wantCookie(t *testing.T, response *http.Response, want *http.Cookie) {
	t.Helper()
	want.Name, want.Path, want.HttpOnly, want.SameSite = sessionCookie, "/", true, http.SameSiteStrictMode
	cookies := response.Cookies()
	names := []string{sessionCookie}
	if want.Secure {
		names = append(names, hostCookie)
	}
	if len(cookies) != len(names) {
		t.Fatalf("Set-Cookie %q, want %q", response.Header["Set-Cookie"], names)
	}
	if want.Secure && (cookies[1].Name != hostCookie || cookies[1].Value != cookies[0].Value || cookies[1].MaxAge != want.MaxAge ||
		!cookies[1].Secure || cookies[1].Path != "/" || cookies[1].Domain != "" || !cookies[1].HttpOnly) {
		t.Errorf("Set-Cookie %q, want the same as the first under %s", cookies[1].Raw, hostCookie)
	}
	diff := cmp.Diff(want, cookies[0], cmpopts.IgnoreFields(http.Cookie{}, "Value", "Raw", "Expires", "RawExpires"))
	if diff != "" {
		t.Errorf("Set-Cookie (-want +got):\n%s", diff)
	}
	if cleared := want.MaxAge < 0; cleared != (cookies[0].Value == "") || cleared != cookies[0].Expires.Before(time.Now()) {
		t.Errorf("Set-Cookie %q, want cleared: %v", cookies[0].Raw, cleared)
	}
}

func wantExpiry(t *testing.T, v vault, person string, life time.Duration) {
	t.Helper()
	list, err := v.Sessions(t.Context(), person)
	if err != nil || len(list) != 1 {
		t.Fatalf("Sessions() = %v, %v, want one", list, err)
	}
	if left := time.Until(list[0].ExpiresAt); left > life || left < life-time.Minute {
		t.Errorf("the store forgets the session in %v, want in %v", left, life)
	}
}

// A handler that fails after the sign-in, and one that flushes, send the
// cookie, and once.
func TestSessionCookieOnce(t *testing.T) {
	eachVault(t, func(t *testing.T, v vault) {
		for path, status := range map[string]int{
			"/in-then-fail":  http.StatusInternalServerError,
			"/in-then-flush": http.StatusOK,
		} {
			b, person := newSessionSite(t, v, testSecret).browser(t), v.person()
			_, response := b.get(path + "?user=" + person)
			if response.StatusCode != status {
				t.Errorf("%s: status %d, want %d", path, response.StatusCode, status)
			}
			wantCookie(t, response, &http.Cookie{MaxAge: 86400})
			b.wantSignedIn(person, path)
		}
	})
}

// A request that was running when its session was signed out doesn't bring
// the session back when it ends.
func TestSignOutHolds(t *testing.T) {
	eachVault(t, func(t *testing.T, v vault) {
		s := newSessionSite(t, v, testSecret)
		b, person := s.browser(t), v.person()
		token := b.signIn(person)

		slow := make(chan string)
		go func() {
			body, _ := b.get("/slow")
			slow <- body
		}()
		<-s.begun
		s.browser(t).bring(token).get("/out")
		close(s.finish)
		if got := <-slow; got != person {
			t.Errorf("the running request = %q, want %q", got, person)
		}
		s.browser(t).bring(token).wantSignedIn("", "after the running request ended")
		if left := v.dump(); len(left) != 0 {
			t.Errorf("left behind: %v, want nothing", left)
		}
	})
}

// A token that someone planted is worth nothing after the sign-in.
func TestSessionFixation(t *testing.T) {
	eachVault(t, func(t *testing.T, v vault) {
		s := newSessionSite(t, v, testSecret)
		victim, attacker := v.person(), v.person()
		for name, planted := range map[string]string{
			"made up":        strings.Repeat("A", sessionTokenBytes),
			"the attacker's": s.browser(t).signIn(attacker),
		} {
			b := s.browser(t).bring(planted)
			if token := b.signIn(victim); token == planted || !isToken(token) {
				t.Errorf("%s: token after sign-in = %q, want a new one", name, token)
			}
			b.wantSignedIn(victim, name+": the victim")
			s.browser(t).bring(planted).wantSignedIn("", name+": the planted token")
		}
	})
}

// Signing in again and again leaves one session, as each one ends the one before.
func TestSignInAgain(t *testing.T) {
	eachVault(t, func(t *testing.T, v vault) {
		b, person := newSessionSite(t, v, testSecret).browser(t), v.person()
		for range 3 {
			b.signIn(person)
		}
		if list, err := v.Sessions(t.Context(), person); err != nil || len(list) != 1 {
			t.Errorf("Sessions() = %v, %v, want one", list, err)
		}
	})
}

func TestRevoke(t *testing.T) {
	eachVault(t, func(t *testing.T, v vault) {
		s, before := newSessionSite(t, v, testSecret), newSessionSite(t, v, "an older secret of thirty-two bytes")
		s.sessions = newSessions(v, []string{testSecret, "an older secret of thirty-two bytes"}, trustedCache())
		person, another := v.person(), v.person()
		var theirs []string
		for range 3 {
			theirs = append(theirs, s.browser(t).signIn(person))
		}
		old := before.browser(t).signIn(person)
		others := s.browser(t).signIn(another)
		check := func(when string, tokens []string, user string) {
			t.Helper()
			for _, token := range tokens {
				s.browser(t).bring(token).wantSignedIn(user, when)
			}
		}
		revoke := func(except string) {
			t.Helper()
			key, _, err := s.sessions.tokens.find(t.Context(), except)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				t.Fatal(err)
			}
			if err := s.sessions.Revoke(t.Context(), person, key); err != nil {
				t.Fatalf("Revoke() = %v", err)
			}
		}
		check("before", append(theirs, old), person)
		revoke(theirs[0])
		check("spared", theirs[:1], person)
		check("revoked", append(theirs[1:], old), "")

		old = before.browser(t).signIn(person)
		revoke(old)
		check("spared, of the older secret", []string{old}, person)
		check("revoked", theirs, "")
		revoke(strings.Repeat("A", sessionTokenBytes))
		check("revoked, sparing nobody's", []string{old}, "")
		revoke("")
		check("another person's", []string{others}, another)
		if list, err := s.sessions.List(t.Context(), person); err != nil || len(list) != 0 {
			t.Errorf("List() = %v, %v, want none", list, err)
		}
	})
}

// Whatever is signed in while sessions are revoked is in the list, or dead:
// the next time revoking gets them all.
func TestRevokeWhileSigningIn(t *testing.T) {
	eachVault(t, func(t *testing.T, v vault) {
		s := newSessions(v, []string{testSecret}, trustedCache())
		person := v.person()
		var mu sync.Mutex
		var tokens []string
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 10 {
					w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", nil)
					if err := s.SignIn(t.Context(), w, r, NewSession{UserID: person}); err != nil {
						t.Errorf("SignIn() = %v", err)
						return
					}
					mu.Lock()
					tokens = append(tokens, w.Result().Cookies()[0].Value)
					mu.Unlock()
				}
			})
			wg.Go(func() {
				for range 10 {
					if err := s.Revoke(t.Context(), person, ""); err != nil {
						t.Errorf("Revoke() = %v", err)
					}
				}
			})
		}
		wg.Wait()
		if err := s.Revoke(t.Context(), person, ""); err != nil {
			t.Fatalf("Revoke() = %v", err)
		}
		for _, token := range tokens {
			if user, err := s.Authenticate(t.Context(), bearing(token)); err != nil || user != "" {
				t.Fatalf("Authenticate() of a revoked session = %q, %v, want nobody", user, err)
			}
		}
		if left := v.dump(); len(left) != 0 {
			t.Errorf("left behind: %v, want nothing", left)
		}
	})
}

// bearing is a request with a session cookie.
func bearing(token string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.AddCookie(&http.Cookie{Name: sessionCookie, Value: token})
	return r
}

// Who steals the store can't sign in with what is in it: no token, in no form.
func TestTokenIsInNoStore(t *testing.T) {
	eachVault(t, func(t *testing.T, v vault) {
		s, person := newSessionSite(t, v, testSecret), v.person()
		token := s.browser(t).signIn(person)
		raw, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil {
			t.Fatal(err)
		}
		var found bool
		for key, value := range v.dump() {
			found = found || strings.Contains(value, person)
			for form, text := range map[string]string{
				"as it is": token, "decoded": string(raw), "hex": hex.EncodeToString(raw),
				"hex of its text": hex.EncodeToString([]byte(token)),
			} {
				if strings.Contains(strings.ToLower(key+value), strings.ToLower(text)) {
					t.Errorf("the store holds the token %s: %q = %q", form, key, value)
				}
			}
			for stolen := range strings.SplitSeq(key, ":") {
				s.browser(t).bring(stolen).wantSignedIn("", "with a key of the store")
				s.browser(t).bring(stolen[:min(len(stolen), sessionTokenBytes)]).wantSignedIn("", "with a key of the store, cut")
			}
		}
		if !found {
			t.Errorf("the store doesn't hold the session of %s: nothing was checked", person)
		}
	})
}

// A session survives the change of the secret while the old one is listed, can
// be signed out, and is nobody's when the old secret is dropped.
func TestSecretRotation(t *testing.T) {
	const older, newer = "an older secret of thirty-two bytes", "a newer secret of thirty-two bytes"
	eachVault(t, func(t *testing.T, v vault) {
		person := v.person()
		token := newSessionSite(t, v, older).browser(t).signIn(person)
		rotated := newSessionSite(t, v, newer, older)
		rotated.browser(t).bring(token).wantSignedIn(person, "both secrets listed")
		newSessionSite(t, v, newer).browser(t).bring(token).wantSignedIn("", "the old secret dropped")

		fresh := rotated.browser(t).signIn(person)
		newSessionSite(t, v, newer).browser(t).bring(fresh).wantSignedIn(person, "signed in under the new secret")

		rotated.browser(t).bring(token).get("/out")
		newSessionSite(t, v, older).browser(t).bring(token).wantSignedIn("", "signed out with both listed")
	})
}

// What isn't a token asks no store, and what is nobody's token isn't an error.
func TestGarbageCookies(t *testing.T) {
	for name, value := range map[string]string{
		"none":           "",
		"short":          strings.Repeat("A", sessionTokenBytes-1),
		"long":           strings.Repeat("A", sessionTokenBytes+1),
		"huge":           strings.Repeat("A", 60_000),
		"plain base64":   strings.Repeat("+", sessionTokenBytes),
		"spaces":         strings.Repeat(" ", sessionTokenBytes),
		"percent":        "%00" + strings.Repeat("A", sessionTokenBytes-3),
		"other alphabet": strings.Repeat("é", sessionTokenBytes/2) + "A",
		"redis":          "*1\r\n$8\r\nFLUSHALL",
		"SQL":            "' OR 1=1 --",
		"quoted":         `"` + strings.Repeat("A", sessionTokenBytes-2) + `"`,
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Cookie", "theme=dark; "+sessionCookie+"="+value)
		user, err := newSessions(nil, []string{testSecret}, trustedCache()).Authenticate(t.Context(), r) // a store would panic
		if user != "" || err != nil {
			t.Errorf("%s: Authenticate() = %q, %v, want nobody", name, user, err)
		}
	}
	eachVault(t, func(t *testing.T, v vault) {
		s, person := newSessions(v, []string{testSecret}, trustedCache()), v.person()
		forged := strings.Repeat("A", sessionTokenBytes)
		if user, err := s.Authenticate(t.Context(), bearing(forged)); user != "" || err != nil {
			t.Errorf("forged: Authenticate() = %q, %v, want nobody", user, err)
		}
		w := httptest.NewRecorder()
		if err := s.SignOut(t.Context(), w, bearing(forged), false); err != nil {
			t.Errorf("forged: SignOut() = %v, want nil", err)
		}
		wantCookie(t, w.Result(), &http.Cookie{MaxAge: -1})

		real := newSessionSite(t, v, testSecret).browser(t).signIn(person)
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Cookie", sessionCookie+"=garbage; "+sessionCookie+"="+real)
		if user, err := s.Authenticate(t.Context(), r); user != person || err != nil {
			t.Errorf("beside garbage: Authenticate() = %q, %v, want %q", user, err, person)
		}
	})
}

// Data that isn't ours, and a session past its time in a store whose clock is
// late, are nobody's; signing in with such a cookie works.
func TestUnusableSession(t *testing.T) {
	eachVault(t, func(t *testing.T, v vault) {
		now, person := time.Now().UTC().Truncate(time.Millisecond), v.person()
		past := fmt.Sprintf(`{"uid":%q,"created":1,"expires":%d}`, person, now.UnixMilli()-1)
		for _, data := range []string{"", "null", "[]", "{", `{"uid":7}`, "\x00\xff", past} {
			s, token := newSessionSite(t, v, testSecret), newToken()
			err := v.SaveSession(t.Context(), store.Session{
				Key: sessionKey([]byte(testSecret), token), UserID: person, Data: []byte(data),
				CreatedAt: now, ExpiresAt: now.Add(time.Hour),
			})
			if err != nil {
				t.Fatalf("SaveSession() = %v", err)
			}
			b := s.browser(t).bring(token)
			b.wantSignedIn("", fmt.Sprintf("data %q", data))
			b.signIn(person)
			b.wantSignedIn(person, fmt.Sprintf("signed in over data %q", data))
		}
	})
}

func newToken() string {
	b := make([]byte, 32)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

func TestSessionList(t *testing.T) {
	eachVault(t, func(t *testing.T, v vault) {
		s, person := newSessions(v, []string{testSecret}, trustedCache()), v.person()
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Header.Set("User-Agent", "Mozilla \xff "+strings.Repeat("x", 1000))
		began := time.Now().Truncate(time.Millisecond)
		for _, remember := range []bool{false, true} {
			err := s.SignIn(t.Context(), httptest.NewRecorder(), r, NewSession{UserID: person, Address: "2001:db8::7", Remember: remember})
			if err != nil {
				t.Fatalf("SignIn() = %v", err)
			}
			time.Sleep(2 * time.Millisecond) // to the next time that a store can tell from this
		}
		list, err := s.List(t.Context(), person)
		if err != nil || len(list) != 2 {
			t.Fatalf("List() = %v, %v, want two", list, err)
		}
		for i, life := range []time.Duration{rememberedLife, sessionLife} { // the newest first
			got := list[i]
			if got.UserID != person || got.Address != "2001:db8::7" || got.UserAgent != "Mozilla  "+strings.Repeat("x", maxUserAgent-10) {
				t.Errorf("List()[%d] = %+v", i, got)
			}
			if got.CreatedAt.Before(began) || got.CreatedAt.After(time.Now()) || got.ExpiresAt.Sub(got.CreatedAt).Round(time.Second) != life {
				t.Errorf("List()[%d] from %v to %v, want from now for %v", i, got.CreatedAt, got.ExpiresAt, life)
			}
		}
	})
}

// Redis forgets sessions by itself, and their index with them.
func TestSessionsExpireInRedis(t *testing.T) {
	r := redistest.Open(t, testserver.Redis(t))
	s := newRedisSessions(r, unreset{})
	save := func(key string, life time.Duration) {
		t.Helper()
		now := time.Now()
		err := s.SaveSession(t.Context(), store.Session{Key: key, UserID: "u", Data: []byte("{}"), CreatedAt: now, ExpiresAt: now.Add(life)})
		if err != nil {
			t.Fatalf("SaveSession() = %v", err)
		}
	}
	save("short", 100*time.Millisecond)
	save("long", time.Hour)
	time.Sleep(110 * time.Millisecond)
	if _, err := s.FindSession(t.Context(), "short"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("FindSession() of an expired session = %v, want store.ErrNotFound", err)
	}
	if list, err := s.Sessions(t.Context(), "u"); err != nil || len(list) != 1 || list[0].Key != "long" {
		t.Errorf("Sessions() = %v, %v, want the long one", list, err)
	}
	save("another", time.Hour)
	index := redistest.Contents(t, r)[redis.UserSessionPrefix+"u"]
	if strings.Contains(index, "short") || !strings.Contains(index, "long") {
		t.Errorf("the index holds %s, want what has not expired", index)
	}
	for key := range redistest.Contents(t, r) {
		if ttl, err := r.Do(t.Context(), "TTL", key); err != nil || ttl.(int64) <= 0 {
			t.Errorf("TTL %s = %v, %v, want that it expires", key, ttl, err)
		}
	}
}

// What a session costs Redis: a look is one GET, and nothing ever walks the keys.
func TestSessionRoundTrips(t *testing.T) {
	r := redistest.Open(t, testserver.Redis(t))
	s := newSessions(newRedisSessions(r, unreset{}), []string{testSecret}, trustedCache())
	if err := s.Revoke(t.Context(), "somebody", ""); err != nil { // Redis learns the script
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	for _, step := range []struct {
		name string
		do   func() error
		want map[string]string
	}{
		{"sign in", func() error {
			return s.SignIn(t.Context(), w, httptest.NewRequest(http.MethodPost, "/", nil), NewSession{UserID: "u"})
		}, map[string]string{"multi": "1", "set": "1", "zadd": "1", "zremrangebyscore": "1", "pexpireat": "1", "exec": "1"}},
		{"load", func() error {
			user, err := s.Authenticate(t.Context(), bearing(w.Result().Cookies()[0].Value))
			if user != "u" {
				t.Errorf("Authenticate() = %q, want u", user)
			}
			return err
		}, map[string]string{"get": "1"}},
		{"load without a cookie", func() error {
			_, err := s.Authenticate(t.Context(), httptest.NewRequest(http.MethodGet, "/", nil))
			return err
		}, map[string]string{}},
		{"list", func() error {
			_, err := s.List(t.Context(), "u")
			return err
		}, map[string]string{"zrange": "1", "mget": "1"}},
		{"sign out", func() error {
			return s.SignOut(t.Context(), httptest.NewRecorder(), bearing(w.Result().Cookies()[0].Value), false)
		}, map[string]string{"get": "2", "multi": "1", "del": "1", "zrem": "1", "exec": "1"}},
		{"revoke", func() error { return s.Revoke(t.Context(), "u", "") }, map[string]string{"evalsha": "1", "zrange": "1"}},
	} {
		redistest.Calls(t, r)
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if diff := cmp.Diff(step.want, redistest.Calls(t, r)); diff != "" {
			t.Errorf("%s: commands (-want +got):\n%s", step.name, diff)
		}
	}
}

// While Redis is away nobody is taken for signed out, no cookie is set or
// cleared, and who has none is served. Then all is as before.
func TestSessionsWithoutRedis(t *testing.T) {
	p := testserver.NewProxy(t, testserver.Redis(t))
	s := newSessionSite(t, newRedisSessions(redistest.Open(t, p.URL()), unreset{}), testSecret)
	b := s.browser(t)
	b.signIn("u")
	p.Set(testserver.Refuse)
	for _, path := range []string{"/me", "/out", "/in?user=u"} {
		began := time.Now()
		body, response := b.get(path)
		if took := time.Since(began); response.StatusCode != http.StatusServiceUnavailable || testkit.TooLong(took, time.Second, time.Second) {
			t.Errorf("%s = %d %q after %v, want 503 within 2s", path, response.StatusCode, body, took)
		}
		if strings.Contains(body, b.token()) {
			t.Errorf("%s = %q: shows the token", path, body)
		}
		if len(response.Cookies()) != 0 {
			t.Errorf("%s: Set-Cookie %v, want none", path, response.Cookies())
		}
	}
	stranger := s.browser(t)
	stranger.wantSignedIn("", "without a cookie")
	if _, response := stranger.get("/in?user=u"); response.StatusCode != http.StatusServiceUnavailable || len(response.Cookies()) != 0 {
		t.Errorf("/in = %d, Set-Cookie %v, want 503 and none", response.StatusCode, response.Cookies())
	}
	p.Set(testserver.Pass)
	time.Sleep(redis.RetryAfter)
	b.wantSignedIn("u", "with Redis back")
}

// While every connection to Redis is in use, a session is not found within a bounded time.
func TestSessionsWithoutConnections(t *testing.T) {
	r := redistest.Open(t, testserver.Redis(t))
	sessions := newRedisSessions(r, unreset{})
	release := redistest.Occupy(t, r)
	began := time.Now()
	_, err := sessions.FindSession(t.Context(), "any")
	if took := time.Since(began); !errors.Is(err, redis.ErrUnavailable) || took < redis.AcquireTimeout || took > 2*time.Second {
		t.Errorf("FindSession() with all connections in use = %v after %v, want redis.ErrUnavailable after %v",
			err, took, redis.AcquireTimeout)
	}
	release()
	if _, err := sessions.FindSession(t.Context(), "any"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("FindSession() with connections free again = %v, want store.ErrNotFound", err)
	}
}

// Sessions outlive a crash of a Redis that writes what it acknowledges.
func TestSessionsOutliveRedis(t *testing.T) {
	server := testserver.NewRedis(t)
	b := newSessionSite(t, newRedisSessions(redistest.Open(t, server.URL()), unreset{}), testSecret).browser(t)
	b.signIn("u")
	server.Kill(t)
	if _, response := b.get("/me"); response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("/me while Redis is dead = %d, want 503", response.StatusCode)
	}
	server.Start(t)
	time.Sleep(redis.RetryAfter)
	b.wantSignedIn("u", "after Redis was started again")
}

func TestShortText(t *testing.T) {
	for _, test := range []struct {
		in    string
		limit int
		want  string
	}{
		{"", 3, ""},
		{"abc", 3, "abc"},
		{"abcd", 3, "abc"},
		{"abé", 3, "ab"},
		{"aé", 3, "aé"},
		{"a\xffb", 3, "ab"},
	} {
		if got := shortText(test.in, test.limit); got != test.want {
			t.Errorf("shortText(%q, %d) = %q, want %q", test.in, test.limit, got, test.want)
		}
	}
}

func FuzzTokenOf(f *testing.F) {
	f.Add("sessionId=" + strings.Repeat("A", sessionTokenBytes))
	f.Add(`a=b; sessionId="quoted"; sessionId=-_` + strings.Repeat("z", sessionTokenBytes-2))
	f.Fuzz(func(t *testing.T, header string) {
		r := &http.Request{Header: http.Header{"Cookie": {header}}}
		token, _ := tokenOf(r)
		if token == "" {
			return
		}
		if _, err := base64.RawURLEncoding.DecodeString(token); err != nil || !strings.Contains(header, token) {
			t.Errorf("tokenOf(%q) = %q: %v", header, token, err)
		}
	})
}

func FuzzReadRecord(f *testing.F) {
	f.Add([]byte(`{"uid":"u","created":1,"expires":2,"remembered":true,"agent":"a","address":"b"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		record := readRecord(data)
		if record.UserID != "" && !bytes.Contains(bytes.ToLower(data), []byte(`"uid"`)) && !bytes.Contains(data, []byte(`\u`)) {
			t.Errorf("readRecord(%q) = %+v: of nobody's data", data, record)
		}
		storedSession("key", data)
	})
}

func BenchmarkSessionLoad(b *testing.B) {
	s := newSessions(newRedisSessions(redistest.Open(b, testserver.Redis(b)), unreset{}), []string{testSecret}, trustedCache())
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")
	if err := s.SignIn(context.Background(), w, r, NewSession{UserID: "0198a7b2-0000-7000-8000-000000000000", Address: "203.0.113.7"}); err != nil {
		b.Fatal(err)
	}
	signedIn := bearing(w.Result().Cookies()[0].Value)
	b.Run("Redis", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if user, err := s.Authenticate(b.Context(), signedIn); user == "" || err != nil {
				b.Fatal(user, err)
			}
		}
	})
	b.Run("no cookie", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Authenticate(b.Context(), r)
		}
	})
}
