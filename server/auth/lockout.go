package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"fmt"
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

// devices makes and verifies device cookies.
type devices struct {
	secrets []string // the first one signs, and all verify
}

// nonce returns the nonce of the request's device cookie, or "" if no device cookie is valid for
// the account.
func (d devices) nonce(r *http.Request, u store.User) string {
	cookies := r.CookiesNamed(deviceCookie)
	for _, c := range cookies[:min(len(cookies), maxDevices)] {
		nonce, given, _ := strings.Cut(c.Value, ".")
		for _, secret := range d.secrets {
			if nonce != "" && hmac.Equal([]byte(given), []byte(deviceMAC(secret, u, nonce))) {
				return nonce
			}
		}
	}
	return ""
}

func deviceMAC(secret string, u store.User, nonce string) string {
	return keyedHash([]byte(secret), "device", u.ID+" "+nonce+" "+strconv.FormatInt(u.SessionEpoch, 10))
}

// remember sets the account's device cookie in w's header. If the client has one already, it is
// renewed for another year. A secure cookie is sent over TLS only.
func (d devices) remember(w http.ResponseWriter, r *http.Request, u store.User, secure bool) {
	nonce := d.nonce(r, u)
	if nonce == "" {
		nonce = rand.Text()
	}
	http.SetCookie(w, &http.Cookie{
		Name: deviceCookie, Value: nonce + "." + deviceMAC(d.secrets[0], u, nonce), Path: devicePath,
		MaxAge: int(deviceLife.Seconds()), HttpOnly: true, Secure: secure, SameSite: http.SameSiteStrictMode,
	})
}

// A guesser identifies the clients whose wrong passwords for an account are counted together.
type guesser struct {
	device string // the nonce of a device of the account; "": all other clients
	// key is the key of the count in the store. It is not used if the count is the account's own.
	key  string
	addr string // the address for the sign-in limit
}

// guesserOf returns the guesser for a sign-in by c to the folded address, which is u's unless u has
// no id.
func (a *Accounts) guesserOf(c Client, u store.User, folded string) guesser {
	secret := []byte(a.devices.secrets[0])
	if u.ID != "" {
		if nonce := a.devices.nonce(c.Request, u); nonce != "" {
			key := keyedHash(secret, "device failures", u.ID+" "+nonce)
			return guesser{nonce, key, "device " + nonce + " " + netutil.Network(c.Address)}
		}
	}
	return guesser{"", keyedHash(secret, "address failures", folded), c.Address}
}

// lockedUntil returns the end of the guesser's lock. It always queries the store, so that the
// duration does not reveal whether the account exists.
func (a *Accounts) lockedUntil(ctx context.Context, g guesser, u store.User) (time.Time, error) {
	until, err := a.store.SignInLock(ctx, g.key)
	if u.ID != "" && g.device == "" {
		until = u.LockedUntil
	}
	return until, err
}

// countFailure counts a wrong password, and returns the end of the lock that is then in force.
func (a *Accounts) countFailure(ctx context.Context, g guesser, u store.User) (until time.Time, err error) {
	if u.ID != "" && g.device == "" {
		return a.store.CountFailedSignIn(ctx, u.ID)
	}
	return a.store.CountFailure(ctx, g.key, u.ID)
}

// countSuccess records a right password. The success of a device does not clear the count of the
// other clients.
func (a *Accounts) countSuccess(ctx context.Context, g guesser, u store.User) error {
	if g.device == "" {
		return a.store.CountSignIn(ctx, u)
	}
	if err := a.store.ClearFailures(ctx, g.key); err != nil {
		return err
	}
	return a.store.CountDeviceSignIn(ctx, u)
}

// LockedError is the error of a sign-in to a locked account. Text tells the client how long the
// lock lasts.
type LockedError struct{ Text string }

func (e *LockedError) Error() string { return "account locked" }

func lockedFor(wait time.Duration) error {
	minutes := int((wait + time.Minute - 1) / time.Minute)
	plural := "s"
	if minutes == 1 {
		plural = ""
	}
	return &LockedError{fmt.Sprintf("Account locked. Try again in %d minute%s.", minutes, plural)}
}
