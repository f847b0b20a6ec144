package server

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"notesd/internal/testkit"
	"notesd/pool"
	"notesd/store/storetest"
)

// filling is a text of n bytes that JSON has to escape.
func filling(n int) string { return strings.Repeat("a <b> \"c\" & d\n", n/10)[:n] }

// fill gives who is c n notes with a number in their titles and some n bytes
// each: one by way of the server, and copies of it by SQL, which is faster.
func (s *site) fill(t *testing.T, c *client, n, bytes int) {
	t.Helper()
	seed := c.create(map[string]any{"title": "seed", "content": filling(bytes)})
	s.execute(t, fmt.Sprintf(`WITH RECURSIVE g(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM g WHERE i < %d)
		INSERT INTO notes (id, user_id, title, title_folded, content, is_pinned, is_favorite, is_archived, is_markdown, is_trashed,
			created_at, updated_at, revision, change_seq, bytes)
		SELECT id || '-' || i, user_id, 'note' || i, 'note' || i, i || content, is_pinned, is_favorite, is_archived, is_markdown,
			is_trashed, created_at + i, updated_at + i, revision, change_seq + i, bytes FROM notes, g WHERE id = '%s'`, n-1, seed.ID))
	c.delete("/api/notes/" + seed.ID).want(http.StatusOK)
}

// checkAll checks that a list holds notes 0 to n-1, each whole and once.
func checkAll(t *testing.T, text string, n, bytes int) {
	t.Helper()
	var list struct {
		Success bool
		Data    []noteJSON
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatalf("%v in a list of %d bytes that ends in %q", err, len(text), text[max(0, len(text)-100):])
	}
	seen := map[string]bool{}
	for i, note := range list.Data {
		var number int
		if _, err := fmt.Sscanf(note.Title, "note%d", &number); err != nil || note.Content != fmt.Sprint(number)+filling(bytes) {
			t.Fatalf("note %q has content %.60q…", note.Title, note.Content)
		}
		if i > 0 && time.Time(note.UpdatedAt).After(time.Time(list.Data[i-1].UpdatedAt)) {
			t.Fatalf("note %d of the list is younger than the one before", i)
		}
		seen[note.Title] = true
	}
	if !list.Success || len(list.Data) != n || len(seen) != n {
		t.Fatalf("a list of %d notes, %d of them different, want %d", len(list.Data), len(seen), n)
	}
}

// A long list leaves in parts and is one valid answer.
func TestStream(t *testing.T) {
	t.Parallel()
	const notes, bytes = 3000, 2 << 10
	eachSite(t, func(t *testing.T, s *site) {
		c := s.someone()
		s.fill(t, c, notes, bytes)
		r := c.get("/api/notes").want(http.StatusOK)
		checkAll(t, r.text, notes, bytes)
		if r.header.Get("Content-Length") != "" {
			t.Errorf("%s has Content-Length %s, want chunks", r.call, r.header.Get("Content-Length"))
		}
		wantHeader(t, r, "Content-Type", "application/json; charset=utf-8")
		if r := c.get("/api/notes?tags=none").want(http.StatusOK); r.header.Get("Content-Length") == "" {
			t.Errorf("%s has no Content-Length: a short list is no stream", r.call)
		}
		testkit.Eventually(t, "rest", s.atRest)
	}, workers(4))
}

// atRest tells whether nothing is left of any request.
func (s *site) atRest() bool {
	p := s.pool.Stats()
	held := int64(0)
	for _, shard := range p.Shards {
		held += shard.BytesInFlight
	}
	return p.Busy == 0 && p.Queued == 0 && p.Yielded == 0 && held == 0 && s.server.router.Counts().Running.Load() == 0
}

func TestStreamCompressed(t *testing.T) {
	t.Parallel()
	const notes, bytes = 150, 20 << 10
	s := onSQLite(t)
	c := s.someone()
	s.fill(t, c, notes, bytes)
	for _, coding := range []string{"gzip", "zstd"} {
		r := c.get("/api/notes", "Accept-Encoding", coding).want(http.StatusOK)
		wantHeader(t, r, "Content-Encoding", coding)
		checkAll(t, decompress(t, r), notes, bytes)
	}
	if head := c.request(http.MethodHead, "/api/notes", nil).want(http.StatusOK); head.text != "" {
		t.Errorf("%s has a body of %d bytes", head.call, len(head.text))
	}
}

// slowList asks for the whole list, reads the header, and nothing more until the test does.
func (s *site) slowList(t *testing.T, c *client, lines ...string) *wire {
	t.Helper()
	dialer := net.Dialer{Control: func(_, _ string, conn syscall.RawConn) error {
		return conn.Control(func(fd uintptr) { // as little as the kernel allows, so that the sender has to wait
			_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10)
		})
	}}
	conn, err := dialer.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(60 * time.Second))
	w := &wire{t, conn, bufio.NewReaderSize(conn, 512)}
	w.header("GET", "/api/notes", c, lines...)
	return w
}

// finish reads the list to its end, as fast as it can.
func (w *wire) finish() (string, error) {
	_ = w.Conn.(*net.TCPConn).SetReadBuffer(1 << 20)
	answer, err := http.ReadResponse(w.in, nil)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return string(text), err
}

// A slow reader holds no worker, no connection to the database and no more
// than a part in memory; and it gets its list in the end. Not parallel: it
// looks at the heap.
func TestSlowReaders(t *testing.T) {
	const readers, notes, bytes = 3, 400, 20 << 10
	s := onDatabase(t, storetest.Postgres(t), workers(1, func(c *pool.Config) { c.QueueTimeout = time.Minute }))
	c := s.someone()
	s.fill(t, c, notes, bytes)
	before := heap()
	var slow []*wire
	for range readers {
		slow = append(slow, s.slowList(t, c))
		testkit.Eventually(t, "slow readers", func() bool { return s.pool.Stats().Yielded == len(slow) })
	}
	time.Sleep(300 * time.Millisecond) // as much as the kernel buffers is sent by then
	testkit.Eventually(t, "nobody at work", func() bool { return s.pool.Stats().Busy == 0 })
	stats := s.pool.Stats()
	if stats.Busy > 0 || stats.Yielded != readers {
		t.Errorf("%d workers busy, %d requests outside, want 0 and %d", stats.Busy, stats.Yielded, readers)
	}
	held := stats.Shards[0].BytesInFlight
	if held < readers || held > readers*(partBytes+partBytes/2) {
		t.Errorf("%d bytes in flight, want one part of %d for each of %d", held, partBytes, readers)
	}
	if grown := heap() - before; grown > notes*bytes*readers/2 {
		t.Errorf("the heap has grown by %d MB for %d lists of %d MB: they are built in memory", grown>>20, readers, notes*bytes>>20)
	}
	for name, db := range s.store.Stats() {
		if db.InUse > 0 {
			t.Errorf("%d connections of %s in use", db.InUse, name)
		}
	}
	began := time.Now()
	c.get("/api/notes?limit=1").want(http.StatusOK)
	if took := time.Since(began); testkit.TooLong(took, 0, time.Second) {
		t.Errorf("a request beside them took %v", took)
	}
	whole := c.get("/api/notes").text
	checkAll(t, whole, notes, bytes)
	for _, w := range slow {
		if text, err := w.finish(); err != nil || text != whole {
			t.Errorf("a slow reader got %d bytes, %v, want the same %d as others", len(text), err, len(whole))
		}
	}
	testkit.Eventually(t, "rest", s.atRest)
}

// heap is how many bytes are in use after a collection.
func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// Notes that go while a list is on its way are left out of it; it stays valid,
// and REQUEST_TIMEOUT doesn't count the time of the reader.
func TestStreamWhileNotesGo(t *testing.T) {
	t.Parallel()
	const notes, bytes = 400, 20 << 10
	s := onSQLite(t, func(cfg *Config, _ *Deps) { cfg.RequestTimeout = 1500 * time.Millisecond })
	c := s.someone()
	s.fill(t, c, notes, bytes)
	w := s.slowList(t, c)
	testkit.Eventually(t, "the list on its way", func() bool { return s.pool.Stats().Yielded == 1 })
	time.Sleep(1600 * time.Millisecond)
	s.execute(t, "DELETE FROM notes WHERE created_at - (SELECT min(created_at) FROM notes) < 100") // the last of the list
	text, err := w.finish()
	if err != nil {
		t.Fatal(err)
	}
	var list page
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatalf("%v in a list of %d bytes that ends in %q", err, len(text), text[max(0, len(text)-100):])
	}
	if len(list.Data) != notes-100 {
		t.Errorf("%d notes in the list, want %d: 100 have gone", len(list.Data), notes-100)
	}
}

// An error midway cuts the connection: half a list must not look like a whole one.
func TestStreamCutMidway(t *testing.T) {
	t.Parallel()
	const notes, bytes = 1000, 20 << 10
	for _, coding := range []string{"identity", "gzip"} {
		t.Run(coding, func(t *testing.T) {
			t.Parallel()
			s := onSQLite(t)
			c := s.someone()
			s.fill(t, c, notes, bytes)
			s.execute(t, "UPDATE notes SET content = hex(randomblob(bytes / 2))") // or the kernel would take all of it, packed
			w := s.slowList(t, c, "Accept-Encoding: "+coding)
			testkit.Eventually(t, "the list on its way", func() bool { return s.pool.Stats().Yielded == 1 })
			if err := s.store.Close(); err != nil {
				t.Fatal(err)
			}
			text, err := w.finish()
			if !errors.Is(err, io.ErrUnexpectedEOF) || len(text) == 0 || json.Valid([]byte(text)) {
				t.Errorf("read %d bytes, %v, want a part and then the connection cut", len(text), err)
			}
			testkit.Eventually(t, "rest", func() bool {
				p := s.pool.Stats()
				return p.Yielded == 0 && p.Busy == 0 && p.Shards[0].BytesInFlight == 0
			})
			if !strings.Contains(s.log.String(), "answer cut midway") {
				t.Error("the log does not say that an answer was cut")
			}
		})
	}
}

// A reader that leaves midway leaves nothing behind.
func TestReaderLeaves(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, workers(1))
	c := s.someone()
	s.fill(t, c, 400, 20<<10)
	w := s.slowList(t, c)
	testkit.Eventually(t, "the list on its way", func() bool { return s.pool.Stats().Yielded == 1 })
	_ = w.Close()
	testkit.Eventually(t, "rest", s.atRest)
	c.get("/api/notes?limit=1").want(http.StatusOK)
}
