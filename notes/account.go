package notes

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// These constants bound what an account may hold.
const (
	MaxEmail = 254 // bytes (RFC 5321, errata 1690)
	MaxName  = 100 // characters

	MaxImportedEmail = 1024 // bytes of an address that another server has accepted
)

// ErrEmailFormat says that an address is none.
var ErrEmailFormat = errors.New("invalid email format")

var emailForm = regexp.MustCompile(`^[^\s@]+@[^\s@]+\.[^\s@]+$`)

// CheckNewAccount returns ErrEmailFormat or an error of CheckPassword if no account may be made
// with the address and the password.
func CheckNewAccount(email, password string) error {
	if err := CheckEmail(email); err != nil {
		return err
	}
	return CheckPassword(password)
}

// CheckEmail returns ErrEmailFormat for an e-mail address that no user may choose.
func CheckEmail(email string) error {
	if len(email) > MaxEmail || !isPrintable(email) || !emailForm.MatchString(email) {
		return ErrEmailFormat
	}
	return nil
}

// CheckName reports whether a user may choose the name for an account. Names of other servers may
// be longer.
func CheckName(name string) bool {
	return name != "" && ValidText(name) && utf8.RuneCountInString(name) <= MaxName
}

// AccountName returns the name of a new account: the part of its address before the @.
func AccountName(email string) string { return email[:strings.LastIndexByte(email, '@')] }

// isPrintable reports whether s is free of control, format, private and unassigned characters. A
// terminal obeys such characters or shows nothing for them. Administrators read the addresses of
// new accounts. An account that an older version accepted can still sign in.
func isPrintable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// Account is an account that another server made.
type Account struct{ ID, Email, Name, PasswordHash string }

// ImportFault says why the account can't be stored here. It returns "" if the account can be
// stored. A name is stored as it is, because a joiner in an emoji must not cost users their notes.
func (a Account) ImportFault() string {
	switch {
	case a.ID == "" || !ValidText(a.ID):
		return "its id is empty or no text"
	case len(a.ID) > MaxID: // an index of PostgreSQL holds no longer key
		return fmt.Sprintf("its id is longer than %d bytes", MaxID)
	case a.Email == "":
		return "its e-mail address is empty"
	case len(a.Email) > MaxImportedEmail:
		return fmt.Sprintf("its e-mail address is longer than %d bytes", MaxImportedEmail)
	case !ValidText(a.Email), !ValidText(a.Name), !ValidText(a.PasswordHash):
		return "it is not valid UTF-8"
	case !isPrintable(a.Email):
		return "its e-mail address has characters that can't be seen"
	}
	return ""
}
