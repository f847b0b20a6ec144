package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"notesd/internal/testserver"
	"notesd/store/storetest"
)

const (
	people      = 20
	connections = 64
	atOnce      = 4 // who read everything back: fewer than there are workers
	minFiles    = 5000
	maxFiles    = 5200
	hugeBytes   = 1 << 20 // of a file: such are left out
	largeBytes  = 16 << 10
	maxLarge    = 100
	titleLength = 255 // characters
)

// The main job on real input: thousands of text files become notes of twenty
// people, the process is killed halfway and started again, and at the end
// every acknowledged note is there, once, byte for byte.
func TestRealInput(t *testing.T) {
	long(t, "thousands of notes, on both engines")
	files := textFiles(t)
	t.Logf("%d files", len(files))
	t.Run("SQLite", func(t *testing.T) {
		storeFiles(t, newProcess(t), files)
	})
	t.Run("PostgreSQL and Redis", func(t *testing.T) {
		storeFiles(t, newProcess(t, "DATABASE_URL="+storetest.Postgres(t), "REDIS_URL="+testserver.Redis(t), secret), files)
	})
}

// textFile is a file as a note. Sent and read back thousands of times, it is encoded once.
type textFile struct {
	note
	owner int
	json  []byte // the note as it is sent; what is between the braces is in each answer, too
}

func newTextFile(n note) textFile {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // as the server writes it
	if err := encoder.Encode(n); err != nil {
		panic(err) // strings always can be
	}
	return textFile{note: n, json: bytes.TrimSpace(b.Bytes())}
}

// isIn tells whether an answer has the file's note in it, byte for byte.
func (f textFile) isIn(answer reply) bool {
	return answer.status == http.StatusOK && bytes.Contains(answer.text, f.json[1:len(f.json)-1])
}

func storeFiles(t *testing.T, p *process, files []textFile) {
	p.start()
	p.awaitReady()
	owners := make([]*client, people)
	for i := range owners {
		owners[i] = p.member(fmt.Sprintf("person%d@example.com", i))
	}
	began := time.Now()
	ids := sendFiles(t, p, owners, files)
	t.Logf("stored in %v", time.Since(began).Round(time.Millisecond))
	if t.Failed() {
		return
	}
	var readers sync.WaitGroup
	for first := range atOnce {
		readers.Go(func() {
			for i := first; i < people; i += atOnce {
				compareFiles(t, owners[i], i, files, ids)
			}
		})
	}
	readers.Wait()
	t.Logf("read back after %v", time.Since(began).Round(time.Millisecond))
	p.stop()
}

// sendFiles stores all files over 64 connections, with a kill halfway, and
// returns the ids of their notes.
func sendFiles(t *testing.T, p *process, owners []*client, files []textFile) []string {
	ids := make([]string, len(files))
	var next, stored, retries atomic.Int64
	half := make(chan struct{})
	var senders sync.WaitGroup
	for range connections {
		senders.Go(func() {
			for !t.Failed() {
				i := int(next.Add(1)) - 1
				if i >= len(files) {
					return
				}
				f := files[i]
				ids[i] = keepSending(t, owners[f.owner], f, fmt.Sprintf("file-%d", i), &retries)
				if stored.Add(1) == int64(len(files)/2) {
					close(half)
				}
			}
		})
	}
	<-half
	before := retries.Load()
	p.kill()
	p.start()
	senders.Wait()
	if retries.Load() == before {
		t.Error("the kill disturbed nobody: nothing was proved")
	}
	t.Logf("%d tries had no answer or were told to try again", retries.Load())
	return ids
}

// keepSending sends a note until it is acknowledged, under one key, so that an
// answer that was lost on the way makes no second note.
func keepSending(t *testing.T, owner *client, f textFile, key string, retries *atomic.Int64) (id string) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		r, err := owner.try(http.MethodPost, "/api/notes", f.json, "Idempotency-Key", key)
		switch {
		case err == nil && r.status == http.StatusCreated:
			return path.Base(r.header.Get("Location"))
		case err == nil && r.status != http.StatusServiceUnavailable && r.status != http.StatusTooManyRequests: // which is for a person's share
			t.Errorf("create %s = %d %.300s, want 201, 429 or 503", f.Title, r.status, r.text)
			return ""
		}
		retries.Add(1)
		time.Sleep(20*time.Millisecond + rand.N(30*time.Millisecond))
	}
	t.Errorf("%s: not acknowledged within %v", f.Title, patience)
	return ""
}

// compareFiles reads a person's notes, by the list and one by one, and
// compares them with the files they were made of.
func compareFiles(t *testing.T, owner *client, person int, files []textFile, ids []string) {
	coding := "identity"
	if person%4 == 0 {
		coding = "" // the client asks for gzip then, and unpacks it
	}
	all, err := owner.try(http.MethodGet, "/api/notes", nil, "Accept-Encoding", coding)
	if err != nil || all.status != http.StatusOK {
		t.Errorf("list of person %d = %d %.300s, %v", person, all.status, all.text, err)
		return
	}
	listed := map[string]note{}
	notes := all.notes()
	for _, n := range notes {
		listed[n.ID] = n
	}
	want := 0
	for i, f := range files {
		if f.owner != person {
			continue
		}
		want++
		n := listed[ids[i]]
		if n.Title != f.Title || n.Content != f.Content || !slices.Equal(n.Tags, f.Tags) {
			t.Errorf("%s: %d bytes are listed as %q of %d bytes, tags %v", f.Title, len(f.Content), n.Title, len(n.Content), n.Tags)
		}
		got, err := owner.try(http.MethodGet, "/api/notes/"+url.PathEscape(ids[i]), nil, "Accept-Encoding", "identity")
		if err != nil || !f.isIn(got) {
			t.Errorf("%s reads back as %d %.300s, %v", f.Title, got.status, got.text, err)
		}
	}
	if len(notes) != want || len(listed) != want {
		t.Errorf("person %d has %d notes, %d different, want %d", person, len(notes), len(listed), want)
	}
}

// textFiles collects real text files of this machine.
func textFiles(t *testing.T) []textFile {
	t.Helper()
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	root := strings.TrimSpace(string(goroot))
	var c collection
	for _, place := range []struct {
		dir  string
		tags []string
		most int // so that the small ones are not crowded out
	}{
		{"/usr/share/common-licenses", []string{"licence"}, 100},
		{"/usr/share/doc", []string{"doc", "Debian"}, 1000},
		{"/usr/share/man", []string{"man page"}, 1000},
		{filepath.Join(root, "doc"), []string{"doc", "Go"}, 100},
		{filepath.Join(root, "src"), []string{"source", "Go"}, maxFiles},
	} {
		c.add(place.dir, place.tags, min(len(c.files)+place.most, maxFiles))
	}
	if len(c.files) < minFiles {
		t.Fatalf("this machine has %d text files where they are looked for, want %d at least", len(c.files), minFiles)
	}
	for i := range c.files {
		c.files[i].owner = i % people
	}
	rand.Shuffle(len(c.files), func(i, j int) { c.files[i], c.files[j] = c.files[j], c.files[i] })
	return c.files
}

// collection is text files, few of them large: those would be most of the work and show no more.
type collection struct {
	files []textFile
	large int
}

// add takes text files of a directory, which may not be there, until there are so many in all.
func (c *collection) add(dir string, tags []string, most int) {
	_ = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // what can't be read is not missed
		}
		if len(c.files) >= most {
			return filepath.SkipAll
		}
		content, ok := readText(name, c.mostBytes())
		if !ok {
			return nil
		}
		if len(content) > largeBytes {
			c.large++
		}
		title := []rune(name)
		c.files = append(c.files, newTextFile(note{
			Title: string(title[max(0, len(title)-titleLength):]), Content: content, Tags: tags}))
		return nil
	})
}

// mostBytes is how large the next file may be.
func (c *collection) mostBytes() int64 {
	if c.large < maxLarge {
		return hugeBytes
	}
	return largeBytes
}

// readText reads a regular file, or what a link leads to, unpacked. ok is
// false if that is not text that a note can hold, or of more than most bytes.
func readText(name string, most int64) (text string, ok bool) {
	info, err := os.Stat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() > most {
		return "", false
	}
	content, err := os.ReadFile(name)
	if err == nil && strings.HasSuffix(name, ".gz") {
		content, err = unpack(content, most)
	}
	if err != nil || int64(len(content)) > most || !utf8.Valid(content) || bytes.IndexByte(content, 0) >= 0 {
		return "", false
	}
	return string(content), true
}

// unpack reads most bytes of what was packed, and one more if there is.
func unpack(packed []byte, most int64) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, most+1))
}
