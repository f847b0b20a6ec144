package check

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// readFiles looks for secrets that other users can read, in the directory or in git.
func readFiles(ctx context.Context, c Config) (found Files) {
	for _, pattern := range []string{"session-secret", "admin-token", "*.db", "*.db-wal"} {
		found.Open = append(found.Open, open(filepath.Join(c.Settings.DataDir, pattern), 0o007)...)
	}
	for _, pattern := range []string{".env", ".env.*", "env/*.local.env"} {
		for _, name := range open(filepath.Join(c.Dir, pattern), 0o077) {
			if len(secretsIn(name, c.Placeholder)) > 0 {
				found.Open = append(found.Open, name)
			}
		}
	}
	files, err := gitFiles(ctx, c.Dir)
	found.Git = err == nil
	for _, name := range files {
		for _, secret := range secretsIn(filepath.Join(c.Dir, name), c.Placeholder) {
			found.Committed = append(found.Committed, name+": "+secret)
		}
	}
	return found
}

// open returns the files that match the pattern and have any bit of mode.
func open(pattern string, mode os.FileMode) (names []string) {
	matches, _ := filepath.Glob(pattern)
	for _, name := range matches {
		if info, err := os.Stat(name); err == nil && info.Mode().Perm()&mode != 0 {
			names = append(names, name)
		}
	}
	return names
}

// gitFiles lists the env files that are in git. It returns an error if there is no git, or no
// repository.
func gitFiles(ctx context.Context, dir string) (names []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, "git", "-C", dir, "ls-files", "-z").Output()
	if err != nil {
		return nil, err
	}
	for name := range strings.SplitSeq(string(out), "\x00") {
		if base := filepath.Base(name); strings.HasPrefix(base, ".env") || strings.HasSuffix(base, ".env") {
			names = append(names, name)
		}
	}
	return names, nil
}

var (
	assignment = regexp.MustCompile(`(?m)^[ \t]*(?:export[ \t]+)?([A-Z][A-Z0-9_]*)=["']?([^"'\r\n]*)`)
	secretName = regexp.MustCompile(`(SECRET|TOKEN|PASSWORD|PRIVATE_KEY|API_KEY)$`)
	inURL      = regexp.MustCompile(`^[a-z]+://[^/@]*:[^/@]+@`)
)

// secretsIn returns the names of the variables in an env file that hold a secret. A placeholder, or
// a value that is yet to be filled in, is no secret.
func secretsIn(name string, placeholder func(string) bool) (secrets []string) {
	f, err := os.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, 1<<20))
	for _, m := range assignment.FindAllStringSubmatch(string(text), -1) {
		variable, value := m[1], strings.TrimSpace(m[2])
		if value == "" || strings.HasPrefix(value, "$") || placeholder(value) || slices.Contains(secrets, variable) {
			continue
		}
		if secretName.MatchString(variable) || inURL.MatchString(value) {
			secrets = append(secrets, variable)
		}
	}
	return secrets
}
