package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The rules by which the web app sends what was typed, run in Node against a real server: two browsers with
// two tabs each type into one note, and lose requests, answers and tabs. No word that was kept is lost.
func TestWebAppOutbox(t *testing.T) {
	t.Parallel()
	const compiler = "../web/node_modules/.bin/tsc"
	if _, err := os.Stat(compiler); err != nil {
		t.Skip("needs the web app's packages: go test ./web/generate installs them")
	}
	run := func(env []string, name string, args ...string) []byte {
		t.Helper()
		cmd := exec.Command(name, args...)
		var failure strings.Builder
		cmd.Stderr, cmd.Env = &failure, append(os.Environ(), env...)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s%s", cmd, err, out, failure.String())
		}
		return out
	}
	out := t.TempDir()
	run(nil, compiler, "-p", "../web/tsconfig.test.json", "--outDir", out)
	if err := os.WriteFile(out+"/package.json", []byte(`{"type":"module"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, "LOG_LEVEL=warn")
	p.member("ada@example.com")
	for _, seed := range []string{"1", "2"} {
		printed := run([]string{"PASSWORD=" + password}, "node", out+"/sync/realserver.js", p.url, "ada@example.com", "300", seed)
		var found struct {
			Words   int      `json:"words"`
			Lost    []string `json:"lost"`
			Clashes int      `json:"clashes"`
			Unsent  int      `json:"unsent"`
		}
		if err := json.Unmarshal(printed, &found); err != nil {
			t.Fatalf("%v in %s", err, printed)
		}
		t.Logf("seed %s: %d words, %d clashes", seed, found.Words, found.Clashes)
		if found.Words < 50 || len(found.Lost) > 0 || found.Unsent > 0 {
			t.Errorf("seed %s: %s, want none lost and none unsent", seed, printed)
		}
	}
}
