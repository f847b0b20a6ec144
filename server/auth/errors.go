// Package auth decides who sends a request. It has the users' sessions and passwords, the limits on
// guesses at passwords, the creation of accounts, and the administrator's token.
package auth

import "errors"

var (
	// ErrTwoUsers says that a request brings sessions of two users.
	ErrTwoUsers = errors.New("sessions of two users")
	// ErrRegistration says that an account was not created, and not why: the address may have an
	// account already, which is nobody else's business.
	ErrRegistration = errors.New("registration failed")
	// ErrRegistrationClosed says that accounts are only created by commands.
	ErrRegistrationClosed = errors.New("registration is closed")
	// ErrCredentials says that the account does not exist or has another password.
	ErrCredentials = errors.New("invalid credentials")
	// ErrDisabled says that the password is right, and the account disabled.
	ErrDisabled = errors.New("account is disabled")
	// ErrEmailTaken says that another account has the e-mail address that a user wants.
	ErrEmailTaken = errors.New("e-mail address is taken")
	// ErrNotAdmin says that a request does not bring the administrator's token.
	ErrNotAdmin = errors.New("not an administrator")
)
