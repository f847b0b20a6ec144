package server

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"notesd/server/auth"
	"notesd/store/storetest"
)

const (
	codeRequired = "A code from your authenticator app is required"
	codeWrong    = "Wrong code, or one that was used before"
)

// totpCode returns the code that an authenticator app with the secret shows at a time.
func totpCode(t testing.TB, secret string, at time.Time) string {
	t.Helper()
	code, err := totp.GenerateCode(secret, at)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// authenticator is an app of a user, and the recovery codes that the user has printed.
type authenticator struct {
	t        testing.TB
	secret   string
	recovery []string
}

// code returns the code that the app shows now, or did so many steps ago.
func (a authenticator) code(ago time.Duration) string {
	return totpCode(a.t, a.secret, time.Now().Add(-ago*30*time.Second))
}

// turnOnTOTP sets one-time codes up, so that all codes are yet to be used.
func (s *site) turnOnTOTP(t *testing.T, c *client) authenticator {
	t.Helper()
	var begun struct {
		Data struct{ Secret, URL, QRCode string }
	}
	r := c.post("/api/auth/totp", nil).want(http.StatusOK)
	r.decode(&begun)
	if !strings.Contains(begun.Data.URL, "secret="+begun.Data.Secret) || !strings.HasPrefix(begun.Data.QRCode, "<svg ") {
		t.Errorf("%s = %s", r.call, r.text)
	}
	app := authenticator{t: t, secret: begun.Data.Secret}
	var confirmed struct {
		Data struct{ RecoveryCodes []string }
	}
	c.post("/api/auth/totp/confirm", map[string]any{"code": app.code(1)}).want(http.StatusOK).decode(&confirmed)
	app.recovery = confirmed.Data.RecoveryCodes
	s.execute(t, "UPDATE totp SET last_step = 0")
	return app
}

// loginWith tries to sign in with a code.
func (c *client) loginWith(from, code string) reply {
	in := credentialsOf("ada@example.com", password)
	in["totp"] = code
	return c.post("/api/auth/login", in, "X-Forwarded-For", from)
}

// wantTOTP checks what GET /api/auth/totp says.
func (c *client) wantTOTP(on bool, recoveryCodes int) {
	c.t.Helper()
	want := fmt.Sprintf(`"data":{"on":%t,"recoveryCodes":%d}`, on, recoveryCodes)
	if r := c.get("/api/auth/totp").want(http.StatusOK); !strings.Contains(r.text, want) {
		c.t.Errorf("%s = %s, want %s", r.call, r.text, want)
	}
}

// A user turns codes on, signs in with codes of each kind, each of them once, and turns them off.
func TestTOTP(t *testing.T) {
	t.Parallel()
	eachVaultSite(t, func(t *testing.T, s *site) {
		c := s.member("ada@example.com")
		c.wantTOTP(false, 0)
		c.post("/api/auth/totp/confirm", map[string]any{"code": "123456"}).fails(http.StatusConflict, "Codes are not set up")
		off := map[string]any{"password": password, "totp": "123456"}
		c.request("DELETE", "/api/auth/totp", off).fails(http.StatusConflict, "Codes are not set up")
		c.post("/api/auth/totp/recovery", off).fails(http.StatusConflict, "Codes are not set up")
		c.post("/api/auth/totp", nil).want(http.StatusOK)
		c.wantTOTP(false, 0)
		c.post("/api/auth/login", credentialsOf("ada@example.com", password)).want(http.StatusOK) // not confirmed
		for _, code := range []string{"", "abcdef", "1234567", strings.Repeat("1", 100)} {
			c.post("/api/auth/totp/confirm", map[string]any{"code": code}).
				fails(http.StatusBadRequest, "Wrong code: is the clock of the phone right?")
		}
		c.post("/api/auth/totp/confirm", map[string]any{"code": 123456}).fails(http.StatusBadRequest, "Invalid input format")
		app := s.turnOnTOTP(t, c)
		c.wantTOTP(true, 10)
		c.post("/api/auth/totp", nil).fails(http.StatusConflict, "Codes are on already")
		c.post("/api/auth/totp/confirm", map[string]any{"code": app.code(0)}).fails(http.StatusConflict, "Codes are on already")

		asked := s.visitor().login("203.0.113.1", "ada@example.com", password).fails(http.StatusUnauthorized, codeRequired)
		if !strings.Contains(asked.text, `"code":"totp_required"`) || len(asked.cookies) > 0 {
			t.Errorf("%s = %s with cookies %v", asked.call, asked.text, asked.cookies)
		}
		// A clock may be 30 s off, and apps show codes in groups. A code passes once.
		for ago, write := range map[time.Duration]func(code string) string{
			1:  func(code string) string { return code[:3] + " " + code[3:] },
			0:  func(code string) string { return code },
			-1: wide,
		} {
			s.execute(t, "UPDATE totp SET last_step = 0")
			from, code := fmt.Sprintf("203.0.113.%d", 10+ago), write(app.code(ago))
			s.visitor().loginWith(from, code).want(http.StatusOK)
			again := s.visitor().loginWith(from, code).fails(http.StatusUnauthorized, codeWrong)
			if !strings.Contains(again.text, `"code":"totp_invalid"`) {
				t.Errorf("%s = %s", again.call, again.text)
			}
			s.visitor().login(from, "ada@example.com", "wrong").fails(http.StatusUnauthorized, "Invalid credentials")
			s.visitor().loginWith(from, app.recovery[2+ago]).want(http.StatusOK) // resets the count
		}
		s.visitor().loginWith("203.0.113.3", app.code(3)).fails(http.StatusUnauthorized, codeWrong)
		s.visitor().loginWith("203.0.113.3", app.code(-3)).fails(http.StatusUnauthorized, codeWrong)
		s.visitor().loginWith("203.0.113.3", strings.ToLower(app.recovery[9])).want(http.StatusOK)
		s.visitor().loginWith("203.0.113.3", app.recovery[9]).fails(http.StatusUnauthorized, codeWrong)
		c.wantTOTP(true, 6)

		renew := func(password, code string) reply {
			return c.post("/api/auth/totp/recovery", map[string]any{"password": password, "totp": code})
		}
		renew(password, "").fails(http.StatusUnauthorized, codeRequired)
		renew("wrong", app.recovery[8]).fails(http.StatusUnauthorized, "Invalid credentials")
		renew(password, app.recovery[9]).fails(http.StatusUnauthorized, codeWrong)
		c.wantTOTP(true, 6)
		var renewed struct {
			Data struct{ RecoveryCodes []string }
		}
		renew(password, app.recovery[8]).want(http.StatusOK).decode(&renewed)
		c.wantTOTP(true, 10)
		s.visitor().loginWith("203.0.113.3", app.recovery[7]).fails(http.StatusUnauthorized, codeWrong)
		s.visitor().loginWith("203.0.113.3", renewed.Data.RecoveryCodes[0]).want(http.StatusOK)
		c.wantTOTP(true, 9)
		app.recovery = append(app.recovery, renewed.Data.RecoveryCodes...)

		s.execute(t, "UPDATE totp SET last_step = 0")
		for text, in := range map[string]map[string]any{
			codeRequired:           {"password": password},
			codeWrong:              {"password": password, "totp": "000 000x"},
			"Invalid credentials":  {"password": "wrong", "totp": app.code(0)},
			"Invalid input format": {"totp": app.code(0)},
		} {
			status := http.StatusUnauthorized
			if text == "Invalid input format" {
				status = http.StatusBadRequest
			}
			c.request("DELETE", "/api/auth/totp", in).fails(status, text)
		}
		c.request("DELETE", "/api/auth/totp", map[string]any{"password": password, "totp": app.code(0)}).want(http.StatusOK)
		c.wantTOTP(false, 0)
		s.visitor().login("203.0.113.4", "ada@example.com", password).want(http.StatusOK)
		s.visitor().loginWith("203.0.113.4", "whatever").want(http.StatusOK) // nothing to compare with
		for _, secret := range append(app.recovery, app.secret, app.code(0), password) {
			if strings.Contains(s.log.String(), secret) {
				t.Error("the server's log has a secret")
			}
		}
	}, behind())
}

// wide returns the code in the digits of full width that a Japanese keyboard has.
func wide(code string) string {
	return strings.Map(func(r rune) rune { return r - '0' + '０' }, code)
}

// That a code is missing neither counts nor resets. Wrong codes count as wrong passwords do, and do not lock out the
// browser that the user has signed in from before.
func TestTOTPLockout(t *testing.T) {
	t.Parallel()
	const locks = "Account locked due to too many failed login attempts. Try again in 15 minutes."
	eachSite(t, func(t *testing.T, s *site) {
		own := s.member("ada@example.com")
		app := s.turnOnTOTP(t, own)
		from := func(i int) string { return fmt.Sprintf("203.0.113.%d", i) }
		for i := range 4 {
			s.visitor().loginWith(from(i), "000000x").fails(http.StatusUnauthorized, codeWrong)
			for range 6 { // more than all limits, were they failures
				s.visitor().login(from(i), "ada@example.com", password).fails(http.StatusUnauthorized, codeRequired)
			}
		}
		s.visitor().loginWith(from(5), "000000x").fails(http.StatusLocked, locks)
		// Not even that the password is right can be learnt now.
		s.visitor().login(from(6), "ada@example.com", password).fails(http.StatusLocked, "Account locked. Try again in 15 minutes.")
		s.visitor().loginWith(from(7), app.code(0)).fails(http.StatusLocked, "Account locked. Try again in 15 minutes.")
		own.loginWith(from(8), app.code(0)).want(http.StatusOK)
	}, behind())
}

// Many guesses at codes from many addresses are few tries.
func TestTOTPGuesses(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, behind(), patient)
	own := s.member("ada@example.com")
	app := s.turnOnTOTP(t, own)
	var tried atomic.Int64
	var running sync.WaitGroup
	const atOnce = 4
	for worker := range atOnce {
		running.Go(func() {
			for i := worker; i < 2000; i += atOnce {
				r := s.visitor().loginWith(fmt.Sprintf("203.0.113.%d", i%100), fmt.Sprintf("%06dx", i))
				switch {
				case r.status == http.StatusUnauthorized:
					tried.Add(1)
				case r.status != http.StatusLocked && r.status != http.StatusTooManyRequests:
					t.Errorf("%s = %d %s", r.call, r.status, r.text)
				}
			}
		})
	}
	running.Wait()
	if n := tried.Load(); n > 4+atOnce {
		t.Errorf("%d wrong codes were compared, want 4 and those under way", n)
	}
	own.loginWith("198.51.100.1", app.code(0)).want(http.StatusOK)
}

// Two replicas together accept a code once.
func TestTOTPOnReplicas(t *testing.T) {
	t.Parallel()
	url := storetest.Postgres(t)
	sites := []*site{onDatabase(t, url, behind()), onDatabase(t, url, behind())}
	own := sites[0].member("ada@example.com")
	app := sites[0].turnOnTOTP(t, own)
	for _, code := range []string{app.code(0), app.recovery[0]} {
		var passed atomic.Int64
		var running sync.WaitGroup
		for i := range 3 { // more wrong ones would lock the account
			running.Go(func() {
				if r := sites[i%2].visitor().loginWith(fmt.Sprintf("203.0.113.%d", i), code); r.status == http.StatusOK {
					passed.Add(1)
				}
			})
		}
		running.Wait()
		if passed.Load() != 1 {
			t.Errorf("a code has passed %d times, want once", passed.Load())
		}
	}
}

// The secrets of apps outlast a change of SESSION_SECRET while the older one is listed. Without it, recovery codes do.
func TestTOTPSecretChanged(t *testing.T) {
	t.Parallel()
	secrets := func(s ...string) options { return func(cfg *Config, _ *Deps) { cfg.SessionSecrets = s } }
	const first, second = "the first secret of thirty-two characters", "the second secret of thirty-two characters"
	url := storetest.Postgres(t)
	s := onDatabase(t, url, behind(), secrets(first))
	app := s.turnOnTOTP(t, s.member("ada@example.com"))

	lost := onDatabase(t, url, behind(), secrets(second))
	lost.visitor().loginWith("203.0.113.1", app.code(0)).
		fails(http.StatusUnauthorized, "Codes of your authenticator app cannot be verified any more: use a recovery code")
	lost.visitor().loginWith("203.0.113.1", app.recovery[0]).want(http.StatusOK)

	both := onDatabase(t, url, behind(), secrets(second, first))
	both.visitor().loginWith("203.0.113.2", app.code(1)).want(http.StatusOK)
	both.server.accounts.RenewTOTP(t.Context())
	lost.visitor().loginWith("203.0.113.3", app.code(0)).want(http.StatusOK)

	u, err := s.store.UserByEmail(t.Context(), "ada@example.com")
	if err := errors.Join(err, auth.ResetPassword(t.Context(), s.store, nil, u.ID, "another "+password)); err != nil {
		t.Fatal(err)
	}
	lost.visitor().login("203.0.113.4", "ada@example.com", "another "+password).want(http.StatusOK)
}

// The password alone, with which a signed-in user confirms a change, does not reset the count of
// wrong codes: otherwise who has it and a session could guess on.
func TestTOTPGuessesBesidePassword(t *testing.T) {
	t.Parallel()
	eachVaultSite(t, func(t *testing.T, s *site) {
		c := s.member("ada@example.com")
		s.turnOnTOTP(t, c)
		elsewhere := s.visitor().in(t)
		change := func() reply {
			return elsewhere.patch("/api/auth/me", map[string]any{"email": "ada@example.com", "current": password},
				"Cookie", "sessionId="+c.token())
		}
		for i := range 4 {
			s.visitor().loginWith(fmt.Sprintf("203.0.113.%d", i), "000000").fails(http.StatusUnauthorized, codeWrong)
			change().want(http.StatusOK)
		}
		s.visitor().loginWith("203.0.113.9", "000000").want(http.StatusLocked)
		change().want(http.StatusLocked)
	})
}
