package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Every way of running notesd without containers, as the Makefile and
// quick-start.sh have it. Those with containers: TestCompose….
func TestTargets(t *testing.T) {
	commands := []string{
		"make dev", "make dev-cluster", "make start", "make start-cluster",
		"./quick-start.sh development-single", "./quick-start.sh 2", "./quick-start.sh production-single", "./quick-start.sh 4",
	}
	for _, text := range commands {
		t.Run(text, func(t *testing.T) {
			port, dir := freePort(t), t.TempDir()
			environ := []string{fmt.Sprintf("BACKEND_PORT=%d", port), "HOST=127.0.0.1", "DATA_DIR=" + dir,
				"ENV_FILE=" + productionSettings(t)}
			command := strings.Fields(text)
			runUntil(t, environ, "listening", command[0], command[1:]...)
			if _, err := os.Stat(filepath.Join(dir, "notes.db")); err != nil {
				t.Errorf("%s keeps its data elsewhere: %v", text, err)
			}
		})
	}
}

// productionSettings are those that quick-start.sh would make.
func productionSettings(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "production.env")
	text := "SESSION_SECRET=" + strings.Repeat("s3", 20) + "\nADMIN_TOKEN=" + strings.Repeat("a7", 20) +
		"\nCORS_ORIGIN=https://notes.example.com\n"
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
