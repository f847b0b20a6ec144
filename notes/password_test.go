package notes

import (
	"strings"
	"testing"
)

func TestCommonPasswords(t *testing.T) {
	list := strings.Fields(commonPasswords())
	if len(list) != 10_000 {
		t.Errorf("%d common passwords, want 10000", len(list))
	}
	for _, password := range list {
		if password != Fold(password) || CheckPassword(password) != ErrPasswordCommon {
			t.Errorf("%q is not folded, or not refused", password)
		}
	}
	for password, want := range map[string]error{
		"password": ErrPasswordCommon, "Password1": ErrPasswordCommon, "12345678": ErrPasswordCommon, "QWERTYUIOP": ErrPasswordCommon,
		"correct horse": nil, "password\n12345678": nil, "\npassword\n": nil, "assword1x": nil, "1234567": ErrPasswordShort,
		"passwordpassword of mine": nil, "😀😀😀😀😀😀😀😀": nil,
	} {
		if got := CheckPassword(password); got != want {
			t.Errorf("CheckPassword(%q) = %v, want %v", password, got, want)
		}
	}
}
