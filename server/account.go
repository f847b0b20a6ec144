package server

import (
	"context"
	"errors"
	"fmt"

	"notesd/internal/redis"
	"notesd/notes"
	"notesd/store"
)

// AddAccount creates an account by the same rules as a sign-up, even if registration is closed. It
// returns store.ErrDuplicate if the address has an account already.
func AddAccount(ctx context.Context, db *store.Store, email, password string) (store.User, error) {
	if err := notes.CheckNewAccount(email, password); err != nil {
		return store.User{}, err
	}
	hash, err := hashPassword(password)
	if err != nil {
		return store.User{}, err
	}
	return db.CreateUser(ctx, email, notes.AccountName(email), hash)
}

// ResetPassword sets a new password for the account and ends its sessions, wherever they are
// stored. The account's new epoch ends them even if rdb is nil although the server uses Redis.
func ResetPassword(ctx context.Context, db *store.Store, rdb *redis.Client, id, password string) error {
	if err := notes.CheckPassword(password); err != nil {
		return err
	}
	hash, err := hashPassword(password)
	if err != nil {
		return err
	}
	if err := db.SetPassword(ctx, id, hash); err != nil {
		return err
	}
	return announceEnd(ctx, db, rdb, id)
}

// DeleteAccount deletes the account with its notes and ends its sessions.
func DeleteAccount(ctx context.Context, db *store.Store, rdb *redis.Client, id string) error {
	if err := db.DeleteUser(ctx, id); err != nil {
		return err
	}
	return announceEnd(ctx, db, rdb, id)
}

// ErrStale says that the account was changed, but a running server may accept its sessions for
// another minute.
var ErrStale = errors.New("a running server that could not be told may accept the account's sessions for another minute")

// announceEnd tells the running servers that the account's epoch has ended its sessions, and
// deletes the remains of these sessions. A session that Redis fails to delete now expires there,
// and signs no user in.
func announceEnd(ctx context.Context, db *store.Store, rdb *redis.Client, id string) error {
	_ = rawBackendFor(db, rdb).DeleteSessions(ctx, id, "")
	if err := db.AnnounceRevoked(ctx, "", id); err != nil {
		return fmt.Errorf("%w: %w", ErrStale, err)
	}
	return nil
}

// backendFor returns the backend that stores sessions. It is Redis, if there is one, so that
// replicas share the sessions.
func backendFor(db *store.Store, rdb *redis.Client) sessionBackend {
	return announcedSessions{rawBackendFor(db, rdb), db}
}

func rawBackendFor(db *store.Store, rdb *redis.Client) sessionBackend {
	if rdb != nil {
		return newRedisSessions(rdb, db)
	}
	return db
}

// announcedSessions is a sessionBackend that announces the end of a session to the other processes.
// A session has ended once no process that serves the store's users knows it any more.
type announcedSessions struct {
	sessionBackend
	store *store.Store
}

func (a announcedSessions) DeleteSession(ctx context.Context, key string) error {
	if err := a.sessionBackend.DeleteSession(ctx, key); err != nil {
		return err
	}
	return a.store.AnnounceRevoked(ctx, key, "")
}

func (a announcedSessions) DeleteSessions(ctx context.Context, userID, exceptKey string) error {
	if err := a.sessionBackend.DeleteSessions(ctx, userID, exceptKey); err != nil {
		return err
	}
	return a.store.AnnounceRevoked(ctx, "", userID)
}
