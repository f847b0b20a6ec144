package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"notesd/notes"
	"notesd/store"
	"notesd/store/storetest"
)

var (
	phone  = notes.Author{Kind: notes.KindSession, Name: "Firefox", ID: "1"}
	laptop = notes.Author{Kind: notes.KindSession, Name: "Firefox", ID: "2"}
	script = notes.Author{Kind: notes.KindToken, Name: "script"}
)

// Every revision can be read as it was, the present one among them.
func TestVersion(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner, stranger := newOwner(t, s), newOwner(t, s)
		by := func(a notes.Author) context.Context { return store.WithAuthor(t.Context(), a) }
		want := []notes.Version{}
		add := func(by notes.Author, n notes.Note, err error) notes.Note {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, notes.Version{Note: n, By: by})
			return n
		}
		n, err := s.CreateNote(by(phone), owner, notes.NewNote{Title: "one", Content: "a\nb\n", Tags: []string{"x", "y"}, Color: new("red"), Pinned: true})
		add(phone, n, err)
		id := n.ID
		patch := func(by notes.Author, p notes.Patch) {
			t.Helper()
			n, err := s.PatchNote(store.WithAuthor(t.Context(), by), owner, id, p)
			add(by, n, err)
		}
		patch(phone, notes.Patch{Content: new("a\nb\nc\n")})
		patch(laptop, notes.Patch{Title: new("two"), Tags: &[]string{}, SetColor: true})
		n, err = s.ToggleNote(by(script), owner, id, notes.FlagFavorite)
		add(script, n, err)
		patch(script, notes.Patch{Content: new(strings.Repeat("large ", 20_000)), Archived: new(true), Markdown: new(true)})
		patch(phone, notes.Patch{Trashed: new(true)})
		patch(phone, notes.Patch{Trashed: new(false), Content: new("short")})
		patch(notes.Author{}, notes.Patch{Pinned: new(false)})

		for i, w := range want {
			got, err := s.Version(t.Context(), owner, id, int64(i+1))
			if i+1 < len(want) {
				w.ChangeSeq = 0
			}
			if diff := cmp.Diff(w, got); diff != "" || err != nil {
				t.Errorf("Version of revision %d = %v (-want +got):\n%s", i+1, err, diff)
			}
			at, err := s.NoteAt(t.Context(), owner, id, w.UpdatedAt)
			if diff := cmp.Diff(w, at); diff != "" || err != nil {
				t.Errorf("NoteAt the time of revision %d = %v (-want +got):\n%s", i+1, err, diff)
			}
		}
		for _, row := range []struct {
			owner, id string
			revision  int64
			want      error
		}{
			{owner, id, int64(len(want)) + 1, store.ErrVersionGone},
			{owner, id, 0, store.ErrVersionGone},
			{owner, id, -1, store.ErrVersionGone},
			{stranger, id, 1, store.ErrNotFound},
			{stranger, id, 8, store.ErrNotFound},
			{owner, "no such note", 1, store.ErrNotFound},
		} {
			if _, err := s.Version(t.Context(), row.owner, row.id, row.revision); !errors.Is(err, row.want) {
				t.Errorf("Version(%s, %d) = %v, want %v", row.id, row.revision, err, row.want)
			}
		}
		if _, err := s.NoteAt(t.Context(), owner, id, want[0].CreatedAt.Add(-time.Millisecond)); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("NoteAt before the note was created = %v, want ErrNotFound", err)
		}

		list, more, err := s.Versions(t.Context(), owner, id, notes.VersionPage{Limit: 100})
		if err != nil || more || len(list) != len(want) {
			t.Fatalf("Versions = %d, more %t, %v, want %d", len(list), more, err, len(want))
		}
		lines := []*notes.LineChange{{Added: 2}, {Added: 1}, {}, {}, nil, nil, nil, {}}
		for i, w := range want {
			info := notes.VersionInfo{Revision: w.Revision, At: w.UpdatedAt, Title: w.Title, By: w.By, Lines: lines[i],
				Bytes: int64(len(w.Title) + len(w.Content) + len(strings.Join(w.Tags, "")))}
			if diff := cmp.Diff(info, list[len(list)-1-i]); diff != "" {
				t.Errorf("revision %d in the list (-want +got):\n%s", w.Revision, diff)
			}
		}
		wantPages(t, s, owner, id, list)
		if _, _, err := s.Versions(t.Context(), stranger, id, notes.VersionPage{Limit: 1}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Versions of a stranger's note = %v, want ErrNotFound", err)
		}
	})
}

// A page compares 1 MiB of text, before thinning and after it, and the next page begins anew.
func TestComparedVersions(t *testing.T) {
	eachInTime(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		text := strings.Repeat("a line\n", 60<<10/7)
		n := newNote(t, s, owner, notes.NewNote{Title: "t", Content: text})
		for i := range 40 {
			time.Sleep(time.Minute)
			if _, err := s.PatchNote(t.Context(), owner, n.ID, notes.Patch{Content: new(text + fmt.Sprint(i))}); err != nil {
				t.Fatal(err)
			}
		}
		compared := func(page notes.VersionPage) (count int) {
			t.Helper()
			list, _, err := s.Versions(t.Context(), owner, n.ID, page)
			if err != nil || len(list) != min(page.Limit, 41) {
				t.Fatalf("Versions(%+v) = %d, %v", page, len(list), err)
			}
			for i, info := range list {
				if info.Lines == nil {
					continue
				}
				if count++; i >= count {
					t.Errorf("revision %d is compared, and a newer one is not", info.Revision)
				}
			}
			return count
		}
		for _, when := range []string{"whole", "thinned"} {
			for _, row := range []struct {
				page notes.VersionPage
				want int
			}{
				{notes.VersionPage{Limit: 10}, 10},
				{notes.VersionPage{Limit: 500}, 17},
				{notes.VersionPage{Limit: 30, Before: 35}, 16},
			} {
				if got := compared(row.page); got != row.want {
					t.Errorf("%s: %d versions of %+v are compared, want %d", when, got, row.page, row.want)
				}
			}
			time.Sleep(2 * time.Hour)
			thinned(t, s, aYear)
		}
	})
}

// wantPages checks that pages of every size make the whole list.
func wantPages(t *testing.T, s *store.Store, owner, id string, want []notes.VersionInfo) {
	t.Helper()
	for size := 1; size <= len(want); size++ {
		var got []notes.VersionInfo
		page, more := notes.VersionPage{Limit: size}, true
		for more {
			var list []notes.VersionInfo
			var err error
			if list, more, err = s.Versions(t.Context(), owner, id, page); err != nil || len(list) == 0 {
				t.Fatalf("Versions(%+v) = %d, %v", page, len(list), err)
			}
			got = append(got, list...)
			page.Before = list[len(list)-1].Revision
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pages of %d (-want +got):\n%s", size, diff)
		}
	}
}

// A restored version is a new revision, and what it replaces is a version in turn.
func TestRestoreVersion(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		first := newNote(t, s, owner, notes.NewNote{Title: "one", Content: "first", Tags: []string{"x"}, Color: new("red")})
		if _, err := s.PatchNote(t.Context(), owner, first.ID, notes.Patch{Title: new("two"), Content: new("second"), Tags: &[]string{}, SetColor: true, Trashed: new(true)}); err != nil {
			t.Fatal(err)
		}
		changed := store.Precondition{Holds: func(int64, time.Time) bool { return false }}
		if _, err := s.RestoreVersion(t.Context(), owner, first.ID, 1, changed); !errors.Is(err, store.ErrChanged) {
			t.Errorf("RestoreVersion with a precondition that fails = %v", err)
		}
		got, err := s.RestoreVersion(t.Context(), owner, first.ID, 1)
		if err != nil {
			t.Fatal(err)
		}
		want := first
		want.Revision, want.ChangeSeq, want.UpdatedAt = 3, got.ChangeSeq, got.UpdatedAt
		if diff := cmp.Diff(want, got); diff != "" || got.ChangeSeq != first.ChangeSeq+2 {
			t.Errorf("RestoreVersion (-want +got):\n%s", diff)
		}
		replaced, err := s.Version(t.Context(), owner, first.ID, 2)
		if err != nil || replaced.Content != "second" || !replaced.Trashed {
			t.Errorf("what it replaced = %+v, %v", replaced, err)
		}
		again, err := s.RestoreVersion(t.Context(), owner, first.ID, 1)
		if diff := cmp.Diff(got, again); diff != "" || err != nil {
			t.Errorf("RestoreVersion once more = %v (-want +got):\n%s", err, diff)
		}
		if _, err := s.RestoreVersion(t.Context(), owner, first.ID, 9); !errors.Is(err, store.ErrVersionGone) {
			t.Errorf("RestoreVersion of a revision to come = %v", err)
		}
	})
}

// The history goes alone, with its note, and with its account. Its bytes are counted at every step.
func TestDeleteVersions(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner, stranger := newOwner(t, s), newOwner(t, s)
		one, two := newNote(t, s, owner, notes.NewNote{Title: "t"}), newNote(t, s, owner, notes.NewNote{Title: "t"})
		for i := range 5 {
			for _, id := range []string{one.ID, two.ID} {
				if _, err := s.PatchNote(t.Context(), owner, id, notes.Patch{Content: new(strings.Repeat("x", 100*i+1))}); err != nil {
					t.Fatal(err)
				}
			}
			wantHistory(t, s, owner, 2*(i+1))
		}
		if err := s.DeleteVersions(t.Context(), stranger, one.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("DeleteVersions of a stranger's note = %v, want ErrNotFound", err)
		}
		wantHistory(t, s, owner, 10)
		if err := s.DeleteVersions(t.Context(), owner, one.ID); err != nil {
			t.Error(err)
		}
		wantHistory(t, s, owner, 5)
		if _, err := s.Version(t.Context(), owner, one.ID, 1); !errors.Is(err, store.ErrVersionGone) {
			t.Errorf("Version after DeleteVersions = %v", err)
		}
		if n, err := s.Version(t.Context(), owner, one.ID, 6); err != nil || len(n.Content) != 401 {
			t.Errorf("the present version after DeleteVersions = %d bytes, %v", len(n.Content), err)
		}
		if err := s.DeleteNote(t.Context(), owner, two.ID); err != nil {
			t.Fatal(err)
		}
		wantHistory(t, s, owner, 0)
		if _, err := s.PatchNote(t.Context(), owner, one.ID, notes.Patch{Title: new("again")}); err != nil {
			t.Fatal(err)
		}
		wantHistory(t, s, owner, 1)
		if err := s.DeleteUser(t.Context(), owner); err != nil {
			t.Fatal(err)
		}
		var left int
		if err := s.DB().Raw("SELECT count(*) FROM note_versions").Scan(&left).Error; err != nil || left != 0 {
			t.Errorf("%d versions are left of a deleted account, %v", left, err)
		}
	})
}

// wantHistory checks how many versions an owner has, and that their bytes are counted.
func wantHistory(t testing.TB, s *store.Store, owner string, want int) {
	t.Helper()
	var have struct {
		Versions int
		Bytes    int64
	}
	err := s.DB().Raw(`SELECT count(*) AS versions, coalesce(sum(150 + CASE WHEN v.base_revision IS NULL THEN v.bytes ELSE length(v.delta) END), 0) AS bytes
		FROM note_versions AS v JOIN notes AS n ON n.key = v.note_key WHERE n.user_id = ?`, owner).Scan(&have).Error
	if err != nil {
		t.Fatal(err)
	}
	counters, err := s.Counters(t.Context(), owner)
	if err != nil || counters.HistoryBytes != have.Bytes || have.Versions != want {
		t.Errorf("%d versions of %d bytes, want %d; counted as %d bytes, %v", have.Versions, have.Bytes, want, counters.HistoryBytes, err)
	}
}

// A version is pinned before a trash and a restore, and before a write without a base over another's
// version.
func TestPinnedVersions(t *testing.T) {
	named := ifRevision(2)
	any := store.Precondition{Holds: func(int64, time.Time) bool { return true }}
	for _, row := range []struct {
		name   string
		change func(ctx context.Context, s *store.Store, owner, id string) error
		by     notes.Author
		pinned bool
	}{
		{"write of the same author", patchBy(notes.Patch{Content: new("b")}), phone, false},
		{"write of another session", patchBy(notes.Patch{Content: new("b")}), laptop, true},
		{"write of nobody known", patchBy(notes.Patch{Content: new("b")}), notes.Author{}, true},
		{"write of another session that names its base", patchBy(notes.Patch{Content: new("b")}, named), laptop, false},
		{"write of another session on a condition that names no revision", patchBy(notes.Patch{Content: new("b")}, any), laptop, true},
		{"write of another session on both", patchBy(notes.Patch{Content: new("b")}, any, named), laptop, false},
		{"trash", patchBy(notes.Patch{Trashed: new(true)}, named), phone, true},
		{"flag of the same author", patchBy(notes.Patch{Pinned: new(true)}), phone, false},
		{"restore", func(ctx context.Context, s *store.Store, owner, id string) error {
			_, err := s.RestoreVersion(ctx, owner, id, 1, named)
			return err
		}, phone, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			storetest.Each(t, func(t *testing.T, s *store.Store) {
				owner := newOwner(t, s)
				n, err := s.CreateNote(store.WithAuthor(t.Context(), phone), owner, notes.NewNote{Title: "t"})
				if err == nil {
					_, err = s.PatchNote(store.WithAuthor(t.Context(), phone), owner, n.ID, notes.Patch{Content: new("a")})
				}
				if err == nil {
					err = row.change(store.WithAuthor(t.Context(), row.by), s, owner, n.ID)
				}
				if err != nil {
					t.Fatal(err)
				}
				var keep int
				if err := s.DB().Raw("SELECT keep FROM note_versions WHERE revision = 2").Take(&keep).Error; err != nil || keep == 2 != row.pinned {
					t.Errorf("keep = %d, %v, want pinned %t", keep, err, row.pinned)
				}
			})
		})
	}
}

func patchBy(p notes.Patch, preconditions ...store.Precondition) func(context.Context, *store.Store, string, string) error {
	return func(ctx context.Context, s *store.Store, owner, id string) error {
		_, err := s.PatchNote(ctx, owner, id, p, preconditions...)
		return err
	}
}

// Changes of one note that one transaction commits leave a version each, and none of a note that it
// deletes.
func TestVersionsOfABatch(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		kept, deleted := newNote(t, s, owner, notes.NewNote{Title: "0"}), newNote(t, s, owner, notes.NewNote{Title: "0"})
		const changes = 100
		errs := make(chan error)
		for i := range changes {
			go func() {
				_, err := s.PatchNote(t.Context(), owner, kept.ID, notes.Patch{Title: new(fmt.Sprint(i + 1))})
				errs <- err
			}()
			go func() {
				var err error
				if i == changes/2 {
					err = s.DeleteNote(t.Context(), owner, deleted.ID)
				} else if _, err = s.PatchNote(t.Context(), owner, deleted.ID, notes.Patch{Title: new(fmt.Sprint(i + 1))}); errors.Is(err, store.ErrNotFound) {
					err = nil
				}
				errs <- err
			}()
		}
		for range 2 * changes {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		wantHistory(t, s, owner, changes)
		seen := map[string]bool{}
		for revision := int64(1); revision <= changes+1; revision++ {
			n, err := s.Version(t.Context(), owner, kept.ID, revision)
			if err != nil || seen[n.Title] {
				t.Errorf("revision %d = %q, %v, want a title of its own", revision, n.Title, err)
			}
			seen[n.Title] = true
		}
	})
}

// Above the quota of its owner the oldest versions go, until a tenth of it is free.
func TestHistoryQuota(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		n := newNote(t, s, owner, notes.NewNote{Title: "t"})
		if err := s.SetQuota(t.Context(), owner, nil, new(int64(10_000))); err != nil {
			t.Fatal(err)
		}
		most := int64(0)
		for i := range 100 {
			if _, err := s.PatchNote(t.Context(), owner, n.ID, notes.Patch{Content: new(strings.Repeat("x", 500+i))}); err != nil {
				t.Fatal(err)
			}
			c, err := s.Counters(t.Context(), owner)
			if err != nil || c.HistoryBytes > 10_000 {
				t.Fatalf("a history of %d bytes, %v, want at most 10000", c.HistoryBytes, err)
			}
			most = max(most, c.HistoryBytes)
		}
		if most < 9000 {
			t.Errorf("a history of %d bytes at most, want more than 9000", most)
		}
		list, _, err := s.Versions(t.Context(), owner, n.ID, notes.VersionPage{Limit: 1000})
		if err != nil || len(list) < 13 || list[0].Revision != 101 {
			t.Fatalf("%d versions, %v, want those that the quota has room for", len(list), err)
		}
		for i, info := range list {
			if info.Revision != int64(101-i) {
				t.Errorf("version %d is revision %d, want the newest ones", i, info.Revision)
			}
		}
		wantHistory(t, s, owner, len(list)-1)
	})
}

// The binary before versions changes notes and deletes them beside this one. It keeps no version, and
// the author of what it wrote is not known.
func TestVersionsBesideOlderBinary(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		ctx := store.WithAuthor(t.Context(), phone)
		n, err := s.CreateNote(ctx, owner, notes.NewNote{Title: "one"})
		if err == nil {
			_, err = s.PatchNote(ctx, owner, n.ID, notes.Patch{Title: new("two")})
		}
		if err != nil {
			t.Fatal(err)
		}
		older := func(statements ...string) {
			t.Helper()
			for _, statement := range statements {
				if err := s.WriterDB().Exec(statement, owner).Error; err != nil {
					t.Fatal(err)
				}
			}
		}
		older(`UPDATE notes SET title = 'three', title_folded = 'three', revision = 3, change_seq = 3, updated_at = updated_at + 1 WHERE user_id = ?`,
			`UPDATE user_counters SET change_seq = 3 WHERE user_id = ?`)
		if v, err := s.Version(t.Context(), owner, n.ID, 3); err != nil || v.Title != "three" || v.By != (notes.Author{}) {
			t.Errorf("what the older binary wrote is %+v, %v, want no author", v, err)
		}
		if _, err := s.PatchNote(ctx, owner, n.ID, notes.Patch{Title: new("four")}); err != nil {
			t.Fatal(err)
		}
		for revision, want := range []string{1: "one", 3: "three", 4: "four"} {
			v, err := s.Version(t.Context(), owner, n.ID, int64(revision))
			if want == "" && !errors.Is(err, store.ErrVersionGone) || want != "" && (err != nil || v.Title != want) {
				t.Errorf("revision %d = %q, %v, want %q", revision, v.Title, err, want)
			}
		}
		var keep int
		if err := s.DB().Raw("SELECT keep FROM note_versions WHERE revision = 3").Take(&keep).Error; err != nil || keep != 2 {
			t.Errorf("the version of an author who is not known has keep %d, %v, want it pinned", keep, err)
		}
		older(`DELETE FROM notes WHERE user_id = ?`)
		wantVersions := func(want int) {
			t.Helper()
			var have int
			if err := s.DB().Raw("SELECT count(*) FROM note_versions").Scan(&have).Error; err != nil || have != want {
				t.Errorf("%d versions, %v, want %d", have, err, want)
			}
		}
		wantVersions(0)
		if swept, err := s.Sweep(t.Context(), store.SweepConfig{TrashRetention: aYear, History: aYear}); err != nil || swept.Versions != 0 {
			t.Errorf("Sweep = %+v, %v", swept, err)
		}
	})
}

// A version that is replaced while the clock has jumped back is still newer than the one before it,
// and none is thinned for it.
func TestClockJumpsBack(t *testing.T) {
	eachInTime(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		n := newNote(t, s, owner, notes.NewNote{Title: "0"})
		// The note comes from a future that the clock has not reached.
		future := time.Now().Add(100 * day)
		if err := s.WriterDB().Exec("UPDATE notes SET updated_at = ?", future.UnixMilli()).Error; err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			time.Sleep(time.Hour)
			if _, err := s.PatchNote(t.Context(), owner, n.ID, notes.Patch{Title: new(fmt.Sprint(i + 1))}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(50 * day)
		thinned(t, s, aYear)
		wantHistory(t, s, owner, 5)
		for i := range 6 {
			at := future.Add(time.Duration(i) * time.Millisecond)
			if v, err := s.NoteAt(t.Context(), owner, n.ID, at); err != nil || v.Title != fmt.Sprint(i) {
				t.Errorf("NoteAt(%v) = %q, %v, want %d", at, v.Title, err, i)
			}
		}
		time.Sleep(60 * day) // now it is past
		thinned(t, s, aYear)
		wantHistory(t, s, owner, 1)
	})
}
