package config

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode/utf8"

	"notesd/internal/owned"
)

// redacted is all that anyone gets to read of a secret.
const redacted = "REDACTED"

// Secret is a string that never prints: every way of formatting, logging or encoding it gives REDACTED. Only Reveal
// tells. (fmt cannot call methods on unexported fields: keep a Secret in exported fields, or don't print its struct.)
type Secret string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// Strong reports whether production takes the secret.
func (s Secret) Strong() bool { return strong(string(s)) }

// Placeholder reports whether somebody forgot to put a secret in its place.
func (s Secret) Placeholder() bool { return placeholder(string(s)) }

// String returns REDACTED.
func (Secret) String() string { return redacted }

// GoString returns REDACTED.
func (Secret) GoString() string { return redacted }

// Format writes REDACTED, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue is REDACTED.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns REDACTED.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns "REDACTED".
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// leastSecret is how many characters a secret must have in production.
const leastSecret = 32

// placeholders are parts of what templates and tutorials put where a secret belongs.
var placeholders = []string{
	"change-me", "changeme", "change_me", "change-this", "change-in-production", "replace-me", "placeholder",
	"your-secret", "your-super-secret", "keyboard cat",
}

// placeholder reports whether somebody forgot to put a secret in place of s.
func placeholder(s string) bool {
	s = strings.ToLower(s)
	for _, p := range placeholders {
		if strings.Contains(s, p) {
			return true
		}
	}
	return false
}

// leastVaried is how many different characters a secret must have: of 32 random hexadecimal digits nearly all have more.
const leastVaried = 8

// strong reports whether s will do as a secret in production: it is long, no placeholder, and not one character or a
// few of them again and again.
func strong(s string) bool {
	different := map[rune]bool{}
	for _, r := range s {
		different[r] = true
	}
	return utf8.RuneCountInString(s) >= leastSecret && !placeholder(s) && len(different) >= leastVaried && period(s) >= leastSecret/2
}

// period is after how many bytes s begins anew, to its end; len(s) if it does not.
func period(s string) int {
	for n := 1; n < len(s); n++ {
		if s[n:] == s[:len(s)-n] {
			return n
		}
	}
	return len(s)
}

// maxSecretFile bounds what is read of a NAME_FILE: more than any secret needs, and an end to /dev/zero.
const maxSecretFile = 64 << 10

// readSecretFile returns what a NAME_FILE holds, without the newline at its end.
func readSecretFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return readSecret(f)
}

func readSecret(f *os.File) (string, error) {
	b, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return "", err
	}
	if len(b) > maxSecretFile {
		return "", fmt.Errorf("longer than %d bytes", maxSecretFile)
	}
	text := strings.TrimRight(string(b), "\r\n")
	if text == "" {
		return "", errors.New("empty")
	}
	return text, nil
}

// Files of a data directory that keep the secrets made for it.
const (
	sessionSecretFile = "session-secret"
	adminTokenFile    = "admin-token"
)

// SessionSecret returns the secret kept in dataDir, for when SESSION_SECRET is not set. The first call makes it.
func SessionSecret(dataDir string) (Secret, error) {
	secret, err := ensureSecret(dataDir, sessionSecretFile)
	if err != nil {
		return "", fmt.Errorf("session secret: %w", err)
	}
	return secret, nil
}

// AdminToken returns the token kept in dataDir, for when ADMIN_TOKEN is not set. The first call makes it.
func AdminToken(dataDir string) (Secret, error) {
	token, err := ensureSecret(dataDir, adminTokenFile)
	if err != nil {
		return "", fmt.Errorf("administrators' token: %w", err)
	}
	return token, nil
}

// AdminTokenFile is the file of dataDir that AdminToken keeps the token in.
func AdminTokenFile(dataDir string) string { return filepath.Join(dataDir, adminTokenFile) }

// KeptAdminToken is AdminToken for those who only look: where there is no token it makes none, and returns "".
func KeptAdminToken(dataDir string) Secret {
	name, err := owned.Follow(AdminTokenFile(dataDir))
	if err != nil {
		return ""
	}
	f, _, err := openKept(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	text, _ := readSecret(f)
	return Secret(text)
}

// ensureSecret returns the secret in the file base of dataDir. The first call makes it; if several processes do so at
// once, all get the same. The file is only ever readable by its owner.
func ensureSecret(dataDir, base string) (Secret, error) {
	name, err := owned.Follow(filepath.Join(dataDir, base))
	if err != nil {
		return "", err
	}
	secret, err := keptSecret(name)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeSecret(filepath.Dir(name), name); err == nil {
			secret, err = keptSecret(name)
		}
	}
	return secret, err
}

// keptSecret reads the secret in the file, and closes the file to others should it stand open.
func keptSecret(name string) (Secret, error) {
	f, info, err := openKept(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := readSecret(f)
	if err != nil {
		return "", err
	}
	if len(text) < leastSecret {
		return "", fmt.Errorf("%s is damaged: delete it, and a new one is made in its place", name)
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := f.Chmod(0o600); err != nil {
			return "", err
		}
	}
	return Secret(text), nil
}

// openKept opens the file of a secret, which nobody else has put there. It waits for no
// writer of a pipe.
func openKept(name string) (*os.File, fs.FileInfo, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = owned.Check(name, info)
	}
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", name)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// makeSecret puts a new secret in the file. It appears there whole and only if no other is there: linking, unlike
// renaming, leaves a file alone that another process made meanwhile.
func makeSecret(dir, name string) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, filepath.Base(name)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	b := make([]byte, leastSecret)
	_, _ = rand.Read(b) // never fails
	_, err = f.WriteString(hex.EncodeToString(b) + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), name); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
