package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"notesd/internal/testkit"
	"notesd/server/router"
)

// runSocket runs a socket in dir until the function that it returns is called. It answers with
// name.
func runSocket(t *testing.T, dir, name string) (log *testkit.LogBuffer, stop func()) {
	t.Helper()
	log = &testkit.LogBuffer{}
	s := &Socket{Dir: dir, Database: "a database", Log: slog.New(slog.NewJSONHandler(log, nil)),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = json.NewEncoder(w).Encode(router.Envelope{Success: true, Data: UserPage{Next: name}})
		})}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) })
	stop = func() { cancel(); running.Wait() }
	t.Cleanup(stop)
	return log, stop
}

// whoAnswers returns the name of the socket that answers in dir.
func whoAnswers(t *testing.T, dir string) (string, error) {
	t.Helper()
	c, err := Connect(t.Context(), dir, "a database")
	if err != nil {
		return "", err
	}
	defer c.Close()
	page, err := c.List(t.Context(), UserList{})
	return page.Next, err
}

func awaitAnswer(t *testing.T, dir, want string) {
	t.Helper()
	testkit.Eventually(t, want+" answers", func() bool {
		who, err := whoAnswers(t, dir)
		return err == nil && who == want
	})
}

// leftBehind makes the socket of a process that was killed.
func leftBehind(t *testing.T, path string) {
	t.Helper()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
}

// Only its user and root reach the socket, at any length of its path, also where a killed process
// has left one. It is gone when the server is.
func TestSocket(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T) string{
		"fresh": func(t *testing.T) string { return t.TempDir() },
		"left by a killed process": func(t *testing.T) string {
			dir := t.TempDir()
			leftBehind(t, filepath.Join(dir, SocketName))
			if err := os.Mkdir(filepath.Join(dir, ".admin"), 0o755); err != nil {
				t.Fatal(err)
			}
			leftBehind(t, filepath.Join(dir, ".admin", "s"))
			return dir
		},
		"deep": func(t *testing.T) string {
			dir := filepath.Join(t.TempDir(), strings.Repeat("deep/", 50), strings.Repeat("ä", 100))
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			return dir
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := prepare(t)
			log, stop := runSocket(t, dir, "ours")
			awaitAnswer(t, dir, "ours")
			info, err := os.Lstat(filepath.Join(dir, SocketName))
			if err != nil || info.Mode() != fs.ModeSocket|0o600 {
				t.Errorf("the socket has the mode %v, %v, want 0600", info.Mode(), err)
			}
			if _, err := Connect(t.Context(), dir, "another database"); err == nil {
				t.Error("a command for another database was answered")
			}
			stop()
			if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
				t.Errorf("%v, %v are left", files, err)
			}
			if log.String() != "" {
				t.Errorf("logged %s", log)
			}
		})
	}
}

// The socket of another server is left alone while that server lives, and taken over when it has
// ended or was killed.
func TestSocketOfAnother(t *testing.T) {
	dir := t.TempDir()
	_, stopFirst := runSocket(t, dir, "first")
	awaitAnswer(t, dir, "first")
	log, _ := runSocket(t, dir, "second")
	testkit.Eventually(t, "a warning", func() bool { return strings.Contains(log.String(), "another process answers") })
	time.Sleep(2 * socketAgainSoon)
	if who, err := whoAnswers(t, dir); err != nil || who != "first" {
		t.Errorf("%s answers, %v, want first", who, err)
	}
	stopFirst()
	awaitAnswer(t, dir, "second")
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("logged %s, want one line", log)
	}
}

// Several servers that find the socket of a killed one end with one that answers.
func TestSocketRace(t *testing.T) {
	for range 20 {
		dir := t.TempDir()
		leftBehind(t, filepath.Join(dir, SocketName))
		errs := make(chan error, 4)
		listeners := make(chan *socketListener, cap(errs))
		for range cap(errs) {
			go func() {
				ln, err := listenSocket(dir)
				if err == nil {
					listeners <- ln
				}
				errs <- err
			}()
		}
		taken := 0
		for range cap(errs) {
			if _, ok := errors.AsType[*socketTakenError](<-errs); ok {
				taken++
			}
		}
		if taken != cap(errs)-1 {
			t.Fatalf("%d of %d found the socket taken", taken, cap(errs))
		}
		ln := <-listeners
		if err := errors.Join(ln.Close(), ln.remove()); err != nil {
			t.Fatal(err)
		}
	}
}

// What is no socket is not removed, and a directory that cannot be used costs a warning only.
func TestNoSocket(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare func(dir string) (string, error)
		says    string
	}{
		"a file": {func(dir string) (string, error) {
			return dir, os.WriteFile(filepath.Join(dir, SocketName), []byte("mine"), 0o644)
		}, "is no socket"},
		"no directory": {func(dir string) (string, error) { return filepath.Join(dir, "none"), nil }, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, err := tt.prepare(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			log, stop := runSocket(t, dir, "ours")
			testkit.Eventually(t, "a warning", func() bool { return strings.Contains(log.String(), tt.says) })
			stop()
			if name == "a file" {
				if text, err := os.ReadFile(filepath.Join(dir, SocketName)); err != nil || string(text) != "mine" {
					t.Errorf("the file is %q, %v", text, err)
				}
			}
		})
	}
}

// A command does not send passwords to the socket of a stranger.
func TestSocketOfStranger(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make a stranger's socket")
	}
	dir := t.TempDir()
	runSocket(t, dir, "stranger")
	awaitAnswer(t, dir, "stranger")
	if err := os.Chown(filepath.Join(dir, SocketName), 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if who, err := whoAnswers(t, dir); err == nil {
		t.Errorf("%s answers, want that nothing is sent", who)
	}
}

func FuzzQuota(f *testing.F) {
	for _, text := range []string{`"default"`, `"none"`, "0", "1", "9007199254740991", "9007199254740992", "-1", "1.5", "null", `"x"`, "1e3"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var q Quota
		if json.Unmarshal([]byte(text), &q) != nil {
			return
		}
		out, err := json.Marshal(q)
		var again Quota
		if err != nil || json.Unmarshal(out, &again) != nil {
			t.Fatalf("%s becomes %s, %v, which is no quota", text, out, err)
		}
		if (q.Limit == nil) != (again.Limit == nil) || q.Limit != nil && *q.Limit != *again.Limit {
			t.Errorf("%s becomes %s", text, out)
		}
		if back := q.over(2).times(2); q.Limit != nil && *q.Limit-*back.Limit > 1 {
			t.Errorf("%s in other units and back is %d", text, *back.Limit)
		}
	})
}

// A server starts and ends though somebody has locked the directory of its socket.
func TestSocketDirLocked(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lock := func(how int) {
		t.Helper()
		if err := syscall.Flock(int(f.Fd()), how); err != nil {
			t.Fatal(err)
		}
	}
	_, stop := runSocket(t, dir, "the server")
	awaitAnswer(t, dir, "the server")
	lock(syscall.LOCK_EX)
	stop()
	log, _ := runSocket(t, dir, "the next one")
	testkit.Eventually(t, "the log says why there is no socket", func() bool { return strings.Contains(log.String(), "there is no socket") })
}
