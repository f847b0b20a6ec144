package store_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"notesd/internal/testkit"
	"notesd/notes"
	"notesd/store"
	"notesd/store/engine"
	"notesd/store/storetest"
)

func TestSQLiteNames(t *testing.T) {
	dir := t.TempDir()
	for name, url := range map[string]string{
		"plain":          dir + "/a/notes.db",
		"sqlite":         "sqlite:" + dir + "/b/notes.db",
		"sqlite slashes": "sqlite://" + dir + "/c/notes.db",
		"file":           "file:" + dir + "/d/notes.db",
		"odd characters": dir + "/e ?#%25/notes ä&_pragma=x.db",
		"encoded":        "file:" + dir + "/f%20g/notes.db",
	} {
		t.Run(name, func(t *testing.T) { storetest.Open(t, url) })
	}
	for _, path := range []string{"a", "b", "c", "d", "f g"} {
		if _, err := os.Stat(filepath.Join(dir, path, "notes.db")); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "e ?#%25", "notes ä&_pragma=x.db")); err != nil {
		t.Error(err)
	}
}

func TestSQLiteCannotOpen(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	write(t, file, "This is no database, and longer than the header of one: "+strings.Repeat("x", 4096))
	if err := os.Mkdir(filepath.Join(dir, "directory.db"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, url, want string }{
		{"below a file", file + "/data/notes.db", "data directory " + file + "/data can't be made: "},
		{"a directory", dir + "/directory.db", "is a directory"},
		{"no database", file, "not a SQLite database"},
		{"no name", "", "names no SQLite file"},
		{"a directory's name", dir + "/", "names no SQLite file"},
		{"in memory", ":memory:", "name a file"},
		{"parameters", "file:" + dir + "/notes.db?mode=ro", "parameters are not taken"},
		{"another database", "mysql://me:secret@host/notes", "no database is known under mysql://"},
	} {
		s, err := store.Open(t.Context(), store.Config{URL: c.url, Log: testkit.Log(t)})
		if err == nil {
			t.Errorf("%s: Open succeeds, want an error", c.name)
			s.Close()
			continue
		}
		if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: Open = %v, want it to say %q and no secret", c.name, err, c.want)
		}
	}
	if text, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(text), "This is no database") {
		t.Errorf("Open changed a file that is no database: %v", err)
	}
}

// The directory and the files are their owner's alone.
func TestSQLiteModes(t *testing.T) {
	path := storetest.EmptySQLite(t)
	mustUser(t, storetest.Open(t, path), "somebody@example.org")
	wantMode(t, filepath.Dir(path), 0o700)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		wantMode(t, path+suffix, 0o600)
	}
	wantMode(t, filepath.Join(filepath.Dir(path), "notesd.lock"), 0o600)

	shared := filepath.Join(t.TempDir(), "shared.db")
	write(t, shared, "")
	if err := os.Chmod(shared, 0o664); err != nil {
		t.Fatal(err)
	}
	storetest.Open(t, shared)
	wantMode(t, shared, 0o660)
}

// What an acknowledged write needs to be on disk, on every connection.
func TestSQLitePragmas(t *testing.T) {
	s := storetest.Open(t, storetest.SQLite(t))
	for _, c := range []struct{ pragma, writer, reader string }{
		{"journal_mode", "wal", "wal"},
		{"synchronous", "2", ""}, // FULL
		{"foreign_keys", "1", ""},
		{"busy_timeout", "5000", "5000"},
		{"query_only", "0", "1"},
	} {
		var got string
		if err := s.WriterDB().Raw("PRAGMA " + c.pragma).Scan(&got).Error; err != nil || got != c.writer {
			t.Errorf("writer: %s = %q, %v, want %q", c.pragma, got, err, c.writer)
		}
		if c.reader == "" {
			continue
		}
		if err := s.DB().Raw("PRAGMA " + c.pragma).Scan(&got).Error; err != nil || got != c.reader {
			t.Errorf("reader: %s = %q, %v, want %q", c.pragma, got, err, c.reader)
		}
	}
	if err := s.DB().Exec("DELETE FROM users").Error; err == nil {
		t.Error("a reader can write")
	}
}

// A full disk is told as what it is, nothing is half-written, and what is there
// can be read.
func TestSQLiteFull(t *testing.T) {
	s := storetest.Open(t, storetest.SQLite(t))
	owner := mustUser(t, s, "somebody@example.org")
	note := mustNote(t, s, owner, "before")
	if err := s.WriterDB().Exec("PRAGMA max_page_count = 1").Error; err != nil { // of those there are
		t.Fatal(err)
	}
	big := notes.NewNote{Title: "big", Content: strings.Repeat("x", 1<<20)}
	_, err := s.CreateNote(t.Context(), owner.ID, big)
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("CreateNote on a full disk = %v, want ErrUnavailable that says so", err)
	}
	if c, err := s.Counters(t.Context(), owner.ID); err != nil || c.Notes != 1 {
		t.Errorf("Counters after a note that did not fit = %+v, %v, want 1 note", c, err)
	}
	if _, err := s.Note(t.Context(), owner.ID, note.ID); err != nil {
		t.Errorf("reading on a full disk: %v", err)
	}
	if err := s.WriterDB().Exec("PRAGMA max_page_count = 1000000").Error; err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateNote(t.Context(), owner.ID, big); err != nil {
		t.Errorf("CreateNote once there is room: %v", err)
	}
}

// TestOpenElsewhere is not a test: other tests run it in a process of its own.
// It opens a store, says how that went, and holds it until its input ends.
func TestOpenElsewhere(t *testing.T) {
	url := os.Getenv("STORE_OPEN_ELSEWHERE")
	if url == "" {
		t.SkipNow()
	}
	s, err := store.Open(t.Context(), store.Config{URL: url, Log: testkit.Log(t)})
	fmt.Println("opened:", err)
	if err == nil {
		defer s.Close()
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// elsewhere opens the store at url in another process, as nobody if asked, and
// returns that process and its error's text.
func elsewhere(t *testing.T, url string, asNobody bool) (*osexec.Cmd, string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // lets nobody in
		t.Fatal(err)
	}
	program := filepath.Join(dir, "store.test")
	if err := os.Link(os.Args[0], program); err != nil {
		t.Fatal(err)
	}
	cmd := osexec.Command(program, "-test.run=^TestOpenElsewhere$", "-test.v")
	cmd.Env = append(os.Environ(), "STORE_OPEN_ELSEWHERE="+url)
	cmd.Stderr = t.Output()
	if asNobody {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	stop, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop.Close()
		_ = cmd.Wait() // it may have been killed
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if said, ok := strings.CutPrefix(lines.Text(), "opened: "); ok {
			return cmd, said
		}
	}
	t.Fatal("the other process says nothing")
	return nil, ""
}

// One process owns a data directory; a second is told who. The kernel frees it
// when the owner is killed.
func TestSQLiteLock(t *testing.T) {
	path := storetest.EmptySQLite(t)
	dir := filepath.Dir(path)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	inUse := func(pid int) string {
		return fmt.Sprintf("data directory %s is in use by notesd (pid %d on %s), which must be stopped first", dir, pid, host)
	}
	owner, said := elsewhere(t, path, false)
	if said != "<nil>" {
		t.Fatalf("the first process: %s", said)
	}
	for _, file := range []string{path, filepath.Join(dir, "other.db")} { // the directory is one's, not the file
		if _, err := store.Open(t.Context(), store.Config{URL: file}); err == nil || err.Error() != inUse(owner.Process.Pid) {
			t.Errorf("Open of another's directory = %v, want %s", err, inUse(owner.Process.Pid))
		}
	}
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait()
	s, err := store.Open(t.Context(), store.Config{URL: path, Log: testkit.Log(t)})
	if err != nil {
		t.Fatalf("Open once the owner is killed = %v", err)
	}
	if _, said := elsewhere(t, path, false); said != inUse(os.Getpid()) {
		t.Errorf("Open by another process = %s, want %s", said, inUse(os.Getpid()))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, said := elsewhere(t, path, false); said != "<nil>" {
		t.Errorf("Open once the owner has closed = %s", said)
	}
}

// Nobody's rights are needed to see this: root may write everywhere.
func TestSQLiteReadOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	if _, said := elsewhere(t, dir+"/notes.db", os.Geteuid() == 0); !strings.HasPrefix(said,
		"data directory "+dir+" can't be used: ") || !strings.HasSuffix(said, "permission denied") {
		t.Errorf("Open in a read-only directory = %s, want it to say so", said)
	}
	if left, _ := filepath.Glob(dir + "/*"); len(left) > 0 {
		t.Errorf("Open left %v behind", left)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func wantMode(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Error(err)
	} else if got := info.Mode().Perm(); got != want {
		t.Errorf("mode of %s = %o, want %o", path, got, want)
	}
}

// An heir waits for the directory until its owner lets go: so long, and no longer.
func TestSQLiteLockPatience(t *testing.T) {
	path := storetest.EmptySQLite(t)
	owner, err := store.Open(t.Context(), store.Config{URL: path})
	if err != nil {
		t.Fatal(err)
	}
	const patience = 100 * time.Millisecond
	began := time.Now()
	if _, err := store.Open(t.Context(), store.Config{URL: path, LockPatience: patience}); err == nil || time.Since(began) < patience {
		t.Errorf("Open of a directory in use = %v after %v, want an error after %v", err, time.Since(began), patience)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.Open(ended, store.Config{URL: path, LockPatience: time.Hour}); !errors.Is(err, context.Canceled) {
		t.Errorf("Open by one who is to stop = %v, want context.Canceled", err)
	}

	opened := make(chan error)
	go func() {
		heir, err := store.Open(t.Context(), store.Config{URL: path, LockPatience: time.Hour})
		if err == nil {
			err = heir.Close()
		}
		opened <- err
	}()
	select {
	case err := <-opened:
		t.Errorf("Open of a directory in use = %v, want it to wait", err)
	case <-time.After(patience):
	}
	if err := owner.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-opened; err != nil {
		t.Errorf("Open of a directory that was let go = %v, want nil", err)
	}
}

// Whether a file fits can be asked beside its owner, and changes nothing.
func TestFileFits(t *testing.T) {
	path := storetest.EmptySQLite(t)
	missing := filepath.Join(t.TempDir(), "missing.db")
	if err := engine.FileFits(t.Context(), missing); err != nil {
		t.Errorf("FileFits of no file = %v, want nil", err)
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("FileFits made the file")
	}
	owner, err := store.Open(t.Context(), store.Config{URL: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := engine.FileFits(t.Context(), path); err != nil {
		t.Errorf("FileFits = %v, want nil", err)
	}
	if err := owner.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("UPDATE schema_info SET min_binary = 99"); err != nil {
		t.Fatal(err)
	}
	if err := engine.FileFits(t.Context(), path); !errors.Is(err, store.ErrSchema) {
		t.Errorf("FileFits of a file for binary 99 = %v, want ErrSchema", err)
	}
}

// TestReadersClose: connections that read are closed when there is no work for them, and with them
// their page caches go.
func TestReadersClose(t *testing.T) {
	url := storetest.SQLite(t)
	synctest.Test(t, func(t *testing.T) {
		s := storetest.Open(t, url)
		s.LookAtFilesEvery(30 * 24 * time.Hour)
		pool := engine.Pool(s.DB())
		var conns []*sql.Conn
		for range 3 {
			conn, err := pool.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, conn)
		}
		for _, conn := range conns {
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		}
		if n := pool.Stats().OpenConnections; n < 3 {
			t.Errorf("%d connections are open after a burst, want 3", n)
		}
		time.Sleep(time.Minute)
		if n := pool.Stats().OpenConnections; n != 0 {
			t.Errorf("%d connections are open after a minute without work, want none", n)
		}
		u := mustUser(t, s, "ada@example.com")
		if _, err := s.User(t.Context(), u.ID); err != nil {
			t.Errorf("User() = %v after the connections were closed", err)
		}
	})
}
