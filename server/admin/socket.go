package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"notesd/server/listener"
	"notesd/server/router"
)

const (
	// SocketName is the name of the operators' socket in DATA_DIR.
	SocketName = "admin.sock"
	// databaseHeader names the database that a request on the socket is meant for: see Connect.
	databaseHeader = "Notesd-Database"

	socketTimeout = 10 * time.Second // for the header of a request, and for its whole body
	socketDial    = time.Second
	// socketLock is how long to wait for the lock of the directory, which another server holds while
	// it opens or removes the socket, and socketPoll how often to try.
	socketLock, socketPoll = 3 * time.Second, 10 * time.Millisecond
	// socketAgain is how often to try to open the socket while another process has it, and
	// socketAgainSoon while the process that started this one still has it.
	socketAgain, socketAgainSoon = time.Second, 50 * time.Millisecond
)

// A Socket is a Unix socket on which a running server answers operators on its machine, as it
// answers those with the administrator token. Only root and the user of the server can connect.
type Socket struct {
	Dir      string // the directory of the socket
	Database string // the name of the server's database, see store.Store.Identity
	Handler  http.Handler
	Log      *slog.Logger
}

// Run answers until ctx ends. If another process answers on the socket, Run waits until that
// process ends. If there can be no socket, Run logs why, and returns.
func (s *Socket) Run(ctx context.Context) {
	path := filepath.Join(s.Dir, SocketName)
	told := false
	for {
		ln, err := listenSocket(s.Dir)
		if err == nil {
			s.serve(ctx, ln)
			return
		}
		taken, isTaken := errors.AsType[*socketTakenError](err)
		if !isTaken {
			s.Log.Warn("accounts can't be managed by way of the running server: there is no socket",
				"socket", path, "error", err)
			return
		}
		wait := socketAgain
		switch {
		case taken.pid == os.Getppid(): // an upgrade: it leaves to this process
			wait = socketAgainSoon
		case !told:
			told = true
			s.Log.Warn("another process answers on the socket for operators: this one waits until it ends",
				"socket", path, "pid", taken.pid)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// serve answers on ln until ctx ends, and removes the socket.
func (s *Socket) serve(ctx context.Context, ln *socketListener) {
	server := &http.Server{
		Handler:           s.forDatabase(s.Handler),
		ReadHeaderTimeout: socketTimeout,
		ReadTimeout:       socketTimeout,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return router.WithOperator(listener.WithConn(ctx, c), fmt.Sprintf("uid %d", c.(*socketConn).uid))
		},
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(ln) // ErrServerClosed, unless the socket breaks, which nothing can mend
	}()
	select {
	case <-ctx.Done():
	case <-ended:
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), socketDial)
	defer cancel()
	if server.Shutdown(ctx) != nil {
		_ = server.Close()
	}
	<-ended
	if err := ln.remove(); err != nil {
		s.Log.Warn("the socket for operators was not removed", "error", err)
	}
}

// forDatabase refuses requests that are meant for another database: DATA_DIR may be right in the
// shell of an operator whose DATABASE_URL names a copy.
func (s *Socket) forDatabase(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name := r.Header.Get(databaseHeader); name != "" && name != s.Database {
			http.Error(w, "this server has another database", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// A socketTakenError is the error for a socket on which another process answers.
type socketTakenError struct{ pid int } // 0: unknown

func (e *socketTakenError) Error() string { return fmt.Sprintf("process %d answers on it", e.pid) }

// A socketListener accepts connections from root and from the user of this process.
type socketListener struct {
	*net.UnixListener
	dir  string
	file fs.FileInfo // of the socket
}

// A socketConn is a connection of a known user.
type socketConn struct {
	*net.UnixConn
	uid int
}

// Accept implements net.Listener.
func (ln *socketListener) Accept() (net.Conn, error) {
	for {
		c, err := ln.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if peer, err := peerOf(c); err == nil && (peer.uid == 0 || peer.uid == os.Geteuid()) {
			return &socketConn{c, peer.uid}, nil
		}
		_ = c.Close()
	}
}

// listenSocket opens the socket in dir. It takes the place of a socket on which nobody answers any
// more, as a process leaves it that is killed. The error is a *socketTakenError if somebody does.
func listenSocket(dir string) (ln *socketListener, err error) {
	err = lockedDir(dir, func(short string) error {
		place := filepath.Join(short, SocketName)
		if err := checkPlace(place); err != nil {
			return err
		}
		// The socket gets its mode where nobody else can reach it, and its place afterwards.
		private := filepath.Join(short, ".admin")
		if err := os.RemoveAll(private); err != nil {
			return err
		}
		if err := os.Mkdir(private, 0o700); err != nil {
			return err
		}
		defer os.RemoveAll(private)
		made := filepath.Join(private, "s")
		unix, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
		if err != nil {
			return err
		}
		unix.SetUnlinkOnClose(false)
		ln = &socketListener{UnixListener: unix, dir: dir}
		if err := os.Chmod(made, 0o600); err != nil {
			return errors.Join(err, unix.Close())
		}
		if ln.file, err = os.Lstat(made); err == nil {
			err = os.Rename(made, place)
		}
		if err != nil {
			return errors.Join(err, unix.Close())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ln, nil
}

// checkPlace returns nil if a socket may be put at place: there is nothing yet, or a socket on
// which nobody answers.
func checkPlace(place string) error {
	info, err := os.Lstat(place)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is no socket", SocketName)
	}
	c, err := net.DialTimeout("unix", place, socketDial)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil
	}
	if err != nil {
		return err
	}
	defer c.Close()
	peer, _ := peerOf(c.(*net.UnixConn)) // the id is for the log only
	return &socketTakenError{peer.pid}
}

// remove removes the socket, unless another process has taken its place.
func (ln *socketListener) remove() error {
	return lockedDir(ln.dir, func(short string) error {
		place := filepath.Join(short, SocketName)
		now, err := os.Lstat(place)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && os.SameFile(now, ln.file) {
			err = os.Remove(place)
		}
		return err
	})
}

// lockedDir calls fn while this process alone opens or removes the socket in dir. fn gets a path of
// dir that is short enough: the path of a socket may have 107 bytes.
func lockedDir(dir string, fn func(short string) error) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	// Anyone who may read the directory can lock it as well, for as long as they like. That must not
	// keep the server from its end.
	for deadline := time.Now().Add(socketLock); ; time.Sleep(socketPoll) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return fn(shortPath(f))
		case !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) || time.Now().After(deadline):
			return fmt.Errorf("lock %s: %w", dir, err)
		}
	}
}
