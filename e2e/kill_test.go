package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"notesd/bench"
	"notesd/internal/testserver"
)

// writersAtOnce is how many people write while the process is killed.
const writersAtOnce = 8

// kill -9 under write load, KILLS times on each engine, on PostgreSQL every
// third time together with the server of the database: every write that was
// acknowledged is there afterwards, and none is there twice.
func TestKills(t *testing.T) {
	kills := numberOf(t, "KILLS", 3)
	proof := newProof(t, "kill", fmt.Sprintf("KILLS=%d", kills))
	table := bench.Table{Title: "Writes", Head: []string{"", "kills", "of the database, too", "acknowledged notes",
		"acknowledged deletions", "acknowledged changes", "tried again", "notes found", "missing", "twice", "back again",
		"changes undone", "slowest start"}}
	for _, engine := range []string{"SQLite", "PostgreSQL"} {
		t.Run(engine, func(t *testing.T) {
			p, database := newProcess(t, "LOG_LEVEL=error", secret), (*testserver.Server)(nil)
			if engine == "PostgreSQL" {
				database = testserver.NewPostgres(t)
				p.settings = append(p.settings, "DATABASE_URL="+database.URL())
			}
			p.start()
			p.awaitReady()
			writers := startWriters(p)
			k := killer{process: p, database: database, writers: writers}
			for range kills {
				k.kill(t)
			}
			found := writers.stop(t)
			promise(proof, engine, kills, found)
			table.Rows = append(table.Rows, append([]string{engine, fmt.Sprint(kills), fmt.Sprint(k.databases)},
				append(found.row(), k.slowest.Round(time.Millisecond).String())...))
		})
	}
	if t.Failed() {
		return // before all was measured
	}
	proof.Tables = append(proof.Tables, table)
	proof.Notes = append(proof.Notes, fmt.Sprintf("%d people write, each a note and a change to one note in turn, and delete one in "+
		"%d; they try again, with the same Idempotency-Key, until they have an answer. A kill comes 50 to 300 ms after everybody "+
		"could write again.", writersAtOnce, deletedOf), "What kill -9 can't show is a power cut: what the kernel has and the disk "+
		"has not is lost only then. SQLite runs with synchronous=FULL, PostgreSQL with its own defaults, which wait for the disk as well.")
	publish(t, proof)
	if err := proof.Judge(true); err != nil {
		t.Error(err)
	}
}

// promise holds what was found to what was acknowledged.
func promise(proof *bench.Report, engine string, kills int, f findings) {
	enough := f.notes >= 5*kills // else the kills hit nothing
	proof.Promise(fmt.Sprintf("%s: acknowledged notes that are missing after %d kills", engine, kills), "0",
		fmt.Sprintf("%d of %d", f.missing, f.notes),
		f.missing == 0 && enough)
	proof.Promise(engine+": notes that are there twice", "0", fmt.Sprintf("%d of %d", f.twice, f.found), f.twice == 0 && enough)
	proof.Promise(engine+": deleted notes that are there", "0", fmt.Sprintf("%d of %d", f.risen, f.deleted), f.risen == 0 && enough)
	proof.Promise(engine+": acknowledged changes undone", "0", fmt.Sprintf("%d of %d", f.undone, f.changes),
		f.undone == 0 && enough)
}

// The proof would notice: a note that goes away after it was acknowledged, one
// that comes twice, one that was deleted and is there, and a change that is undone.
func TestKillsNotice(t *testing.T) {
	t.Parallel()
	p := start(t)
	writers := startWriters(p)
	writers.await(t, (deletedOf+1)*writersAtOnce) // so that one of them has deleted a note
	if f := writers.stop(t); f.missing+f.twice+f.undone != 0 || f.notes < 20 || f.changes < 20 {
		t.Fatalf("without any harm: %+v", f)
	}
	w := writers.all[slices.IndexFunc(writers.all, func(w *writer) bool { return len(w.deleted) > 0 })]
	ids := w.client.get("/api/notes?limit=500").want(http.StatusOK).notes()
	harmed := 0
	for _, n := range ids {
		if n.ID != w.changing && harmed < 2 {
			harmed++
			w.client.call(http.MethodDelete, "/api/notes/"+n.ID, nil).want(http.StatusOK)
		}
	}
	w.client.create(ids[len(ids)-1].Title, "again")
	w.client.call(http.MethodPatch, "/api/notes/"+w.changing, note{Title: changeTitle(0)}).want(http.StatusOK)
	for title := range w.deleted {
		w.client.create(title, "again")
		break
	}
	if f := writers.stop(t); f.missing != 2 || f.twice != 1 || f.undone != 1 || f.risen != 1 {
		t.Errorf("with two notes deleted, one doubled, one back and a change undone: %+v", f)
	}
}

// A killer kills a process, and at times the database with it.
type killer struct {
	process   *process
	database  *testserver.Server // nil: SQLite's, which has no process of its own
	writers   *writers
	kills     int
	databases int           // kills that took the database, too
	slowest   time.Duration // from the start to readiness
}

func (k *killer) kill(t *testing.T) {
	k.writers.await(t, writersAtOnce)
	time.Sleep(50*time.Millisecond + rand.N(250*time.Millisecond))
	k.kills++
	k.process.signal(os.Kill)
	if k.database != nil && k.kills%3 == 0 {
		k.databases++
		k.database.Crash(t)
		k.database.Start(t)
	}
	k.process.kill() // waits for its end
	began := time.Now()
	k.process.start()
	k.process.awaitReady()
	k.slowest = max(k.slowest, time.Since(began))
}

// Writers are people who write for as long as they may.
type writers struct {
	all     []*writer
	stopped atomic.Bool
	running sync.WaitGroup
	notes   atomic.Int64 // that were acknowledged
}

// A writer creates notes, deletes some of them and changes one, and keeps
// account of the answers.
type writer struct {
	client       *client
	changing     string          // the id of the note that it changes
	acknowledged map[string]bool // titles of notes, without those that it has begun to delete
	deleted      map[string]bool // titles of notes
	changed      int             // the last change that was acknowledged
	notes        *atomic.Int64   // those of all writers that were acknowledged
	again        int             // requests that had no good answer and were sent again
}

func startWriters(p *process) *writers {
	w := &writers{}
	for n := range writersAtOnce {
		c := p.member(fmt.Sprintf("writer%d@example.com", n))
		w.all = append(w.all, &writer{client: c, changing: c.create(changeTitle(0), ""),
			acknowledged: map[string]bool{}, deleted: map[string]bool{}, notes: &w.notes})
	}
	p.t.Cleanup(func() { w.stopped.Store(true); w.running.Wait() })
	for _, each := range w.all {
		w.running.Go(func() { each.write(&w.stopped) })
	}
	return w
}

// await returns once so many more notes were acknowledged.
func (w *writers) await(t *testing.T, more int64) {
	t.Helper()
	enough := w.notes.Load() + more
	for deadline := time.Now().Add(patience); w.notes.Load() < enough; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d notes were acknowledged after %v, want %d", w.notes.Load(), patience, enough)
		}
	}
}

func changeTitle(n int) string { return fmt.Sprintf("change %d", n) }

// deletedOf is how many notes a writer creates for each that it deletes.
const deletedOf = 4

// write creates, deletes and changes in turn. What is refused, or cut, is sent again.
func (w *writer) write(stopped *atomic.Bool) {
	for i := 1; !stopped.Load(); i++ {
		title := fmt.Sprintf("note %d", i)
		if r, ok := w.insist(stopped, http.StatusCreated, http.MethodPost, "/api/notes", note{Title: title}, "Idempotency-Key",
			strings.ReplaceAll(title, " ", "-")); ok {
			w.acknowledged[title] = true
			w.notes.Add(1)
			if i%deletedOf == 0 {
				w.remove(stopped, title, r.note().ID)
			}
		}
		if _, ok := w.insist(stopped, http.StatusOK, http.MethodPatch, "/api/notes/"+w.changing, note{Title: changeTitle(i)}); ok {
			w.changed = i
		}
	}
}

// remove deletes a note. Until that is acknowledged it may be there or not.
func (w *writer) remove(stopped *atomic.Bool, title, id string) {
	delete(w.acknowledged, title)
	if _, ok := w.insist(stopped, http.StatusOK, http.MethodDelete, "/api/notes/"+id, nil); ok {
		w.deleted[title] = true
	}
}

// insist sends a request until it is acknowledged, and tells whether it was. What
// a second attempt to delete doesn't find, the first one has deleted.
func (w *writer) insist(stopped *atomic.Bool, want int, method, path string, body any, headers ...string) (reply, bool) {
	for attempt := 1; ; attempt++ {
		r, err := w.client.try(method, path, body, headers...)
		switch {
		case err == nil && (r.status == want || method == http.MethodDelete && attempt > 1 && r.status == http.StatusNotFound):
			return r, true
		case err == nil && r.status != http.StatusServiceUnavailable && r.status != http.StatusBadGateway: // which is a proxy's
			w.client.t.Errorf("%s %s = %d %.200s, want %d or 503", method, path, r.status, r.text, want)
			return r, false
		case stopped.Load():
			return r, false
		}
		w.again++
		time.Sleep(10 * time.Millisecond)
	}
}

// findings are what is there of what was acknowledged.
type findings struct {
	notes, changes, again  int // acknowledged
	deleted                int // acknowledged, and not among the notes
	found                  int // notes, the unacknowledged among them
	missing, twice, undone int
	risen                  int // notes that are there although their deletion was acknowledged
}

func (f findings) row() (cells []string) {
	for _, n := range []int{f.notes, f.deleted, f.changes, f.again, f.found, f.missing, f.twice, f.risen, f.undone} {
		cells = append(cells, fmt.Sprint(n))
	}
	return cells
}

// stop ends the writing, reads everything, and compares. It may be called again.
func (w *writers) stop(t *testing.T) (f findings) {
	t.Helper()
	w.stopped.Store(true)
	w.running.Wait()
	for _, each := range w.all {
		there := each.client.countTitles(t)
		change := each.client.get("/api/notes/" + each.changing).want(http.StatusOK).note().Title
		delete(there, change)
		if n, err := strconv.Atoi(strings.TrimPrefix(change, "change ")); err != nil || n < each.changed {
			t.Logf("%s has %q, and change %d was acknowledged", each.client.url, change, each.changed)
			f.undone++
		}
		for title := range each.acknowledged {
			if there[title] == 0 {
				f.missing++
			}
		}
		for title, n := range there {
			f.found += n
			if n > 1 {
				f.twice++
			}
			if each.deleted[title] {
				f.risen++
			}
		}
		f.notes += len(each.acknowledged)
		f.deleted += len(each.deleted)
		f.changes += each.changed
		f.again += each.again
	}
	return f
}

// countTitles is how many notes there are of each title, read page by page.
func (c *client) countTitles(t *testing.T) map[string]int {
	t.Helper()
	titles, query := map[string]int{}, "?limit=500"
	for {
		var page struct {
			Data       []note
			NextCursor string
		}
		c.get("/api/notes" + query).want(http.StatusOK).decode(&page)
		for _, n := range page.Data {
			titles[n.Title]++
		}
		if page.NextCursor == "" {
			return titles
		}
		query = "?limit=500&cursor=" + url.QueryEscape(page.NextCursor)
	}
}
