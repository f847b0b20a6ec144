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

// redacted is printed in place of a secret.
const redacted = "REDACTED"

// Secret is a string that is never printed: every way of formatting, logging or encoding it gives
// REDACTED. Only Reveal returns the text. (fmt cannot call methods on unexported fields: keep a
// Secret in exported fields, or don't print its struct.)
type Secret string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// Strong reports whether the secret is accepted in production.
func (s Secret) Strong() bool { return strong(string(s)) }

// Placeholder reports whether the secret is a placeholder that the operator has not replaced.
func (s Secret) Placeholder() bool { return placeholder(string(s)) }

// String returns REDACTED.
func (Secret) String() string { return redacted }

// GoString returns REDACTED.
func (Secret) GoString() string { return redacted }

// Format writes REDACTED, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns REDACTED.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns REDACTED.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns "REDACTED".
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// minSecret is the minimum length of a secret in production, in characters.
const minSecret = 32

// placeholders are parts of the texts that templates and tutorials have in place of a secret.
var placeholders = []string{
	"change-me", "changeme", "change_me", "change-this", "change-in-production", "replace-me", "placeholder",
	"your-secret", "your-super-secret", "keyboard cat",
}

// placeholder reports whether s is a placeholder that the operator has not replaced by a secret.
func placeholder(s string) bool {
	s = strings.ToLower(s)
	for _, p := range placeholders {
		if strings.Contains(s, p) {
			return true
		}
	}
	return false
}

// minDistinct is the minimum number of different characters in a secret. Of 32 random hexadecimal
// digits nearly all have more.
const minDistinct = 8

// strong reports whether s is accepted as a secret in production: it is long, is no placeholder,
// and does not repeat one or a few characters.
func strong(s string) bool {
	different := map[rune]bool{}
	for _, r := range s {
		different[r] = true
	}
	return utf8.RuneCountInString(s) >= minSecret && !placeholder(s) && len(different) >= minDistinct &&
		period(s) >= minSecret/2
}

// period returns the number of bytes after which s repeats itself to its end. It returns len(s) if
// s does not repeat.
func period(s string) int {
	for n := 1; n < len(s); n++ {
		if s[n:] == s[:len(s)-n] {
			return n
		}
	}
	return len(s)
}

// maxSecretFile bounds how much of a NAME_FILE is read, in bytes. It is more than any secret needs,
// and it ends a read of /dev/zero.
const maxSecretFile = 64 << 10

// readSecretFile returns the content of a NAME_FILE without the newline at its end.
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

// These files of a data directory keep the secrets that were generated for it.
const (
	sessionSecretFile = "session-secret"
	adminTokenFile    = "admin-token"
)

// SessionSecret returns the secret kept in dataDir. It is used if SESSION_SECRET is not set. The
// first call generates the secret.
func SessionSecret(dataDir string) (Secret, error) {
	secret, err := ensureSecret(dataDir, sessionSecretFile)
	if err != nil {
		return "", fmt.Errorf("session secret: %w", err)
	}
	return secret, nil
}

// AdminToken returns the token kept in dataDir. It is used if ADMIN_TOKEN is not set. The first
// call generates the token.
func AdminToken(dataDir string) (Secret, error) {
	token, err := ensureSecret(dataDir, adminTokenFile)
	if err != nil {
		return "", fmt.Errorf("administrators' token: %w", err)
	}
	return token, nil
}

// AdminTokenFile returns the path of the file in dataDir in which AdminToken keeps the token.
func AdminTokenFile(dataDir string) string { return filepath.Join(dataDir, adminTokenFile) }

// KeptAdminToken is AdminToken for callers that only read: if there is no token, it makes none and
// returns "".
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

// ensureSecret returns the secret in the file base of dataDir. The first call generates it. If
// several processes do so at once, all get the same secret. The file is only ever readable by its
// owner.
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

// keptSecret reads the secret in the file. If other users can read the file, it takes that
// permission away.
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
	if len(text) < minSecret {
		return "", fmt.Errorf("%s is damaged: delete it, and a new one is made in its place", name)
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := f.Chmod(0o600); err != nil {
			return "", err
		}
	}
	return Secret(text), nil
}

// openKept opens the file of a secret. It refuses a file that another user has put there. It does
// not block on a pipe without a writer.
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

// makeSecret writes a new secret to the file. The file appears complete, and only if no other is
// there: a link, unlike a rename, does not replace a file that another process made meanwhile.
func makeSecret(dir, name string) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, filepath.Base(name)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	b := make([]byte, minSecret)
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
