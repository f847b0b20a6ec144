package store_test

import (
	"math"
	"strings"
	"testing"

	"notesd/store"
	"notesd/store/storetest"
)

// Who has no quota of his own has that of the settings, whichever way a note is written.
func TestDefaultQuota(t *testing.T) {
	storetest.Engines(t, func(t *testing.T, url string) {
		s, err := store.Open(t.Context(), store.Config{URL: url, Log: storetest.Log(t), QuotaNotes: new(int64(2)), QuotaBytes: new(int64(10))})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		ordinary, poor, rich := newOwner(t, s), newOwner(t, s), newOwner(t, s)
		if err := s.SetQuota(t.Context(), poor, new(int64(1)), nil); err != nil {
			t.Fatal(err)
		}
		if err := s.SetQuota(t.Context(), rich, new(int64(math.MaxInt64)), new(int64(math.MaxInt64))); err != nil {
			t.Fatal(err)
		}
		create := func(owner, title string, want error) store.Note {
			t.Helper()
			note, err := s.CreateNote(t.Context(), owner, store.NewNote{Title: title})
			if want != nil || err != nil {
				expect(t, "CreateNote", note, err, store.Note{}, want)
			}
			return note
		}
		note := create(ordinary, "12345", nil)
		create(ordinary, "123456", store.ErrQuota)
		create(ordinary, "12345", nil)
		create(ordinary, "", store.ErrQuota)
		got, err := s.PatchNote(t.Context(), ordinary, note.ID, store.Patch{Content: new("1")})
		expect(t, "PatchNote above the quota", got, err, store.Note{}, store.ErrQuota)
		if _, err := s.PatchNote(t.Context(), ordinary, note.ID, store.Patch{Title: new("1"), Content: new("23")}); err != nil {
			t.Errorf("PatchNote of a note that gets smaller = %v", err)
		}
		create(poor, "12345678901", store.ErrQuota)
		create(poor, "1234567890", nil)
		create(poor, "", store.ErrQuota)
		for range 3 {
			create(rich, "1234567890", nil)
		}
	})
}

// A text that grows when it is folded counts for what its folded copy takes.
func TestBytesOfFolded(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		want := func(bytes int, when string) {
			t.Helper()
			counters, err := s.Counters(t.Context(), owner)
			if err != nil || counters.Bytes != int64(bytes) {
				t.Errorf("%s: %d bytes, %v; want %d", when, counters.Bytes, err, bytes)
			}
		}
		grows := strings.Repeat("\U0001D160", 25_000) // of 4 bytes, which fold to 12
		note := newNote(t, s, owner, store.NewNote{Title: "\U0001D160", Content: grows, Tags: []string{"\U0001D160"}})
		want(12+3*len(grows)+4, "made")
		change := func(p store.Patch, bytes int, when string) {
			t.Helper()
			if _, err := s.PatchNote(t.Context(), owner, note.ID, p); err != nil {
				t.Fatal(err)
			}
			want(bytes, when)
		}
		change(store.Patch{Pinned: new(true)}, 12+3*len(grows)+4, "pinned")
		change(store.Patch{Title: new("t")}, 1+3*len(grows)+4, "another title")
		if _, err := s.TrashNote(t.Context(), owner, note.ID); err != nil {
			t.Fatal(err)
		}
		want(1+3*len(grows)+4, "trashed")
		change(store.Patch{Tags: &[]string{}}, 1+3*len(grows), "without tags")
		change(store.Patch{Content: new(grows[:100])}, 1+300, "shorter")
		change(store.Patch{Content: new("ABC")}, 1+3, "plain")
		change(store.Patch{Content: &grows, Title: new("\U0001D160")}, 12+3*len(grows), "as it was")
		if err := s.DeleteNote(t.Context(), owner, note.ID); err != nil {
			t.Fatal(err)
		}
		want(0, "deleted")
	})
}
