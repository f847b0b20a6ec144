package server

import (
	"strings"
	"testing"

	"notesd/store"
)

// What another server made may be here if the API could show it and take it back.
func TestAccountFault(t *testing.T) {
	for _, row := range []struct {
		name string
		user store.User
		want string
	}{
		{"plain", store.User{ID: "u", Email: "ada@example.com"}, ""},
		{"no id", store.User{Email: "ada@example.com"}, "its id is empty or no text"},
		{"longest id", store.User{ID: strings.Repeat("u", 255), Email: "ada@example.com"}, ""},
		{"too long an id", store.User{ID: strings.Repeat("u", 256), Email: "ada@example.com"}, "its id is longer than 255 bytes"},
		{"no address", store.User{ID: "u"}, "its e-mail address is empty"},
		{"odd name", store.User{ID: "u", Email: "ada@example.com", Name: "\xff"}, "it is not valid UTF-8"},
	} {
		if got := AccountFault(row.user); got != row.want {
			t.Errorf("AccountFault(%s) = %q, want %q", row.name, got, row.want)
		}
	}
}
