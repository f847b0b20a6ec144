package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"notesd/notes"
	"notesd/store"
)

// Codes are those that every authenticator app makes: some ignore what a URL says of others, and
// then show wrong codes.
const (
	totpIssuer = "notesd"
	totpPeriod = 30 // seconds
	totpDigits = otp.DigitsSix
)

// Recovery codes have 80 random bits, so that a plain hash of one cannot be reversed.
const (
	recoveryCodes      = 10
	recoveryCodeLength = 16 // letters and digits, of 5 bits each
	recoveryCodeGroup  = 4  // between hyphens
)

// base32Text is how apps show a secret.
var base32Text = base32.StdEncoding.WithPadding(base32.NoPadding)

var (
	// ErrTOTPRequired says that the password is right, and that a one-time code is required as well.
	ErrTOTPRequired = errors.New("one-time code required")
	// ErrTOTPInvalid says that the one-time code or recovery code is wrong, or was used before.
	ErrTOTPInvalid = errors.New("wrong one-time code")
	// ErrTOTPUnreadable says that one-time codes of the account cannot be verified any more, and only
	// recovery codes can.
	ErrTOTPUnreadable = errors.New("one-time codes cannot be verified")
	// ErrTOTPOff says that no set-up of one-time codes was begun.
	ErrTOTPOff = errors.New("no one-time codes were set up")
)

// TOTPSetup is what a user's app needs to make codes.
type TOTPSetup struct {
	Secret string // base32
	URL    string // of the scheme otpauth
}

// TOTPStatus says whether an account has one-time codes on.
type TOTPStatus struct {
	On            bool
	RecoveryCodes int // how many are left
}

// TOTPStatus returns the status of the account's one-time codes.
func (a *Accounts) TOTPStatus(ctx context.Context, userID string) (TOTPStatus, error) {
	t, err := a.store.TOTP(ctx, userID)
	if errors.Is(err, store.ErrNotFound) || err == nil && t.ConfirmedAt.IsZero() {
		return TOTPStatus{}, nil
	}
	if err != nil {
		return TOTPStatus{}, err
	}
	n, err := a.store.RecoveryCodes(ctx, userID)
	return TOTPStatus{On: true, RecoveryCodes: n}, err
}

// BeginTOTP makes a secret for the account's one-time codes. No code is asked for until ConfirmTOTP.
// store.ErrTOTPOn: they are on.
func (a *Accounts) BeginTOTP(ctx context.Context, userID string) (TOTPSetup, error) {
	u, err := a.store.User(ctx, userID)
	if err != nil {
		return TOTPSetup{}, err
	}
	secret := newTOTPSecret()
	key, err := totp.Generate(totp.GenerateOpts{
		Issuer: totpIssuer, AccountName: shortText(u.Email, notes.MaxEmail), Period: totpPeriod, Secret: secret,
		Digits: totpDigits, Algorithm: otp.AlgorithmSHA1,
	})
	if err != nil {
		return TOTPSetup{}, fmt.Errorf("TOTP URL: %w", err)
	}
	if err := a.store.BeginTOTP(ctx, a.totpKeys.seal(userID, secret)); err != nil {
		return TOTPSetup{}, err
	}
	return TOTPSetup{Secret: key.Secret(), URL: key.URL()}, nil
}

// ConfirmTOTP turns the account's one-time codes on, if code is one of the secret that BeginTOTP has
// made. It returns the recovery codes, which nobody can read again. Errors: ErrTOTPOff,
// ErrTOTPInvalid, store.ErrTOTPOn.
func (a *Accounts) ConfirmTOTP(ctx context.Context, c Client, userID, code string) ([]string, error) {
	t, err := a.store.TOTP(ctx, userID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, ErrTOTPOff
	case err != nil:
		return nil, err
	case !t.ConfirmedAt.IsZero():
		return nil, store.ErrTOTPOn
	}
	secret, err := a.totpKeys.open(t)
	if err != nil {
		return nil, ErrTOTPOff // it was begun under another SESSION_SECRET: begin again
	}
	step, right := matchingStep(secret, plainCode(code), time.Now())
	if !right {
		return nil, ErrTOTPInvalid
	}
	recovery, hashes := newRecoveryCodes()
	err = a.store.ConfirmTOTP(ctx, t, step, hashes)
	if errors.Is(err, store.ErrCodeUsed) {
		return nil, ErrTOTPInvalid // the secret was replaced or confirmed at this moment
	}
	if err != nil {
		return nil, err
	}
	a.Record(ctx, c, userID, store.EventTOTPOn)
	return recovery, nil
}

// ReplaceRecoveryCodes makes new recovery codes in place of the account's, and returns them. It needs
// the password and a code. Errors: those of RemoveTOTP.
func (a *Accounts) ReplaceRecoveryCodes(
	ctx context.Context, c Client, userID string, in Credentials,
) ([]string, error) {
	if err := a.confirmTOTPChange(ctx, c, userID, in); err != nil {
		return nil, err
	}
	recovery, hashes := newRecoveryCodes()
	err := a.store.ReplaceRecoveryCodes(ctx, userID, hashes)
	if errors.Is(err, store.ErrCodeUsed) {
		return nil, ErrTOTPOff // they were turned off at this moment
	}
	if err != nil {
		return nil, err
	}
	a.Record(ctx, c, userID, store.EventRecoveryCodesMade)
	return recovery, nil
}

// newRecoveryCodes returns recovery codes for a user, and their hashes.
func newRecoveryCodes() (recovery []string, hashes [][]byte) {
	for range recoveryCodes {
		plain := rand.Text()[:recoveryCodeLength]
		hashes = append(hashes, recoveryHash(plain))
		recovery = append(recovery, grouped(plain))
	}
	return recovery, hashes
}

// RemoveTOTP turns the account's one-time codes off. It needs the password and a code. Errors: those
// of SignIn, ErrTOTPOff.
func (a *Accounts) RemoveTOTP(ctx context.Context, c Client, userID string, in Credentials) error {
	if err := a.confirmTOTPChange(ctx, c, userID, in); err != nil {
		return err
	}
	if err := a.store.RemoveTOTP(ctx, userID); err != nil {
		return err
	}
	a.Record(ctx, c, userID, store.EventTOTPOff)
	return nil
}

// confirmTOTPChange returns nil if one-time codes are on, and the password and the code are right.
func (a *Accounts) confirmTOTPChange(ctx context.Context, c Client, userID string, in Credentials) error {
	status, err := a.TOTPStatus(ctx, userID)
	if err != nil {
		return err
	}
	if !status.On {
		return ErrTOTPOff
	}
	_, err = a.confirm(ctx, c, userID, in, a.verifyBoth)
	return err
}

// secondFactor verifies a one-time code or a recovery code, after the password was right. It returns
// nil if the account needs none. A code that passes is used. Errors: ErrTOTPRequired,
// ErrTOTPInvalid, ErrTOTPUnreadable, a *LockedError.
func (a *Accounts) secondFactor(ctx context.Context, c Client, g guesser, u store.User, code string) error {
	t, err := a.store.TOTP(ctx, u.ID)
	if errors.Is(err, store.ErrNotFound) || err == nil && t.ConfirmedAt.IsZero() {
		return nil
	}
	if err != nil {
		return err
	}
	if err := a.checkLock(ctx, g, u); err != nil {
		return err
	}
	switch code = plainCode(code); {
	case code == "":
		return ErrTOTPRequired
	case len(code) == recoveryCodeLength:
		err = a.store.UseRecoveryCode(ctx, u.ID, recoveryHash(code))
		if err == nil {
			a.Record(ctx, c, u.ID, store.EventRecoveryCodeUsed)
		}
	default:
		err = a.useTOTP(ctx, t, code)
	}
	if errors.Is(err, store.ErrCodeUsed) {
		return ErrTOTPInvalid
	}
	return err
}

// checkLock returns a *LockedError if guesses have locked the account while the password was
// verified. Then the response must not reveal that the password is right. ErrCredentials: the account
// was deleted meanwhile.
func (a *Accounts) checkLock(ctx context.Context, g guesser, u store.User) error {
	now, err := a.store.User(ctx, u.ID)
	if errors.Is(err, store.ErrNotFound) {
		return ErrCredentials
	}
	if err != nil {
		return err
	}
	until, err := a.lockedUntil(ctx, g, now)
	if err != nil {
		return err
	}
	if wait := time.Until(until); wait > 0 {
		return lockedFor(wait)
	}
	return nil
}

func (a *Accounts) useTOTP(ctx context.Context, t store.TOTP, code string) error {
	secret, err := a.totpKeys.open(t)
	if err != nil {
		a.log.Warn("a one-time code cannot be verified", "user", t.UserID, "error", err)
		return ErrTOTPUnreadable
	}
	step, right := matchingStep(secret, code, time.Now())
	if !right {
		return ErrTOTPInvalid
	}
	return a.store.UseTOTPStep(ctx, t.UserID, step)
}

// matchingStep returns the step of which code is the code of secret: the one of the time now, the one
// before or the one after, because the clocks of phones are off. Its duration reveals nothing about
// the right codes.
func matchingStep(secret []byte, code string, now time.Time) (step int64, right bool) {
	text := base32Text.EncodeToString(secret)
	for _, off := range []int64{-1, 0, 1} {
		at := now.Unix()/totpPeriod + off
		want, err := totp.GenerateCodeCustom(text, time.Unix(at*totpPeriod, 0),
			totp.ValidateOpts{Period: totpPeriod, Digits: totpDigits, Algorithm: otp.AlgorithmSHA1})
		if err == nil && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 {
			step, right = at, true
		}
	}
	return step, right
}

// maxCode is how many bytes of a code are read. Longer ones are wrong.
const maxCode = 64

// plainCode returns a code as it is compared: without the blanks and hyphens that apps and people put
// in, in capital letters, with digits of full width as plain ones. Text that is too long is "?",
// which is no code.
func plainCode(code string) string {
	if len(code) > maxCode {
		return "?"
	}
	plain := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r), r == '-':
			return -1
		case r >= '０' && r <= '９':
			return r - '０' + '0'
		}
		return unicode.ToUpper(r)
	}, code)
	if plain == "" && code != "" {
		return "?"
	}
	return plain
}

// recoveryHash returns the hash of a recovery code in plain form.
func recoveryHash(plain string) []byte {
	hash := sha256.Sum256([]byte("recovery code " + plain))
	return hash[:]
}

// grouped returns a recovery code with hyphens, for people.
func grouped(plain string) string {
	var b strings.Builder
	for i, r := range plain {
		if i > 0 && i%recoveryCodeGroup == 0 {
			b.WriteByte('-')
		}
		b.WriteRune(r)
	}
	return b.String()
}
