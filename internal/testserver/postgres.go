package testserver

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"notesd/internal/testkit"

	"github.com/jackc/pgx/v5"
)

// EmptyPostgres returns the URL of a fresh database without tables, on the
// server that this test binary shares. It is dropped when the test ends.
func EmptyPostgres(t testing.TB) string {
	t.Helper()
	return newDatabase(t, "template0")
}

// PostgresWith returns the URL of a fresh database in which the statements were run.
func PostgresWith(t testing.TB, statements ...string) string {
	t.Helper()
	url := EmptyPostgres(t)
	for _, statement := range statements {
		if err := execute(t.Context(), url, statement); err != nil {
			t.Fatal(err)
		}
	}
	return url
}

// A PostgresTemplate is a database that is filled once, on first use, and copied
// for each test.
type PostgresTemplate struct {
	name string
	made func() error
}

// NewPostgresTemplate returns a template. The function fill gets the URL of an empty database and
// fills it. It must close its connections before it returns.
func NewPostgresTemplate(name string, fill func(url string) error) *PostgresTemplate {
	return &PostgresTemplate{name: name, made: sync.OnceValue(func() error {
		server, err := shared()
		if err != nil {
			return err
		}
		if err := execute(context.Background(), server.url, "CREATE DATABASE "+name); err != nil {
			return err
		}
		return fill(databaseURL(server.url, name))
	})}
}

// Copy returns the URL of a fresh copy of the template, on the server that this
// test binary shares. It is dropped when the test ends.
func (p *PostgresTemplate) Copy(t testing.TB) string {
	t.Helper()
	if err := p.made(); err != nil {
		t.Fatal(err)
	}
	return newDatabase(t, p.name)
}

// NewPostgres starts a server for this test alone, with settings like shared_buffers=128MB. Unlike
// the shared server, it keeps acknowledged data through a crash.
func NewPostgres(t testing.TB, settings ...string) *Server {
	t.Helper()
	args := durable
	for _, setting := range settings {
		args = append(slices.Clip(args), "-c", setting)
	}
	s, err := startPostgres(args)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.discard(t) })
	return s
}

// Database makes an empty database on the server and returns its URL.
func (s *Server) Database(t testing.TB, name string) string {
	t.Helper()
	if err := execute(t.Context(), s.url, "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return databaseURL(s.url, name)
}

// DatabaseIn makes a database and returns its URL. The tables are in dir, which is given to the
// server's user. The server's other files stay where they are.
func (s *Server) DatabaseIn(t testing.TB, dir string) string {
	t.Helper()
	if owner := s.attr.Credential; owner != nil {
		if err := os.Chown(dir, int(owner.Uid), int(owner.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	statements := []string{"CREATE TABLESPACE elsewhere LOCATION '" + dir + "'",
		"CREATE DATABASE elsewhere TABLESPACE elsewhere"}
	for _, statement := range statements {
		if err := execute(t.Context(), s.url, statement); err != nil {
			t.Fatal(err)
		}
	}
	return databaseURL(s.url, "elsewhere")
}

const (
	role = "notes" // the user in every URL

	// Locked is a role that must give a password, LockedPassword. Other roles need none.
	Locked         = "locked"
	LockedPassword = "correct horse"
)

// With the quick settings, the shared server never waits for the disk, because its data is not read
// after a crash. A server for one test gets the durable settings.
var (
	quick   = []string{"-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"}
	durable = []string{"-c", "fsync=on"}
)

// shared is the PostgreSQL server of this test binary.
var shared = sync.OnceValues(func() (*Server, error) { return startPostgres(quick) })

var databases atomic.Int64

// newDatabase makes a copy of a template on the shared server and drops it when
// the test ends.
func newDatabase(t testing.TB, template string) string {
	t.Helper()
	server, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("test%d", databases.Add(1))
	if err := execute(t.Context(), server.url, "CREATE DATABASE "+name+" TEMPLATE "+template); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := execute(context.Background(), server.url, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	// On a machine that is busy with other tests, connecting may take longer than the store's default.
	return databaseURL(server.url, name) + "&connect_timeout=30"
}

// databaseURL returns the server's URL with another database in it.
func databaseURL(server, database string) string {
	u, err := url.Parse(server)
	if err != nil {
		panic(err) // the URL was made here
	}
	u.Path = "/" + database
	return u.String()
}

// execute runs one statement on a connection of its own.
func execute(ctx context.Context, url, statement string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, statement)
	return err
}

// startPostgres makes a cluster and starts a server on a free port.
func startPostgres(settings []string) (*Server, error) {
	postgres, err := postgresProgram("postgres")
	if err != nil {
		return nil, err
	}
	dir, err := newDir("postgres")
	if err != nil {
		return nil, err
	}
	attr, err := unprivileged(dir)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	if err := makeCluster(data, attr); err != nil {
		return nil, err
	}
	port, err := testkit.FreePort()
	if err != nil {
		return nil, err
	}
	s, err := launch(&Server{
		url: fmt.Sprintf("postgres://%s@127.0.0.1:%d/postgres?sslmode=disable", role, port), path: postgres,
		args: append([]string{"-D", data, "-k", dir, "-h", "127.0.0.1", "-p", strconv.Itoa(port),
			"-c", "max_connections=200", "-c", "shared_buffers=32MB", "-c", "log_checkpoints=off"}, settings...),
		dir: dir, attr: attr, stop: syscall.SIGINT, kill: syscall.SIGQUIT,
		ping: func(ctx context.Context, url string) error { return execute(ctx, url, "SELECT 1") },
	})
	if err != nil {
		return nil, err
	}
	return s, execute(context.Background(), s.url,
		fmt.Sprintf("CREATE ROLE %s SUPERUSER LOGIN PASSWORD '%s'", Locked, LockedPassword))
}

// makeCluster copies a cluster that initdb made. That takes a third of the CPU time of initdb.
func makeCluster(data string, attr *syscall.SysProcAttr) error {
	made, err := initialCluster()
	if err != nil {
		return err
	}
	return fill(data, attr, "cp", "-R", made, data)
}

// initialCluster is the data directory of a cluster that was never started.
var initialCluster = sync.OnceValues(func() (string, error) {
	dir, err := newDir("initdb")
	if err != nil {
		return "", err
	}
	attr, err := unprivileged(dir)
	if err != nil {
		return "", err
	}
	data := filepath.Join(dir, "data")
	return data, initCluster(data, attr)
})

// initCluster runs initdb and writes the rules of authentication.
func initCluster(data string, attr *syscall.SysProcAttr) error {
	initdb, err := postgresProgram("initdb")
	if err != nil {
		return err
	}
	if err := fill(data, attr, initdb, "-D", data, "-U", role, "-E", "UTF8", "--locale=C.UTF-8", "--auth=trust",
		"--no-sync"); err != nil {
		return err
	}
	rules := "host all " + Locked + " 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
	// The file exists already and keeps its owner.
	return os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte(rules), 0o600)
}

// fill runs a program that fills a data directory.
func fill(data string, attr *syscall.SysProcAttr, program string, args ...string) error {
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.SysProcAttr = filepath.Dir(data), attr
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := fork(cmd); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w\n%s", program, err, said.String())
	}
	return nil
}

// unprivileged returns attributes with which a process does not run as root, which PostgreSQL
// refuses. It gives dir to the user as which the process runs.
func unprivileged(dir string) (*syscall.SysProcAttr, error) {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
	if os.Geteuid() != 0 {
		return attr, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return nil, fmt.Errorf("PostgreSQL can't run as root: %w", err)
		}
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attr, os.Chown(dir, int(uid), int(gid))
}

// postgresProgram finds a program of the newest version of PostgreSQL. On Debian these programs are
// not in PATH.
func postgresProgram(name string) (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		return slices.MaxFunc(found, func(a, b string) int { return postgresVersion(a) - postgresVersion(b) }), nil
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", errors.New("PostgreSQL is missing: apt-get install -y --no-install-recommends postgresql")
	}
	return path, nil
}

// postgresVersion reads the version from a path like /usr/lib/postgresql/15/bin/postgres. It
// returns 0 if there is none.
func postgresVersion(path string) int {
	version, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	return version
}
