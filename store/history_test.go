package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"

	"notesd/internal/testserver"
	"notesd/notes"
	"notesd/store"
	"notesd/store/dump"
	"notesd/store/storetest"
)

const aYear = 365 * day

func thinned(t testing.TB, s *store.Store, history time.Duration) int64 {
	t.Helper()
	swept, err := s.Sweep(t.Context(), store.SweepConfig{TrashRetention: 100 * aYear, History: history})
	if err != nil {
		t.Fatalf("Sweep = %+v, %v", swept, err)
	}
	return swept.Versions
}

// An editor changes a note at random, and keeps a copy of every version that is kept.
type editor struct {
	s      *store.Store
	owner  string
	random *rand.Rand

	now      notes.Version
	versions []notes.Version // the oldest first
	facts    []store.Thinnable
}

func newEditor(t testing.TB, s *store.Store, seed uint64) *editor {
	e := &editor{s: s, owner: newOwner(t, s), random: rand.New(rand.NewPCG(seed, 1))}
	e.now.By = phone
	var err error
	e.now.Note, err = s.CreateNote(store.WithAuthor(t.Context(), phone), e.owner, notes.NewNote{Title: "a note", Content: e.words(300)})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *editor) words(n int) string {
	var text strings.Builder
	for range n {
		fmt.Fprintf(&text, "%x%s", e.random.IntN(1<<24), []string{" ", " ", "\n", " ä "}[e.random.IntN(4)])
	}
	return text.String()
}

// edit waits for a while, and then changes the note.
func (e *editor) edit(t testing.TB) {
	t.Helper()
	time.Sleep([]time.Duration{time.Second, 5 * time.Second, 5 * time.Second, time.Minute, 2 * time.Minute, time.Hour, 5 * time.Hour}[e.random.IntN(7)])
	author := e.now.By
	if e.random.IntN(8) == 0 {
		author = []notes.Author{phone, laptop, script}[e.random.IntN(3)]
	}
	content := e.now.Content
	at := e.random.IntN(len(content) + 1)
	for !utf8Start(content, at) {
		at--
	}
	var p notes.Patch
	switch e.random.IntN(12) {
	case 0:
		p.Title = new(strings.TrimSpace(e.words(2)))
	case 1:
		p.Tags = &[]string{strings.TrimSpace(e.words(1))}
	case 2:
		p.Pinned = new(!e.now.Pinned)
	case 3:
		p.Trashed = new(!e.now.Trashed)
	case 4:
		p.Content = new(content[:at]) // which removes the rest
	case 5:
		p.Content = new(e.words(1 + e.random.IntN(500)))
	default:
		p.Content = new(content[:at] + e.words(1+e.random.IntN(5)) + content[at:])
	}
	var preconditions []store.Precondition
	if e.random.IntN(2) == 0 {
		preconditions = append(preconditions, ifRevision(e.now.Revision))
	}
	n, err := e.s.PatchNote(store.WithAuthor(t.Context(), author), e.owner, e.now.ID, p, preconditions...)
	if err != nil {
		t.Fatal(err)
	}
	if n.Revision == e.now.Revision {
		return
	}
	fact := store.Thinnable{At: e.now.UpdatedAt.UnixMilli(), Author: e.now.By.Stored()}
	if len(preconditions) == 0 && author != e.now.By || n.Trashed && !e.now.Trashed {
		fact.Keep = 2
	}
	was := e.now
	was.ChangeSeq = 0
	e.versions, e.facts = append(e.versions, was), append(e.facts, fact)
	e.now = notes.Version{Note: n, By: author}
}

func utf8Start(s string, at int) bool { return at == len(s) || s[at]&0xC0 != 0x80 }

// thin does to the copies what thinning does.
func (e *editor) thin(history time.Duration) {
	stay := store.Thin(e.facts, e.now.UpdatedAt.UnixMilli(), time.Now().UnixMilli(), history)
	var versions []notes.Version
	var facts []store.Thinnable
	for _, i := range stay {
		versions, facts = append(versions, e.versions[i]), append(facts, e.facts[i])
	}
	e.versions, e.facts = versions, facts
}

// compare compares what the store has with the copies: every revision, and the note at many times.
func (e *editor) compare(t testing.TB, when string, s *store.Store, instants int) {
	t.Helper()
	kept := map[int64]notes.Version{}
	for _, v := range e.versions {
		kept[v.Revision] = v
	}
	for revision := int64(1); revision < e.now.Revision; revision++ {
		got, err := s.Version(t.Context(), e.owner, e.now.ID, revision)
		want, found := kept[revision]
		if !found && !errors.Is(err, store.ErrVersionGone) {
			t.Errorf("%s: revision %d = %v, want ErrVersionGone", when, revision, err)
		}
		if diff := cmp.Diff(want, got); found && (diff != "" || err != nil) {
			t.Fatalf("%s: revision %d = %v (-want +got):\n%s", when, revision, err, diff)
		}
	}
	began, took := e.now.CreatedAt, time.Since(e.now.CreatedAt)
	for range instants {
		at := began.Add(time.Duration(e.random.Int64N(int64(took) + 1)))
		got, err := s.NoteAt(t.Context(), e.owner, e.now.ID, at)
		i, _ := slices.BinarySearchFunc(e.versions, at.UnixMilli()+1, func(v notes.Version, ms int64) int { return int(v.UpdatedAt.UnixMilli() - ms) })
		switch {
		case !at.Before(e.now.UpdatedAt):
			if got.Revision != e.now.Revision || err != nil {
				t.Fatalf("%s: NoteAt(%v) = revision %d, %v, want the present one", when, at, got.Revision, err)
			}
		case i == 0:
			if !errors.Is(err, store.ErrVersionGone) {
				t.Fatalf("%s: NoteAt(%v) = revision %d, %v, want ErrVersionGone", when, at, got.Revision, err)
			}
		default:
			if diff := cmp.Diff(e.versions[i-1], got); diff != "" || err != nil {
				t.Fatalf("%s: NoteAt(%v) = %v (-want +got):\n%s", when, at, err, diff)
			}
		}
	}
	list, _, err := s.Versions(t.Context(), e.owner, e.now.ID, notes.VersionPage{Limit: 10_000})
	if err != nil || len(list) != len(e.versions)+1 {
		t.Fatalf("%s: %d versions are listed, %v, want %d", when, len(list), err, len(e.versions)+1)
	}
	for i, info := range list[1:] {
		if want := e.versions[len(e.versions)-1-i]; info.Revision != want.Revision || info.By != want.By || !info.At.Equal(want.UpdatedAt) {
			t.Errorf("%s: %+v is listed, want revision %d", when, info, want.Revision)
		}
	}
}

// Whatever was written is what the history says, before thinning and after it, when versions that
// thinning keeps are all there.
func TestHistoryModel(t *testing.T) {
	eachInTime(t, func(t *testing.T, s *store.Store) {
		for _, history := range []time.Duration{aYear, 10 * day, 0} {
			e := newEditor(t, s, uint64(history)+1)
			instants, rounds := 100, 5
			if history == aYear {
				instants, rounds = 1000, 12
			}
			for range 150 {
				e.edit(t)
			}
			e.compare(t, "before thinning", s, instants)
			removed := 0
			for round := range rounds {
				before := len(e.versions)
				e.thin(history)
				removed += before - len(e.versions)
				if got := thinned(t, s, history); got != int64(before-len(e.versions)) {
					t.Errorf("round %d removed %d versions, want %d", round, got, before-len(e.versions))
				}
				if round%4 == 0 {
					e.compare(t, fmt.Sprint("after thinning ", round), s, 50)
				}
				wantHistory(t, s, e.owner, len(e.versions))
				if got := thinned(t, s, history); got != 0 {
					t.Errorf("thinning again at once removed %d versions", got)
				}
				time.Sleep(time.Duration(1+round) * 10 * time.Hour)
				for range 20 {
					e.edit(t)
				}
			}
			e.thin(history)
			thinned(t, s, history)
			e.compare(t, "in the end", s, instants)
			wantHistory(t, s, e.owner, len(e.versions))
			if removed == 0 {
				t.Error("thinning removed nothing")
			}
			if err := s.DeleteNote(t.Context(), e.owner, e.now.ID); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A backup has the history, and a restore into the other engine brings it back, thinned or not.
func TestHistoryInBackup(t *testing.T) {
	storetest.Engines(t, func(t *testing.T, url string) {
		synctest.Test(t, func(t *testing.T) {
			s := storetest.Open(t, url)
			s.LookAtFilesEvery(aYear)
			e := newEditor(t, s, 3)
			for round := range 2 {
				for range 100 {
					e.edit(t)
				}
				if round > 0 {
					e.thin(aYear)
					thinned(t, s, aYear)
				}
				var backup [][]byte
				if _, err := dump.Dump(t.Context(), url, func(line []byte) error {
					backup = append(backup, slices.Clone(line))
					return nil
				}); err != nil {
					t.Fatal(err)
				}
				into := storetest.EmptySQLite(t)
				if s.Engine() == "SQLite" {
					into = testserver.EmptyPostgres(t)
				}
				done, err := dump.Restore(t.Context(), into, func() (line []byte, err error) {
					if len(backup) == 0 {
						return nil, io.EOF
					}
					line, backup = backup[0], backup[1:]
					return line, nil
				}, time.Time{})
				if err != nil || len(done.Faults) > 0 {
					t.Fatalf("Restore = %+v, %v", done, err)
				}
				restored := storetest.Open(t, into)
				restored.LookAtFilesEvery(aYear)
				e.compare(t, fmt.Sprint("restored ", round), restored, 100)
				wantHistory(t, restored, e.owner, len(e.versions))
			}
		})
	})
}

// Typing makes deltas, with a whole text at least every 64 versions, and the newest is whole.
func TestDeltaRuns(t *testing.T) {
	eachInTime(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		text := strings.Repeat("some words of a note that is long enough for a delta\n", 20)
		n := newNote(t, s, owner, notes.NewNote{Title: "t", Content: text})
		written := int64(0)
		for round, edits := range []int{1, 62, 5, 130, 70} {
			for range edits {
				time.Sleep(time.Second)
				written++
				if _, err := s.PatchNote(t.Context(), owner, n.ID, notes.Patch{Content: new(text + fmt.Sprint(written))}); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(2 * time.Hour)
			thinned(t, s, aYear)
			var bases []*int64
			var rows []struct{ BaseRevision *int64 }
			if err := s.DB().Raw("SELECT base_revision FROM note_versions ORDER BY revision").Scan(&rows).Error; err != nil {
				t.Fatal(err)
			}
			for _, row := range rows {
				bases = append(bases, row.BaseRevision)
			}
			run, whole := 0, 0
			for i, base := range bases {
				if run++; base == nil {
					run = 0
					whole++
				} else if *base != int64(i)+2 {
					t.Errorf("round %d: revision %d is a delta against %d, want the next", round, i+1, *base)
				}
				if run > 63 {
					t.Fatalf("round %d: more than 63 deltas up to revision %d", round, i+1)
				}
			}
			if len(bases) != int(written) || bases[len(bases)-1] != nil || whole > 2+len(bases)/40 {
				t.Errorf("round %d: %d versions, %d of them whole, the last %v", round, len(bases), whole, bases[len(bases)-1])
			}
			for revision := int64(1); revision <= written; revision++ {
				want := text
				if revision > 1 {
					want += fmt.Sprint(revision - 1)
				}
				if v, err := s.Version(t.Context(), owner, n.ID, revision); err != nil || v.Content != want {
					t.Fatalf("round %d: revision %d = %.20q, %v", round, revision, v.Content, err)
				}
			}
			list, _, err := s.Versions(t.Context(), owner, n.ID, notes.VersionPage{Limit: 1000})
			if err != nil {
				t.Fatal(err)
			}
			for _, info := range list {
				if info.Lines == nil {
					t.Errorf("round %d: revision %d has no count of lines", round, info.Revision)
				}
			}
			if round == 2 {
				wantPages(t, s, owner, n.ID, list)
			}
		}
	})
}

// A delta that is damaged is an error that names it, when it is read and when it is thinned. What
// does not lead to it is read as before.
func TestDamagedDelta(t *testing.T) {
	eachInTime(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		text := strings.Repeat("some words of a note that is long enough for a delta\n", 20)
		n := newNote(t, s, owner, notes.NewNote{Title: "t", Content: text})
		for i := range 5 {
			time.Sleep(time.Minute * 2)
			if _, err := s.PatchNote(t.Context(), owner, n.ID, notes.Patch{Content: new(text + fmt.Sprint(i))}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Hour)
		thinned(t, s, aYear)
		if err := s.WriterDB().Exec("UPDATE note_versions SET delta = substr(delta, 1, length(delta) - 1) WHERE revision = 3").Error; err != nil {
			t.Fatal(err)
		}
		for revision := int64(1); revision <= 6; revision++ {
			_, err := s.Version(t.Context(), owner, n.ID, revision)
			if damaged := err != nil && strings.Contains(err.Error(), "revision 3 of note"); damaged != (revision <= 3) {
				t.Errorf("revision %d = %v, want an error that names revision 3 up to that", revision, err)
			}
		}
		if _, _, err := s.Versions(t.Context(), owner, n.ID, notes.VersionPage{Limit: 10}); err == nil {
			t.Error("Versions of a damaged history = nil")
		}
		time.Sleep(2 * day)
		if _, err := s.Sweep(t.Context(), store.SweepConfig{TrashRetention: aYear, History: aYear}); err != nil && !strings.Contains(err.Error(), "revision 3") {
			t.Errorf("Sweep of a damaged history = %v", err)
		}
	})
}

// If a transaction fails neither the change nor a version of it is there, and a version is never
// there without its change.
func TestVersionWithItsChange(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		n := newNote(t, s, owner, notes.NewNote{Title: "t", Content: "before"})
		for _, table := range []string{"notes", "note_versions", "user_counters"} {
			forbid, allow := forbidding(s, table)
			if err := s.WriterDB().Exec(forbid).Error; err != nil {
				t.Fatal(err)
			}
			if _, err := s.PatchNote(t.Context(), owner, n.ID, notes.Patch{Content: new("after")}); err == nil {
				t.Errorf("PatchNote without %s = nil", table)
			}
			for statement := range strings.SplitSeq(allow, ";") {
				if err := s.WriterDB().Exec(statement).Error; err != nil {
					t.Fatal(err)
				}
			}
			if got, err := s.Note(t.Context(), owner, n.ID); err != nil || got.Content != "before" || got.Revision != 1 {
				t.Errorf("after a write that %s refused the note is %+v, %v", table, got, err)
			}
			wantHistory(t, s, owner, 0)
		}
	})
}

// forbidding returns statements that make writes to a table fail, and that end this.
func forbidding(s *store.Store, table string) (forbid, allow string) {
	event := "UPDATE"
	if table == "note_versions" {
		event = "INSERT"
	}
	if s.Engine() == "SQLite" {
		return fmt.Sprintf("CREATE TRIGGER forbidden BEFORE %s ON %s BEGIN SELECT raise(ABORT, 'forbidden'); END", event, table),
			"DROP TRIGGER forbidden"
	}
	return fmt.Sprintf(`CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'forbidden'; END $$;
		CREATE TRIGGER forbidden BEFORE %s ON %s FOR EACH ROW EXECUTE FUNCTION forbid()`, event, table),
		fmt.Sprintf("DROP TRIGGER forbidden ON %s; DROP FUNCTION forbid()", table)
}

// A failed transaction of the thinner leaves the history as it is, and the next one goes on.
func TestThinningFails(t *testing.T) {
	eachInTime(t, func(t *testing.T, s *store.Store) {
		e := newEditor(t, s, 5)
		for range 100 {
			e.edit(t)
		}
		time.Sleep(2 * day)
		forbid, allow := forbidding(s, "user_counters")
		if err := s.WriterDB().Exec(forbid).Error; err != nil {
			t.Fatal(err)
		}
		if _, err := s.Sweep(t.Context(), store.SweepConfig{TrashRetention: aYear, History: aYear}); err == nil {
			t.Error("Sweep without a transaction = nil")
		}
		e.compare(t, "after a thinning that failed", s, 10)
		for statement := range strings.SplitSeq(allow, ";") {
			if err := s.WriterDB().Exec(statement).Error; err != nil {
				t.Fatal(err)
			}
		}
		e.thin(aYear)
		thinned(t, s, aYear)
		e.compare(t, "after the next thinning", s, 10)
	})
}

// before calls do once, before a query of the store's readers for which matches holds.
func before(t *testing.T, s *store.Store, matches func(q store.Query) bool, do func()) (done func() bool) {
	t.Helper()
	called := false
	err := s.DB().Callback().Row().Before("gorm:row").Register("before", func(db *gorm.DB) {
		if !called && matches(store.Query{SQL: db.Statement.SQL.String(), Args: db.Statement.Vars}) {
			called = true
			do()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return func() bool { return called }
}

// A version that is replaced while its history is thinned is as young as it is.
func TestReplacedWhileThinned(t *testing.T) {
	eachInTime(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		n := newNote(t, s, owner, notes.NewNote{Title: "t", Content: "1"})
		patch := func(content string) {
			if _, err := s.PatchNote(t.Context(), owner, n.ID, notes.Patch{Content: &content}); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Hour)
		patch("2")
		time.Sleep(3 * day)
		planned := 0
		done := before(t, s, func(q store.Query) bool {
			if strings.HasPrefix(q.SQL, "SELECT updated_at FROM notes") || strings.Contains(q.SQL, "AS delta_bytes") {
				planned++
			}
			return planned == 2
		}, func() { patch("3") })
		if removed := thinned(t, s, day); removed != 1 || !done() {
			t.Errorf("thinning removed %d versions, want revision 1 alone; replaced meanwhile: %t", removed, done())
		}
		if v, err := s.Version(t.Context(), owner, n.ID, 2); err != nil || v.Content != "2" {
			t.Errorf("the version that was just replaced = %q, %v", v.Content, err)
		}
	})
}

// A version that is read by way of many deltas reserves the memory of two texts, and of deltas that are
// as long as one, unless all are small.
func TestVersionReserves(t *testing.T) {
	eachInTime(t, func(t *testing.T, s *store.Store) {
		e := newEditor(t, s, 7)
		for _, row := range []struct{ words, asks int }{{500, 0}, {4000, 1}} { // of at most 10 bytes
			n := newNote(t, s, e.owner, notes.NewNote{Title: "t", Content: e.words(row.words)})
			written := []string{n.Content}
			for range 6 {
				time.Sleep(2 * time.Minute)
				written = append(written, e.words(row.words))
				if _, err := s.PatchNote(t.Context(), e.owner, n.ID, notes.Patch{Content: new(written[len(written)-1])}); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(2 * time.Hour)
			thinned(t, s, aYear)
			var deltas int64
			err := s.DB().Raw("SELECT sum(length(delta)) FROM note_versions JOIN notes ON note_key = key WHERE id = ?", n.ID).Scan(&deltas).Error
			if err != nil || deltas < 5*int64(row.words) {
				t.Fatalf("the deltas have %d bytes, %v", deltas, err)
			}
			var asked []int64
			ctx := store.WithReserve(t.Context(), func(bytes int64) error { asked = append(asked, bytes); return nil })
			if v, err := s.Version(ctx, e.owner, n.ID, 1); err != nil || v.Content != written[0] {
				t.Errorf("revision 1 has %d bytes, %v", len(v.Content), err)
			}
			longest := 0
			for _, text := range written {
				longest = max(longest, len(text))
			}
			if len(asked) != row.asks || row.asks > 0 && asked[0]/int64(longest) != 3 {
				t.Errorf("%d bytes of deltas and texts of %d: asked for %v", deltas, longest, asked)
			}
			full := errors.New("full")
			ctx = store.WithReserve(t.Context(), func(int64) error { return full })
			if _, err := s.Version(ctx, e.owner, n.ID, 1); errors.Is(err, full) != (row.asks > 0) {
				t.Errorf("without memory: %v", err)
			}
			if row.asks == 0 {
				continue // it is read at once
			}
			done := before(t, s, func(q store.Query) bool {
				return strings.HasPrefix(q.SQL, "SELECT note_key, revision, base_revision, delta, content")
			}, func() {
				if err := s.DeleteVersions(t.Context(), e.owner, n.ID); err != nil {
					t.Error(err)
				}
			})
			if _, err = s.Version(t.Context(), e.owner, n.ID, 1); !errors.Is(err, store.ErrVersionGone) || !done() {
				t.Errorf("a version that is deleted while it is read: %v; deleted: %t", err, done())
			}
		}
	})
}

// A version is not stored against one that has been deleted since.
func TestBaseDeletedWhileThinned(t *testing.T) {
	eachInTime(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		text := strings.Repeat("some words of a note that is as long as a note may be\n", 30_000) // two of which fill a step
		n := newNote(t, s, owner, notes.NewNote{Title: "t", Content: text})
		for i := range 4 {
			time.Sleep(2 * time.Minute)
			if _, err := s.PatchNote(t.Context(), owner, n.ID, notes.Patch{Content: new(text + fmt.Sprint(i+2))}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Hour)
		done := before(t, s, func(q store.Query) bool { // the texts of revisions 2 and 3 have been read
			return strings.HasPrefix(q.SQL, "WITH RECURSIVE chain") && q.Args[1] == int64(1)
		}, func() {
			if err := s.WriterDB().Exec("DELETE FROM note_versions WHERE revision = 3").Error; err != nil {
				t.Error(err)
			}
		})
		for round := range 2 {
			thinned(t, s, aYear)
			for revision, want := range map[int64]string{1: text, 2: text + "2"} {
				if v, err := s.Version(t.Context(), owner, n.ID, revision); err != nil || v.Content != want {
					t.Errorf("round %d: revision %d has %d bytes, %v", round, revision, len(v.Content), err)
				}
			}
		}
		if !done() {
			t.Error("no base was deleted")
		}
	})
}

// Saves of a note that grows to 20 KB cost little beside their texts at first, and in the end no more
// than twice the note.
func TestHistorySize(t *testing.T) {
	const saves = 2000
	eachInTime(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		ctx := store.WithAuthor(context.Background(), notes.Author{Kind: notes.KindSession, ID: "0123abcd", Name: "Firefox on Linux"})
		random := rand.New(rand.NewPCG(1, 2))
		text := make([]byte, 20_000)
		for i := range text {
			text[i] = "etaoin shrdlu\n"[random.IntN(14)]
		}
		n, err := s.CreateNote(ctx, owner, notes.NewNote{Title: "A note", Content: string(text[:10_000])})
		if err != nil {
			t.Fatal(err)
		}
		texts := 0
		for i := range saves {
			time.Sleep(5 * time.Second)
			size := 10_000 + (i+1)*10_000/saves
			texts += 10_000 + i*10_000/saves
			if _, err := s.PatchNote(ctx, owner, n.ID, notes.Patch{Content: new(string(text[:size]))}); err != nil {
				t.Fatal(err)
			}
		}
		rows, indexes := historySize(t, s)
		var whole int64
		if err := s.DB().Raw("SELECT coalesce(sum(length(content)), 0) + coalesce(sum(length(delta)), 0) FROM note_versions").Scan(&whole).Error; err != nil {
			t.Fatal(err)
		}
		beside := float64(rows+indexes-whole) / float64(saves)
		t.Logf("%d versions: %d bytes of rows, %d of indexes, %d of texts and deltas, %.0f beside each", saves, rows, indexes, whole, beside)
		most := 150.0
		if s.Engine() == "PostgreSQL" { // whose rows and index entries have heads of 32 and 12 bytes
			most = 175
		}
		if beside > most {
			t.Errorf("%.0f bytes a version beside its text, want at most %.0f", beside, most)
		}
		time.Sleep(2 * day)
		thinned(t, s, aYear)
		rows, indexes = historySize(t, s)
		t.Logf("thinned: %d bytes of rows, %d of indexes", rows, indexes)
		var left int64
		if err := s.DB().Raw("SELECT count(*) FROM note_versions").Scan(&left).Error; err != nil {
			t.Fatal(err)
		}
		// The pages of an index that have become empty are used again, so its entries are counted.
		if total := rows + left*50; total > 2*20_000 {
			t.Errorf("%d versions have %d bytes, want at most twice the note", left, total)
		}
	})
}

// historySize returns the bytes of the versions' rows with their texts, and of the indexes.
func historySize(t *testing.T, s *store.Store) (rows, indexes int64) {
	t.Helper()
	query := `SELECT coalesce(sum(CASE WHEN name = 'note_versions' THEN payload + 8 * ncell END), 0) AS rows,
		coalesce(sum(CASE WHEN name <> 'note_versions' THEN pgsize END), 0) AS indexes
		FROM dbstat WHERE name IN (SELECT name FROM sqlite_schema WHERE tbl_name = 'note_versions')`
	if s.Engine() == "PostgreSQL" { // which has 4 more bytes in its page for a row, and long texts elsewhere
		query = `SELECT coalesce(sum(4 + coalesce(octet_length(content), 0) + coalesce(octet_length(delta), 0) +
			pg_column_size(ROW(note_key, revision, at, bytes, due, keep, flags, author, title, tags, color, trashed_at, base_revision))), 0)::bigint AS rows,
			pg_indexes_size('note_versions') AS indexes FROM note_versions`
	}
	var size struct{ Rows, Indexes int64 }
	if err := s.DB().Raw(query).Scan(&size).Error; err != nil {
		t.Fatal(err)
	}
	return size.Rows, size.Indexes
}
