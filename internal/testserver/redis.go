package testserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"notesd/internal/testkit"

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

// NewRedis starts a server for this test alone, with settings that override the defaults. Unlike
// the shared server, it keeps acknowledged data through a crash.
func NewRedis(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := startRedis(append([]string{"--appendonly", "yes", "--appendfsync", "always"}, settings...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.discard(t) })
	return s
}

// A Sentinel is a Redis server with a replica, and three Sentinels that make the replica the master
// when the first has been down for a second.
type Sentinel struct {
	Master, Replica *Server
	Addresses       []string // the addresses of the Sentinels
}

// SentinelMaster is the name of the master in the Sentinels.
const SentinelMaster = "notes"

// NewSentinel starts the servers for this test alone.
func NewSentinel(t testing.TB) *Sentinel {
	t.Helper()
	s := &Sentinel{Master: NewRedis(t)}
	_, port, _ := strings.Cut(strings.TrimPrefix(s.Master.URL(), "redis://"), ":")
	s.Replica = NewRedis(t, "--replicaof", "127.0.0.1 "+port)
	for range 3 {
		sentinel, err := startSentinel(port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { sentinel.discard(t) })
		s.Addresses = append(s.Addresses, strings.TrimPrefix(sentinel.URL(), "redis://"))
	}
	s.await(t)
	return s
}

// await returns once each Sentinel knows the replica and the other two Sentinels.
func (s *Sentinel) await(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(50 * time.Millisecond) {
		known := 0
		for _, address := range s.Addresses {
			conn, err := redis.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			of, err := redis.StringMap(conn.Do("SENTINEL", "MASTER", SentinelMaster))
			_ = conn.Close()
			if err == nil && of["num-slaves"] == "1" && of["num-other-sentinels"] == "2" {
				known++
			}
		}
		if known == len(s.Addresses) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d Sentinels know the replica and each other", known, len(s.Addresses))
		}
	}
}

// Keys returns the number of keys that match a pattern.
func (s *Server) Keys(t testing.TB, pattern string) int {
	t.Helper()
	conn, err := redis.DialURL(s.url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	keys, err := redis.Strings(conn.Do("KEYS", pattern))
	if err != nil {
		t.Fatal(err)
	}
	return len(keys)
}

func startSentinel(masterPort string) (*Server, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, err
	}
	dir, err := newDir("sentinel")
	if err != nil {
		return nil, err
	}
	port, err := testkit.FreePort()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "sentinel.conf") // Sentinel writes to its configuration file
	settings := fmt.Sprintf(`bind 127.0.0.1
port %[1]d
sentinel monitor %[2]s 127.0.0.1 %[3]s 2
sentinel down-after-milliseconds %[2]s 1000
sentinel failover-timeout %[2]s 5000
`, port, SentinelMaster, masterPort)
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		return nil, err
	}
	return launch(&Server{url: fmt.Sprintf("redis://127.0.0.1:%d", port), path: program,
		args: []string{file, "--sentinel"}, dir: dir,
		attr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}, stop: syscall.SIGTERM,
		kill: syscall.SIGKILL, ping: pingRedis})
}

// redisDatabases is more databases than a test binary uses.
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
	port, err := testkit.FreePort()
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
