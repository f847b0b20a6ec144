package server

import (
	"crypto/hmac"
	"crypto/rand"
	"net/http"
	"strconv"
	"strings"
	"time"

	"notesd/internal/netutil"
	"notesd/store"
)

const (
	deviceCookie = "notesd_device"
	devicePath   = "/api/auth" // the path where the cookie is used: other requests do not send it
	deviceLife   = 365 * 24 * time.Hour
	maxDevices   = 4 // cookies of that name that are checked, at most
)

// A device cookie shows that an account has signed in from this browser before (OWASP, "Slow down
// online guessing attacks with device cookies"). So an attacker who guesses the account's password
// does not lock out the user's own browser. The cookie is a nonce, and a keyed hash of the account,
// the nonce and the account's epoch. So a password reset makes the cookie invalid. Signing out does
// not delete it.

// device returns the nonce of the request's device cookie, or "" if no device cookie is valid for
// the account.
func (s *Server) device(r *http.Request, u store.User) string {
	cookies := r.CookiesNamed(deviceCookie)
	for _, c := range cookies[:min(len(cookies), maxDevices)] {
		nonce, given, _ := strings.Cut(c.Value, ".")
		for _, secret := range s.cfg.SessionSecrets {
			if nonce != "" && hmac.Equal([]byte(given), []byte(deviceSeal(secret, u, nonce))) {
				return nonce
			}
		}
	}
	return ""
}

func deviceSeal(secret string, u store.User, nonce string) string {
	return keyedHash([]byte(secret), "device", u.ID+" "+nonce+" "+strconv.FormatInt(u.SessionEpoch, 10))
}

// knowDevice sets the account's device cookie. If the client has one already, it is renewed for
// another year.
func (s *Server) knowDevice(x *exchange, u store.User) {
	nonce := s.device(x.Request(), u)
	if nonce == "" {
		nonce = rand.Text()
	}
	http.SetCookie(&x.out, &http.Cookie{
		Name: deviceCookie, Value: nonce + "." + deviceSeal(s.cfg.SessionSecrets[0], u, nonce), Path: devicePath,
		MaxAge: int(deviceLife.Seconds()), HttpOnly: true, Secure: s.secure(x.Request()), SameSite: http.SameSiteStrictMode,
	})
}

// A guesser identifies the clients whose wrong passwords for an account are counted together.
type guesser struct {
	device string // the nonce of a device of the account; "": all other clients
	// key is the key of the count in the store. It is not used if the count is the account's own.
	key  string
	addr string // the address for the sign-in limit
}

// guesserOf returns the guesser for a sign-in to the address folded, which is u's unless u has no
// id.
func (s *Server) guesserOf(x *exchange, u store.User, folded string) guesser {
	secret := []byte(s.cfg.SessionSecrets[0])
	if u.ID != "" {
		if nonce := s.device(x.Request(), u); nonce != "" {
			return guesser{nonce, keyedHash(secret, "device failures", u.ID+" "+nonce), "device " + nonce + " " + netutil.Network(x.addr)}
		}
	}
	return guesser{"", keyedHash(secret, "address failures", folded), x.addr}
}

// lockedUntil returns the end of the guesser's lock. It always queries the store, so that the
// duration does not reveal whether the account exists.
func (s *Server) lockedUntil(x *exchange, g guesser, u store.User) (time.Time, error) {
	until, err := s.store.SignInLock(x.ctx, g.key)
	if u.ID != "" && g.device == "" {
		until = u.LockedUntil
	}
	return until, err
}

// countFailure counts a wrong password, and returns the end of the lock that is then in force.
func (s *Server) countFailure(x *exchange, g guesser, u store.User) (until time.Time, err error) {
	if u.ID != "" && g.device == "" {
		return s.store.CountFailedSignIn(x.ctx, u.ID)
	}
	return s.store.CountFailure(x.ctx, g.key, u.ID)
}

// countSuccess records a right password. The success of a device does not clear the count of the
// other clients.
func (s *Server) countSuccess(x *exchange, g guesser, u store.User) error {
	if g.device == "" {
		return s.store.CountSignIn(x.ctx, u)
	}
	if err := s.store.ClearFailures(x.ctx, g.key); err != nil {
		return err
	}
	return s.store.CountDeviceSignIn(x.ctx, u)
}
