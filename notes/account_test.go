package notes_test

import (
	"errors"
	"strings"
	"testing"

	"notesd/notes"
)

func TestCheckNewAccount(t *testing.T) {
	const password = "correct horse"
	for _, row := range []struct {
		name, email, password string
		want                  error
	}{
		{"plain", "ada@example.com", password, nil},
		{"letters beyond ASCII", "jürgen@example.com", password, nil},
		{"no @", "ada.example.com", password, notes.ErrEmailFormat},
		{"no dot", "ada@example", password, notes.ErrEmailFormat},
		{"a blank", "a da@example.com", password, notes.ErrEmailFormat},
		{"longest address", strings.Repeat("a", 242) + "@example.com", password, nil},
		{"too long an address", strings.Repeat("a", 243) + "@example.com", password, notes.ErrEmailFormat},
		{"an escape sequence", "a\x1b[2J@example.com", password, notes.ErrEmailFormat},
		{"a hidden character", "a\u200bb@example.com", password, notes.ErrEmailFormat},
		{"seven characters", "ada@example.com", "äääääää", notes.ErrPasswordShort},
		{"eight characters", "ada@example.com", "ääääääää", nil},
		{"longest password", "ada@example.com", strings.Repeat("a", 1024), nil},
		{"too long a password", "ada@example.com", strings.Repeat("a", 1025), notes.ErrPasswordLong},
	} {
		if got := notes.CheckNewAccount(row.email, row.password); !errors.Is(got, row.want) {
			t.Errorf("%s: CheckNewAccount = %v, want %v", row.name, got, row.want)
		}
	}
	if got := notes.AccountName("ada@home@example.com"); got != "ada@home" {
		t.Errorf("AccountName = %q, want ada@home", got)
	}
}

// What another server made may be here if the API could show it and take it back.
func TestAccountImportFault(t *testing.T) {
	for _, row := range []struct {
		name    string
		account notes.Account
		want    string
	}{
		{"plain", notes.Account{ID: "u", Email: "ada@example.com"}, ""},
		{"no id", notes.Account{Email: "ada@example.com"}, "its id is empty or no text"},
		{"longest id", notes.Account{ID: strings.Repeat("u", 255), Email: "ada@example.com"}, ""},
		{"too long an id", notes.Account{ID: strings.Repeat("u", 256), Email: "ada@example.com"}, "its id is longer than 255 bytes"},
		{"no address", notes.Account{ID: "u"}, "its e-mail address is empty"},
		{"odd name", notes.Account{ID: "u", Email: "ada@example.com", Name: "\xff"}, "it is not valid UTF-8"},
		{"name with a joiner", notes.Account{ID: "u", Email: "ada@example.com", Name: "a\u200db"}, ""},
		{"address with a joiner", notes.Account{ID: "u", Email: "a\u200da@example.com"}, "its e-mail address has characters that can't be seen"},
	} {
		if got := row.account.ImportFault(); got != row.want {
			t.Errorf("ImportFault(%s) = %q, want %q", row.name, got, row.want)
		}
	}
}
