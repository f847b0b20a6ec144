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
	devicePath   = "/api/auth" // where it is asked for: no other request brings it along
	deviceLife   = 365 * 24 * time.Hour
	maxDevices   = 4 // cookies of that name that are looked at
)

// A device cookie tells a browser that an account has signed in from before (OWASP, "Slow down online guessing
// attacks with device cookies"): strangers who guess at the account do not lock it out. It is a nonce and the keyed hash of
// the account, the nonce and the account's epoch, so a reset makes it worth nothing. It stays at sign-out.

// device returns the nonce of the request's device cookie, or "" if none is of the account.
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

// knowDevice gives the client the account's device cookie, for another year if it has one.
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

// A guesser is whose wrong passwords for an account are counted together.
type guesser struct {
	device string // the nonce of a device of the account; "": everybody else
	key    string // of the count in the store, unless that is the account's own
	addr   string // of the sign-in limit
}

// guesserOf is who tries to sign in to the address, which is u's unless u has no id.
func (s *Server) guesserOf(x *exchange, u store.User, folded string) guesser {
	secret := []byte(s.cfg.SessionSecrets[0])
	if u.ID != "" {
		if nonce := s.device(x.Request(), u); nonce != "" {
			return guesser{nonce, keyedHash(secret, "device failures", u.ID+" "+nonce), "device " + nonce + " " + netutil.Network(x.addr)}
		}
	}
	return guesser{"", keyedHash(secret, "address failures", folded), x.addr}
}

// lockedUntil is the end of the guesser's lock. The store is asked in each case: how long the answer takes does not tell
// whether there is an account.
func (s *Server) lockedUntil(x *exchange, g guesser, u store.User) (time.Time, error) {
	until, err := s.store.SignInLock(x.ctx, g.key)
	if u.ID != "" && g.device == "" {
		until = u.LockedUntil
	}
	return until, err
}

// countFailure counts a wrong password and returns the end of the lock that is in force then.
func (s *Server) countFailure(x *exchange, g guesser, u store.User) (until time.Time, err error) {
	if u.ID != "" && g.device == "" {
		return s.store.CountFailedSignIn(x.ctx, u.ID)
	}
	return s.store.CountFailure(x.ctx, g.key, u.ID)
}

// countSuccess notes a right password. A device's leaves the count of everybody else as it is.
func (s *Server) countSuccess(x *exchange, g guesser, u store.User) error {
	if g.device == "" {
		return s.store.CountSignIn(x.ctx, u)
	}
	if err := s.store.ClearFailures(x.ctx, g.key); err != nil {
		return err
	}
	return s.store.CountDeviceSignIn(x.ctx, u)
}
