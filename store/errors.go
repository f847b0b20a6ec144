package store

import (
	"errors"
	"fmt"

	"notesd/store/engine"
)

// These are the errors of the methods, besides the context's. The texts are for logs. The server
// chooses what a client reads.
var (
	ErrNotFound    = engine.ErrNotFound
	ErrDuplicate   = engine.ErrDuplicate
	ErrChanged     = errors.New("has changed meanwhile") // it is always a *ChangedError
	ErrGone        = errors.New("changes are not known any more, or not yet")
	ErrIdempotency = errors.New("idempotency key used with another body")
	ErrExists      = errors.New("the note exists already")
	ErrDeleted     = errors.New("the note was deleted")
	ErrQuota       = errors.New("quota exceeded")
	ErrLocked      = errors.New("account locked")
	ErrVersionGone = errors.New("version is not kept")
	ErrOwnerGone   = engine.ErrForeignKey // every row belongs to an account, or to a note of one

	// ErrNoUser: there is no such account, or its deletion has begun. It is an ErrNotFound.
	ErrNoUser = fmt.Errorf("no such user: %w", ErrNotFound)

	// ErrEpoch: all of the account's sessions were ended since it was read, or the account is gone.
	ErrEpoch = errors.New("the sessions of the account were ended meanwhile")

	// ErrUnavailable: the database cannot serve now but may later. It is starting, stopping, gone,
	// full or read-only. The error wraps the cause.
	ErrUnavailable = engine.ErrUnavailable

	// ErrStarting: the database has not been used yet, and no attempt has failed. It is an
	// ErrUnavailable.
	ErrStarting = engine.ErrStarting

	// ErrSchema: this binary and the schema do not fit. Waiting won't help.
	ErrSchema = engine.ErrSchema

	// ErrRefused: the database answers but refuses access. The password is wrong, there is no such
	// database, or a right is missing. Waiting won't help.
	ErrRefused = engine.ErrRefused

	// ErrEncoding: the database's encoding can't represent some characters. Waiting won't help.
	ErrEncoding = engine.ErrEncoding
)
