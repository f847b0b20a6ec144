package auth

import (
	"context"
	"errors"
	"net/http"
	"time"

	"notesd/notes"
	"notesd/store"
)

// A PasswordChange is a user's wish for a new password.
type PasswordChange struct {
	Current, New string
	EndTokens    bool // the account's app tokens end as well
}

// ChangePassword sets the user's new password, if the current one is right, and ends all sessions of
// the account. The client of the request gets a new one, with a cookie in w's header. A wrong
// current password counts as one at a sign-in. Errors: those of SignIn and of notes.CheckPassword.
func (a *Accounts) ChangePassword(ctx context.Context, w http.ResponseWriter, c Client, userID string,
	in PasswordChange) error {
	if err := notes.CheckPassword(in.New); err != nil {
		return err
	}
	u, err := a.confirm(ctx, c, userID, Credentials{Password: in.Current}, a.verify)
	if err != nil {
		return err
	}
	hash, err := hashPassword(in.New)
	if err != nil {
		return err
	}
	remember, err := a.Sessions.remembered(ctx, c.Request)
	if err != nil {
		return err
	}
	old := u
	u.SessionEpoch = max(time.Now().UnixMilli(), old.SessionEpoch+1)
	defer a.ended("", u.ID)
	defer a.Sessions.cache.BeginEnd("", u.ID)()
	var key string
	change := store.PasswordChange{Hash: hash, Epoch: u.SessionEpoch, EndTokens: in.EndTokens}
	err = a.Sessions.begin(ctx, w, c.Request, c.newSession(u, remember),
		func(ctx context.Context, first store.Session) error {
			key = first.Key
			return a.saveFirst(ctx, first, func(ctx context.Context, first *store.Session) error {
				change.First = first
				return a.store.ChangePassword(ctx, old, change)
			})
		})
	if errors.Is(err, store.ErrEpoch) { // the password that was verified is not valid any more
		return ErrCredentials
	}
	if err != nil {
		return err
	}
	a.devices.remember(w, c.Request, u, c.Secure)
	// The password is changed, whatever these two return: the epoch has ended the sessions. A
	// process that could not be told accepts them for another minute at most.
	_ = rawBackendFor(a.store, a.redis).DeleteSessions(ctx, u.ID, key)
	_ = a.store.AnnounceRevoked(ctx, "", u.ID)
	a.Record(ctx, c, u.ID, store.EventPasswordChanged)
	return nil
}

// A ProfileChange says what to change of an account. A nil field stays as it is.
type ProfileChange struct {
	store.ProfilePatch
	Current string // the current password, if the e-mail address changes
}

// ChangeProfile changes the user's account and returns it. If the e-mail address changes, the
// current password must be right: a wrong one counts as one at a sign-in. Errors: those of SignIn,
// notes.ErrEmailFormat, ErrEmailTaken.
func (a *Accounts) ChangeProfile(ctx context.Context, c Client, userID string, in ProfileChange) (store.User, error) {
	var u store.User
	var err error
	if in.Email == nil {
		u, err = a.store.User(ctx, userID)
	} else if err = notes.CheckEmail(*in.Email); err == nil {
		// The response reveals whether the address has an account, as that of a sign-up does.
		if err = a.limitSignUps(ctx, c.Address); err == nil {
			u, err = a.confirm(ctx, c, userID, Credentials{Password: in.Current}, a.verify)
		}
	}
	if err != nil {
		return store.User{}, err
	}
	u, err = a.store.PatchProfile(ctx, u, in.ProfilePatch)
	switch {
	case errors.Is(err, store.ErrDuplicate):
		return store.User{}, ErrEmailTaken
	case errors.Is(err, store.ErrEpoch):
		return store.User{}, ErrCredentials
	case err == nil && in.Email != nil:
		a.Record(ctx, c, u.ID, store.EventEmailChanged)
	}
	return u, err
}

// confirm returns the user's account if in, which needs no address, passes verify. That is the
// method verify, for the password alone, or verifyBoth. Errors: those of SignIn.
func (a *Accounts) confirm(ctx context.Context, c Client, userID string, in Credentials,
	verify func(context.Context, Client, Credentials) (store.User, error)) (store.User, error) {
	u, err := a.store.User(ctx, userID)
	if errors.Is(err, store.ErrNotFound) {
		return store.User{}, ErrCredentials
	}
	if err != nil {
		return store.User{}, err
	}
	in.Email = u.Email
	u, err = verify(ctx, c, in)
	// The account was changed at this moment, or its address was given to another one.
	if errors.Is(err, store.ErrEpoch) || err == nil && u.ID != userID {
		err = ErrCredentials
	}
	return u, err
}

// remembered reports whether the session of r lasts 30 days.
func (s *Sessions) remembered(ctx context.Context, r *http.Request) (bool, error) {
	for _, token := range appendTokens(nil, r) {
		_, found, err := s.tokens.find(ctx, token)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		return readRecord(found.Data).Remembered, err
	}
	return false, nil
}
