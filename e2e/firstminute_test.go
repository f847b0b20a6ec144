package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// With nothing set the server is healthy and says where it listens, what is in
// force and what to try; kill -9 loses neither note nor session.
func TestFirstMinute(t *testing.T) {
	t.Parallel()
	p := bareProcess(t, freePort(t))
	p.start()
	p.awaitReady()
	if got := bash(t, p.dir, tryLine(t, p)); !strings.Contains(got, `"message":"API is healthy"`) {
		t.Errorf("the line to try printed %q", got)
	}
	for _, want := range []string{fmt.Sprintf("Listening on http://localhost:%d\n", p.port), "HOST +127.0.0.1 +default", "MAX_WORKERS ",
		"SESSION_SECRET +kept in data",
		"ADMIN_TOKEN +kept in data/admin-token", `Status page: \S+/status \(the token is in data/admin-token\)`,
		fmt.Sprintf("BACKEND_PORT +%d +environment", p.port), "Data is kept in " + regexp.QuoteMeta(p.dir)} {
		if !regexp.MustCompile(want).MatchString(p.log.String()) {
			t.Errorf("it does not say %q", want)
		}
	}
	ada := p.member("ada@example.com")
	id := ada.create("Engine", "Weaves algebraical patterns")

	p.kill()
	p.start()
	p.awaitReady()
	if n := ada.get("/api/notes/" + id).want(http.StatusOK).note(); n.Content != "Weaves algebraical patterns" {
		t.Errorf("after kill -9 the note reads %q", n.Content)
	}
	for _, file := range []string{"notes.db", "session-secret", "admin-token"} {
		if info, err := os.Stat(p.data(file)); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("Stat(%s) = %v, %v: want a file for its owner alone", file, info, err)
		}
	}
	p.stop()
}

// What the README runs from source listens.
func TestGoRun(t *testing.T) {
	t.Parallel()
	long(t, "it compiles")
	text := regexp.MustCompile("```sh\n(CGO_ENABLED=0 go run [^\n]*)\n```").FindStringSubmatch(readFile(t, "../README.md"))
	if text == nil {
		t.Fatal("README.md runs nothing from source")
	}
	environ := []string{fmt.Sprintf("BACKEND_PORT=%d", freePort(t)), "DATA_DIR=" + t.TempDir()}
	runUntil(t, environ, "listening", "bash", "-c", text[1])
}

// tryLine is the command that the server prints for people to try.
func tryLine(t *testing.T, p *process) string {
	t.Helper()
	var m []string
	p.await("line to try", func() bool {
		m = regexp.MustCompile(`(?m)^Try: +(.+)\n`).FindStringSubmatch(p.log.String())
		return m != nil
	})
	return m[1]
}

// bash runs a script and returns what it prints.
func bash(t *testing.T, dir, script string) string {
	t.Helper()
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = dir
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, said.String())
	}
	return string(out)
}

// readmePort is where README and docs/WALKTHROUGH.md say the server listens.
const readmePort = 3001

// docs/WALKTHROUGH.md works word for word.
func TestWalkThrough(t *testing.T) {
	t.Parallel()
	port := readmePort
	if ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", readmePort)); err != nil {
		port = freePort(t) // somebody is using notesd on this machine
	} else if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	p := bareProcess(t, port)
	p.start()
	p.awaitReady()
	script := strings.ReplaceAll(walkThrough(t), fmt.Sprintf(":%d/", readmePort), fmt.Sprintf(":%d/", port))

	const engine = `"title":"Engine","content":"Weaves algebraical patterns","tags":["ideas"]`
	steps := []struct{ name, want string }{
		{"health", `"message":"API is healthy"`},
		{"sign up", `"email":"ada@example.com","name":"ada"},"message":"Account created successfully"`},
		{"read", engine},
		{"search", engine},
		{"trash", `"isTrashed":true`},
		{"look into the trash", engine},
		{"restore", `"isTrashed":false,"trashedAt":null`},
		{"sign out", `"message":"Logged out successfully"`},
		{"sign in", `"message":"Logged in successfully"`},
		{"list", engine},
		{"look at the pool", `"workers":[{"id":`},
	}
	printed := jsonValues(t, bash(t, p.dir, script))
	if len(printed) != len(steps) {
		t.Fatalf("the walk through printed %d answers, want %d:\n%s", len(printed), len(steps), printed)
	}
	for i, step := range steps {
		if got := string(printed[i]); strings.Contains(got, `"success":false`) || !strings.Contains(got, step.want) {
			t.Errorf("%s printed %s, want success with %s", step.name, got, step.want)
		}
	}
}

// walkThrough is the commands of docs/WALKTHROUGH.md, one after the other.
func walkThrough(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../docs/WALKTHROUGH.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n<!-- a test runs the commands from here")
	if !found {
		t.Fatal("docs/WALKTHROUGH.md does not say where its commands begin")
	}
	var script strings.Builder
	for _, m := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(section, -1) {
		script.WriteString(m[1])
	}
	return script.String()
}

// jsonValues are the JSON values that text is made of.
func jsonValues(t *testing.T, text string) (values []json.RawMessage) {
	t.Helper()
	in := json.NewDecoder(strings.NewReader(text))
	for {
		var v json.RawMessage
		err := in.Decode(&v)
		if errors.Is(err, io.EOF) {
			return values
		}
		if err != nil {
			t.Fatalf("%v in what was printed:\n%s", err, text)
		}
		values = append(values, v)
	}
}
