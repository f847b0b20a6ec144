package store_test

import (
	"crypto/sha256"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"notesd/internal/testkit"
	"notesd/notes"
	"notesd/store"
	"notesd/store/storetest"
)

// Who has no quota of his own has that of the settings, whichever way a note is written.
func TestDefaultQuota(t *testing.T) {
	storetest.Engines(t, func(t *testing.T, url string) {
		s, err := store.Open(t.Context(), store.Config{URL: url, Log: testkit.Log(t), QuotaNotes: new(int64(2)), QuotaBytes: new(int64(10 + 2*store.NoteCost))})
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
		create := func(owner, text string, want error) notes.Note {
			t.Helper()
			n := min(len(text), 5)
			note, err := s.CreateNote(t.Context(), owner, notes.NewNote{Title: text[:n], Content: text[n:]})
			if want != nil || err != nil {
				expect(t, "CreateNote", note, err, notes.Note{}, want)
			}
			return note
		}
		note := create(ordinary, "12345", nil)
		create(ordinary, "123456", store.ErrQuota)
		create(ordinary, "12345", nil)
		create(ordinary, "1", store.ErrQuota)
		got, err := s.PatchNote(t.Context(), ordinary, note.ID, notes.Patch{Content: new("1")})
		expect(t, "PatchNote above the quota", got, err, notes.Note{}, store.ErrQuota)
		if _, err := s.PatchNote(t.Context(), ordinary, note.ID, notes.Patch{Title: new("1"), Content: new("23")}); err != nil {
			t.Errorf("PatchNote of a note that gets smaller = %v", err)
		}
		create(poor, strings.Repeat("x", store.NoteCost+11), store.ErrQuota)
		create(poor, strings.Repeat("x", store.NoteCost+10), nil)
		create(poor, "1", store.ErrQuota)
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
		const tag = 4 + store.TagCost
		grows := strings.Repeat("\U0001D160", 25_000) // of 4 bytes, which fold to 12
		note := newNote(t, s, owner, notes.NewNote{Title: "\U0001D160", Content: grows, Tags: []string{"\U0001D160"}})
		want(12+3*len(grows)+tag, "made")
		change := func(p notes.Patch, bytes int, when string) {
			t.Helper()
			if _, err := s.PatchNote(t.Context(), owner, note.ID, p); err != nil {
				t.Fatal(err)
			}
			want(bytes, when)
		}
		change(notes.Patch{Pinned: new(true)}, 12+3*len(grows)+tag, "pinned")
		change(notes.Patch{Title: new("t")}, 1+3*len(grows)+tag, "another title")
		if _, err := s.TrashNote(t.Context(), owner, note.ID); err != nil {
			t.Fatal(err)
		}
		want(1+3*len(grows)+tag, "trashed")
		change(notes.Patch{Tags: &[]string{}}, 1+3*len(grows), "without tags")
		change(notes.Patch{Content: new(grows[:100])}, 1+300, "shorter")
		change(notes.Patch{Content: new("ABC")}, 1+3, "plain")
		change(notes.Patch{Content: &grows, Title: new("\U0001D160")}, 12+3*len(grows), "as it was")
		if err := s.DeleteNote(t.Context(), owner, note.ID); err != nil {
			t.Fatal(err)
		}
		want(0, "deleted")
	})
}

// What a person's notes take on the disk is at most twice what a quota counts for
// both copies, however small the notes are and however they are searched.
func TestDisk(t *testing.T) {
	letters := make([]byte, 1<<20)
	for i := range letters {
		letters[i] = 'a' + byte(rand.N(26))
	}
	tests := []struct {
		name  string
		notes int
		note  notes.NewNote // with so many letters as content
		chars int
		lists bool
	}{
		{name: "one byte", notes: 1000, note: notes.NewNote{Title: "x"}},
		{name: "a long colour", notes: 1000, note: notes.NewNote{Title: "x", Color: new(strings.Repeat("\U0001D160", 20))}},
		{name: "50 tags", notes: 200, note: notes.NewNote{Title: "x", Tags: strings.Split(strings.Repeat("x", 50), "")}},
		{name: "3000 letters", notes: 200, note: notes.NewNote{Title: "x"}, chars: 3000},
		{name: "4100 letters and their lists", notes: 200, note: notes.NewNote{Title: "x"}, chars: 4100, lists: true}, // as many trigrams as are listed
	}
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		size := func() (pages int64) {
			query := `PRAGMA page_count`
			if s.Engine() == store.PostgreSQL {
				query = `SELECT sum(pg_total_relation_size(oid))::bigint / 4096 FROM pg_class
					WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace`
			}
			if err := s.DB().Raw(query).Scan(&pages).Error; err != nil {
				t.Fatal(err)
			}
			return pages * 4096
		}
		for _, test := range tests {
			owner, before := newOwner(t, s), size()
			var made sync.WaitGroup
			for range test.notes {
				in, from := test.note, rand.N(len(letters)-test.chars)
				in.Content = string(letters[from : from+test.chars])
				made.Go(func() {
					if _, err := s.CreateNote(t.Context(), owner, in); err != nil {
						t.Error(err)
					}
				})
			}
			made.Wait()
			if test.lists {
				if err := s.MakeLists(t.Context(), owner, store.SegmentNotes); err != nil {
					t.Fatal(err)
				}
			}
			c, err := s.Counters(t.Context(), owner)
			if err != nil || c.Notes == 0 {
				t.Fatalf("Counters = %+v, %v", c, err)
			}
			grown, counted := size()-before, 2*c.Used()
			t.Logf("%s: a note takes %d bytes and counts for %d: %.2f times",
				test.name, grown/c.Notes, counted/c.Notes, float64(grown)/float64(counted))
			if grown > 2*counted {
				t.Errorf("%s: %d notes take %d bytes, want at most twice %d", test.name, c.Notes, grown, counted)
			}
		}
		gone, id := newOwner(t, s), "'01a22a46-131e-7aec-ae3b-' || (100000000000 + i)"
		newNote(t, s, gone, notes.NewNote{Title: "x", IdempotencyKey: "key", BodyHash: make([]byte, sha256.Size)})
		key := "'" + strings.Repeat("k", 250) + "' || i, (SELECT body_hash FROM idempotency_keys LIMIT 1), " + id
		for table, values := range map[string]string{"tombstones": "c.change_seq + i, " + id, "idempotency_keys": key} {
			before := size()
			fillUp(t, s, gone, table, values, time.Now())
			grown := size() - before
			t.Logf("%d %s take %.1f MB", store.MostKept, table, float64(grown)/(1<<20))
			if grown > 12<<20 {
				t.Errorf("%d %s take %d bytes, want at most 12 MB", store.MostKept, table, grown)
			}
		}
	})
}

// Notes that an older binary has stored without tagCost stay what they count for until they are rewritten, so that
// none is refused which adds nothing.
func TestBytesOfOlder(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		owner := newOwner(t, s)
		note := newNote(t, s, owner, notes.NewNote{Title: "t", Content: "c", Tags: []string{"1", "2"}})
		for _, sql := range []string{"UPDATE notes SET bytes = 4", "UPDATE user_counters SET note_bytes = 4"} {
			if err := s.WriterDB().Exec(sql).Error; err != nil {
				t.Fatal(err)
			}
		}
		if err := s.SetQuota(t.Context(), owner, nil, new(int64(4+store.NoteCost))); err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			patch notes.Patch
			bytes int64
		}{
			{notes.Patch{Pinned: new(true)}, 4},
			{notes.Patch{Title: new("T")}, 4},
			{notes.Patch{Trashed: new(true)}, 4},
			{notes.Patch{Tags: &[]string{}}, 0},
			{notes.Patch{Content: new("C")}, 2},
		} {
			_, err := s.PatchNote(t.Context(), owner, note.ID, step.patch)
			counters, err2 := s.Counters(t.Context(), owner)
			if err != nil || err2 != nil || counters.Bytes != step.bytes {
				t.Errorf("after %+v: %d bytes, %v, %v; want %d", step.patch, counters.Bytes, err, err2, step.bytes)
			}
		}
	})
}
