package store_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"notesd/internal/testkit"
	"notesd/internal/testserver"
	"notesd/notes"
	"notesd/store"
	"notesd/store/storetest"
)

// An ear is a Changes that remembers what it was told.
type ear struct {
	mu      sync.Mutex
	changes []store.Change
	missed  int
	revoked []string
}

func (e *ear) Committed(changes []store.Change) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.changes = append(e.changes, changes...)
}

func (e *ear) Missed() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.missed++
}

func (e *ear) SessionRevoked(key, user string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.revoked = append(e.revoked, key+"/"+user)
}

// heard returns the changes so far.
func (e *ear) heard() []store.Change {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.changes)
}

// What a process commits it tells at once, with the numbers, and in PostgreSQL
// to the other processes' listeners too.
func TestChangesTold(t *testing.T) {
	storetest.Engines(t, func(t *testing.T, url string) {
		near, far := new(ear), new(ear)
		a := replica(t, store.Config{URL: url, Changes: near})
		ctx, owner := t.Context(), newOwner(t, a)
		if a.Engine() == store.PostgreSQL {
			b := replica(t, store.Config{URL: url, Changes: far})
			testkit.Eventually(t, "trust", func() bool { return a.Channel().Trusted && b.Channel().Trusted })
		}
		var want []store.Change
		told := func(c store.Change) {
			t.Helper()
			want = append(want, c)
			if got := near.heard(); cmp.Diff(want, got) != "" {
				t.Errorf("told of %v, want %v", got, want)
			}
		}
		one := newNote(t, a, owner, notes.NewNote{Title: "one"})
		told(store.Change{Owner: owner, Note: one.ID, Seq: 1, Revision: 1})
		if _, err := a.PatchNote(ctx, owner, one.ID, notes.Patch{Pinned: new(true)}); err != nil {
			t.Fatal(err)
		}
		told(store.Change{Owner: owner, Note: one.ID, Seq: 2, Revision: 2})
		two := newNote(t, a, owner, notes.NewNote{Title: "two", IdempotencyKey: "k", BodyHash: []byte("h")})
		told(store.Change{Owner: owner, Note: two.ID, Seq: 3, Revision: 1})
		newNote(t, a, owner, notes.NewNote{Title: "two", IdempotencyKey: "k", BodyHash: []byte("h")}) // once more
		if _, err := a.PatchNote(ctx, owner, one.ID, notes.Patch{Pinned: new(true)}); err != nil {    // as it is
			t.Fatal(err)
		}
		if err := a.DeleteNote(ctx, owner, two.ID); err != nil {
			t.Fatal(err)
		}
		told(store.Change{Owner: owner, Note: two.ID, Seq: 4})
		if err := a.SetQuota(ctx, owner, new(int64(1)), nil); err != nil {
			t.Fatal(err)
		}
		if _, err := a.CreateNote(ctx, owner, notes.NewNote{Title: "three"}); !errors.Is(err, store.ErrQuota) {
			t.Errorf("CreateNote above the quota = %v", err)
		}
		if got := near.heard(); len(got) != len(want) {
			t.Errorf("what was not done is told: %v", got)
		}
		if a.Engine() == store.PostgreSQL {
			testkit.Eventually(t, "the other process hears all", func() bool { return len(far.heard()) >= len(want) })
			if diff := cmp.Diff(want, far.heard()); diff != "" {
				t.Errorf("-told +heard elsewhere\n%s", diff)
			}
			if err := a.AnnounceRevoked(ctx, "key", ""); err != nil || !slices.Equal(far.revoked, []string{"key/"}) {
				t.Errorf("AnnounceRevoked = %v, heard as %v", err, far.revoked)
			}
			if far.missed == 0 {
				t.Error("who has just begun to listen may have missed something, and is not told")
			}
		}
	})
}

// A change of which nobody knows whether it was committed is told without its
// number.
func TestChangesUnknownOutcome(t *testing.T) {
	t.Parallel()
	url, _, _ := strings.Cut(storetest.Postgres(t), "&connect_timeout=")
	proxy := testserver.NewProxy(t, url)
	near := new(ear)
	s := replica(t, store.Config{URL: proxy.URL(), Changes: near})
	owner := newOwner(t, s)
	note := newNote(t, s, owner, notes.NewNote{Title: "t"})
	proxy.CutAnswer("COMMIT\x00", 0)
	if _, err := s.ToggleNote(t.Context(), owner, note.ID, notes.FlagPinned); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("ToggleNote whose answer is lost = %v, want %v", err, store.ErrUnavailable)
	}
	if got := near.heard(); len(got) != 1 {
		t.Errorf("told of %v before it can be known", got)
	}
	testkit.Eventually(t, "an end", func() bool { return len(near.heard()) == 2 })
	if got, want := near.heard()[1], (store.Change{Owner: owner, Note: note.ID}); got != want {
		t.Errorf("told of %v, want %v", got, want)
	}
}
