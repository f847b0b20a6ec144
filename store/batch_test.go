package store_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"
	"pgregory.net/rapid"

	"notesd/internal/testkit"
	"notesd/internal/testserver"
	"notesd/notes"
	"notesd/store"
	"notesd/store/storetest"
)

// onlooker is an Invalidator that remembers what it was told, and can hold writes up.
type onlooker struct {
	store.NoInvalidator // hears nothing else

	mu     sync.Mutex
	writes []*seenWrite
	gate   chan struct{}      // not nil: a write waits for it to be closed
	look   func(w *seenWrite) // if not nil, is called by each write's Writing and done
}

// seenWrite is one call of Writing, and of its done.
type seenWrite struct {
	changes []store.Change
	done    int
	now     []notes.Note
}

func (o *onlooker) BeginWrite(changes []store.Change) func([]notes.Note) {
	w := &seenWrite{changes: slices.Clone(changes)}
	o.mu.Lock()
	o.writes = append(o.writes, w)
	gate, look := o.gate, o.look
	o.mu.Unlock()
	if gate != nil {
		<-gate
	}
	if look != nil {
		look(w)
	}
	return func(now []notes.Note) {
		o.mu.Lock()
		w.done++
		w.now = now
		o.mu.Unlock()
		if look != nil {
			look(w)
		}
	}
}

// seen are the writes since the last call.
func (o *onlooker) seen() []*seenWrite {
	o.mu.Lock()
	defer o.mu.Unlock()
	seen := o.writes
	o.writes = nil
	return seen
}

// begun is how many writes seen would return.
func (o *onlooker) begun() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.writes)
}

// hold has the writes to come wait until release.
func (o *onlooker) hold() (release func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	gate := make(chan struct{})
	o.gate = gate
	return func() {
		o.mu.Lock()
		o.gate = nil
		o.mu.Unlock()
		close(gate)
	}
}

func (o *onlooker) watch(look func(w *seenWrite)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.look = look
}

// eachWatched is storetest.Each with an onlooker.
func eachWatched(t *testing.T, test func(t *testing.T, s *store.Store, o *onlooker)) {
	t.Helper()
	storetest.Engines(t, func(t *testing.T, url string) {
		o := new(onlooker)
		test(t, openWatched(t, url, o), o)
	})
}

func openWatched(t *testing.T, url string, o *onlooker) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), store.Config{URL: url, Invalidator: o, Log: testkit.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	ready(t, s)
	store.OneCommitter(s)
	return s
}

// inOneBatch makes the calls, which are writes of notes, so that they travel
// together and in their order: while another write, of keeper's, is held up.
func inOneBatch(t testing.TB, s *store.Store, o *onlooker, keeper string, calls ...func()) {
	t.Helper()
	o.seen()
	release := sync.OnceFunc(o.hold())
	defer release()
	var all sync.WaitGroup
	all.Go(func() {
		if _, err := s.CreateNote(context.Background(), keeper, notes.NewNote{Title: "kept waiting"}); err != nil {
			t.Error(err)
		}
	})
	testkit.Eventually(t, "write held up", func() bool { return o.begun() == 1 })
	for i, call := range calls {
		all.Go(call)
		testkit.Eventually(t, "write in the queue", func() bool { return store.Waiting(s) == i+1 })
	}
	release()
	all.Wait()
}

// However many people write at once, each one's changes are numbered without a gap.
func TestBatchNumbers(t *testing.T) {
	eachWatched(t, func(t *testing.T, s *store.Store, o *onlooker) {
		const people, rounds, writers = 5, 8, 40
		owners := make([]string, people)
		seqs := make([][]int64, people)
		for i := range owners {
			owners[i] = newOwner(t, s)
		}
		var mu sync.Mutex
		atOnce(writers, func(i int) {
			for n := range rounds {
				in := notes.NewNote{Title: fmt.Sprintf("%02d", i), Tags: []string{"x"}, IdempotencyKey: fmt.Sprint(i, n)}
				note, err := s.CreateNote(t.Context(), owners[i%people], in)
				if err != nil {
					t.Error(err)
					continue
				}
				mu.Lock()
				seqs[i%people] = append(seqs[i%people], note.ChangeSeq)
				mu.Unlock()
				if got, err := s.Note(t.Context(), owners[i%people], note.ID); err != nil || cmp.Diff(note, got) != "" {
					t.Errorf("a note that was made is %+v, %v, want %+v", got, err, note)
				}
			}
		})
		const each = writers / people * rounds
		for i, owner := range owners {
			slices.Sort(seqs[i])
			for n, seq := range seqs[i] {
				if seq != int64(n+1) {
					t.Fatalf("change numbers %v, want 1 to %d", seqs[i], each)
				}
			}
			counters, err := s.Counters(t.Context(), owner)
			if want := (store.Counters{ChangeSeq: each, Notes: each, Bytes: (3 + store.TagCost) * each}); err != nil || counters != want {
				t.Errorf("Counters() = %+v, %v, want %+v", counters, err, want)
			}
		}
		if batches := len(o.seen()); batches >= people*each {
			t.Errorf("%d notes were made in %d batches: nothing has travelled together", people*each, batches)
		}
	})
}

// What can't be done fails alone, among others that can.
func TestBatchOneFails(t *testing.T) {
	eachWatched(t, func(t *testing.T, s *store.Store, o *onlooker) {
		keeper, owner, poor, gone := newOwner(t, s), newOwner(t, s), newOwner(t, s), newOwner(t, s)
		note := newNote(t, s, owner, notes.NewNote{Title: "t", IdempotencyKey: "used", BodyHash: []byte("hash")})
		deleted := newNote(t, s, owner, notes.NewNote{Title: "deleted"})
		if err := s.DeleteNote(t.Context(), owner, deleted.ID); err != nil {
			t.Fatal(err)
		}
		if err := s.DeleteUser(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
		if err := s.SetQuota(t.Context(), poor, new(int64(1)), nil); err != nil {
			t.Fatal(err)
		}
		foreign := newNote(t, s, poor, notes.NewNote{Title: "the last"})
		create := func(owner string, in notes.NewNote) func() error {
			return func() error { _, err := s.CreateNote(t.Context(), owner, in); return err }
		}
		patch := func(id string, p notes.Patch, preconditions ...store.Precondition) func() error {
			return func() error { _, err := s.PatchNote(t.Context(), owner, id, p, preconditions...); return err }
		}
		tests := []struct {
			name string
			call func() error
			want error
		}{
			{"above the quota", create(poor, notes.NewNote{Title: "t"}), store.ErrQuota},
			{"a used key", create(owner, notes.NewNote{Title: "t", IdempotencyKey: "used", BodyHash: []byte("x")}), store.ErrIdempotency},
			{"an owner who is gone", create(gone, notes.NewNote{Title: "t"}), store.ErrOwnerGone},
			{"an id of another user's note", create(owner, notes.NewNote{ID: foreign.ID, Title: "t"}), store.ErrDuplicate},
			{"an id of a deleted note", create(owner, notes.NewNote{ID: deleted.ID, Title: "t"}), store.ErrDeleted},
			{"another revision", patch(note.ID, notes.Patch{Title: new("x")}, ifRevision(7)), store.ErrChanged},
			{"another revision to delete", func() error {
				return s.DeleteNote(t.Context(), owner, note.ID, ifRevision(7))
			}, store.ErrChanged},
			{"no such note", patch("none", notes.Patch{Title: new("x")}), store.ErrNotFound},
			{"not in the trash", func() error { return s.DeleteTrashedNote(t.Context(), owner, note.ID) }, store.ErrNotFound},
		}
		if s.Engine() == "PostgreSQL" { // which refuses this itself, in the statement of them all
			tests = append(tests, struct {
				name string
				call func() error
				want error
			}{"NUL", create(owner, notes.NewNote{Title: "t", IdempotencyKey: "nul \x00"}), errAny})
		}
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				before, err := s.Counters(t.Context(), owner)
				if err != nil {
					t.Fatal(err)
				}
				good := func() {
					if err := create(owner, notes.NewNote{Title: "good"})(); err != nil {
						t.Errorf("a good one beside it = %v", err)
					}
				}
				inOneBatch(t, s, o, keeper, good, func() {
					if err := test.call(); !errors.Is(err, test.want) && (test.want != errAny || err == nil) {
						t.Errorf("%v, want %v", err, test.want)
					}
				}, good)
				if writes := len(o.seen()); writes != 2 && test.want != errAny {
					t.Errorf("%d writes, want those of the keeper and of the batch", writes)
				}
				after, err := s.Counters(t.Context(), owner)
				if err != nil || after.Notes != before.Notes+2 || after.ChangeSeq != before.ChangeSeq+2 {
					t.Errorf("Counters() = %+v, %v after %+v, want two notes more", after, err, before)
				}
			})
		}
		got, err := s.Note(t.Context(), owner, note.ID)
		expect(t, "Note", got, err, note, nil)
	})
}

// The ids that clients give are decided upon in the batch, which knows of writes since the request
// came.
func TestBatchGivenIDs(t *testing.T) {
	eachWatched(t, func(t *testing.T, s *store.Store, o *onlooker) {
		keeper, owner, other := newOwner(t, s), newOwner(t, s), newOwner(t, s)
		create := func(owner, id string, want error) func() {
			return func() {
				if _, err := s.CreateNote(t.Context(), owner, notes.NewNote{ID: id, Title: "t"}); !errors.Is(err, want) {
					t.Errorf("create = %v, want %v", err, want)
				}
			}
		}
		deleteNote := func(id string) func() {
			return func() {
				if err := s.DeleteNote(t.Context(), owner, id); err != nil {
					t.Error(err)
				}
			}
		}
		id := store.NewID()
		inOneBatch(t, s, o, keeper, create(owner, id, nil), create(other, id, store.ErrDuplicate),
			create(owner, id, store.ErrExists), deleteNote(id), create(owner, id, store.ErrDeleted),
			create(other, id, store.ErrDuplicate))
		if writes := len(o.seen()); writes != 2 {
			t.Errorf("%d writes, want those of the keeper and of the batch", writes)
		}
		stored := newNote(t, s, owner, notes.NewNote{Title: "t"}).ID
		inOneBatch(t, s, o, keeper, deleteNote(stored), create(owner, stored, store.ErrDeleted),
			create(other, stored, store.ErrDuplicate))
		if writes := len(o.seen()); writes != 2 {
			t.Errorf("%d writes, want those of the keeper and of the batch", writes)
		}

		// The deletion fills a batch with others, and the create is in the next one.
		stored = newNote(t, s, owner, notes.NewNote{Title: "t"}).ID
		calls := []func(){deleteNote(stored)}
		for len(calls) < store.MaxBatchMutations {
			calls = append(calls, create(keeper, store.NewID(), nil))
		}
		inOneBatch(t, s, o, keeper, append(calls, create(owner, stored, store.ErrDeleted))...)
	})
}

// errAny stands for an error of no name.
var errAny = errors.New("any")

// One key in one batch makes one note.
func TestBatchIdempotency(t *testing.T) {
	eachWatched(t, func(t *testing.T, s *store.Store, o *onlooker) {
		keeper, owner := newOwner(t, s), newOwner(t, s)
		in := notes.NewNote{Title: "t", Tags: []string{"x"}, IdempotencyKey: "key", BodyHash: []byte("hash")}
		notes := make([]notes.Note, 3)
		var calls []func()
		for i := range notes {
			calls = append(calls, func() {
				var err error
				if notes[i], err = s.CreateNote(t.Context(), owner, in); err != nil {
					t.Error(err)
				}
			})
		}
		other := in
		other.BodyHash = []byte("another")
		inOneBatch(t, s, o, keeper, append(calls, func() {
			if _, err := s.CreateNote(t.Context(), owner, other); !errors.Is(err, store.ErrIdempotency) {
				t.Errorf("CreateNote with another body = %v, want %v", err, store.ErrIdempotency)
			}
		})...)
		for _, note := range notes {
			expect(t, "CreateNote", note, nil, notes[0], nil)
		}
		counters, err := s.Counters(t.Context(), owner)
		if err != nil || counters.Notes != 1 || counters.ChangeSeq != 1 {
			t.Errorf("Counters() = %+v, %v, want one note", counters, err)
		}
		if writes := o.seen(); len(writes) != 2 || len(writes[1].changes) != 1 {
			t.Errorf("%d writes, want the one held up and one of one note", len(writes))
		}
	})
}

// TestBatchModel: what travels together comes to what it comes to alone, one
// after another.
func TestBatchModel(t *testing.T) {
	eachWatched(t, func(t *testing.T, s *store.Store, o *onlooker) {
		keeper := newOwner(t, s)
		rapid.Check(t, func(rt *rapid.T) {
			var edits []func(owner string, ids []string) string
			for range rapid.IntRange(1, 12).Draw(rt, "edits") {
				edits = append(edits, drawEdit(rt, s))
			}
			most, bytes := rapid.Ptr(rapid.Int64Range(0, 6), true).Draw(rt, "notes"), rapid.Ptr(rapid.Int64Range(0, 100+6*(store.NoteCost+store.TagCost)), true).Draw(rt, "bytes")
			var owners [2]string
			var ids [2][]string
			for i := range owners {
				owners[i] = newOwner(t, s)
				for n := range 3 {
					in := notes.NewNote{Title: fmt.Sprint(n), Tags: []string{"x"}, IdempotencyKey: fmt.Sprint(n), BodyHash: []byte("1")}
					ids[i] = append(ids[i], newNote(t, s, owners[i], in).ID)
				}
				ids[i] = append(ids[i], "none")
				if err := s.SetQuota(t.Context(), owners[i], most, bytes); err != nil {
					rt.Fatal(err)
				}
			}
			alone, together := make([]string, len(edits)), make([]string, len(edits))
			var calls []func()
			for i, edit := range edits {
				alone[i] = edit(owners[0], ids[0])
				calls = append(calls, func() { together[i] = edit(owners[1], ids[1]) })
			}
			inOneBatch(t, s, o, keeper, calls...)
			if diff := cmp.Diff(alone, together); diff != "" {
				rt.Fatalf("the calls come to something else (-alone +together):\n%s", diff)
			}
			if diff := cmp.Diff(everything(rt, s, owners[0]), everything(rt, s, owners[1])); diff != "" {
				rt.Fatalf("there is something else (-alone +together):\n%s", diff)
			}
		})
	})
}

// drawEdit draws a write that may be of any of the notes with the ids. It returns
// what it came to, without what is never the same.
func drawEdit(t *rapid.T, s *store.Store) func(owner string, ids []string) string {
	pick := rapid.IntRange(0, 3).Draw(t, "note")
	switch rapid.SampledFrom([]string{"create", "patch", "flip", "delete"}).Draw(t, "edit") {
	case "create":
		in := notes.NewNote{Title: title.Draw(t, "title"), Content: text.Draw(t, "content"), Tags: tags.Draw(t, "tags")}
		if in.IdempotencyKey = rapid.SampledFrom([]string{"", "0", "k", "K"}).Draw(t, "key"); in.IdempotencyKey != "" {
			in.BodyHash = []byte(rapid.SampledFrom([]string{"1", "2"}).Draw(t, "hash"))
		}
		return func(owner string, _ []string) string {
			note, err := s.CreateNote(context.Background(), owner, in)
			return plain(note, err)
		}
	case "patch":
		p := notes.Patch{
			Title:   rapid.Ptr(title, true).Draw(t, "title"),
			Content: rapid.Ptr(text, true).Draw(t, "content"),
			Tags:    rapid.Ptr(tags, true).Draw(t, "tags"),
			Pinned:  rapid.Ptr(flags, true).Draw(t, "pinned"),
			Trashed: rapid.Ptr(flags, true).Draw(t, "trashed"),
		}
		preconditions := drawPreconditions(t)
		return func(owner string, ids []string) string {
			note, err := s.PatchNote(context.Background(), owner, ids[pick], p, preconditions...)
			return plain(note, err)
		}
	case "flip":
		preconditions := drawPreconditions(t)
		return func(owner string, ids []string) string {
			note, err := s.ToggleNote(context.Background(), owner, ids[pick], notes.FlagArchived, preconditions...)
			return plain(note, err)
		}
	default:
		call := s.DeleteNote
		if flags.Draw(t, "trashed") {
			call = s.DeleteTrashedNote
		}
		preconditions := drawPreconditions(t)
		return func(owner string, ids []string) string {
			return plain(notes.Note{}, call(context.Background(), owner, ids[pick], preconditions...))
		}
	}
}

// drawPreconditions draws none, or one of some revisions.
func drawPreconditions(t *rapid.T) []store.Precondition {
	if !flags.Draw(t, "check revision") {
		return nil
	}
	return []store.Precondition{ifRevision(rapid.SliceOfN(rapid.Int64Range(1, 4), 1, 3).Draw(t, "revisions")...)}
}

// plain is what a call came to, for a comparison.
func plain(note notes.Note, err error) string {
	if changed, ok := errors.AsType[*store.ChangedError](err); ok {
		note = changed.Current
	}
	for _, known := range []error{store.ErrNotFound, store.ErrChanged, store.ErrQuota, store.ErrIdempotency} {
		if errors.Is(err, known) {
			err = known
		}
	}
	return fmt.Sprintf("%q %q %q %v %v %v %v revision %d change %d: %v", note.Title, note.Content, note.Tags, note.Pinned,
		note.Archived, note.Trashed, note.TrashedAt != nil, note.Revision, note.ChangeSeq, err)
}

// everything is what owner has, for a comparison.
func everything(t *rapid.T, s *store.Store, owner string) (all []string) {
	counters, err := s.Counters(t.Context(), owner)
	if counters.QuotaBytes != nil { // a history is cut once for all changes of a batch
		counters.HistoryBytes = 0
	}
	if err != nil {
		t.Fatal(err)
	}
	counters.QuotaNotes, counters.QuotaBytes = nil, nil
	all = append(all, fmt.Sprintf("%+v", counters))
	var notes []struct {
		ID                                      string
		ChangeSeq                               int64
		TitleFolded, Title, ContentFolded, Tags string
	}
	tagList := "json_group_array(tag ORDER BY position)"
	if s.Engine() == "PostgreSQL" {
		tagList = "string_agg(tag, ',' ORDER BY position)"
	}
	err = s.DB().Raw(`SELECT id, change_seq, title, title_folded, content_folded,
		(SELECT `+tagList+` FROM note_tags WHERE note_key = notes.key) AS tags
		FROM notes JOIN note_search ON note_key = key WHERE user_id = ? ORDER BY change_seq`, owner).Scan(&notes).Error
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range notes {
		note, err := s.Note(t.Context(), owner, row.ID)
		all = append(all, plain(note, err), fmt.Sprint(row.ChangeSeq, row.Title, row.TitleFolded, row.ContentFolded, row.Tags))
	}
	for _, query := range []string{
		"SELECT change_seq FROM tombstones WHERE user_id = ? ORDER BY change_seq",
		"SELECT key FROM idempotency_keys WHERE user_id = ? ORDER BY key",
	} {
		var rows []string
		if err := s.DB().Raw(query, owner).Scan(&rows).Error; err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.Join(rows, " "))
	}
	return all
}

// What nobody waits for any more when its turn comes changes nothing.
func TestBatchCancelled(t *testing.T) {
	eachWatched(t, func(t *testing.T, s *store.Store, o *onlooker) {
		keeper, owner := newOwner(t, s), newOwner(t, s)
		note := newNote(t, s, owner, notes.NewNote{Title: "t"})
		ctx, cancel := context.WithCancel(t.Context())
		var left sync.WaitGroup
		left.Add(1)
		inOneBatch(t, s, o, keeper, func() {
			defer left.Done()
			if _, err := s.ToggleNote(ctx, owner, note.ID, notes.FlagPinned); !errors.Is(err, context.Canceled) {
				t.Errorf("ToggleNote that is no longer wanted = %v, want %v", err, context.Canceled)
			}
		}, func() {
			if _, err := s.ToggleNote(t.Context(), owner, note.ID, notes.FlagFavorite); err != nil {
				t.Error(err)
			}
		}, func() {
			if err := s.DeleteNote(ctx, owner, note.ID); !errors.Is(err, context.Canceled) {
				t.Errorf("DeleteNote that is no longer wanted = %v, want %v", err, context.Canceled)
			}
		}, func() {
			cancel()
			left.Wait() // they don't wait for the batch
			if _, err := s.ToggleNote(t.Context(), owner, note.ID, notes.FlagArchived); err != nil {
				t.Error(err)
			}
		})
		got, err := s.Note(t.Context(), owner, note.ID)
		if err != nil || got.Pinned || !got.Favorite || !got.Archived || got.Revision != 3 {
			t.Errorf("Note() = %+v, %v, want the two flips that were wanted", got, err)
		}
	})
}

// While somebody else writes for a person nobody but that person waits.
func TestBatchLockedElsewhere(t *testing.T) {
	s := storetest.Open(t, storetest.Postgres(t))
	locked, free := newOwner(t, s), newOwner(t, s)
	note := newNote(t, s, locked, notes.NewNote{Title: "t"})
	var waiting sync.WaitGroup
	const writers = 6
	made := make([]notes.Note, writers)
	err := s.Write(t.Context(), func(tx *gorm.DB) error {
		if err := tx.Exec("UPDATE user_counters SET quota_notes = 100 WHERE user_id = ?", locked).Error; err != nil {
			return err
		}
		for i := range writers {
			waiting.Go(func() {
				var err error
				if made[i], err = s.CreateNote(t.Context(), locked, notes.NewNote{Title: "waits"}); err != nil {
					t.Error(err)
				}
			})
		}
		testkit.Eventually(t, "write apart", func() bool { return store.Apart(s, locked) })
		atOnce(20, func(int) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if _, err := s.CreateNote(ctx, free, notes.NewNote{Title: "free"}); err != nil {
				t.Errorf("CreateNote while another's notes are locked = %v", err)
			}
		})
		short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := s.ToggleNote(short, locked, note.ID, notes.FlagPinned); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ToggleNote whose time is over = %v, want %v", err, context.DeadlineExceeded)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	waiting.Wait()
	var seqs []int64
	for _, note := range made {
		seqs = append(seqs, note.ChangeSeq)
	}
	slices.Sort(seqs)
	if diff := cmp.Diff([]int64{2, 3, 4, 5, 6, 7}, seqs); diff != "" {
		t.Errorf("change numbers of those who waited (-want +got):\n%s", diff)
	}
	got, err := s.Note(t.Context(), locked, note.ID)
	expect(t, "Note", got, err, note, nil)
	if store.Apart(s, locked) {
		t.Error("with nobody waiting, somebody is apart")
	}
}

// A large note's edit is alone, and is asked whether there is room for it.
func TestBatchLargeNote(t *testing.T) {
	eachWatched(t, func(t *testing.T, s *store.Store, o *onlooker) {
		keeper, owner := newOwner(t, s), newOwner(t, s)
		large := newNote(t, s, owner, notes.NewNote{Title: "large", Content: strings.Repeat("x", 100_000)})
		small := newNote(t, s, owner, notes.NewNote{Title: "small"})
		none := errors.New("no room")
		ctx := store.WithReserve(t.Context(), func(bytes int64) error {
			if bytes != 100_005 {
				t.Errorf("room asked for %d bytes", bytes)
			}
			return none
		})
		inOneBatch(t, s, o, keeper, func() {
			if _, err := s.ToggleNote(ctx, owner, large.ID, notes.FlagPinned); !errors.Is(err, none) {
				t.Errorf("ToggleNote with no room = %v, want %v", err, none)
			}
		}, func() {
			got, err := s.PatchNote(t.Context(), owner, large.ID, notes.Patch{Pinned: new(true)})
			if err != nil || !got.Pinned || got.Revision != 2 || got.Content != large.Content {
				t.Errorf("PatchNote of a large note = %v, pinned %t, revision %d", err, got.Pinned, got.Revision)
			}
		}, func() {
			if _, err := s.ToggleNote(ctx, owner, small.ID, notes.FlagPinned); err != nil {
				t.Errorf("ToggleNote of a small note = %v", err)
			}
		})
		inOneBatch(t, s, o, keeper, func() {
			err := s.DeleteNote(t.Context(), owner, large.ID, ifRevision(1))
			if changed, ok := errors.AsType[*store.ChangedError](err); !ok || changed.Current.Content != large.Content {
				t.Errorf("DeleteNote of another revision of a large note = %v, want its content too: %t", err, ok)
			}
		}, func() {
			if err := s.DeleteNote(ctx, owner, large.ID, ifRevision(1)); !errors.Is(err, none) {
				t.Errorf("DeleteNote of another revision with no room = %v, want %v", err, none)
			}
		})
		if err := s.DeleteNote(ctx, owner, large.ID, ifRevision(2)); err != nil { // reads no content
			t.Error(err)
		}
	})
}

// A panic is the caller's whose edit it is, and nobody else's.
func TestBatchPanic(t *testing.T) {
	eachWatched(t, func(t *testing.T, s *store.Store, o *onlooker) {
		keeper, owner := newOwner(t, s), newOwner(t, s)
		mine := errors.New("mine")
		good := func() { newNote(t, s, owner, notes.NewNote{Title: "good"}) }
		inOneBatch(t, s, o, keeper, good, func() {
			defer func() {
				if err, _ := recover().(error); !errors.Is(err, mine) || !strings.Contains(err.Error(), "SubmitPanic") {
					t.Errorf("recovered %v, want the panic with its stack", err)
				}
			}()
			t.Errorf("a panic = %v", store.SubmitPanic(t.Context(), s, owner, mine))
		}, good)
		counters, err := s.Counters(t.Context(), owner)
		if err != nil || counters.Notes != 2 {
			t.Errorf("Counters() = %+v, %v, want two notes", counters, err)
		}
	})
}

// A batch whose goroutine ends leaves nobody waiting.
func TestBatchGoexit(t *testing.T) {
	eachWatched(t, func(t *testing.T, s *store.Store, o *onlooker) {
		owner := newOwner(t, s)
		o.watch(func(*seenWrite) { runtime.Goexit() })
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the caller hears nothing of it")
				}
			}()
			_, err := s.CreateNote(t.Context(), owner, notes.NewNote{Title: "t"})
			t.Errorf("CreateNote = %v", err)
		}()
		o.watch(nil)
		newNote(t, s, owner, notes.NewNote{Title: "next"})
	})
}

// Close waits for the batch under way; what waits for the next is refused.
func TestBatchClose(t *testing.T) {
	storetest.Engines(t, func(t *testing.T, url string) {
		o := new(onlooker)
		s := openWatched(t, url, o)
		owner := newOwner(t, s)
		release := sync.OnceFunc(o.hold())
		defer release()
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := s.CreateNote(t.Context(), owner, notes.NewNote{Title: "under way"}); err != nil {
				t.Error(err)
			}
		})
		testkit.Eventually(t, "write under way", func() bool { return o.begun() == 1 })
		all.Go(func() {
			if _, err := s.CreateNote(t.Context(), owner, notes.NewNote{Title: "late"}); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("CreateNote while the store closes = %v, want %v", err, store.ErrUnavailable)
			}
		})
		testkit.Eventually(t, "write in the queue", func() bool { return store.Waiting(s) == 1 })
		all.Go(func() {
			if err := s.Close(); err != nil {
				t.Errorf("Close = %v", err)
			}
		})
		testkit.Eventually(t, "store that closes", func() bool { return s.Ready(t.Context()) != nil })
		release()
		all.Wait()
		again := openWatched(t, url, new(onlooker))
		if counters, err := again.Counters(t.Context(), owner); err != nil || counters.Notes != 1 {
			t.Errorf("Counters() = %+v, %v, want the note that was under way", counters, err)
		}
	})
}

// The Invalidator hears of a change before anybody can see it, and of what has
// become of it before whoever asked for it.
func TestBatchInvalidator(t *testing.T) {
	eachWatched(t, func(t *testing.T, s *store.Store, o *onlooker) {
		owner := newOwner(t, s)
		note := newNote(t, s, owner, notes.NewNote{Title: "t", Tags: []string{"x"}})
		o.seen()
		var before, after int64
		o.watch(func(w *seenWrite) {
			got, err := s.Note(t.Context(), owner, note.ID)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				t.Error(err)
			}
			if w.done == 0 {
				before = got.Revision
			} else {
				after = got.Revision
			}
		})
		past := time.Now().Add(-time.Hour).UnixMilli()
		for _, test := range []struct {
			name          string
			call          func() (notes.Note, error)
			before, after int64 // the revisions that others see; 0: it is gone
			writes        int
		}{
			{"flip", func() (notes.Note, error) { return s.ToggleNote(t.Context(), owner, note.ID, notes.FlagPinned) }, 1, 2, 1},
			{"patch", func() (notes.Note, error) {
				return s.PatchNote(t.Context(), owner, note.ID, notes.Patch{Title: new("new"), Tags: &[]string{"y", "z"}})
			}, 2, 3, 1},
			{"patch of nothing", func() (notes.Note, error) {
				return s.PatchNote(t.Context(), owner, note.ID, notes.Patch{Title: new("new")})
			}, 0, 0, 0},
			{"refused patch", func() (notes.Note, error) {
				_, err := s.PatchNote(t.Context(), owner, note.ID, notes.Patch{Pinned: new(false)}, ifRevision(1))
				if !errors.Is(err, store.ErrChanged) {
					t.Error(err)
				}
				return notes.Note{}, nil
			}, 0, 0, 0},
			{"trash", func() (notes.Note, error) { return s.TrashNote(t.Context(), owner, note.ID) }, 3, 4, 1},
			{"sweep", func() (notes.Note, error) {
				exec(t, s, "UPDATE notes SET trashed_at = ? WHERE id = ?", past, note.ID)
				swept, err := s.Sweep(t.Context(), store.SweepConfig{TrashRetention: time.Minute})
				if swept.Notes != 1 {
					t.Errorf("Sweep = %+v", swept)
				}
				return notes.Note{}, err
			}, 4, 0, 1},
		} {
			before, after = 0, 0
			got, err := test.call()
			if err != nil {
				t.Fatalf("%s: %v", test.name, err)
			}
			writes := o.seen()
			if len(writes) != test.writes || before != test.before || after != test.after {
				t.Errorf("%s: %d writes, revision %d before and %d after; want %d, %d, %d",
					test.name, len(writes), before, after, test.writes, test.before, test.after)
			}
			for _, w := range writes {
				wantSeen(t, test.name, w, owner, note.ID, changeSeq(t, s, owner), got)
			}
		}
		made := newNote(t, s, owner, notes.NewNote{Title: "made", IdempotencyKey: "k"})
		if writes := o.seen(); len(writes) == 1 {
			wantSeen(t, "create", writes[0], owner, made.ID, made.ChangeSeq, made)
		} else {
			t.Errorf("create: %d writes, want 1", len(writes))
		}
	})
}

// wantSeen fails the test unless w is a finished write of one change, of owner's
// note with the id, that left note; or none.
func wantSeen(t *testing.T, name string, w *seenWrite, owner, id string, seq int64, note notes.Note) {
	t.Helper()
	change := store.Change{Owner: owner, Note: id, Seq: seq, Revision: note.Revision}
	if len(w.changes) == 1 && w.changes[0].Seq == 0 { // the statement that commits assigns it
		change.Seq = 0
	}
	var now []notes.Note
	if note.ID != "" {
		now = []notes.Note{note}
	}
	if w.done != 1 || len(w.changes) != 1 || w.changes[0] != change || cmp.Diff(now, w.now, equalEmpty) != "" {
		t.Errorf("%s: the Invalidator has seen %+v, want %v to become %v", name, *w, change, now)
	}
}

// changeSeq is the number of owner's newest change.
func changeSeq(t *testing.T, s *store.Store, owner string) int64 {
	t.Helper()
	counters, err := s.Counters(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	return counters.ChangeSeq
}

// A change of which nobody knows whether it was committed has no end for the
// Invalidator until it must be known; or until the store closes.
func TestBatchUnknownOutcome(t *testing.T) {
	t.Parallel()
	url, _, _ := strings.Cut(storetest.Postgres(t), "&connect_timeout=")
	proxy := testserver.NewProxy(t, url)
	o := new(onlooker)
	s := openWatched(t, proxy.URL(), o)
	owner := newOwner(t, s)
	note := newNote(t, s, owner, notes.NewNote{Title: "t"})
	o.seen()
	proxy.CutAnswer("COMMIT\x00", 0)
	if _, err := s.ToggleNote(t.Context(), owner, note.ID, notes.FlagPinned); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("ToggleNote whose answer is lost = %v, want %v", err, store.ErrUnavailable)
	}
	writes := o.seen()
	if len(writes) != 1 || writes[0].done != 0 {
		t.Fatalf("the Invalidator has seen %+v, want one write without an end", writes)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if writes[0].done != 1 || writes[0].now != nil {
		t.Errorf("once the store is closed the Invalidator has seen %+v, want an end with no notes", *writes[0])
	}
}
