package storetest

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
)

// Redis returns the URL of an empty database on the Redis server that this
// test binary shares.
func Redis(t testing.TB) string {
	t.Helper()
	server, err := sharedRedis()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s/%d", server.url, numbers.Add(1)%redisDatabases)
}

// NewRedis starts a server for this test alone, with settings that come after
// ours. Unlike the shared one it keeps what it has acknowledged through a crash.
func NewRedis(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := startRedis(append([]string{"--appendonly", "yes", "--appendfsync", "always"}, settings...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.discard(t) })
	return s
}

// redisDatabases is more than a test binary ever asks for.
const redisDatabases = 1 << 14

var (
	numbers     atomic.Int64
	sharedRedis = sync.OnceValues(func() (*Server, error) { return startRedis("--appendonly", "no") })
)

// startRedis starts a server on a free port.
func startRedis(settings ...string) (*Server, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errors.New("Redis is missing: apt-get install -y --no-install-recommends redis-server")
	}
	dir, err := newDir("redis")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	return launch(&Server{
		url: fmt.Sprintf("redis://127.0.0.1:%d", port), path: program,
		args: append([]string{"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir, "--save", "",
			"--databases", strconv.Itoa(redisDatabases)}, settings...),
		dir: dir, attr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}, stop: syscall.SIGTERM, kill: syscall.SIGKILL,
		ping: pingRedis,
	})
}

func pingRedis(ctx context.Context, url string) error {
	conn, err := redis.DialURLContext(ctx, url, redis.DialConnectTimeout(time.Second))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = redis.DoContext(conn, ctx, "PING")
	return err
}
