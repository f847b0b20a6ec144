package server

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"notesd/notes"
	"notesd/pool"
	"notesd/server/auth"
	"notesd/store"
)

const password = "correct horse"

type account struct {
	Success bool
	Data    struct {
		User    userJSON
		Message string
	}
	Message string
}

func (r reply) account() (a account) {
	r.t.Helper()
	r.decode(&a)
	return a
}

func credentialsOf(email, password string) map[string]any {
	return map[string]any{"email": email, "password": password}
}

// login tries to sign in, from an address behind the proxy that the test is.
func (c *client) login(from, email, password string) reply {
	c.t.Helper()
	return c.post("/api/auth/login", credentialsOf(email, password), "X-Forwarded-For", from)
}

// TestAccount goes the way of a person: sign up, out, in, and out again.
func TestAccount(t *testing.T) {
	t.Parallel()
	eachVaultSite(t, func(t *testing.T, s *site) {
		c := s.visitor()
		signedUp := c.post("/api/auth/register", credentialsOf("Ada.L@Example.com", password)).want(http.StatusCreated)
		made := signedUp.account()
		if !made.Success || made.Data.Message != "Account created successfully" || made.Data.User.ID == "" ||
			made.Data.User.Email != "Ada.L@Example.com" || made.Data.User.Name != "Ada.L" {
			t.Errorf("%s = %s", signedUp.call, signedUp.text)
		}
		first := wantSessionCookie(t, signedUp, 24*time.Hour)
		user := made.Data.User
		wantMe(t, c, user)

		signedIn := c.post("/api/auth/login", credentialsOf("ADA.l@eXAMPLE.com", password)).want(http.StatusOK)
		if a := signedIn.account(); !a.Success || a.Data.Message != "Logged in successfully" || a.Data.User != user {
			t.Errorf("%s = %s, want %+v", signedIn.call, signedIn.text, user)
		}
		second := wantSessionCookie(t, signedIn, 24*time.Hour)
		if second == first {
			t.Error("the token is the same after signing in again")
		}
		wantMe(t, c, user)
		s.visitor().bearing(first).get("/api/auth/me").fails(http.StatusUnauthorized, "Not authenticated")

		left := c.post("/api/auth/logout", nil).want(http.StatusOK)
		if a := left.account(); !a.Success || a.Message != "Logged out successfully" {
			t.Errorf("%s = %s", left.call, left.text)
		}
		wantCleared(t, left)
		c.get("/api/auth/me").fails(http.StatusUnauthorized, "Not authenticated")
		s.visitor().bearing(second).get("/api/auth/me").fails(http.StatusUnauthorized, "Not authenticated")
		s.visitor().bearing(second).get("/api/notes").fails(http.StatusUnauthorized, "Authentication required")
		wantCleared(t, c.post("/api/auth/logout", nil).want(http.StatusOK)) // needs no session

		in := credentialsOf("ada.l@example.com", password)
		in["rememberMe"] = true
		wantSessionCookie(t, c.post("/api/auth/login", in).want(http.StatusOK), 30*24*time.Hour)
		in["rememberMe"] = false
		wantSessionCookie(t, c.post("/api/auth/login", in).want(http.StatusOK), 24*time.Hour)

		c.post("/api/auth/register", credentialsOf("aDA.L@example.COM", password)).fails(http.StatusBadRequest, "Registration failed")
		wantMe(t, c, user)
	})
}

// bearing is c with a session cookie that it did not get.
func (c *client) bearing(token string) *client {
	c.http.Transport = cookieTransport{token, c.http.Transport}
	return c
}

// cookieTransport sends a session cookie of its own.
type cookieTransport struct {
	token string
	http.RoundTripper
}

func (c cookieTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("Cookie", "sessionId="+c.token)
	return c.RoundTripper.RoundTrip(r)
}

func wantMe(t *testing.T, c *client, want userJSON) {
	t.Helper()
	r := c.get("/api/auth/me").want(http.StatusOK)
	if a := r.account(); !a.Success || a.Data.User != want {
		t.Errorf("%s = %s, want %+v", r.call, r.text, want)
	}
}

// wantSessionCookie checks the attributes and returns the token.
func wantSessionCookie(t *testing.T, r reply, life time.Duration) string {
	t.Helper()
	if len(r.cookies) != 2 || r.cookies[1].Name != "notesd_device" {
		t.Fatalf("%s sets cookies %v, want the session's and the device's", r.call, r.cookies)
	}
	c := r.cookies[0]
	if c.Name != "sessionId" || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" || c.Secure {
		t.Errorf("%s sets %q, want sessionId; Path=/; HttpOnly; SameSite=Strict", r.call, c.Raw)
	}
	if off := time.Until(c.Expires) - life; off > time.Second || off < -time.Minute {
		t.Errorf("%s sets a cookie that expires in %v, want %v", r.call, time.Until(c.Expires), life)
	}
	if off := time.Duration(c.MaxAge)*time.Second - life; off > time.Second || off < -time.Minute {
		t.Errorf("%s sets a cookie with Max-Age %d, want %v", r.call, c.MaxAge, life)
	}
	return c.Value
}

func wantCleared(t *testing.T, r reply) {
	t.Helper()
	if len(r.cookies) != 1 || r.cookies[0].Name != "sessionId" || r.cookies[0].Value != "" || r.cookies[0].MaxAge >= 0 ||
		r.cookies[0].Path != "/" || !r.cookies[0].HttpOnly {
		t.Errorf("%s sets cookies %v, want sessionId cleared", r.call, r.cookies)
	}
}

func TestRegisterRefused(t *testing.T) {
	t.Parallel()
	const format, email, short = "Invalid input format", "Invalid email format", "Password must be at least 8 characters long"
	const long, malformed = "Password must be at most 1024 bytes long", "Malformed JSON"
	s := onSQLite(t)
	s.member("taken@example.com")
	tests := []struct{ name, body, text string }{
		{"empty body", ``, format},
		{"no members", `{}`, format},
		{"array", `[]`, format},
		{"no password", `{"email":"a@b.example"}`, format},
		{"no e-mail", `{"password":"eight ch"}`, format},
		{"empty e-mail", `{"email":"","password":"eight ch"}`, format},
		{"empty password", `{"email":"a@b.example","password":""}`, format},
		{"e-mail a number", `{"email":5,"password":"eight ch"}`, format},
		{"e-mail null", `{"email":null,"password":"eight ch"}`, format},
		{"e-mail an array", `{"email":["a@b.example"],"password":"eight ch"}`, format},
		{"e-mail an object", `{"email":{"$ne":""},"password":"eight ch"}`, format},
		{"password a number", `{"email":"a@b.example","password":12345678}`, format},
		{"password a boolean", `{"email":"a@b.example","password":true}`, format},
		{"rememberMe a string", `{"email":"a@b.example","password":"eight ch","rememberMe":"true"}`, format},
		{"rememberMe a number", `{"email":"a@b.example","password":"eight ch","rememberMe":1}`, format},
		{"names in another case", `{"Email":"a@b.example","Password":"eight ch"}`, format},
		{"no @", `{"email":"ab.example","password":"eight ch"}`, email},
		{"nothing before @", `{"email":"@b.example","password":"eight ch"}`, email},
		{"nothing after @", `{"email":"a@","password":"eight ch"}`, email},
		{"no dot after @", `{"email":"a@b","password":"eight ch"}`, email},
		{"nothing after the dot", `{"email":"a@b.","password":"eight ch"}`, email},
		{"two @", `{"email":"a@b@c.example","password":"eight ch"}`, email},
		{"space inside", `{"email":"a b@c.example","password":"eight ch"}`, email},
		{"space around", `{"email":" a@b.example ","password":"eight ch"}`, email},
		{"line break", `{"email":"a@b.example\n","password":"eight ch"}`, email},
		{"header injection", `{"email":"a@b.example\r\nBcc: c@d.example","password":"eight ch"}`, email},
		{"NUL", `{"email":"a\u0000@b.example","password":"eight ch"}`, email},
		{"too long an e-mail", `{"email":"` + strings.Repeat("a", 255-len("@b.example")) + `@b.example","password":"eight ch"}`, email},
		{"bad e-mail before short password", `{"email":"a","password":"1"}`, email},
		{"7 characters", `{"email":"a@b.example","password":"1234567"}`, short},
		{"7 characters of 4 bytes", `{"email":"a@b.example","password":"😀😀😀😀😀😀😀"}`, short},
		{"short password, taken e-mail", `{"email":"taken@example.com","password":"1234567"}`, short},
		{"1025 bytes", `{"email":"a@b.example","password":"` + strings.Repeat("x", 1025) + `"}`, long},
		{"513 characters of 2 bytes", `{"email":"a@b.example","password":"` + strings.Repeat("é", 513) + `"}`, long},
		{"common", `{"email":"a@b.example","password":"12345678"}`, "Password is too common"},
		{"common in another case, taken e-mail", `{"email":"taken@example.com","password":"PassWord1"}`, "Password is too common"},
		{"taken", `{"email":"taken@example.com","password":"eight ch"}`, "Registration failed"},
		{"taken in another case", `{"email":"TAKEN@Example.Com","password":"eight ch"}`, "Registration failed"},
		{"malformed", `{"email":`, malformed},
		{"null", `null`, malformed},
		{"string", `"a"`, malformed},
		{"lone surrogate", `{"email":"a@b.example","password":"12345678\ud800"}`, malformed},
		{"invalid UTF-8", "{\"email\":\"a@b.example\",\"password\":\"12345678\xff\"}", malformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := s.visitor().in(t).post("/api/auth/register", tt.body).fails(http.StatusBadRequest, tt.text)
			if len(r.cookies) > 0 {
				t.Errorf("%s sets %v, want no cookie", r.call, r.cookies)
			}
		})
	}
	t.Run("form", func(t *testing.T) {
		s.visitor().in(t).post("/api/auth/register", "email=a@b.example&password=12345678",
			"Content-Type", "application/x-www-form-urlencoded").fails(http.StatusBadRequest, "Invalid input format")
	})
	if users := s.countUsers(t); users != 1 {
		t.Errorf("%d users after refusals, want 1", users)
	}
}

func (s *site) countUsers(t *testing.T) int {
	t.Helper()
	accounts, err := s.store.Accounts(t.Context(), store.AccountQuery{})
	if err != nil {
		t.Fatal(err)
	}
	return len(accounts)
}

// What just fits is taken, and signs in.
func TestRegisterEdges(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	tests := []struct{ name, email, password string }{
		{"8 characters", "a1@b.example", "eight ch"},
		{"8 characters of 4 bytes", "a2@b.example", "😀😀😀😀😀😀😀😀"},
		{"1024 bytes", "a3@b.example", strings.Repeat("é", 512)},
		{"spaces around and NUL inside", "a4@b.example", "  \x00 ab  c "},
		{"longest e-mail", strings.Repeat("a", 254-len("@b.example")) + "@b.example", "eight ch"},
		{"e-mail of another script", "用户@例子.example", "eight ch"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := s.visitor().in(t)
			c.post("/api/auth/register", credentialsOf(tt.email, tt.password)).want(http.StatusCreated)
			c.post("/api/auth/login", credentialsOf(tt.email, tt.password)).want(http.StatusOK)
		})
	}
}

// Of many who sign up at once with one address, one gets the account.
func TestRegisterAtOnce(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		var wg sync.WaitGroup
		replies := make([]reply, 4)
		for i := range replies {
			email := []string{"race@example.com", "RACE@example.com"}[i%2]
			wg.Go(func() { replies[i] = s.visitor().post("/api/auth/register", credentialsOf(email, password)) })
		}
		wg.Wait()
		made := 0
		for _, r := range replies {
			if r.status == http.StatusCreated {
				made++
			} else {
				r.fails(http.StatusBadRequest, "Registration failed")
			}
		}
		if made != 1 {
			t.Errorf("%d accounts made, want 1", made)
		}
	}, patient)
}

// patient is a site whose queue waits as long as a busy machine takes to hash passwords.
func patient(cfg *Config, deps *Deps) {
	cfg.RequestTimeout = 2 * time.Minute
	workers(2, func(c *pool.Config) { c.QueueTimeout = time.Minute })(cfg, deps)
}

func TestRegistrationClosed(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, func(cfg *Config, _ *Deps) { cfg.RegistrationOpen = false })
	s.visitor().post("/api/auth/register", credentialsOf("a@b.example", password)).fails(http.StatusForbidden, "Registration is closed")
	if _, err := auth.AddAccount(t.Context(), s.store, "a@b.example", password); err != nil {
		t.Fatal(err)
	}
	s.visitor().post("/api/auth/login", credentialsOf("a@b.example", password)).want(http.StatusOK)
}

func TestLoginRefused(t *testing.T) {
	t.Parallel()
	const format, wrong = "Invalid input format", "Invalid credentials"
	s := onSQLite(t, behind())
	s.member("ada@example.com")
	tests := []struct {
		name, body string
		status     int
		text       string
	}{
		{"empty body", ``, 400, format},
		{"no password", `{"email":"ada@example.com"}`, 400, format},
		{"no e-mail", `{"password":"eight ch"}`, 400, format},
		{"empty e-mail", `{"email":"","password":"eight ch"}`, 400, format},
		{"empty password", `{"email":"ada@example.com","password":""}`, 400, format},
		{"e-mail an object", `{"email":{"$gt":""},"password":"eight ch"}`, 400, format},
		{"password an array", `{"email":"ada@example.com","password":["correct horse"]}`, 400, format},
		{"rememberMe a string", `{"email":"ada@example.com","password":"correct horse","rememberMe":"yes"}`, 400, format},
		{"too long a password", `{"email":"ada@example.com","password":"` + strings.Repeat("x", 1025) + `"}`, 400, format},
		{"NUL in the e-mail", `{"email":"ada@example.com\u0000","password":"correct horse"}`, 400, format},
		{"malformed", `{`, 400, "Malformed JSON"},
		{"wrong password", `{"email":"ada@example.com","password":"wrong horse"}`, 401, wrong},
		{"password in another case", `{"email":"ada@example.com","password":"Correct horse"}`, 401, wrong},
		{"unknown account", `{"email":"bob@example.com","password":"correct horse"}`, 401, wrong},
		{"no e-mail address", `{"email":"ada","password":"correct horse"}`, 401, wrong},
		{"SQL", `{"email":"' OR 1=1 --","password":"correct horse"}`, 401, wrong},
		{"pattern", `{"email":"ada%","password":"correct horse"}`, 401, wrong},
		{"very long e-mail", `{"email":"` + strings.Repeat("a", 10_000) + `","password":"correct horse"}`, 401, wrong},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			from := fmt.Sprintf("203.0.113.%d", i)
			r := s.visitor().in(t).post("/api/auth/login", tt.body, "X-Forwarded-For", from).fails(tt.status, tt.text)
			if len(r.cookies) > 0 {
				t.Errorf("%s sets %v, want no cookie", r.call, r.cookies)
			}
			if keys := r.keys(); keys != "error,requestId,success" {
				t.Errorf("%s has members %s: an unknown account must look like a wrong password", r.call, keys)
			}
		})
	}
}

// An address that is too long for any account is not looked up. The longest that another server may have made is.
func TestLongestAddress(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for length, status := range map[int]int{notes.MaxImportedEmail: http.StatusOK, notes.MaxImportedEmail + 1: http.StatusUnauthorized} {
		email := strings.Repeat("a", length-len("@b.example")) + "@b.example"
		u, err := s.store.CreateUser(t.Context(), email, "old", string(hash))
		if err != nil {
			t.Fatal(err)
		}
		s.visitor().login("", email, password).want(status)
		if fault := (notes.Account{ID: u.ID, Email: u.Email}).ImportFault(); (fault == "") != (status == http.StatusOK) {
			t.Errorf("ImportFault() of an address of %d bytes = %q", length, fault)
		}
	}
}

func TestNotAuthenticated(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	real := s.someone().token()
	tests := []struct{ name, cookie string }{
		{"none", ""},
		{"empty", "sessionId="},
		{"garbage", "sessionId=garbage"},
		{"forged", "sessionId=" + strings.Repeat("A", 43)},
		{"changed", "sessionId=" + strings.Repeat("B", 3) + real[3:]},
		{"too long", "sessionId=" + real + "A"},
		{"huge", "sessionId=" + strings.Repeat("A", 20_000)},
		{"SQL", "sessionId=' OR '1'='1"},
		{"another name", "sessionid=" + real},
		{"old server's signature", "sessionId=s%3A" + real + ".signature"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var headers []string
			if tt.cookie != "" {
				headers = []string{"Cookie", tt.cookie}
			}
			c := s.visitor().in(t)
			c.get("/api/auth/me", headers...).fails(http.StatusUnauthorized, "Not authenticated")
			c.get("/api/notes", headers...).fails(http.StatusUnauthorized, "Authentication required")
			c.post("/api/auth/logout", nil, headers...).want(http.StatusOK)
		})
	}
	s.visitor().get("/api/auth/me", "Cookie", "sessionId="+real).want(http.StatusOK)
}

// Five wrong passwords in a row lock the account, wherever they come from.
func TestLockout(t *testing.T) {
	t.Parallel()
	const wrong, locks = "Invalid credentials", "Account locked due to too many failed login attempts. Try again in 15 minutes."
	eachSite(t, func(t *testing.T, s *site) {
		signedIn := s.member("ada@example.com")
		from := func(i int) string { return fmt.Sprintf("203.0.113.%d", i) }
		c := s.visitor()
		for i := range 4 {
			c.login(from(i), "ada@example.com", "wrong").fails(http.StatusUnauthorized, wrong)
		}
		c.login(from(5), "ada@example.com", password).want(http.StatusOK) // the row begins anew
		for i := range 4 {
			c.login(from(i), "ADA@example.com", "wrong").fails(http.StatusUnauthorized, wrong)
		}
		c.login(from(6), "ada@example.com", "wrong").fails(http.StatusLocked, locks)
		c.login(from(7), "ada@example.com", password).fails(http.StatusLocked, "Account locked. Try again in 15 minutes.")
		c.login(from(8), "Ada@example.com", "wrong").fails(http.StatusLocked, "Account locked. Try again in 15 minutes.")
		signedIn.get("/api/auth/me").want(http.StatusOK) // a stranger's guesses put nobody out

		tests := []struct {
			left time.Duration
			text string
		}{
			{14*time.Minute + 30*time.Second, "Account locked. Try again in 15 minutes."},
			{13*time.Minute + 50*time.Second, "Account locked. Try again in 14 minutes."},
			{70 * time.Second, "Account locked. Try again in 2 minutes."},
			{50 * time.Second, "Account locked. Try again in 1 minute."},
			{5 * time.Second, "Account locked. Try again in 1 minute."},
		}
		for _, tt := range tests {
			s.setLock(t, time.Now().Add(tt.left))
			c.login(from(9), "ada@example.com", password).fails(http.StatusLocked, tt.text)
		}

		s.setLock(t, time.Now().Add(-time.Second)) // run out: the count begins anew
		for i := range 4 {
			c.login(from(10+i), "ada@example.com", "wrong").fails(http.StatusUnauthorized, wrong)
		}
		c.login(from(15), "ada@example.com", "wrong").fails(http.StatusLocked, locks)
		s.setLock(t, time.Now().Add(-time.Second))
		c.login(from(16), "ada@example.com", password).want(http.StatusOK)
	}, behind())
}

// setLock lets every lock end at until.
func (s *site) setLock(t *testing.T, until time.Time) {
	t.Helper()
	s.execute(t, fmt.Sprintf("UPDATE users SET locked_until = %d", until.UnixMilli()))
	s.execute(t, fmt.Sprintf("UPDATE sign_in_locks SET locked_until = %d", until.UnixMilli()))
}

// Guesses in parallel are no more than guesses in turn, and the right one among them does not get in late.
func TestLockoutAtOnce(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		s.member("ada@example.com")
		var wg sync.WaitGroup
		replies := make([]reply, 8)
		for i := range replies {
			wg.Go(func() { replies[i] = s.visitor().login(fmt.Sprintf("203.0.113.%d", i), "ada@example.com", "wrong") })
		}
		wg.Wait()
		counts := map[int]int{}
		for _, r := range replies {
			counts[r.status]++
		}
		if counts[http.StatusUnauthorized] != 4 || counts[http.StatusLocked] != 4 {
			t.Errorf("8 wrong passwords at once: answers %v, want 4 of 401 and 4 of 423", counts)
		}
		s.visitor().login("203.0.113.99", "ada@example.com", password).want(http.StatusLocked)
	}, behind(), patient)
}

// Failures of sign-in are limited for a pair of address and account, known or
// not; successes, 400s and sign-ups don't count.
func TestSignInLimitOfPair(t *testing.T) {
	t.Parallel()
	const text = "Too many authentication attempts, please try again later."
	s := onSQLite(t, behind()) // where failures are counted has tests of its own
	s.member("ada@example.com")
	c := s.visitor()
	for range 6 {
		c.login("203.0.113.1", "ada@example.com", password).want(http.StatusOK)
		c.login("203.0.113.1", "nobody@example.com", "").want(http.StatusBadRequest)
		c.post("/api/auth/register", credentialsOf("no address", password), "X-Forwarded-For", "203.0.113.1").
			want(http.StatusBadRequest)
	}
	for i := range 4 {
		email := []string{"nobody@example.com", "NOBODY@example.com"}[i%2]
		c.login("203.0.113.1", email, "wrong").fails(http.StatusUnauthorized, "Invalid credentials")
	}
	c.login("203.0.113.1", "nobody@example.com", "wrong").want(http.StatusLocked)
	s.setLock(t, time.Now().Add(-time.Second)) // else it would be judged first
	r := c.login("203.0.113.1", "nobody@example.com", "wrong").fails(http.StatusTooManyRequests, text)
	wantRefusal(t, r, "sign_in_limit")
	if after, _ := r.number("Retry-After"); after > 900 {
		t.Errorf("Retry-After %d, want 15 minutes at most", after)
	}
	c.login("203.0.113.2", "nobody@example.com", "wrong").fails(http.StatusUnauthorized, "Invalid credentials")
	c.login("203.0.113.1", "ada@example.com", "wrong").fails(http.StatusUnauthorized, "Invalid credentials")
	c.login("203.0.113.1", "ada@example.com", password).want(http.StatusOK)
}

// The account's lock is judged before the sign-in limit.
func TestSignInLimitAfterLock(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	s.member("ada@example.com")
	c := s.visitor()
	for range 4 {
		c.login("", "ada@example.com", "wrong").want(http.StatusUnauthorized)
	}
	for range 4 {
		c.login("", "ada@example.com", "wrong").want(http.StatusLocked)
	}
}

// One address has 50 failures, however many accounts it tries.
func TestSignInLimitOfAddress(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, behind()) // where failures are counted has tests of its own
	s.member("ada@example.com")
	c := s.visitor()
	for i := range 49 {
		c.login("203.0.113.1", fmt.Sprint("guessed", i), "wrong").want(http.StatusUnauthorized)
	}
	c.login("203.0.113.1", "ada@example.com", "wrong").want(http.StatusUnauthorized)
	r := c.login("203.0.113.1", "ada@example.com", password).
		fails(http.StatusTooManyRequests, "Too many authentication attempts, please try again later.")
	wantRefusal(t, r, "sign_in_limit")
	c.login("203.0.113.1", "another@example.com", "wrong").want(http.StatusTooManyRequests)
	c.login("203.0.113.2", "ada@example.com", password).want(http.StatusOK)
}

// A hash from the old database opens the account and is made anew.
func TestOldPassword(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		u, err := s.store.CreateUser(t.Context(), "old@example.com", "old", string(hash))
		if err != nil {
			t.Fatal(err)
		}
		s.visitor().login("", "old@example.com", password).want(http.StatusOK)
		after, err := s.store.User(t.Context(), u.ID)
		if err != nil || !strings.HasPrefix(after.PasswordHash, "$argon2id$") {
			t.Errorf("hash %.20q after sign-in (%v), want argon2id", after.PasswordHash, err)
		}
		s.visitor().login("", "old@example.com", password).want(http.StatusOK)
		s.visitor().login("", "old@example.com", "wrong").want(http.StatusUnauthorized)
	})
}

// Resetting a password from the command line ends the person's sessions and the lock.
func TestResetPassword(t *testing.T) {
	t.Parallel()
	eachVaultSite(t, func(t *testing.T, s *site) {
		c := s.member("ada@example.com")
		u, err := s.store.UserByEmail(t.Context(), "ada@example.com")
		if err != nil {
			t.Fatal(err)
		}
		s.setLock(t, time.Now().Add(time.Hour))
		if err := auth.ResetPassword(t.Context(), s.store, s.server.deps.Redis, u.ID, "short"); err == nil {
			t.Error("ResetPassword() took a short password")
		}
		c.get("/api/auth/me").want(http.StatusOK)
		if err := auth.ResetPassword(t.Context(), s.store, s.server.deps.Redis, u.ID, "battery staple"); err != nil {
			t.Fatal(err)
		}
		s.server.deps.Cache.SessionRevoked("", u.ID) // heard of: as a rule it is another process that resets
		c.get("/api/auth/me").want(http.StatusUnauthorized)
		s.visitor().login("203.0.113.9", "ada@example.com", password).want(http.StatusUnauthorized)
		s.visitor().login("203.0.113.9", "ada@example.com", "battery staple").want(http.StatusOK)
	}, behind())
}
