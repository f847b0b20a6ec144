package e2e

import (
	"debug/elf"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Every way of running notesd without containers: by make, and by quick-start.sh
// with a choice by name or from its menu (TestQuickStart has each in all ways).
// Those with containers: TestCompose….

func TestSingle(t *testing.T) {
	long(t, "make compiles without cgo")
	runsAs(t, false, "make dev", "./quick-start.sh <<<1")
}

func TestCluster(t *testing.T) {
	long(t, "make compiles without cgo")
	runsAs(t, true, "make dev-cluster", "./quick-start.sh development-cluster")
}

func TestProductionSingle(t *testing.T) {
	long(t, "make compiles without cgo")
	runsAs(t, false, "make start", "./quick-start.sh <<<3")
}

func TestProductionCluster(t *testing.T) {
	long(t, "make compiles without cgo")
	runsAs(t, true, "make start-cluster", "./quick-start.sh production-cluster")
}

// The binary is static, says which version it is, and runs with nothing beside it.
func TestBuild(t *testing.T) {
	long(t, "make compiles without cgo")
	tool(t, []string{"VERSION=built-for-a-test"}, "make", "build")
	program := absolute(t, "../notesd")
	checkStatic(t, program)
	p := newProcess(t)
	p.program = program
	p.check(command{args: "version", says: "notesd built-for-a-test"})
	p.start()
	p.awaitReady()
	p.member("ada@example.com").create("kept", "by what was built")
	p.stop()
}

// absolute is a file of the project as processes see it, which have directories of their own.
func absolute(t *testing.T, file string) string {
	t.Helper()
	path, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// checkStatic fails the test unless a program needs no other file to run.
func checkStatic(t *testing.T, program string) {
	t.Helper()
	f, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("%s has a segment %v: it is linked dynamically", program, p.Type)
		}
	}
}

// runsAs runs each of commands, which must bring up a server in that
// CLUSTER_MODE, which keeps notes where it was told to.
func runsAs(t *testing.T, cluster bool, commands ...string) {
	for _, text := range commands {
		t.Run(text, func(t *testing.T) {
			port, dir := freePort(t), t.TempDir()
			environ := []string{fmt.Sprintf("BACKEND_PORT=%d", port), "HOST=127.0.0.1", "DATA_DIR=" + dir, "ADMIN_TOKEN=" + adminToken,
				"ENV_FILE=" + productionSettings(t)}
			runUntil(t, environ, "listening", "bash", "-c", text)
			c := outside(t, fmt.Sprintf("http://127.0.0.1:%d", port)).visitor()
			c.awaitAnswer("/api/health")
			checkCores(t, c, cluster)
			signedUp := c.post("/api/auth/register", credentials("ada@example.com", password)).want(http.StatusCreated)
			c = c.as("Cookie", strings.Split(signedUp.header.Get("Set-Cookie"), ";")[0]) // which production has sent over HTTPS alone
			c.get("/api/notes/" + c.create("kept", "")).want(http.StatusOK)
			if _, err := os.Stat(filepath.Join(dir, "notes.db")); err != nil {
				t.Errorf("%s keeps its data elsewhere: %v", text, err)
			}
		})
	}
}

// checkCores asks the server for its shards, and for the threads that Go runs: one, or as many as it has cores.
func checkCores(t *testing.T, c *client, cluster bool) {
	t.Helper()
	var got runtimeState
	c.as("Authorization", "Bearer "+adminToken).get("/api/runtime").want(http.StatusOK).decode(&got)
	shards, threads := len(got.Pool.Shards), got.Limits.GOMAXPROCS
	if !cluster && (shards != 1 || threads != 1) {
		t.Errorf("%d shards and GOMAXPROCS %d, want 1", shards, threads)
	}
	if cores := got.Limits.Cores; cluster && (shards != cores || threads < cores) { // Go keeps two for itself below a quota of two
		t.Errorf("%d shards and GOMAXPROCS %d, want one a core of %d", shards, threads, cores)
	}
}

// productionSettings are those that quick-start.sh would make.
func productionSettings(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "production.env")
	text := "SESSION_SECRET=" + strings.TrimPrefix(secret, "SESSION_SECRET=") + "\nADMIN_TOKEN=" + adminToken + "\nCORS_ORIGIN=https://notes.example.com\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// isFree tells whether nobody listens on a port.
func isFree(port int) bool {
	ln, err := net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return ln.Close() == nil
}
