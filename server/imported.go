package server

import (
	"fmt"

	"notesd/store"
)

// AccountFault says why nobody could use an account that another server made;
// empty: nothing is wrong with it.
func AccountFault(u store.User) string {
	switch {
	case u.ID == "" || !isText(u.ID):
		return "its id is empty or no text"
	case u.Email == "":
		return "its e-mail address is empty"
	case len(u.Email) > maxAddress:
		return fmt.Sprintf("its e-mail address is longer than %d bytes", maxAddress)
	case !isText(u.Email), !isText(u.Name), !isText(u.PasswordHash):
		return "it is not valid UTF-8"
	case !isPrintable(u.Email): // a name comes as it is: a joiner in an emoji must not cost somebody their notes
		return "its e-mail address has characters that can't be seen"
	}
	return ""
}

// HasKnownHash reports whether the account's password can be verified. Without
// that, nobody signs in until it is reset.
func HasKnownHash(u store.User) bool { return verifiable(u.PasswordHash) }

// NoteFault says why a note that another server made can't be one here; empty:
// nothing is wrong with it.
func NoteFault(n store.Note) string {
	if n.ID == "" || !isText(n.ID) {
		return "its id is empty or no text"
	}
	texts := append([]string{n.Title, n.Content}, n.Tags...)
	if n.Color != nil {
		texts = append(texts, *n.Color)
	}
	for _, text := range texts {
		if !isText(text) {
			return "it is not valid UTF-8"
		}
	}
	if why := tagsFault(n.Tags); why != "" {
		return fmt.Sprintf("tags: %s", why)
	}
	return ""
}
