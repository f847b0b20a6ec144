package auth

import (
	"context"
	"errors"
	"net/http"
	"time"

	"notesd/internal/ratelimit"
	"notesd/notes"
	"notesd/store"
)

// SignIn verifies a password and, if the account has one-time codes on, a code. It begins a session
// of the account with a cookie in w's header. It returns the errors of verifyBoth.
func (a *Accounts) SignIn(ctx context.Context, w http.ResponseWriter, c Client, in Credentials) (store.User, error) {
	u, err := a.verifyBoth(ctx, c, in)
	if err == nil {
		err = a.Sessions.SignIn(ctx, w, c.Request, c.newSession(u, in.Remember))
	}
	if errors.Is(err, store.ErrEpoch) { // the password that was verified is not valid any more
		return store.User{}, ErrCredentials
	}
	if err != nil {
		return store.User{}, err
	}
	a.devices.remember(w, c.Request, u, c.Secure)
	a.Record(ctx, c, u.ID, store.EventSignedIn)
	return u, nil
}

// SignOut ends all sessions that the client's request brings, and clears their cookies.
func (a *Accounts) SignOut(ctx context.Context, w http.ResponseWriter, c Client) error {
	return a.Sessions.SignOut(ctx, w, c.Request, c.Secure)
}

// verify returns the account of the address if the password is the account's, with which a signed-in
// user confirms a change. If the account has one-time codes on, it resets no count. Errors:
// ErrCredentials, ErrDisabled, a *LockedError, a *ratelimit.LimitedError. An unknown account takes the same time
// and gets the same error as a wrong password. Every attempt is counted before the password is
// checked, so parallel guesses gain nothing.
func (a *Accounts) verify(ctx context.Context, c Client, in Credentials) (store.User, error) {
	return a.verifyFactors(ctx, c, in, func(ctx context.Context, g guesser, u store.User) (whole bool, err error) {
		status, err := a.TOTPStatus(ctx, u.ID)
		if err != nil || !status.On {
			return true, err
		}
		return false, a.checkLock(ctx, g, u)
	})
}

// verifyBoth is verify for an account that may have one-time codes on. After a right password it
// also returns the errors of secondFactor. A wrong code counts as a wrong password does. That a code
// is missing is no failure, and resets no count.
func (a *Accounts) verifyBoth(ctx context.Context, c Client, in Credentials) (store.User, error) {
	return a.verifyFactors(ctx, c, in, func(ctx context.Context, g guesser, u store.User) (whole bool, err error) {
		return true, a.secondFactor(ctx, c, g, u, in.Code)
	})
}

// verifyFactors is verify, and calls second once the password is right. second reports whether all
// was verified that a sign-in needs: only that resets the count of wrong passwords and codes.
func (a *Accounts) verifyFactors(ctx context.Context, c Client, in Credentials,
	second func(context.Context, guesser, store.User) (whole bool, err error)) (store.User, error) {
	if len(in.Email) > notes.MaxImportedEmail {
		in.Email = "" // belongs to no account either, and is cheap to fold and to look up
	}
	u, err := a.store.UserByEmail(ctx, in.Email)
	known := err == nil
	if !known && !errors.Is(err, store.ErrNotFound) {
		return store.User{}, err
	}
	folded := notes.Fold(in.Email)
	g := a.guesserOf(c, u, folded)
	until, err := a.lockedUntil(ctx, g, u)
	if err != nil {
		return store.User{}, err
	}
	if wait := time.Until(until); wait > 0 {
		return store.User{}, lockedFor(wait)
	}
	if err := c.ReserveHash(ctx); err != nil { // before the attempt is counted
		return store.User{}, err
	}
	refund, wait, err := a.signInLimit.reserve(ctx, g.addr, folded)
	if err != nil {
		return store.User{}, err
	}
	if wait > 0 {
		return store.User{}, tooManySignIns(ratelimit.Decision{Limit: signInsPerPair, Reset: wait, RetryAfter: wait})
	}
	a.bcryptCost.raise(u.PasswordHash)
	if !known || !verifyPassword(u.PasswordHash, in.Password) {
		paddingFor(u.PasswordHash, int(a.bcryptCost.Load())).compute(in.Password)
		return store.User{}, a.countWrong(ctx, c, g, u, store.EventWrongPassword, ErrCredentials)
	}
	whole, err := second(ctx, g, u)
	if errors.Is(err, ErrTOTPInvalid) {
		return store.User{}, a.countWrong(ctx, c, g, u, store.EventWrongCode, err)
	}
	refund(ctx)
	if err != nil {
		return store.User{}, err
	}
	if whole {
		if err := a.rightPassword(ctx, g, u, in.Password); err != nil {
			return store.User{}, err
		}
	}
	if !u.DisabledAt.IsZero() { // only who knows the password is told
		return store.User{}, ErrDisabled
	}
	return u, nil
}

// tooManySignIns returns the error of a sign-in, or an app token, from where too many were wrong.
func tooManySignIns(d ratelimit.Decision) error {
	return &ratelimit.LimitedError{Reason: "sign_in_limit",
		Text: "Too many authentication attempts, please try again later.", Decision: d}
}

// countWrong counts a wrong password or code, and returns the error of the sign-in: wrong, unless the
// account is locked now.
func (a *Accounts) countWrong(ctx context.Context, c Client, g guesser, u store.User, event store.AccountEvent,
	wrong error) error {
	if u.ID != "" {
		a.Record(ctx, c, u.ID, event)
	}
	until, err := a.countFailure(ctx, g, u)
	// The account may have been deleted while the password was verified.
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrOwnerGone) {
		return ErrCredentials
	}
	if err != nil {
		return err
	}
	if time.Until(until) > 0 {
		if u.ID != "" {
			a.Record(ctx, c, u.ID, store.EventLocked)
		}
		return &LockedError{"Account locked due to too many failed login attempts. Try again in 15 minutes."}
	}
	return wrong
}

// rightPassword records a right password, and renews the account's hash if it must be.
func (a *Accounts) rightPassword(ctx context.Context, g guesser, u store.User, password string) error {
	err := a.countSuccess(ctx, g, u)
	if errors.Is(err, store.ErrLocked) { // the account was locked by guesses after it was read
		return lockedFor(15 * time.Minute)
	}
	if err != nil || !needsRehash(u.PasswordHash) {
		return err
	}
	return a.rehash(ctx, u, password)
}

// rehash replaces an older hash, such as a bcrypt hash of the old server, by one with the current
// parameters. If another sign-in has replaced it first, that is as good.
func (a *Accounts) rehash(ctx context.Context, u store.User, password string) error {
	hash, err := hashPassword(password)
	if err != nil {
		return err
	}
	return a.store.ReplaceHash(ctx, u.ID, u.PasswordHash, hash)
}
