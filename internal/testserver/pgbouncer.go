package testserver

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"notesd/internal/testkit"
)

// PgBouncer starts a pooler in front of the PostgreSQL server at a URL, in a mode ("transaction",
// "session"), and returns the URL through the pooler. It skips the test if PgBouncer is not
// installed.
func PgBouncer(t testing.TB, postgres, mode string) string {
	t.Helper()
	path, err := exec.LookPath("pgbouncer")
	if err != nil {
		t.Skip("needs pgbouncer (bash .ci/setup.sh e2e installs it on Debian)")
	}
	s, err := startPgBouncer(path, postgres, mode)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.discard(t) })
	return s.url
}

func startPgBouncer(path, postgres, mode string) (*Server, error) {
	to, err := url.Parse(postgres)
	if err != nil {
		return nil, err
	}
	dir, err := newDir("pgbouncer")
	if err != nil {
		return nil, err
	}
	attr, err := unprivileged(dir)
	if err != nil {
		return nil, err
	}
	port, err := testkit.FreePort()
	if err != nil {
		return nil, err
	}
	// With auth_type=any the line of the database must name the user.
	settings := fmt.Sprintf(`[databases]
* = host=%s port=%s user=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = %s
default_pool_size = 80
max_client_conn = 200
server_login_retry = 1
`, to.Hostname(), to.Port(), to.User.Username(), port, mode)
	file := filepath.Join(dir, "pgbouncer.ini")
	if err := os.WriteFile(file, []byte(settings), 0o644); err != nil {
		return nil, err
	}
	through := *to
	through.Host = fmt.Sprintf("127.0.0.1:%d", port)
	return launch(&Server{
		url: through.String(), path: path, args: []string{file}, dir: dir, attr: attr, stop: syscall.SIGINT,
		kill: syscall.SIGKILL,
		ping: func(ctx context.Context, url string) error {
			return execute(ctx, url+"&default_query_exec_mode=simple_protocol", "SELECT 1")
		},
	})
}
