package dump_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"notesd/internal/testkit"
	"notesd/internal/testserver"
	"notesd/notes"
	"notesd/store"
	"notesd/store/dump"
	"notesd/store/storetest"
)

func TestMain(m *testing.M) { testserver.Main(m) }

// lines are a backup's.
type lines [][]byte

// dumpOf takes a backup of the database at url.
func dumpOf(t testing.TB, url string) (lines, dump.Backup) {
	t.Helper()
	var all lines
	b, err := dump.Dump(t.Context(), url, func(line []byte) error {
		all = append(all, bytes.Clone(line))
		return nil
	})
	if err != nil {
		t.Fatalf("Dump(%s) = %v", url, err)
	}
	return all, b
}

// sameLines compares what two databases hold.
func sameLines(t testing.TB, what string, want, have lines) {
	t.Helper()
	if len(have) != len(want) {
		t.Errorf("%s: %d lines, want %d", what, len(have), len(want))
		return
	}
	for i := 1; i < len(want); i++ {
		if !bytes.Equal(have[i], want[i]) {
			t.Errorf("%s: line %d = %.500q, want %.500q", what, i, have[i], want[i])
		}
	}
}

// next reads lines, as Restore wants them.
func (l lines) next() func() ([]byte, error) {
	return func() ([]byte, error) {
		if len(l) == 0 {
			return nil, io.EOF
		}
		line := l[0]
		l = l[1:]
		return line, nil
	}
}

// vacant are databases of each engine that a backup can be restored into.
var vacant = map[string]func(t testing.TB) string{"SQLite": storetest.EmptySQLite, "PostgreSQL": testserver.EmptyPostgres}

// restored is the URL of a new database that a backup was restored into.
func restored(t testing.TB, engine string, backup lines) string {
	t.Helper()
	url := vacant[engine](t)
	done, err := dump.Restore(t.Context(), url, backup.next(), time.Time{})
	if err != nil {
		t.Fatalf("Restore into %s = %v", engine, err)
	}
	if len(done.Faults) > 0 || done.Engine != engine {
		t.Errorf("Restore into %s = %+v, want no faults", engine, done)
	}
	return url
}

// From each engine into each and back: the same lines, apart from the first.
func TestRestoreEveryWay(t *testing.T) {
	storetest.Engines(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		fillWithEverything(t, s)
		first, b := dumpOf(t, url)
		if b.Users != 3 || b.Notes != 5 {
			t.Errorf("Dump = %+v, want 3 users and 5 notes", b)
		}
		answers := allAnswers(t, s)
		for _, one := range []string{"SQLite", "PostgreSQL"} {
			second, _ := dumpOf(t, restored(t, one, first))
			for _, other := range []string{"SQLite", "PostgreSQL"} {
				again := restored(t, other, second)
				third, _ := dumpOf(t, again)
				sameLines(t, s.Engine()+", "+one+", "+other, first, third)
				sameAnswers(t, answers, storetest.Open(t, again))
			}
		}
	})
}

// fillWithEverything makes one of everything that a backup holds, with the
// edges of each.
func fillWithEverything(t testing.TB, s *store.Store) {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ada, err := s.CreateUser(ctx, "Ada@Example.com", "Ada", "$argon2id$…")
	must(err)
	grace, err := s.CreateUser(ctx, "grace@exämple.com", `Gr"ace \ <b>`, "hash")
	must(err)
	_, err = s.CreateUser(ctx, "nobody@example.com", "", "")
	must(err)
	for range 5 {
		_, err = s.CountFailedSignIn(ctx, grace.ID)
		must(err)
	}
	must(s.CountSignIn(ctx, ada))
	must(s.SetPassword(ctx, ada.ID, "$argon2id$…"))
	must(s.SetQuota(ctx, ada.ID, new(int64(1000)), nil))
	color := "teal"
	n, err := s.CreateNote(ctx, ada.ID, notes.NewNote{Title: "ΣΊΣΥΦΟΣ \u2028 line", Content: "a<b & \"c\"\r\n\t\x01 \U0001F600 Straße",
		Tags: []string{"z", "a", "Ä"}, Color: &color, Pinned: true})
	must(err)
	_, err = s.ToggleNote(ctx, ada.ID, n.ID, notes.FlagFavorite)
	must(err)
	_, err = s.CreateNote(ctx, ada.ID, notes.NewNote{Title: "empty", Content: ""})
	must(err)
	large, err := s.CreateNote(ctx, grace.ID, notes.NewNote{Title: "large", Content: strings.Repeat("Größe \n", 40_000), Markdown: true})
	must(err)
	trashed, err := s.CreateNote(ctx, grace.ID, notes.NewNote{Title: "trash", Content: "t", Archived: true})
	must(err)
	_, err = s.TrashNote(ctx, grace.ID, trashed.ID)
	must(err)
	_, err = s.CreateNote(ctx, ada.ID, notes.NewNote{Title: "once", Content: "c", IdempotencyKey: "key", BodyHash: []byte{0, 1, 0xff}})
	must(err)
	gone, err := s.CreateNote(ctx, grace.ID, notes.NewNote{Title: "gone", Content: "g"})
	must(err)
	must(s.DeleteNote(ctx, grace.ID, gone.ID))
	_, err = s.PatchNote(ctx, grace.ID, large.ID, notes.Patch{Title: new("Large")})
	must(err)
}

// sameAnswers compares a store's answers with those of another, and checks that a
// new note gets a new key.
func sameAnswers(t testing.TB, wanted map[string]any, have *store.Store) {
	t.Helper()
	answers := allAnswers(t, have)
	for question := range wanted {
		if !reflect.DeepEqual(answers[question], wanted[question]) { // which is quicker than to look for what differs
			t.Errorf("%s: %s: %.2000v, want %.2000v", have.Engine(), question, answers[question], wanted[question])
		}
	}
	ada, err := have.UserByEmail(t.Context(), "ADA@example.com")
	if err != nil {
		t.Fatal(err)
	}
	before, err := have.Counters(t.Context(), ada.ID)
	if err != nil {
		t.Fatal(err)
	}
	n, err := have.CreateNote(t.Context(), ada.ID, notes.NewNote{Title: "next"})
	if err != nil || n.Key < 7 || n.ChangeSeq != before.ChangeSeq+1 {
		t.Errorf("the next note = key %d, change %d, %v, want a key above 6 and change %d", n.Key, n.ChangeSeq, err, before.ChangeSeq+1)
	}
}

// allAnswers are what a store answers about everybody.
func allAnswers(t testing.TB, s *store.Store) map[string]any {
	t.Helper()
	all := map[string]any{}
	accounts, err := s.Accounts(t.Context(), store.AccountQuery{})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range accounts {
		all[u.Email] = u
		for _, q := range []notes.Query{{}, {Trashed: true}, {Archived: true}, {Sort: notes.ByTitle}, {Search: "STRASSE"},
			{Search: "grösse"}, {Tags: []string{"Ä"}}, {Limit: 1}} {
			refs, err := s.NoteRefs(t.Context(), u.ID, q)
			if err != nil {
				t.Fatal(err)
			}
			notes, err := s.NotesByRef(t.Context(), u.ID, refs)
			if err != nil {
				t.Fatal(err)
			}
			all[fmt.Sprintf("%s %+v", u.Email, q)] = []any{refs, notes}
		}
	}
	return all
}

// An author writes for two people in turn, first for one and then for the other, and
// keeps what each of them has after every change. A backup has both as they were
// at one instant, or the second would be ahead.
type author struct {
	s      *store.Store
	people [2]string

	mu    sync.Mutex              // guards what follows
	log   [2][]map[string]edition // by person and change number: notes by id
	acked [2]int                  // changes
}

// edition is what is compared of a note.
type edition struct {
	title, content, tags string
	revision, changeSeq  int64
	trashed              bool
}

func editionOf(n notes.Note) edition {
	return edition{n.Title, n.Content, strings.Join(n.Tags, ","), n.Revision, n.ChangeSeq, n.Trashed}
}

func newAuthor(t testing.TB, s *store.Store, name string) *author {
	t.Helper()
	a := &author{s: s}
	for i := range a.people {
		u, err := s.CreateUser(t.Context(), fmt.Sprintf("%s%d@example.com", name, i), name, "hash")
		if err != nil {
			t.Fatal(err)
		}
		a.people[i] = u.ID
		a.log[i] = []map[string]edition{{}}
	}
	return a
}

// write changes something of one person, then of the other, until ctx ends.
func (a *author) write(ctx context.Context, t testing.TB) {
	for ctx.Err() == nil {
		for i := range a.people {
			if err := a.change(i); err != nil {
				t.Errorf("a change = %v", err)
				return
			}
		}
	}
}

// change makes, changes, trashes or deletes a note of a person, and logs it.
func (a *author) change(i int) error {
	owner, ctx := a.people[i], context.Background()
	a.mu.Lock()
	state := maps.Clone(a.log[i][len(a.log[i])-1])
	a.mu.Unlock()
	ids := slices.Sorted(maps.Keys(state))
	var n notes.Note
	var err error
	what := rand.IntN(10)
	if len(ids) < 5 {
		what = 0
	}
	switch {
	case what < 3:
		n, err = a.s.CreateNote(ctx, owner, notes.NewNote{Title: "made", Content: strings.Repeat("x", rand.IntN(2000)), Tags: []string{"a", "b"}})
	case what < 7:
		n, err = a.s.PatchNote(ctx, owner, ids[rand.IntN(len(ids))], notes.Patch{Content: new(fmt.Sprint(rand.Int64())), Tags: &[]string{fmt.Sprint(rand.IntN(9))}})
	case what < 9:
		id := ids[rand.IntN(len(ids))]
		n, err = a.s.PatchNote(ctx, owner, id, notes.Patch{Trashed: new(!state[id].trashed)})
	default:
		id := ids[rand.IntN(len(ids))]
		err = a.s.DeleteNote(ctx, owner, id)
		delete(state, id)
	}
	if err != nil {
		return err
	}
	if n.ID != "" {
		state[n.ID] = editionOf(n)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.log[i] = append(a.log[i], state)
	a.acked[i]++
	return nil
}

func (a *author) acknowledged() [2]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.acked
}

// check holds a restored store to what was written: nothing that was
// acknowledged before the backup is missing, nothing is there that came after it,
// and both people are as they were at one instant.
func (a *author) check(t testing.TB, have *store.Store, before, after [2]int) {
	t.Helper()
	var at [2]int
	for i, owner := range a.people {
		c, err := have.Counters(t.Context(), owner)
		if err != nil {
			t.Fatal(err)
		}
		at[i] = int(c.ChangeSeq)
		if at[i] < before[i] || at[i] > after[i]+1 { // one may not have been acknowledged yet
			t.Errorf("restored change %d, want one of %d to %d", at[i], before[i], after[i]+1)
		}
		a.mu.Lock()
		want := a.log[i][at[i]]
		a.mu.Unlock()
		found := map[string]edition{}
		for _, trashed := range []bool{false, true} {
			refs, err := have.NoteRefs(t.Context(), owner, notes.Query{Trashed: trashed})
			if err != nil {
				t.Fatal(err)
			}
			notes, err := have.NotesByRef(t.Context(), owner, refs)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range notes {
				found[n.ID] = editionOf(n)
			}
		}
		if !maps.Equal(found, want) {
			t.Errorf("restored after change %d: %v, want %v", at[i], found, want)
		}
	}
	if at[0] != at[1] && at[0] != at[1]+1 {
		t.Errorf("restored the changes %v, which were never there together", at)
	}
}

// Under write load every backup is one instant, whichever engine it is restored into.
func TestDumpUnderLoad(t *testing.T) {
	storetest.Engines(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		ctx, stop := context.WithCancel(t.Context())
		var authors []*author
		var writing sync.WaitGroup
		for i := range 6 {
			a := newAuthor(t, s, fmt.Sprintf("author%d-", i))
			authors = append(authors, a)
			writing.Go(func() { a.write(ctx, t) })
		}
		type taken struct {
			lines         lines
			before, after [][2]int
		}
		acknowledged := func() (all [][2]int) {
			for _, a := range authors {
				all = append(all, a.acknowledged())
			}
			return all
		}
		var backups []taken
		for range 4 {
			time.Sleep(300 * time.Millisecond)
			before := acknowledged()
			l, _ := dumpOf(t, url)
			backups = append(backups, taken{l, before, acknowledged()})
		}
		stop()
		writing.Wait()
		for _, b := range backups {
			for engine := range vacant {
				have := storetest.Open(t, restored(t, engine, b.lines))
				for i, a := range authors {
					a.check(t, have, b.before[i], b.after[i])
				}
			}
		}
		t.Logf("changes at the backups: %v", backups[len(backups)-1].before)
	})
}

// What can't be restored leaves nothing, and says why.
func TestRestoreRefuses(t *testing.T) {
	source := storetest.EmptySQLite(t)
	s := storetest.Open(t, source)
	fillWithEverything(t, s)
	good, _ := dumpOf(t, source)
	broken := errors.New("broken")
	failsAt := func(n int) func() ([]byte, error) {
		next := good.next()
		return func() ([]byte, error) {
			if n--; n < 0 {
				return nil, broken
			}
			return next()
		}
	}
	changed := func(edit func(l lines) lines) func() ([]byte, error) { return edit(slices.Clone(good)).next() }
	last := len(good) - 1
	for _, row := range []struct {
		name string
		next func() func() ([]byte, error)
		want error
	}{
		{"nothing", func() func() ([]byte, error) { return lines{}.next() }, dump.ErrNotBackup},
		{"other text", func() func() ([]byte, error) { return lines{[]byte("hello")}.next() }, dump.ErrNotBackup},
		{"a newer schema", func() func() ([]byte, error) {
			return changed(func(l lines) lines { l[0] = []byte(`{"schema":99}`); return l })
		}, store.ErrSchema},
		{"no last line", func() func() ([]byte, error) { return changed(func(l lines) lines { return l[:last] }) }, dump.ErrNotBackup},
		{"a row too few", func() func() ([]byte, error) {
			return changed(func(l lines) lines { return slices.Delete(l, last-1, last) })
		}, dump.ErrNotBackup},
		{"a row that is too short", func() func() ([]byte, error) {
			return changed(func(l lines) lines { l[2] = []byte(`["x"]`); return l })
		}, dump.ErrNotBackup},
		{"a number for a text", func() func() ([]byte, error) {
			return changed(func(l lines) lines { l[2] = append([]byte("[1"), l[2][bytes.IndexByte(l[2], ','):]...); return l })
		}, dump.ErrNotBackup},
		{"something after the end", func() func() ([]byte, error) {
			return changed(func(l lines) lines { return append(l, l[last]) })
		}, dump.ErrNotBackup},
		{"another table", func() func() ([]byte, error) {
			return changed(func(l lines) lines { l[1] = []byte(`{"table":"sessions","columns":["token_hash"]}`); return l })
		}, dump.ErrNotBackup},
		{"a reader that fails at once", func() func() ([]byte, error) { return failsAt(1) }, broken},
		{"a reader that fails late", func() func() ([]byte, error) { return failsAt(last) }, broken},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			for engine, database := range vacant {
				if engine == "PostgreSQL" && row.want == dump.ErrNotBackup {
					continue // the same reader found out
				}
				url := database(t)
				if _, err := dump.Restore(t.Context(), url, row.next(), time.Time{}); !errors.Is(err, row.want) {
					t.Errorf("Restore into %s = %v, want %v", engine, err, row.want)
				}
				if engine == "SQLite" {
					if left, _ := filepath.Glob(url + "*"); len(left) > 0 {
						t.Errorf("it leaves %v", left)
					}
				}
				if row.want == broken {
					restoredInto(t, url, good) // which is empty still
				}
			}
		})
	}
}

// A backup with a row of a note or a user that it lacks is refused where no foreign key says so.
func TestRestoreRefusesOrphans(t *testing.T) {
	source := storetest.EmptySQLite(t)
	fillWithEverything(t, storetest.Open(t, source))
	good, _ := dumpOf(t, source)
	for _, table := range []string{"notes", "note_tags", "note_versions"} {
		backup := slices.Clone(good)
		i := slices.IndexFunc(backup, func(l []byte) bool { return bytes.HasPrefix(l, []byte(`{"table":"`+table+`"`)) })
		var head struct{ Columns []string }
		var row []any
		if err := errors.Join(json.Unmarshal(backup[i], &head), json.Unmarshal(backup[i+1], &row)); err != nil {
			t.Fatal(err)
		}
		if owner := slices.Index(head.Columns, "user_id"); owner >= 0 {
			row[owner] = "nobody"
		} else {
			row[slices.Index(head.Columns, "note_key")] = 99
		}
		backup[i+1], _ = json.Marshal(row)
		if _, err := dump.Restore(t.Context(), vacant["PostgreSQL"](t), backup.next(), time.Time{}); err == nil {
			t.Errorf("Restore succeeded with a row of %s that belongs to nothing", table)
		}
	}
}

func restoredInto(t testing.TB, url string, backup lines) {
	t.Helper()
	if _, err := dump.Restore(t.Context(), url, backup.next(), time.Time{}); err != nil {
		t.Errorf("Restore into %s = %v, want nil", url, err)
	}
}

// A database that is used is never touched; one that only has a schema is.
func TestRestoreOccupied(t *testing.T) {
	source := storetest.EmptySQLite(t)
	fillWithEverything(t, storetest.Open(t, source))
	good, _ := dumpOf(t, source)
	storetest.Engines(t, func(t *testing.T, url string) {
		s, err := store.Open(t.Context(), store.Config{URL: url, Log: testkit.Log(t)})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s.Engine() == "SQLite" {
			if _, err := dump.Restore(t.Context(), url, good.next(), time.Time{}); err == nil || !strings.Contains(err.Error(), "in use by notesd") {
				t.Errorf("Restore into a file that is served = %v", err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		restoredInto(t, url, good)
		if _, err := dump.Restore(t.Context(), url, good.next(), time.Time{}); !errors.Is(err, dump.ErrOccupied) || !strings.Contains(err.Error(), "accounts 3, notes 5") {
			t.Errorf("Restore on top = %v, want ErrOccupied and what is there", err)
		}
		again, _ := dumpOf(t, url)
		sameLines(t, "after the refusal", good, again)
	})
}

// A log of changes that was left behind would be taken for the new file's.
func TestRestoreBesideOldLog(t *testing.T) {
	source := storetest.EmptySQLite(t)
	s := storetest.Open(t, source)
	fillWithEverything(t, s)
	good, _ := dumpOf(t, source)
	wal, err := os.ReadFile(source + "-wal")
	if err != nil || len(wal) == 0 {
		t.Fatalf("no log of changes: %v", err)
	}
	url := storetest.EmptySQLite(t)
	if err := os.MkdirAll(filepath.Dir(url), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(url+"-wal", wal, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := dump.Restore(t.Context(), url, good.next(), time.Time{}); !errors.Is(err, dump.ErrOccupied) {
		t.Errorf("Restore = %v, want ErrOccupied", err)
	}
}

// After a restore no revision and no change number is given out that a client may know from the time
// that was lost. The history is there, and who made each revision.
func TestRestoreAfterLoss(t *testing.T) {
	for _, old := range []bool{false, true} {
		storetest.Engines(t, func(t *testing.T, source string) {
			s := storetest.Open(t, source)
			fillWithEverything(t, s)
			ada, err := s.UserByEmail(t.Context(), "ada@example.com")
			if err != nil {
				t.Fatal(err)
			}
			author := notes.Author{Kind: notes.KindToken, Name: "script", ID: "1"}
			n, err := s.CreateNote(store.WithAuthor(t.Context(), author), ada.ID, notes.NewNote{Title: "first"})
			if err == nil {
				n, err = s.PatchNote(store.WithAuthor(t.Context(), author), ada.ID, n.ID, notes.Patch{Title: new("second")})
			}
			if err != nil {
				t.Fatal(err)
			}
			backup, _ := dumpOf(t, source)
			if old {
				backup, _ = olderBackup(t, backup)
			}
			url := vacant[s.Engine()](t)
			done, err := dump.Restore(t.Context(), url, backup.next(), time.Now())
			if err != nil || len(done.Faults) > 0 {
				t.Fatalf("Restore = %+v, %v", done, err)
			}
			have := storetest.Open(t, url)
			raised, err := have.Note(t.Context(), ada.ID, n.ID)
			if err != nil || raised.Revision <= n.Revision+1_000_000 {
				t.Errorf("the note = %+v, %v, want a revision more than 1 000 000 above %d", raised, err, n.Revision)
			}
			got, err := have.Version(t.Context(), ada.ID, n.ID, raised.Revision)
			if err != nil || got.Title != "second" || !old && got.By != author {
				t.Errorf("the note's present version = %+v, %v", got, err)
			}
			if _, err := have.Version(t.Context(), ada.ID, n.ID, n.Revision+1); !errors.Is(err, store.ErrVersionGone) {
				t.Errorf("a version from the time that was lost = %v, want ErrVersionGone", err)
			}
			first, err := have.Version(t.Context(), ada.ID, n.ID, 1)
			if old != errors.Is(err, store.ErrVersionGone) || !old && (first.Title != "first" || first.By != author) {
				t.Errorf("the first version = %+v, %v", first, err)
			}
			for _, since := range []int64{1, n.ChangeSeq, n.ChangeSeq + 1, n.ChangeSeq + 1000} {
				if _, err := have.Changes(t.Context(), ada.ID, since, 100, false); !errors.Is(err, store.ErrGone) {
					t.Errorf("Changes since %d = %v, want ErrGone", since, err)
				}
			}
			page, err := have.Changes(t.Context(), ada.ID, 0, 100, false)
			if err != nil || len(page.Changes) == 0 {
				t.Fatalf("Changes since 0 = %+v, %v", page, err)
			}
			next, err := have.PatchNote(t.Context(), ada.ID, n.ID, notes.Patch{Title: new("third")})
			if err != nil || next.ChangeSeq <= n.ChangeSeq+1_000_000 || next.Revision != raised.Revision+1 {
				t.Errorf("the next change = %+v, %v", next, err)
			}
			page, err = have.Changes(t.Context(), ada.ID, page.Next, 100, false)
			if err != nil || len(page.Changes) != 1 {
				t.Errorf("Changes after a full read = %+v, %v, want the one change", page, err)
			}
		})
	}
}

// Whoever reads the restored database first finds the deletions forgotten: that is part of the transaction, and no
// later statement does it, which a death could prevent.
func TestRestoreForgetsAtOnce(t *testing.T) {
	source := storetest.EmptySQLite(t)
	fillWithEverything(t, storetest.Open(t, source))
	backup, _ := dumpOf(t, source)
	url := testserver.EmptyPostgres(t)
	s, err := store.Open(t.Context(), store.Config{URL: url, Log: testkit.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.WaitReady(t.Context()), s.Close()); err != nil { // the tables are there now
		t.Fatal(err)
	}
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range []string{
		`CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'too late'; END $$`,
		`CREATE TRIGGER die BEFORE UPDATE ON user_counters EXECUTE FUNCTION die()`,
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := dump.Restore(t.Context(), url, backup.next(), time.Now()); err != nil {
		t.Errorf("Restore = %v, want nil", err)
	}
	var people, forgetful int
	const query = `SELECT count(*), count(*) FILTER (WHERE forgotten_seq = change_seq) FROM user_counters`
	if err := db.QueryRowContext(t.Context(), query).Scan(&people, &forgetful); err != nil {
		t.Fatal(err)
	}
	if people != 3 || forgetful != people {
		t.Errorf("the deletions of %d of %d accounts are forgotten, want all 3", forgetful, people)
	}
}

// However often a backup is restored, and however old it is, no revision and no change number that was given out after
// one restore is given out after the next. A client that reads all from the start can do so in pages.
func TestRestoreAgain(t *testing.T) {
	storetest.Engines(t, func(t *testing.T, source string) {
		s := storetest.Open(t, source)
		fillWithEverything(t, s)
		ada, err := s.UserByEmail(t.Context(), "ada@example.com")
		if err != nil {
			t.Fatal(err)
		}
		n, err := s.CreateNote(t.Context(), ada.ID, notes.NewNote{Title: "first"})
		if err != nil {
			t.Fatal(err)
		}
		backup, b := dumpOf(t, source)
		const day, year = 24 * time.Hour, 365 * 24 * time.Hour
		last := n
		for _, after := range []time.Duration{-day, 10 * time.Second, time.Minute, day, year - time.Minute, year + 10*time.Minute, 20 * year} {
			url := vacant[s.Engine()](t)
			if _, err := dump.Restore(t.Context(), url, backup.next(), b.Taken.Add(after)); err != nil {
				t.Fatal(err)
			}
			have := storetest.Open(t, url)
			page, err := have.Changes(t.Context(), ada.ID, 0, 2, false)
			if err != nil || !page.More {
				t.Fatalf("after %v, the first page = %+v, %v, want another after it", after, page, err)
			}
			if page, err = have.Changes(t.Context(), ada.ID, page.Next, 100, false); err != nil || page.More {
				t.Errorf("after %v, the other page = %+v, %v, want all that is left", after, page, err)
			}
			if _, err := have.Changes(t.Context(), ada.ID, last.ChangeSeq, 100, false); !errors.Is(err, store.ErrGone) {
				t.Errorf("after %v, Changes since one of the restore before = %v, want ErrGone", after, err)
			}
			for i := range 5 {
				next, err := have.PatchNote(t.Context(), ada.ID, n.ID, notes.Patch{Content: new(fmt.Sprint(after, i))})
				if err != nil || next.Revision <= last.Revision || next.ChangeSeq <= last.ChangeSeq {
					t.Fatalf("after %v: revision %d, change %d, %v, want them above %d and %d",
						after, next.Revision, next.ChangeSeq, err, last.Revision, last.ChangeSeq)
				}
				last = next
			}
		}
	})
}

// A backup of an older schema is restored and migrated.
func TestRestoreOlder(t *testing.T) {
	source := storetest.EmptySQLite(t)
	s := storetest.Open(t, source)
	fillWithEverything(t, s)
	newest, err := s.SchemaVersion(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	good, _ := dumpOf(t, source)
	older, want := olderBackup(t, good)
	for engine, database := range vacant {
		url := database(t)
		done, err := dump.Restore(t.Context(), url, older.next(), time.Time{})
		if err != nil || done.Schema != newest || done.Backup.Schema != 1 {
			t.Errorf("Restore into %s = %+v, %v, want schema %d", engine, done, err, newest)
		}
		again, _ := dumpOf(t, url)
		sameLines(t, engine, want, again)
	}
}

// newColumns are what schemas after the first have added, with the values that a migration gives.
var newColumns = map[string]map[string]any{
	"users":         {"session_epoch": 0, "disabled_at": nil, "deleted_at": nil, "preferences": nil},
	"user_counters": {"history_bytes": 0, "quota_history": nil, "forgotten_seq": 0},
	"notes":         {"author": "", "author_revision": 0},
	"note_versions": nil, // the tables are new
	"app_tokens":    nil, "totp": nil, "recovery_codes": nil, "tag_renames": nil, "renamed_notes": nil,
}

// olderBackup returns a backup as the first schema had it, and what it is after the migrations.
func olderBackup(t *testing.T, backup lines) (older, want lines) {
	t.Helper()
	put := func(to *lines, v any) {
		var line bytes.Buffer
		out := json.NewEncoder(&line)
		out.SetEscapeHTML(false)
		if err := out.Encode(v); err != nil {
			t.Fatal(err)
		}
		*to = append(*to, bytes.TrimSpace(line.Bytes()))
	}
	older, want = lines{[]byte(`{"schema":1}`)}, lines{backup[0]}
	var section struct {
		Table   string   `json:"table"`
		Columns []string `json:"columns"`
	}
	var added map[string]any
	isNew := false
	rows := map[string]int{}
	for _, line := range backup[1:] {
		var foot struct {
			Rows    map[string]int `json:"rows"`
			LastKey int64          `json:"lastKey"`
		}
		var row []any
		in := json.NewDecoder(bytes.NewReader(line))
		in.UseNumber()
		switch {
		case bytes.HasPrefix(line, []byte(`{"table"`)):
			if err := json.Unmarshal(line, &section); err != nil {
				t.Fatal(err)
			}
			var found bool
			added, found = newColumns[section.Table]
			isNew = found && added == nil
			want = append(want, line)
			if isNew {
				continue
			}
			rows[section.Table] = 0
			old := section
			old.Columns = slices.DeleteFunc(slices.Clone(section.Columns), func(name string) bool { _, is := added[name]; return is })
			if len(old.Columns) != len(section.Columns)-len(added) {
				t.Fatalf("%s has not all of the columns %v", section.Table, added)
			}
			put(&older, old)
		case bytes.HasPrefix(line, []byte("{")):
			if err := in.Decode(&foot); err != nil {
				t.Fatal(err)
			}
			whole := maps.Clone(foot.Rows)
			foot.Rows = rows
			put(&older, foot)
			for table := range whole {
				whole[table] = rows[table]
			}
			foot.Rows = whole
			put(&want, foot)
		case isNew:
		default:
			if err := in.Decode(&row); err != nil {
				t.Fatal(err)
			}
			var kept []any
			for i, name := range section.Columns {
				if value, is := added[name]; is {
					row[i] = value
				} else {
					kept = append(kept, row[i])
				}
			}
			rows[section.Table]++
			put(&older, kept)
			put(&want, row)
		}
	}
	return older, want
}

// Every column of both schemas is in a backup, made anew, or left out on purpose.
func TestDumpColumns(t *testing.T) {
	leftOut := []string{"goose_db_version", "goose_lock", "schema_info", "sessions", "sign_in_failures", "sign_in_locks", "sqlite_sequence",
		"account_log", "note_search", "search_lists", "search_index"} // the last three are made of the notes
	storetest.Engines(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		driver, query := "sqlite", `SELECT group_concat(name, ' ') FROM sqlite_schema WHERE type = 'table'`
		if s.Engine() == "PostgreSQL" {
			driver, query = "pgx", `SELECT string_agg(table_name, ' ') FROM information_schema.tables WHERE table_schema = 'public'`
		}
		db, err := sql.Open(driver, url)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		var names string
		if err := db.QueryRowContext(t.Context(), query).Scan(&names); err != nil {
			t.Fatal(err)
		}
		tables := strings.Fields(names)
		saved := map[string]bool{}
		backup, _ := dumpOf(t, url) // which refuses a column that it doesn't know
		for _, line := range backup {
			if name, ok := strings.CutPrefix(string(line), `{"table":"`); ok {
				saved[name[:strings.IndexByte(name, '"')]] = true
			}
		}
		for _, name := range tables {
			if saved[name] == slices.Contains(leftOut, name) {
				t.Errorf("table %s: saved %t, left out %t", name, saved[name], slices.Contains(leftOut, name))
			}
		}
		for name := range saved {
			if !slices.Contains(tables, name) {
				t.Errorf("saved a table %s that is not there", name)
			}
		}
	})
}

// A database that is not there isn't made.
func TestDumpOfNothing(t *testing.T) {
	path := storetest.EmptySQLite(t)
	if _, err := dump.Dump(t.Context(), path, nil); err == nil || !strings.Contains(err.Error(), "there is no database") {
		t.Errorf("Dump = %v", err)
	}
	if _, err := os.Stat(filepath.Dir(path)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it made something: %v", err)
	}
	if _, err := dump.Dump(t.Context(), testserver.EmptyPostgres(t), nil); !errors.Is(err, store.ErrSchema) {
		t.Errorf("Dump of an empty database = %v, want ErrSchema", err)
	}
}

// A line costs about its length in memory, whatever is in it: JSON of a few bytes an
// element would become many times that.
func TestLineThatSwells(t *testing.T) {
	const much = 2 << 20
	list := func(element string) string { return strings.Repeat(element+",", much/len(element)) + element }
	users := []byte(`{"table":"users","columns":["id"]}`)
	for _, test := range []struct {
		name string
		line string
	}{
		{"a row with very many values", "[" + list("0") + "]"},
		{"a row with a list in it", "[[" + list("0") + "]]"},
		{"a row with an object in it", `[{"a":[` + list(`{"b":0}`) + `]}]`},
		{"a row that goes on", `["a"],` + list("0")},
		{"very many columns", `{"table":"user_counters","columns":[` + list(`""`) + "]}"},
		{"very many members", `{"table":"user_counters","columns":[],"x":[` + list("0") + "]}"},
		{"very many tables", `{"rows":{` + list(`"a":1`) + "}}"},
	} {
		t.Run(test.name, func(t *testing.T) {
			swollen := lines{[]byte("{}"), users, []byte(test.line)}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := dump.Check(swollen.next())
			runtime.ReadMemStats(&after)
			if !errors.Is(err, dump.ErrNotBackup) {
				t.Errorf("Check = %v, want ErrNotBackup", err)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > 6*uint64(len(test.line)) {
				t.Errorf("a line of %d MB took %d MB", len(test.line)>>20, took>>20)
			}
		})
	}
}

// Whatever the lines say, they are a backup or ErrNotBackup.
func FuzzCheck(f *testing.F) {
	source := storetest.EmptySQLite(f)
	fillWithEverything(f, storetest.Open(f, source))
	good, _ := dumpOf(f, source)
	for i, line := range good {
		if len(line) > 10_000 {
			good[i] = []byte(`[1]`)
		}
	}
	f.Add(bytes.Join(good, []byte("\n")))
	f.Add([]byte("{}\n" + `{"table":"idempotency_keys","columns":["user_id","body_hash"]}` + "\n[null,null]\n" + `{"rows":{"idempotency_keys":1}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, err := dump.Check(lines(bytes.Split(text, []byte("\n"))).next())
		if err != nil && !errors.Is(err, dump.ErrNotBackup) {
			t.Errorf("Check = %v", err)
		}
	})
}
