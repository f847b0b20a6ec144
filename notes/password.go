package notes

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"errors"
	"io"
	"strings"
	"sync"
	"unicode/utf8"
)

// A password of a user's choice has no rules but these (NIST SP 800-63B).
const (
	MinPassword = 8    // characters
	MaxPassword = 1024 // bytes: a password hash reads all of them
)

// These errors say why a password is refused.
var (
	ErrPasswordShort  = errors.New("password too short")
	ErrPasswordLong   = errors.New("password too long")
	ErrPasswordCommon = errors.New("password is too common")
)

//go:generate passwords/generate.sh

// packedPasswords is the 10 000 most common passwords of at least MinPassword characters, folded, one
// a line.
//
//go:embed passwords/common.txt.gz
var packedPasswords []byte

// commonPasswords returns the text of packedPasswords, with a line break at its beginning as well.
var commonPasswords = sync.OnceValue(func() string {
	unpacked, err := gzip.NewReader(bytes.NewReader(packedPasswords))
	if err == nil {
		var text []byte
		if text, err = io.ReadAll(unpacked); err == nil {
			return "\n" + string(text)
		}
	}
	panic(err) // the file is part of the program, and a test reads it
})

// CheckPassword returns ErrPasswordShort, ErrPasswordLong or ErrPasswordCommon for a password that no
// user may choose. A password that an account has already is not refused at a sign-in.
func CheckPassword(password string) error {
	switch {
	case utf8.RuneCountInString(password) < MinPassword:
		return ErrPasswordShort
	case len(password) > MaxPassword:
		return ErrPasswordLong
	case isCommon(password):
		return ErrPasswordCommon
	}
	return nil
}

// isCommon reports whether the password, in whatever letter case, is one of those that are guessed
// first.
func isCommon(password string) bool {
	return !strings.Contains(password, "\n") && strings.Contains(commonPasswords(), "\n"+Fold(password)+"\n")
}
