package testserver_test

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/jackc/pgx/v5"

	"notesd/internal/testserver"
)

func TestMain(m *testing.M) { testserver.Main(m) }

// A test does not see what another test has written.
func TestFresh(t *testing.T) {
	first, second := testserver.EmptyPostgres(t), testserver.EmptyPostgres(t)
	mustExec(t, first, "CREATE TABLE mine ()")
	if err := exec1(t, second, "SELECT FROM mine"); err == nil {
		t.Error("two tests share a PostgreSQL database")
	}
	one, other := dialRedis(t, testserver.Redis(t)), dialRedis(t, testserver.Redis(t))
	if _, err := one.Do("SET", "mine", 1); err != nil {
		t.Fatal(err)
	}
	if n, err := redis.Int(other.Do("DBSIZE")); n != 0 || err != nil {
		t.Errorf("DBSIZE of a fresh Redis database = %d, %v, want 0", n, err)
	}
}

// A server of one test keeps its address and data while it is stopped.
func TestServer(t *testing.T) {
	for _, end := range []struct {
		name string
		end  func(*testserver.Server, testing.TB)
	}{{"stop", (*testserver.Server).Stop}, {"kill", (*testserver.Server).Kill}, {"crash", (*testserver.Server).Crash}} {
		t.Run("PostgreSQL "+end.name, func(t *testing.T) {
			s := testserver.NewPostgres(t)
			mustExec(t, s.URL(), "CREATE TABLE kept ()")
			end.end(s, t)
			if err := exec1(t, s.URL(), "SELECT 1"); err == nil {
				t.Error("a stopped server answers")
			}
			s.Start(t)
			mustExec(t, s.URL(), "SELECT FROM kept")
		})
		t.Run("Redis "+end.name, func(t *testing.T) {
			s := testserver.NewRedis(t)
			if _, err := dialRedis(t, s.URL()).Do("SET", "kept", "yes"); err != nil {
				t.Fatal(err)
			}
			end.end(s, t)
			if _, err := redis.DialURL(s.URL()); err == nil {
				t.Error("a stopped server answers")
			}
			s.Start(t)
			if got, err := redis.String(dialRedis(t, s.URL()).Do("GET", "kept")); got != "yes" {
				t.Errorf("GET kept = %q, %v, want yes", got, err)
			}
		})
	}
}

// A template is filled once, and each copy has what it was filled with.
func TestPostgresTemplate(t *testing.T) {
	filled := 0
	template := testserver.NewPostgresTemplate("filled", func(url string) error {
		filled++
		return exec1(t, url, "CREATE TABLE kept ()")
	})
	for range 2 {
		url := template.Copy(t)
		mustExec(t, url, "SELECT FROM kept")
		mustExec(t, url, "DROP TABLE kept")
	}
	if filled != 1 {
		t.Errorf("the template was filled %d times, want once", filled)
	}
}

// A proxy forwards bytes, and fails as it is told to.
func TestProxy(t *testing.T) {
	proxy := testserver.NewProxy(t, testserver.Redis(t))
	const short = 100 * time.Millisecond
	dial := func() redis.Conn {
		t.Helper()
		conn, err := redis.DialURL(proxy.URL(), redis.DialReadTimeout(10*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	answers := func(conn redis.Conn, want bool) {
		t.Helper()
		if _, err := redis.DoWithTimeout(conn, 5*short, "PING"); (err == nil) != want {
			t.Errorf("PING = %v, want an answer: %v", err, want)
		}
	}
	conn := dial()
	answers(conn, true)

	proxy.Set(testserver.Slow)
	answers(conn, false)
	proxy.Set(testserver.Pass)
	conn = dial()
	answers(conn, true)

	proxy.Set(testserver.Stall)
	time.AfterFunc(short, func() { proxy.Set(testserver.Pass) })
	answers(conn, true) // held, and passed in the end

	proxy.CutAnswer("PONG", 3)
	answers(conn, false)
	conn = dial()
	proxy.LoseAnswer("PONG")
	answers(conn, false)
	answers(dial(), true)
	if n := proxy.Losses(); n != 2 {
		t.Errorf("Losses() = %d, want 2", n)
	}

	conn = dial()
	proxy.Set(testserver.HalfOpen)
	proxy.Set(testserver.Pass)
	answers(conn, false)
	conn = dial()
	proxy.Cut()
	answers(conn, false)
	conn = dial()
	proxy.Set(testserver.Refuse)
	answers(conn, false)
	if _, err := redis.DialURL(proxy.URL()); err == nil {
		t.Error("a proxy that refuses accepts a connection")
	}
	proxy.Set(testserver.Pass)
	answers(dial(), true)
	if n := proxy.Accepted(); n != 8 {
		t.Errorf("Accepted() = %d, want 8", n)
	}
}

// A test binary that is killed takes its servers and their files with it.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("TESTSERVER_VICTIM"); dir != "" {
		testserver.EmptyPostgres(t)
		testserver.Redis(t)
		os.Stdout.WriteString("running\n")
		select {}
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
	}
	victim := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	victim.Env = append(os.Environ(), "TESTSERVER_VICTIM="+dir, "TMPDIR="+dir)
	victim.Stderr = os.Stderr
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "running\n" {
		t.Fatalf("the victim said %q, %v", line, err)
	}
	servers := children(t, victim.Process.Pid)
	if len(servers) != 3 { // and the janitor
		t.Errorf("the victim runs %d processes, want 3", len(servers))
	}
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = victim.Wait()

	deadline := time.Now().Add(10 * time.Second)
	for _, pid := range servers {
		for alive(pid) && time.Now().Before(deadline) {
			time.Sleep(10 * time.Millisecond)
		}
		if alive(pid) {
			t.Errorf("process %d outlives the test binary that started it", pid)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
		t.Errorf("files outlive the test binary that made them: %v", left)
	}
}

// alive reports whether a process runs. A zombie does not.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// children lists the processes that pid started.
func children(t *testing.T, pid int) (found []int) {
	t.Helper()
	lists, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a thread that has ended
		}
		if err != nil {
			t.Fatal(err)
		}
		for field := range strings.FieldsSeq(string(text)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, child)
		}
	}
	return found
}

func exec1(t *testing.T, url, statement string) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	_, err = conn.Exec(t.Context(), statement)
	return err
}

func mustExec(t *testing.T, url, statement string) {
	t.Helper()
	if err := exec1(t, url, statement); err != nil {
		t.Fatal(err)
	}
}

func dialRedis(t *testing.T, url string) redis.Conn {
	t.Helper()
	conn, err := redis.DialURL(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}
