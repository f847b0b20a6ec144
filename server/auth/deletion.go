package auth

import (
	"context"
	"errors"
	"net/http"
	"time"

	"notesd/internal/redis"
	"notesd/store"
)

// BeginDeletion is DeleteAccount for a server that runs: the account's data is deleted in the
// background. See store.BeginDeletion.
func BeginDeletion(ctx context.Context, db *store.Store, rdb *redis.Client, id string) error {
	for {
		accounts, err := db.Accounts(ctx, store.AccountQuery{ID: id})
		if err != nil {
			return err
		}
		if len(accounts) == 0 {
			return store.ErrNotFound
		}
		err = db.BeginDeletion(ctx, accounts[0].User)
		if errors.Is(err, store.ErrEpoch) { // it has changed since, or is deleted
			continue
		}
		if err != nil {
			return err
		}
		return announceEnd(ctx, db, rdb, id)
	}
}

// Delete begins to delete the user's account, if in has the password and, if one-time codes are on, a
// code. Wrong ones count as at a sign-in. All sessions have ended when it returns, and it clears the
// cookies of the request in w's header. The account's data is deleted in the background: see
// store.BeginDeletion. Errors: those of SignIn.
func (a *Accounts) Delete(ctx context.Context, w http.ResponseWriter, c Client, userID string, in Credentials) error {
	u, err := a.confirm(ctx, c, userID, in, a.verifyBoth)
	if err != nil {
		return err
	}
	defer a.Sessions.cache.BeginEnd("", u.ID)()
	err = a.store.BeginDeletion(ctx, u)
	if errors.Is(err, store.ErrEpoch) { // the password that was verified is not valid any more
		return ErrCredentials
	}
	if err != nil {
		return err
	}
	a.Record(ctx, c, u.ID, store.EventDeletion)
	// The account is deleted, whatever this returns: the epoch has ended the sessions. A process that
	// could not be told accepts them for another minute at most.
	_ = announceEnd(ctx, a.store, a.redis, u.ID)
	a.Sessions.writeCookie(ctx, w, "", time.Time{}, c.Secure)
	return nil
}
