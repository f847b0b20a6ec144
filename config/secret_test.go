package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func TestSecretNeverPrints(t *testing.T) {
	const hidden = "hunter2"
	s := Secret(hidden)
	in := struct {
		Password Secret
		List     []Secret
	}{s, []Secret{s}}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%10.3s"} {
		fmt.Fprintf(&out, verb, s)
		fmt.Fprintf(&out, verb, &s)
		fmt.Fprintf(&out, verb, in)
	}
	fmt.Fprint(&out, s, s.String(), s.GoString(), fmt.Errorf("%v: %w", s, fmt.Errorf("%s", s)))
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).With("secret", s).Info("config", "in", in, slog.Group("g", "s", s), "list", in.List)
	}
	asText, err := s.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	out.Write(asText)
	asJSON, err := json.Marshal([]any{s, &s, in})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(asJSON)
	if text := out.String(); strings.Contains(text, hidden) || strings.Contains(text, fmt.Sprintf("%x", hidden)) {
		t.Errorf("a secret shows: %s", text)
	}
	if s.Reveal() != hidden {
		t.Errorf("Reveal() = %q, want %q", s.Reveal(), hidden)
	}
}

// A whole Config with every secret set prints none of them.
func TestConfigNeverPrintsSecrets(t *testing.T) {
	c, err := load([]string{
		"SESSION_SECRET=hunter2,hunter2", "ADMIN_TOKEN=hunter2", "DATABASE_URL=postgres://u@db/x", "DATABASE_PASSWORD=hunter2",
		"REDIS_URL=redis://:hunter2@c", "ALERT_WEBHOOK_URL=https://hunter2", "ALERT_WEBHOOK_SECRET=hunter2",
	}, fourCores(t))
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("start", "config", c, "settings", c.Settings())
	if text := fmt.Sprintf("%v %+v %#v %v", c, c, c, c.Settings()) + log.String(); strings.Contains(text, "hunter2") {
		t.Errorf("a secret shows: %s", text)
	}
}

// made are the secrets that a data directory keeps.
var made = []struct {
	file string
	get  func(dataDir string) (Secret, error)
}{
	{"session-secret", SessionSecret},
	{"admin-token", AdminToken},
}

func TestMadeSecrets(t *testing.T) {
	for _, tt := range made {
		t.Run(tt.file, func(t *testing.T) { testMadeSecret(t, tt.file, tt.get) })
	}
}

func testMadeSecret(t *testing.T, file string, get func(dataDir string) (Secret, error)) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	var all sync.Map
	var group sync.WaitGroup
	for range 8 { // all at once, as several processes might
		group.Go(func() {
			s, err := get(dir)
			if err != nil {
				t.Error(err)
			}
			all.Store(s, true)
		})
	}
	group.Wait()
	var made []Secret
	all.Range(func(s, _ any) bool { made = append(made, s.(Secret)); return true })
	if len(made) != 1 || !strong(made[0].Reveal()) {
		t.Fatalf("get() made %d secrets of %d characters, want one that is strong", len(made), len(made[0]))
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("the directory has %v, %v; want the secret alone", entries, err)
	}

	name := filepath.Join(dir, file)
	checkMode(t, dir, 0o700)
	checkMode(t, name, 0o600)
	if err := os.Chmod(name, 0o644); err != nil {
		t.Fatal(err)
	}
	if s, err := get(dir); err != nil || s != made[0] {
		t.Errorf("get() again: the same %v, %v", s == made[0], err)
	}
	checkMode(t, name, 0o600)

	if err := os.WriteFile(name, []byte("half of"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := get(dir); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("get() of a damaged file = %v", err)
	}
	if _, err := get(name); err == nil {
		t.Error("get() in what is no directory: no error")
	}
}

// A secret that somebody else has put there is not taken, and not touched: that user knows
// it. A link of the operator's own is followed, also to a file that is not there yet.
func TestPlantedSecrets(t *testing.T) {
	const planted = "0123456789abcdef0123456789abcdef"
	for _, tt := range made {
		for name, plant := range map[string]func(name, other string) error{
			"a file": func(name, _ string) error {
				return errors.Join(os.WriteFile(name, []byte(planted), 0o644), os.Lchown(name, 65534, 65534))
			},
			"a link": func(name, other string) error {
				return errors.Join(os.Symlink(other, name), os.Lchown(name, 65534, 65534))
			},
			"a pipe": func(name, _ string) error { return syscall.Mkfifo(name, 0o600) },
		} {
			t.Run(tt.file+" as "+name, func(t *testing.T) {
				if name != "a pipe" && os.Geteuid() != 0 {
					t.Skip("only root can give files away")
				}
				dir, other := t.TempDir(), filepath.Join(t.TempDir(), "other")
				path := filepath.Join(dir, tt.file)
				if err := errors.Join(os.WriteFile(other, []byte(planted), 0o644), plant(path, other)); err != nil {
					t.Fatal(err)
				}
				before, err := os.Lstat(path)
				if err != nil {
					t.Fatal(err)
				}
				if s, err := tt.get(dir); err == nil || s != "" {
					t.Errorf("get() takes it: %v", err)
				}
				if KeptAdminToken(dir) != "" {
					t.Error("KeptAdminToken() takes it")
				}
				after, err := os.Lstat(path)
				if err != nil || after.Mode() != before.Mode() || !os.SameFile(before, after) {
					t.Errorf("it was changed: %v, %v", after, err)
				}
				checkMode(t, other, 0o644)
			})
		}
		t.Run(tt.file+" on another disk", func(t *testing.T) {
			dir, disk := t.TempDir(), t.TempDir()
			if err := os.Symlink(filepath.Join(disk, "mine"), filepath.Join(dir, tt.file)); err != nil {
				t.Fatal(err)
			}
			s, err := tt.get(dir)
			again, errAgain := tt.get(dir)
			if err := errors.Join(err, errAgain); err != nil || s == "" || s != again {
				t.Errorf("get() by a link: the same %v, %v", s == again, err)
			}
			checkMode(t, filepath.Join(disk, "mine"), 0o600)
		})
	}
}

// No two secrets are the same. Those who only look find the token, and make none.
func TestMadeSecretsDiffer(t *testing.T) {
	seen := map[Secret]bool{}
	one := t.TempDir()
	for _, dir := range []string{one, t.TempDir()} {
		for _, tt := range made {
			s, err := tt.get(dir)
			if err != nil || seen[s] {
				t.Errorf("%s: a secret that was made before: %v, %v", tt.file, seen[s], err)
			}
			seen[s] = true
		}
	}
	if s, err := AdminToken(one); err != nil || KeptAdminToken(one) != s {
		t.Errorf("KeptAdminToken() = the token: %v, %v", KeptAdminToken(one) == s, err)
	}
	if s := KeptAdminToken(t.TempDir()); s != "" {
		t.Error("KeptAdminToken() of an empty directory is a token")
	}
}

func checkMode(t *testing.T, name string, want os.FileMode) {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != want {
		t.Errorf("%s has mode %v, want %v", name, got, want)
	}
}
