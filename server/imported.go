package server

import (
	"fmt"

	"notesd/notes"
	"notesd/store"
)

// AccountFault says why nobody could use an account that another server made;
// empty: nothing is wrong with it.
func AccountFault(u store.User) string {
	switch {
	case u.ID == "" || !notes.ValidText(u.ID):
		return "its id is empty or no text"
	case len(u.ID) > notes.MaxID: // an index of PostgreSQL can't hold any length
		return fmt.Sprintf("its id is longer than %d bytes", notes.MaxID)
	case u.Email == "":
		return "its e-mail address is empty"
	case len(u.Email) > maxAddress:
		return fmt.Sprintf("its e-mail address is longer than %d bytes", maxAddress)
	case !notes.ValidText(u.Email), !notes.ValidText(u.Name), !notes.ValidText(u.PasswordHash):
		return "it is not valid UTF-8"
	case !isPrintable(u.Email): // a name comes as it is: a joiner in an emoji must not cost somebody their notes
		return "its e-mail address has characters that can't be seen"
	}
	return ""
}

// HasKnownHash reports whether the account's password can be verified. Without
// that, nobody signs in until it is reset.
func HasKnownHash(u store.User) bool { return verifiable(u.PasswordHash) }
