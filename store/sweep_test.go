package store_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"notesd/notes"
	"notesd/store"
	"notesd/store/storetest"
)

const (
	day       = 24 * time.Hour
	retention = 30 * day
)

func mustSweep(t *testing.T, s *store.Store) store.SweepResult {
	t.Helper()
	swept, err := s.Sweep(t.Context(), store.SweepConfig{TrashRetention: retention, History: aYear})
	if err != nil {
		t.Fatalf("Sweep = %+v, %v", swept, err)
	}
	return swept
}

func wantSwept(t *testing.T, s *store.Store, when string, want store.SweepResult) {
	t.Helper()
	if diff := cmp.Diff(want, mustSweep(t, s)); diff != "" {
		t.Errorf("Sweep %s (-want +got):\n%s", when, diff)
	}
}

// Everything goes when its time has come and not a millisecond before.
func TestSweep(t *testing.T) {
	eachInTime(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		u := mustUser(t, s, "somebody@example.org")
		trashed, err := s.CreateNote(ctx, u.ID, notes.NewNote{Title: "trashed"})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // or trashing it would have to be later than now
		began := time.Now()
		kept, deleted := mustNote(t, s, u, "kept"), mustNote(t, s, u, "deleted")
		if err := s.DeleteNote(ctx, u.ID, deleted.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := s.TrashNote(ctx, u.ID, trashed.ID); err != nil {
			t.Fatal(err)
		}
		mustSession(t, s, store.Session{Key: "key", UserID: u.ID, ExpiresAt: time.Now().Add(time.Hour)})
		if _, _, err := s.AddSignInFailure(ctx, "key", time.Minute); err != nil {
			t.Fatal(err)
		}
		if _, err := s.CountFailure(ctx, "unknown", ""); err != nil {
			t.Fatal(err)
		}
		before, err := s.Counters(ctx, u.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			at   time.Duration
			want store.SweepResult
		}{
			{time.Minute, store.SweepResult{SignInFailures: 1}},
			{time.Hour, store.SweepResult{Sessions: 1}},
			{day, store.SweepResult{IdempotencyKeys: 2}},
			{retention, store.SweepResult{Notes: 1, SignInLocks: 1}}, // the two times are the same
			{180 * day, store.SweepResult{Tombstones: 1}},            // of the note deleted at once
			{180*day + retention, store.SweepResult{Tombstones: 1}},
		} {
			time.Sleep(time.Until(began.Add(step.at - time.Millisecond)))
			wantSwept(t, s, fmt.Sprintf("1 ms before %v", step.at), store.SweepResult{})
			time.Sleep(time.Millisecond)
			wantSwept(t, s, fmt.Sprintf("after %v", step.at), step.want)
			if step.at == retention {
				after, err := s.Counters(ctx, u.ID)
				want := store.Counters{ChangeSeq: before.ChangeSeq + 1, Notes: 1, Bytes: before.Bytes - int64(len("trashed"))}
				if diff := cmp.Diff(want, after); err != nil || diff != "" {
					t.Errorf("Counters once the trash is swept = %v (-want +got):\n%s", err, diff)
				}
				wantTombstone(t, s, trashed.ID, after.ChangeSeq)
			}
		}
		if _, err := s.Note(ctx, u.ID, kept.ID); err != nil {
			t.Errorf("a note that nobody trashed: %v", err)
		}
	})
}

// More than one batch, several people, and three processes that sweep at once
// while the owners write: nothing is counted twice and no change number is
// given twice.
func TestSweepTogether(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		const people, notes = 3, 250 // each has more than a batch
		users := make([]store.User, people)
		for i := range users {
			users[i] = mustUser(t, s, fmt.Sprintf("%d@example.org", i))
			mustTrash(t, s, users[i].ID, notes, time.Now().Add(-retention-time.Second))
		}
		var mu sync.Mutex
		var swept int64
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				result := mustSweep(t, s)
				mu.Lock()
				defer mu.Unlock()
				swept += result.Notes
			})
		}
		for _, u := range users {
			wg.Go(func() { mustNote(t, s, u, "meanwhile") })
		}
		wg.Wait()
		if swept != people*notes {
			t.Errorf("%d notes were swept, want %d", swept, people*notes)
		}
		for _, u := range users {
			counters, err := s.Counters(t.Context(), u.ID)
			want := store.Counters{ChangeSeq: notes + 1, Notes: 1, Bytes: int64(len("meanwhile"))}
			if diff := cmp.Diff(want, counters); err != nil || diff != "" {
				t.Errorf("Counters = %v (-want +got):\n%s", err, diff)
			}
			var tombstones int64
			err = s.DB().Table("tombstones").Where("user_id = ?", u.ID).Count(&tombstones).Error
			if err != nil || tombstones != notes {
				t.Errorf("%d tombstones, %v, want %d", tombstones, err, notes)
			}
		}
	})
}

func mustNote(t *testing.T, s *store.Store, owner store.User, title string) notes.Note {
	t.Helper()
	in := notes.NewNote{Title: title, IdempotencyKey: title, BodyHash: []byte("hash")}
	n, err := s.CreateNote(t.Context(), owner.ID, in)
	if err != nil {
		t.Fatalf("CreateNote(%q) = %v", title, err)
	}
	return n
}

// mustTrash puts empty notes into owner's trash as if at the given time.
func mustTrash(t *testing.T, s *store.Store, owner string, notes int, at time.Time) {
	t.Helper()
	for i := range notes {
		err := s.WriterDB().Exec(`INSERT INTO notes (id, user_id, title, title_folded, content, is_pinned, is_favorite,
			is_archived, is_markdown, is_trashed, trashed_at, created_at, updated_at, revision, change_seq, bytes)
			VALUES (?, ?, '', '', '', false, false, false, false, true, ?, 0, 0, 1, 0, 0)`,
			fmt.Sprintf("%s %d", owner, i), owner, at.UnixMilli()).Error
		if err != nil {
			t.Fatal(err)
		}
	}
	err := s.WriterDB().Exec("UPDATE user_counters SET note_count = ? WHERE user_id = ?", notes, owner).Error
	if err != nil {
		t.Fatal(err)
	}
}

func wantTombstone(t *testing.T, s *store.Store, note string, seq int64) {
	t.Helper()
	var got []int64
	err := s.DB().Table("tombstones").Where("note_id = ?", note).Pluck("change_seq", &got).Error
	if err != nil || len(got) != 1 || got[0] != seq {
		t.Errorf("change numbers of the tombstones of %s = %v, %v, want %d", note, got, err, seq)
	}
}
