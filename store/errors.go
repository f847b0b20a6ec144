package store

import (
	"errors"

	"notesd/store/engine"
)

// What a method's error may be, besides the context's. The texts are for logs;
// what a client reads is the server's to say.
var (
	ErrNotFound    = engine.ErrNotFound
	ErrDuplicate   = engine.ErrDuplicate
	ErrChanged     = errors.New("has changed meanwhile") // always a *ChangedError
	ErrIdempotency = errors.New("idempotency key used with another body")
	ErrQuota       = errors.New("quota exceeded")
	ErrLocked      = errors.New("account locked")
	ErrOwnerGone   = engine.ErrForeignKey // every row belongs to an account, or to a note of one

	// ErrEpoch: all of the account's sessions were ended since it was read, or the account is gone.
	ErrEpoch = errors.New("the sessions of the account were ended meanwhile")

	// ErrUnavailable: the database cannot serve now but may later. It is
	// starting, stopping, gone, full or read-only; the cause is wrapped.
	ErrUnavailable = engine.ErrUnavailable

	// ErrSchema: this binary and the schema do not fit, and waiting won't help.
	ErrSchema = engine.ErrSchema

	// ErrRefused: the database is there and lets us do nothing: a wrong password,
	// no such database, a missing right. Waiting won't help.
	ErrRefused = engine.ErrRefused

	// ErrEncoding: the database's encoding has no place for some characters. Waiting won't help.
	ErrEncoding = engine.ErrEncoding
)
